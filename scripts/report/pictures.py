"""The pictures of the report: which photos it shows, and the image files."""
import random
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from common import atomic
from serving import Model, preprocess
from training.index import Photo

PREDICTIONS, MISTAKES, SUSPECTS, COPIES = 20, 20, 40, 10  # the largest number of each that the report shows
THUMBNAIL = 200  # height in pixels
MARKS = {True: "✓\N{NO-BREAK SPACE}", False: "✗\N{NO-BREAK SPACE}", None: ""}
BLUE, ORANGE, GOOD, BAD = "#4477aa", "#ee7733", "#228833", "#cc3311"  # Paul Tol's palette, safe for colour blindness
matplotlib.rcParams.update({
    "text.parse_math": False, "font.size": 11, "axes.titlesize": 12, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "axes.grid.axis": "y", "axes.axisbelow": True, "grid.alpha": 0.25})


class Tile(NamedTuple):
    """A photo with its caption. `correct` tells whether its prediction is; None if it shows no prediction."""
    image: np.ndarray
    title: str
    note: str
    path: str
    correct: bool | None


def choose(model: Model, photos: list[Photo], probabilities: np.ndarray) -> dict[str, list[Tile]]:
    """The photos that the report shows, the same in each run."""
    size = THUMBNAIL, max(1, round(THUMBNAIL * model.size[1] / model.size[0]))
    draw = random.Random(0)
    confidence, predicted = probabilities.max(1), [model.labels[column] for column in probabilities.argmax(1)]

    def tile(photo: Photo, title: str, note: str = "", correct: bool | None = None) -> Tile:
        return Tile(preprocess(photo.path, size), title, note, short_path(photo.path), correct)

    def prediction(row: int) -> Tile:
        label, correct = photos[row].label, predicted[row] == photos[row].label
        title, note = f"{predicted[row]} {confidence[row]:.0%}", "" if correct else f"actually {label}"
        return tile(photos[row], title, note, correct)

    train = [photo for photo in photos if photo.split == "train"]
    test = [row for row, photo in enumerate(photos) if photo.split == "test"]
    mistakes = [row for row in test if predicted[row] != photos[row].label]
    by_label = {label: [photo for photo in train if photo.label == label] for label in model.labels}
    by_path = {short_path(photo.path): photo for photo in train}  # the record may have another machine's paths
    suspects = [(by_path.get(short_path(Path(row["path"]))), row) for row in model.record.get("suspects") or []]
    return {
        "samples": [tile(draw.choice(choice), label) for label, choice in by_label.items() if choice],
        "predictions": [prediction(row) for row in draw.sample(test, min(PREDICTIONS, len(test)))],
        "mistakes": [prediction(row) for row in sorted(mistakes, key=lambda row: -confidence[row])[:MISTAKES]],
        "suspects": [tile(photo, f"labelled {photo.label}", f"looks like {row['suggested']}")
                     for photo, row in suspects if photo][:SUSPECTS],
        "augmented": augmented(draw.choice(train), size) if train else []}


def short_path(path: Path) -> str:
    """<split>/<label>/<file name>"""
    return "/".join(path.parts[-3:])


def augmented(photo: Photo, size: tuple[int, int]) -> list[Tile]:
    from training.augmentation import augment  # late, as it imports TensorFlow

    copies = np.asarray(augment(np.stack([preprocess(photo.path, size)] * COPIES), 0)).round().astype(np.uint8)
    return [Tile(copy, f"copy {number}", "", "", None) for number, copy in enumerate(copies, 1)]


def draw(folder: Path, tiles: dict[str, list[Tile]], calibration: list[dict], history: list[dict] | None) -> None:
    """Write <name>.jpg for each group of tiles, calibration.png and, if there is a history, curves.png."""
    for name, group in tiles.items():
        save(mosaic(group) if group else None, folder / f"{name}.jpg", dpi=100)
    save(reliability(calibration), folder / "calibration.png")
    save(curves(history) if history else None, folder / "curves.png")


def save(figure: Figure | None, path: Path, dpi: int = 160) -> None:
    """Write the figure. Without one, delete the picture that an earlier report left."""
    if figure:
        with atomic(path) as temporary:
            figure.savefig(temporary, dpi=dpi)
    else:
        path.unlink(missing_ok=True)


def mosaic(tiles: list[Tile], columns: int = 5) -> Figure:
    rows = -(-len(tiles) // columns)
    ratio = tiles[0].image.shape[0] / tiles[0].image.shape[1]
    figure = Figure(figsize=(1.8 * columns, (1.75 * ratio + 0.5) * rows), layout="constrained")
    blank = {"frame_on": False, "xticks": (), "yticks": ()}
    cells = figure.subplots(rows, columns, squeeze=False, subplot_kw=blank)
    for cell, tile in zip(cells.flat, tiles):
        cell.imshow(tile.image)
        cell.set_title(f"{MARKS[tile.correct]}{tile.title}\n{tile.note}".strip(), fontsize=10,
                       color={True: GOOD, False: BAD, None: "black"}[tile.correct])
    return figure


def curves(history: list[dict]) -> Figure:
    """Loss and accuracy of training and validation in each epoch."""
    figure = Figure(figsize=(5, 5.6), layout="constrained")
    cells = figure.subplots(2, 1, sharex=True)
    for cell, name in zip(cells, ("loss", "accuracy")):
        for key, label, style, colour in ((name, "train", "o-", BLUE), (f"val_{name}", "validation", "s--", ORANGE)):
            values = np.array([row.get(key) for row in history], float)  # None becomes NaN, a gap in the line
            cell.plot(range(1, len(history) + 1), values, style, label=label, markersize=4, color=colour)
        cell.set_title(name.capitalize(), loc="left")
    cells[0].legend(frameon=False)
    cells[1].set_xlabel("Epoch")
    cells[1].xaxis.get_major_locator().set_params(integer=True)
    return figure


def reliability(bins: list[dict]) -> Figure:
    """Accuracy and number of photos in each bin of confidence, beside the line of perfect calibration."""
    figure = Figure(figsize=(5, 5.6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    centres = (np.arange(len(bins)) + 0.5) / len(bins)
    style = {"width": 0.9 / len(bins), "color": BLUE}
    top.bar(centres, [row["accuracy"] or 0 for row in bins], label="model", **style)
    top.plot((0, 1), (0, 1), "--", color=ORANGE, label="perfect calibration")
    top.set_title("Accuracy", loc="left")
    top.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
    bottom.bar(centres, [row["count"] for row in bins], **style)
    bottom.set_title("Number of photos", loc="left")
    bottom.set_xlabel("Confidence (probability of the top label)")
    bottom.set_xlim(0, 1)
    return figure
