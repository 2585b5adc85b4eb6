"""Measure a model on the three splits and write the report.

    python scripts/evaluate.py --index data/clothing/index.csv --model artifacts/model.tflite \
        --output artifacts/report/report.html

Writes metrics.json and the pictures beside the page, the page last, and ends with the figures and the paths.
"""
import argparse
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common import atomic, cpu_name, fail
from serving import ImageError, Model, preprocess
from training import metrics
from training.index import SPLITS, Photo, data_digest, read_index

LATENCY_RUNS = 50


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--index", type=Path, required=True, help="index.csv of the photos")
    parser.add_argument("--model", type=Path, required=True, help="model.tflite")
    parser.add_argument("--output", type=Path, required=True, help="the page, report.html")
    return parser.parse_args()


def check_labels(args: argparse.Namespace, labels: list[str], photos: list[Photo]) -> None:
    shown = {photo.label for photo in photos}
    differences = [f"only in the {place}: {', '.join(sorted(extra))}" for place, extra in
                   (("model", set(labels) - shown), ("photos", shown - set(labels))) if extra]
    if differences:
        fail(f"{args.model} and {args.index} have different labels ({'; '.join(differences)}); "
             "report on photos and a model that belong together: set MODEL, DATASET or DATA")
    if not any(photo.split == "test" for photo in photos):
        fail(f"{args.index} holds no test photo, so there is nothing to measure the model on")


def predict(model_path: Path, photos: list[Photo]) -> np.ndarray:
    """The probabilities of every photo, float32 [photos, labels]; each core has an interpreter of its own."""
    own = threading.local()

    def start() -> None:
        own.model = Model(model_path)

    def one(photo: Photo) -> np.ndarray:
        try:
            return own.model.predict(preprocess(photo.path, own.model.size))
        except (OSError, ImageError) as error:
            fail(f"can't read the photo {photo.path} ({error}); delete the index and run `make data` to make it anew")

    with ThreadPoolExecutor(os.cpu_count(), initializer=start) as pool:
        return np.stack(list(tqdm(pool.map(one, photos), "predicting", len(photos), unit=" photos", mininterval=1)))


def summarize(probabilities: np.ndarray, targets: np.ndarray) -> dict:
    correct = int((probabilities.argmax(1) == targets).sum())
    return {"photos": len(targets), "correct": correct, "accuracy": correct / len(targets),
            "accuracy_interval": metrics.wilson(correct, len(targets)),
            "macro_f1": metrics.macro_f1(probabilities, targets), "loss": metrics.log_loss(probabilities, targets),
            "ece": metrics.ece(probabilities, targets)}


def confident(probabilities: np.ndarray, targets: np.ndarray, threshold: float | None) -> dict | None:
    """How many photos reach the model's confidence threshold, and how often it is right about those."""
    if threshold is None:
        return None
    above = probabilities.max(1) >= threshold
    right = (probabilities.argmax(1) == targets)[above]
    return {"threshold": threshold, "share": float(above.mean()),
            "accuracy": float(right.mean()) if above.any() else None}


def latency(model_path: Path, photo: Photo) -> dict:
    """Median milliseconds for one photo on one thread: the file decoded and fitted, then the network."""
    model, times = Model(model_path, threads=1), []
    for _ in range(5 + LATENCY_RUNS):
        start = time.perf_counter()
        image = preprocess(photo.path, model.size)
        decoded = time.perf_counter()
        model.predict(image)
        times.append((1000 * (decoded - start), 1000 * (time.perf_counter() - decoded)))
    decode, network = np.median(times[5:], axis=0)  # the first runs warm the caches up
    return {"decode_ms": float(decode), "network_ms": float(network), "threads": 1, "cpu": cpu_name()}


def measure(args: argparse.Namespace, model: Model, photos: list[Photo], probabilities: np.ndarray) -> dict:
    """What metrics.json holds; `confident` and all that follows it is measured on the test split."""
    targets = np.array([model.labels.index(photo.label) for photo in photos])
    rows = {split: np.array([photo.split == split for photo in photos]) for split in SPLITS}
    splits = {split: summarize(probabilities[mask], targets[mask]) for split, mask in rows.items() if mask.any()}
    test = probabilities[rows["test"]], targets[rows["test"]]
    columns = [column.tolist() for column in metrics.per_label(*test)]
    curve = [column.tolist() for column in metrics.calibration(*test)]
    record = {key: value for key, value in model.record.items() if key not in ("labels", "history", "suspects")}
    digest = data_digest(photos)
    return without_nan({
        "model": str(args.model), "file_bytes": args.model.stat().st_size, "input_size": model.size,
        "index": str(args.index), "data_digest": digest,
        "same_data": digest == record["data_digest"] if "data_digest" in record else None,
        "splits": splits,
        "gap": {split: splits[split]["accuracy"] - splits["test"]["accuracy"] for split in splits if split != "test"},
        "confident": confident(*test, record.get("confidence_threshold")),
        "per_label": {label: dict(zip(metrics.PerLabel._fields, row))
                      for label, row in zip(model.labels, zip(*columns))},
        "confusion_matrix": metrics.confusion_matrix(*test).tolist(),
        "calibration": [dict(zip(metrics.Calibration._fields, row)) for row in zip(*curve)],
        "latency": latency(args.model, next(photo for photo in photos if photo.split == "test")),
        "record": record})


def without_nan(value):
    """NaN, which JSON does not know, becomes None."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if value != value else value


def main() -> None:
    args = parse_args()
    photos = read_index(args.index)
    try:
        model = Model(args.model)
    except (OSError, ValueError, RuntimeError) as error:
        fail(f"can't read the model {args.model} ({error}); `make model.tflite` trains one")
    check_labels(args, model.labels, photos)
    from report import page, pictures  # Matplotlib takes a second to import
    probabilities = predict(args.model, photos)
    figures = measure(args, model, photos, probabilities)
    folder = args.output.parent
    tiles = pictures.choose(model, photos, probabilities, args.index.parent)
    charts = pictures.draw(folder, tiles, figures, model.record.get("history") or [])
    with atomic(folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(figures, indent=1))
    with atomic(args.output) as temporary:
        temporary.write_text(page.page(model.labels, figures, tiles, charts), encoding="utf-8")
    print(page.text(figures))
    print(f"{args.output} ({args.output.stat().st_size / 1e6:.1f} MB), beside it metrics.json and the pictures")


if __name__ == "__main__":
    main()
