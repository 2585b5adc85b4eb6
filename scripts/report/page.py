"""The page, by the template page.html, and its charts."""
import base64
import json
from pathlib import Path

import jinja2
import numpy as np
from matplotlib.figure import Figure


def render(figures: dict, tiles: dict[str, list[dict]], history: list[dict], folder: Path) -> str:
    """The page with all pictures inside. The charts are written to the folder, too.

    history: "loss", "accuracy", "val_loss" and "val_accuracy" of each epoch; empty if only the head was trained
    """
    calibration, training = folder / "calibration.png", folder / "curves.png"
    reliability(**figures["splits"]["test"]["calibration"]).savefig(calibration, dpi=160)
    training.unlink(missing_ok=True)  # by an earlier report
    if history:
        curves(history).savefig(training, dpi=160)
    environment = jinja2.Environment(  # the template escapes all text, as users choose the labels and paths
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(percent=percent, interval=interval, zip=zip,
                               base64=lambda data: base64.b64encode(data).decode())
    return environment.get_template("page.html").render(
        figures=figures, tiles=tiles, record=json.dumps(figures["record"], indent=1),
        calibration=calibration.read_bytes(), curves=training.read_bytes() if history else None)


def percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def interval(row: dict) -> str:
    low, high = row["accuracy_interval"]
    return f"{100 * low:.1f} to {percent(high)}"


def curves(history: list[dict]) -> Figure:
    """Loss and accuracy of training and validation in each epoch."""
    figure = Figure(figsize=(5, 5.6), layout="constrained")
    epochs = range(1, len(history) + 1)
    for axes, name in zip(figure.subplots(2, 1, sharex=True), ("loss", "accuracy")):
        axes.plot(epochs, [row[name] for row in history], "o-", label="train")
        axes.plot(epochs, [row[f"val_{name}"] for row in history], "s--", label="validation")
        axes.set_title(name.capitalize(), loc="left")
        axes.legend(frameon=False)
    axes.set_xlabel("Epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def reliability(photos: list[int], correct: list[int]) -> Figure:
    """Accuracy in each bin of confidence, with its number of photos, beside the line of perfect calibration."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    centres = (np.arange(len(photos)) + 0.5) / len(photos)
    bars = axes.bar(centres, np.divide(correct, np.maximum(photos, 1)), width=0.9 / len(photos), label="model")
    axes.bar_label(bars, [count or "" for count in photos], fontsize=8)
    axes.plot((0, 1), (0, 1), "C1--", label="perfect calibration")
    axes.legend(frameon=False, loc="upper left")
    axes.set(xlabel="Confidence (probability of the top label)", ylabel="Accuracy", xlim=(0, 1))
    return figure
