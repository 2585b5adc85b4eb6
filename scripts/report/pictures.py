"""The picture files of the report: photos in a grid, training curves and the calibration chart."""
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from common import atomic
from report.tiles import MARKS, Tile

BLUE, ORANGE, GOOD, BAD = "#4477aa", "#ee7733", "#228833", "#cc3311"  # Paul Tol's palette, safe for colour blindness
matplotlib.rcParams.update({
    "text.parse_math": False, "font.size": 11, "axes.titlesize": 12, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "axes.grid.axis": "y", "axes.axisbelow": True, "grid.alpha": 0.25})


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


def mosaic(tiles: list[Tile], width: float = 9) -> Figure:
    """The photos with their captions, all of one shape, in a figure of that width in inches."""
    ratio = tiles[0].image.shape[0] / tiles[0].image.shape[1]
    columns = max(1, round(4 * ratio))
    rows = -(-len(tiles) // columns)
    figure = Figure(figsize=(width, (width / columns * ratio + 0.5) * rows), layout="constrained")
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
