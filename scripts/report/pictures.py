"""The pictures of the report: which photos it shows, and the PNG files."""
import random
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np

from common import atomic
from serving import Model, preprocess
from training.index import Photo

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

PREDICTIONS, MISTAKES, SUSPECTS, COPIES = 20, 20, 40, 10  # the most of each that the report shows
THUMBNAIL = 200  # height in pixels
MARKS = {True: "✓ ", False: "✗ ", None: ""}
# Paul Tol's colours, told apart with every kind of colour vision; lines differ in dash and marker too.
GOOD, BAD = "#228833", "#cc3311"
THEMES = {
    "": {"figure.facecolor": "white", "axes.facecolor": "white", "text.color": "#1b1f24"},
    "-dark": {"figure.facecolor": "#1c2128", "axes.facecolor": "#1c2128", "text.color": "#e6e8eb"},
}


class Tile(NamedTuple):
    """A photo with its caption; right: whether a prediction is, None where there is none."""
    image: np.ndarray
    title: str
    note: str = ""
    path: str = ""
    right: bool | None = None


def choose(model: Model, photos: list[Photo], probabilities: np.ndarray, folder: Path) -> dict[str, list[Tile]]:
    """The photos that the report shows, the same on each run; paths are relative to the index's folder."""
    size = THUMBNAIL, max(1, round(THUMBNAIL * model.size[1] / model.size[0]))
    draw = random.Random(0)

    def tile(photo: Photo, *caption: str, right: bool | None = None) -> Tile:
        path = photo.path.relative_to(folder) if photo.path.is_relative_to(folder) else photo.path
        return Tile(preprocess(photo.path, size), *caption, path=str(path), right=right)

    def predicted(row: int) -> Tile:
        label, right = model.labels[best[row]], bool(model.labels[best[row]] == photos[row].label)
        return tile(photos[row], f"{label} {probabilities[row].max():.0%}", "" if right else f"is {photos[row].label}",
                    right=right)

    best = probabilities.argmax(1)
    train = [photo for photo in photos if photo.split == "train"]
    test = [row for row, photo in enumerate(photos) if photo.split == "test"]
    wrong = [row for row in test if model.labels[best[row]] != photos[row].label]
    by_path = {photo.path.parts[-3:]: photo for photo in train}
    # A record may hold paths from another machine; split, label and name tell a photo anywhere.
    suspects = [(by_path.get(Path(row["path"]).parts[-3:]), row) for row in model.record.get("suspects") or []]
    shown = {label: [photo for photo in train if photo.label == label] for label in model.labels}
    return {
        "samples": [tile(draw.choice(choice), label) for label, choice in shown.items() if choice],
        "predictions": [predicted(row) for row in draw.sample(test, min(PREDICTIONS, len(test)))],
        "mistakes": [predicted(row) for row in sorted(wrong, key=lambda row: -probabilities[row].max())[:MISTAKES]],
        "suspects": [tile(photo, f"labelled {photo.label}", f"looks like {row['suggested']}")
                     for photo, row in suspects if photo][:SUSPECTS],
        "augmented": augmented(draw.choice(train), size) if train else []}


def augmented(photo: Photo, size: tuple[int, int]) -> list[Tile]:
    from training.augmentation import augment  # TensorFlow, which takes seconds to import
    copies = np.asarray(augment(np.stack([preprocess(photo.path, size)] * COPIES), 0))
    return [Tile(copy, f"copy {number}") for number, copy in enumerate(copies.round().astype(np.uint8), 1)]


def draw(folder: Path, tiles: dict[str, list[Tile]], figures: dict, history: list[dict]) -> dict[str, Path]:
    """Write every picture as <name>.png; the charts, which the page shows as they are, also as <name>-dark.png."""
    matplotlib.rcParams.update({"text.parse_math": False, "font.size": 11, "axes.spines.top": False,
                                "axes.spines.right": False, "axes.grid.axis": "y", "grid.alpha": 0.25})
    for name in (*tiles, "curves", "curves-dark"):  # another model may have had pictures that this one lacks
        (folder / f"{name}.png").unlink(missing_ok=True)
    for name, row in tiles.items():
        if row:
            save(mosaic(row), folder / f"{name}.png", dpi=100)
    charts = {"calibration": lambda: reliability(figures["calibration"])}
    if history:
        charts["curves"] = lambda: curves(history)
    for suffix, theme in THEMES.items():
        foreground = theme["text.color"]
        with matplotlib.rc_context({**theme, **{key: foreground for key in (
                "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "axes.titlecolor")}}):
            for name, chart in charts.items():
                save(chart(), folder / f"{name}{suffix}.png")
    return {name + suffix: folder / f"{name}{suffix}.png" for name in charts for suffix in THEMES}


def save(figure: pyplot.Figure, path: Path, dpi: int = 160) -> None:
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=dpi)
    pyplot.close(figure)


def mosaic(tiles: list[Tile], columns: int = 5) -> pyplot.Figure:
    rows = -(-len(tiles) // columns)
    ratio = tiles[0].image.shape[0] / tiles[0].image.shape[1]
    figure, axes = pyplot.subplots(rows, columns, figsize=(1.8 * columns, (1.75 * ratio + 0.5) * rows),
                                   layout="constrained", squeeze=False)
    for cell in axes.flat:
        cell.axis("off")
    for cell, tile in zip(axes.flat, tiles):
        cell.imshow(tile.image)
        cell.set_title(f"{MARKS[tile.right]}{tile.title}\n{tile.note}".strip(), fontsize=10,
                       color={True: GOOD, False: BAD, None: "black"}[tile.right])
    return figure


def curves(history: list[dict]) -> pyplot.Figure:
    """Loss and accuracy over the epochs of training."""
    figure, axes = pyplot.subplots(2, 1, figsize=(5, 5.6), layout="constrained", sharex=True)
    epochs = [row.get("epoch", number) for number, row in enumerate(history, 1)]
    for cell, name in zip(axes, ("loss", "accuracy")):
        for key, label, style in ((name, "train", "o-"), (f"val_{name}", "validation", "s--")):
            values = [float("nan") if row.get(key) is None else row[key] for row in history]
            cell.plot(epochs, values, style, label=label, markersize=4, color="#4477aa" if style == "o-" else "#ee7733")
        cell.set_title(name.capitalize(), loc="left", fontsize=12)
        cell.grid(True)
    axes[0].legend(frameon=False)
    axes[1].set_xlabel("Epoch")
    axes[1].xaxis.get_major_locator().set_params(integer=True)
    return figure


def reliability(bins: list[dict]) -> pyplot.Figure:
    """Accuracy over confidence beside what perfect calibration would give, and how many photos are in each bin."""
    figure, (top, bottom) = pyplot.subplots(2, 1, figsize=(5, 5.6), layout="constrained", sharex=True,
                                            height_ratios=(3, 1))
    centres = (np.arange(len(bins)) + 0.5) / len(bins)
    style = {"width": 0.9 / len(bins), "color": "#4477aa"}
    top.bar(centres, [row["accuracy"] or 0 for row in bins], label="the model", **style)
    top.plot((0, 1), (0, 1), "--", color="#ee7733", label="perfect calibration")
    top.set_title("Accuracy of the photos in a bin", loc="left", fontsize=12)
    top.legend(loc="upper left", edgecolor="none")
    bottom.bar(centres, [row["count"] for row in bins], **style)
    bottom.set_title("Photos", loc="left", fontsize=12)
    bottom.set_xlabel("Confidence (probability of the top label)")
    bottom.set_xlim(0, 1)
    return figure
