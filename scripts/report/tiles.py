"""The photos that the report shows, with their captions."""
import random
from pathlib import Path
from typing import NamedTuple

import numpy as np

from report.activation import activation_maps, overlay
from serving import Model, preprocess
from training.index import Photo

PREDICTIONS, MISTAKES, UNFAMILIAR, SUSPECTS, COPIES = 12, 18, 10, 20, 10  # the largest number of each
THUMBNAIL = 200  # height in pixels
MARKS = {True: "✓\N{NO-BREAK SPACE}", False: "✗\N{NO-BREAK SPACE}", None: ""}


class Tile(NamedTuple):
    """A photo with its caption. `correct` tells whether its prediction is; None if it shows no prediction."""
    image: np.ndarray
    title: str
    note: str
    path: str
    correct: bool | None


def choose(model_path: Path, model: Model, photos: list[Photo], probabilities: np.ndarray,
           familiarity: np.ndarray) -> dict[str, list[Tile]]:
    """The photos that the report shows, the same in each run.

    probabilities: float32 [photos, labels]; familiarity: float [photos]
    """
    size = THUMBNAIL, max(1, round(THUMBNAIL * model.size[1] / model.size[0]))
    draw = random.Random(0)
    maps_of = activation_maps(model_path)
    confidence, columns = probabilities.max(1), probabilities.argmax(1)
    predicted = [model.labels[column] for column in columns]

    def tile(photo: Photo, title: str, note: str = "") -> Tile:
        return Tile(preprocess(photo.path, size), title, note, short_path(photo.path), None)

    def prediction(row: int) -> Tile:
        """The photo beside the map of its predicted label."""
        path, label = photos[row].path, photos[row].label
        image = preprocess(path, size)
        explained = overlay(image, maps_of(preprocess(path, model.size))[..., columns[row]])
        correct = predicted[row] == label
        return Tile(np.hstack([image, explained]), f"{predicted[row]} {confidence[row]:.0%}",
                    "" if correct else f"actually {label}", short_path(path), correct)

    def unfamiliar(rows: list[int]) -> list[Tile]:
        return [tile(photos[row], photos[row].label, f"familiarity {familiarity[row]:.2f}")
                for row in sorted(rows, key=lambda row: familiarity[row])[:UNFAMILIAR]]

    train, test = ([row for row, photo in enumerate(photos) if photo.split == split] for split in ("train", "test"))
    mistakes = [row for row in test if predicted[row] != photos[row].label]
    by_label = {label: [photos[row] for row in train if photos[row].label == label] for label in model.labels}
    # The record may have another machine's paths.
    by_path = {short_path(photos[row].path): photos[row] for row in train}
    suspects = [(by_path.get(short_path(Path(row["path"]))), row) for row in model.record.get("suspects") or []]
    return {
        "samples": [tile(draw.choice(choice), label) for label, choice in by_label.items() if choice],
        "predictions": [prediction(row) for row in draw.sample(test, min(PREDICTIONS, len(test)))],
        "mistakes": [prediction(row) for row in sorted(mistakes, key=lambda row: -confidence[row])[:MISTAKES]],
        "unfamiliar_test": unfamiliar(test),
        "unfamiliar_train": unfamiliar(train),
        "suspects": [tile(photo, f"labelled {photo.label}", f"looks like {row['suggested']}")
                     for photo, row in suspects if photo][:SUSPECTS],
        "augmented": augmented(photos[draw.choice(train)], size) if train else []}


def short_path(path: Path) -> str:
    """<split>/<label>/<file name>"""
    return "/".join(path.parts[-3:])


def augmented(photo: Photo, size: tuple[int, int]) -> list[Tile]:
    from training.augmentation import augment  # late, as it imports TensorFlow

    copies = np.asarray(augment(np.stack([preprocess(photo.path, size)] * COPIES), 0)).round().astype(np.uint8)
    return [Tile(copy, f"copy {number}", "", "", None) for number, copy in enumerate(copies, 1)]
