"""Measure a model on all splits and write the report.

    python scripts/evaluate.py --index data/clothing/index.csv --model artifacts/model.tflite \
        --output artifacts/report/report.html --extra data/worn/index.csv

writes the page, and beside it metrics.json and the charts.
"""
import argparse
import json
import os
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common import atomic, fail
from labelling.run import label_on_all_cores, load_model
from training.index import Photo, read_index
from training.photos import check_same_labels


def read_photos(index: Path, extra: Path | None) -> list[Photo]:
    """The photos of an index, and the validation photos of a further one as a split of their own: worn validation."""
    photos = read_index(index)
    if not any(photo.split == "test" for photo in photos):
        fail(f"{index} lists no test photos, so the model can't be measured; add a test split to the photos")
    if extra:
        name = f"{extra.resolve().parent.name} validation"
        photos += [photo._replace(split=name) for photo in read_index(extra) if photo.split == "validation"]
    return photos


def predict(model_path: Path, photos: list[Photo]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, float32 [photos, labels], and familiarity, float [photos]."""
    answers = label_on_all_cores(model_path, [str(photo.path) for photo in photos], os.cpu_count())
    answers = list(tqdm(answers, "predicting", len(photos), unit=" photos", mininterval=1))
    for answer in answers:
        if "error" in answer:
            fail(f"can't read the photo {answer['image']} ({answer['error']}); delete the index, then `make data` "
                 "builds it again")
    return (np.array([list(answer["scores"].values()) for answer in answers], np.float32),
            np.array([answer["familiarity"] for answer in answers]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--index", type=Path, required=True, help="index.csv of the photos")
    parser.add_argument("--model", type=Path, required=True, help="model.tflite to measure")
    parser.add_argument("--output", type=Path, required=True, help="the page to write, report.html")
    parser.add_argument("--extra", type=Path, help="index.csv of further photos; its validation photos are measured")
    args = parser.parse_args()
    photos = read_photos(args.index, args.extra)
    model = load_model(args.model, threads=1)
    check_same_labels(args.model, model.labels, photos)
    from report import figures, page, tiles  # late: Matplotlib and TensorFlow take seconds to import
    probabilities, familiarity = predict(args.model, photos)
    measured = figures.measure(args.model, args.index, model, photos, probabilities, familiarity)
    groups = tiles.choose(args.model, model, photos, probabilities, familiarity)
    folder = args.output.parent
    with atomic(folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(measured, indent=1))
    with atomic(args.output) as temporary:
        temporary.write_text(page.render(measured, groups, model.record.get("history"), folder), encoding="utf-8")
    for split, row in measured["splits"].items():
        print(f"{split:15} {page.percent(row['accuracy'])} of {row['photos']} photos correct (95 % interval "
              f"{page.interval(row)}), loss {row['loss']:.3f}, ECE {page.percent(row['ece'])}")
    if not measured["same_data"]:
        print("Warning: the model was trained with other photos than these, perhaps on some of these test photos.")
    print(f"{args.output} ({args.output.stat().st_size / 1e6:.1f} MB); metrics.json and the charts are beside it")


if __name__ == "__main__":
    main()
