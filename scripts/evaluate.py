"""Measure a model on all splits and write the report.

    python scripts/evaluate.py --index data/clothing/index.csv --model artifacts/model.tflite \
        --output artifacts/report/report.html

writes metrics.json and the pictures beside the page, then the page. It prints the figures and the path of the page.
"""
import argparse
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common import atomic, fail
from serving import ImageError, Model, preprocess
from training.index import Photo, read_index


def check_labels(args: argparse.Namespace, labels: list[str], photos: list[Photo]) -> None:
    """End the script if model and photos have different labels, or if there are no test photos."""
    in_photos = {photo.label for photo in photos}
    differences = [f"only in the {place}: {', '.join(sorted(extra))}" for place, extra in
                   (("model", set(labels) - in_photos), ("photos", in_photos - set(labels))) if extra]
    if differences:
        fail(f"{args.model} and {args.index} have different labels ({'; '.join(differences)}); "
             "choose a model and photos that belong together: set MODEL, DATASET or DATA")
    if not any(photo.split == "test" for photo in photos):
        fail(f"{args.index} lists no test photos, so the model can't be measured; add a test split to the photos")


def predict(model_path: Path, photos: list[Photo]) -> np.ndarray:
    """The probabilities of every photo, float32 [photos, labels]. Each core has an interpreter of its own."""
    thread = threading.local()

    def start() -> None:
        thread.model = Model(model_path)

    def predict_one(photo: Photo) -> np.ndarray:
        try:
            return thread.model.predict(preprocess(photo.path, thread.model.size))
        except (OSError, ImageError) as error:
            fail(f"can't read the photo {photo.path} ({error}); delete the index, then `make data` builds it again")

    with ThreadPoolExecutor(os.cpu_count(), initializer=start) as pool:
        progress = tqdm(pool.map(predict_one, photos), "predicting", len(photos), unit=" photos", mininterval=1)
        return np.stack(list(progress))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--index", type=Path, required=True, help="index.csv of the photos")
    parser.add_argument("--model", type=Path, required=True, help="model.tflite to measure")
    parser.add_argument("--output", type=Path, required=True, help="the page to write, report.html")
    args = parser.parse_args()
    photos = read_index(args.index)
    try:
        model = Model(args.model)
    except (OSError, ValueError, RuntimeError) as error:
        fail(f"can't read the model {args.model} ({error}); `make model.tflite` trains one")
    check_labels(args, model.labels, photos)
    from report import figures, page, pictures  # late: Matplotlib and scikit-learn take seconds to import
    probabilities = predict(args.model, photos)
    measured = figures.measure(args.model, args.index, model, photos, probabilities)
    tiles = pictures.choose(model, photos, probabilities)
    folder = args.output.parent
    pictures.draw(folder, tiles, measured["calibration"], model.record.get("history"))
    with atomic(folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(measured, indent=1))
    with atomic(args.output) as temporary:
        temporary.write_text(page.render(measured, tiles, folder), encoding="utf-8")
    print(page.summary(measured))
    print(f"{args.output} ({args.output.stat().st_size / 1e6:.1f} MB); metrics.json and the pictures are beside it")


if __name__ == "__main__":
    main()
