"""The report in words: the page, by the template page.html, and a summary for the terminal."""
import base64
import io
import json
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

from report.tiles import MARKS, Tile

NBSP = "\N{NO-BREAK SPACE}"


def summary(figures: dict) -> str:
    lines = [f"{'':11}{'photos':>7}{'accuracy':>10}  {'95 % interval':<16}{'macro-F1':>9}{'loss':>8}{'ECE':>8}"
             f"{'familiar':>11}{'confident':>11}{'and wrong':>11}"]
    for split, row in figures["splits"].items():
        lines.append(f"{split:11}{row['photos']:7}{percent(row['accuracy']):>10}  {interval(row):<16}"
                     f"{percent(row['macro_f1']):>9}{row['loss']:8.3f}{percent(row['ece']):>8}"
                     f"{percent(row['familiar']):>11}{percent(row['confident']):>11}"
                     f"{percent(row['confident_and_wrong']):>11}")
    return "\n".join([*lines, thresholds(figures), warning(figures)]).rstrip().replace(NBSP, " ")


def render(figures: dict, tiles: dict[str, list[Tile]], folder: Path) -> str:
    """The page with all pictures inside. The template escapes all text, as users choose the labels and paths."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True,
                                     undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(percent=percent, interval=interval, photo=photo, chart=chart, zip=zip)
    return environment.get_template("page.html").render(
        figures=figures, tiles=tiles, calibration=folder / "calibration.png", curves=folder / "curves.png",
        thresholds=thresholds(figures), warning=warning(figures),
        record=json.dumps(figures["record"], indent=1), marks=MARKS)


def percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f}{NBSP}%"


def interval(row: dict) -> str:
    low, high = row["accuracy_interval"]
    return f"{100 * low:.1f} to {percent(high)}"


def photo(image: np.ndarray) -> str:
    """uint8 [height, width, 3] -> a data URL."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def chart(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def thresholds(figures: dict) -> str:
    record = figures["record"]
    return (f"Confident predictions have a probability of at least {percent(record['confidence_threshold'])} and a "
            f"familiarity of at least {record['familiarity_threshold']:.2f}.")


def warning(figures: dict) -> str:
    return ("Warning: the model was trained with other photos than these (the digests differ), so it may have been "
            "trained on photos that are in 'test' here.") if figures["same_data"] is False else ""
