"""The photos that the report shows, with their captions."""
import io
import random
from pathlib import Path

import numpy as np
from PIL import Image

from report.activation import activation_maps, overlay
from serving import Model, preprocess
from training.augmentation import augment
from training.index import Photo


def tile(image: np.ndarray, title: str, note: str = "", path: str = "", kind: str = "") -> dict:
    """A photo, uint8 [height, width, 3], as a JPEG file with its caption.

    kind: "correct" or "wrong" if the photo shows a prediction
    """
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG")
    return {"image": file.getvalue(), "title": title, "note": note, "path": path, "kind": kind}


def choose(model_path: Path, model: Model, photos: list[Photo], probabilities: np.ndarray,
           familiarity: np.ndarray) -> dict[str, list[dict]]:
    """The photos of each section of the page as the network sees them, the same in each run.

    probabilities: float32 [photos, labels]; familiarity: float [photos]
    """
    maps_of = activation_maps(model_path)
    confidence, predicted = probabilities.max(1), probabilities.argmax(1)

    def image(row: int) -> np.ndarray:
        return preprocess(photos[row].path, model.size)

    def prediction(row: int) -> dict:
        """The photo beside the map of its predicted label."""
        photo, answer = photos[row], model.labels[predicted[row]]
        both = np.hstack([image(row), overlay(image(row), maps_of(image(row))[..., predicted[row]])])
        title = f"{answer} {confidence[row]:.0%}"
        if answer == photo.label:
            return tile(both, f"✓ {title}", "", photo.path, "correct")
        return tile(both, f"✗ {title}", f"actually {photo.label}", photo.path, "wrong")

    def unfamiliar(rows: list[int]) -> list[dict]:
        return [tile(image(row), photos[row].label, f"familiarity {familiarity[row]:.2f}", photos[row].path)
                for row in sorted(rows, key=lambda row: familiarity[row])[:10]]

    train, test = ([row for row, photo in enumerate(photos) if photo.split == split] for split in ("train", "test"))
    mistakes = [row for row in test if model.labels[predicted[row]] != photos[row].label]
    sample = {photos[row].label: row for row in train}
    # The record may have another machine's paths, so <split>/<label>/<file name> tells which photo it means.
    row_of = {photos[row].path.parts[-3:]: row for row in train}
    suspects = [(row_of.get(Path(entry["path"]).parts[-3:]), entry) for entry in model.record.get("suspects", [])]
    copies = augment(np.stack([image((train or test)[0])] * 10), 0).numpy().round().astype(np.uint8)
    return {
        "samples": [tile(image(row), label) for label, row in sorted(sample.items())],
        "predictions": [prediction(row) for row in random.Random(0).sample(test, min(12, len(test)))],
        "mistakes": [prediction(row) for row in sorted(mistakes, key=lambda row: -confidence[row])[:18]],
        "unfamiliar_test": unfamiliar(test),
        "unfamiliar_train": unfamiliar(train),
        "suspects": [tile(image(row), f"labelled {entry['label']}", f"looks like {entry['suggested']}",
                          photos[row].path) for row, entry in suspects if row is not None][:20],
        "augmented": [tile(copy, f"copy {number}") for number, copy in enumerate(copies, 1)]}
