"""Measure how accuracy grows with the number of training photos per label.

    python scripts/learning_curve.py --index data/clothing/index.csv \\
        --backbone data/backbones/efficientnet-lite2.keras --output artifacts/learning-curve/curve.png

trains on the first photos of each label, in the order of their hashes, the head alone and by the default recipe, and
draws the accuracy of the float32 models on validation with 95 % intervals. Prints a table. Runs that are done are not
repeated.
"""
import argparse
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
from scipy.stats import binomtest

from common import ROOT, atomic
from serving import read_record
from training.index import Photo, read_index, write_index

HEAD_ONLY, DEFAULT = "head only", "default recipe"
RUNS = [(HEAD_ONLY, 25), (HEAD_ONLY, 50), (HEAD_ONLY, 100), (HEAD_ONLY, 200), (DEFAULT, 50), (DEFAULT, 200)]


def first_per_label(photos: list[Photo], count: int) -> list[Photo]:
    """At most `count` training photos of each label, and all validation photos, with absolute paths."""
    chosen, taken = [], {}
    for photo in sorted(photos, key=lambda photo: photo.sha256):
        taken[photo.label] = taken.get(photo.label, 0) + (photo.split == "train")
        if photo.split == "validation" or photo.split == "train" and taken[photo.label] <= count:
            chosen.append(photo._replace(path=photo.path.resolve()))
    return chosen


def measure(args: argparse.Namespace, recipe: str, count: int) -> tuple[float, float, float]:
    """Train, convert; returns the accuracy on validation and its interval."""
    folder = args.output.parent / f"{recipe.replace(' ', '-')}-{count}"
    index, model = folder / "index.csv", folder / "model.tflite"
    if not model.exists():
        write_index(index, first_per_label(read_index(args.index), count))
        keras_model = folder / "model.keras"
        flags = ["--epochs", "0"] if recipe == HEAD_ONLY else []
        for command in (["train.py", "--backbone", args.backbone, "--output", keras_model, *flags],
                        ["convert.py", "--model", keras_model, "--quantize", "float32", "--output", model]):
            subprocess.run([sys.executable, ROOT / "scripts" / command[0], "--index", index, *command[1:]], check=True)
    figures = read_record(model)["metrics"]["validation"]
    accuracy, photos = figures["accuracy"], figures["photos"]
    interval = binomtest(round(accuracy * photos), photos).proportion_ci(method="wilson")
    return accuracy, interval.low, interval.high


def draw(results: dict, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for recipe, colour in ((HEAD_ONLY, "tab:blue"), (DEFAULT, "tab:orange")):
        counts = [count for name, count in results if name == recipe]
        accuracy, low, high = zip(*(results[recipe, count] for count in counts))
        errors = [[a - b for a, b in zip(accuracy, low)], [b - a for a, b in zip(accuracy, high)]]
        axes.errorbar(counts, accuracy, errors, color=colour, marker="o", capsize=3, label=recipe)
    axes.set_xscale("log")
    counts = sorted({count for _, count in results})
    axes.set_xticks(counts, counts)
    axes.minorticks_off()
    axes.yaxis.set_major_formatter("{x:.1%}")
    axes.set_xlabel("training photos per label")
    axes.set_ylabel("accuracy on validation")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--index", type=Path, required=True, help="index.csv of the photos")
    parser.add_argument("--backbone", type=Path, required=True, help="network by scripts/fetch_backbone.py")
    parser.add_argument("--output", type=Path, required=True, help="the picture to write; the models go beside it")
    args = parser.parse_args()
    results = {run: measure(args, *run) for run in RUNS}
    with atomic(args.output) as temporary:
        draw(results, temporary)
    for (recipe, count), (accuracy, low, high) in results.items():
        print(f"{recipe:14} {count:4} photos per label: {accuracy:.1%} ({low:.1%} to {high:.1%})")
    print(args.output)


if __name__ == "__main__":
    main()
