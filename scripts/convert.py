"""Convert a trained Keras model to TensorFlow Lite, check the file, and put labels and record into it.

    python scripts/convert.py --index data/clothing/index.csv --model artifacts/model.keras \\
        --output artifacts/model.tflite

prints how well the file agrees with the Keras model on validation. If it differs too much, nothing is written. The file
takes uint8 [1, H, W, 3] and returns probabilities, float32 [1, labels], and familiarity, float32 [1, 1].
"""
import argparse
import json
import zipfile
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from common import atomic, fail
from serving import Network
from training.index import read_index
from training.photos import check_same_labels, load_split
from training.record import load_model, read_training_record

MAX_CHANGED, MAX_ACCURACY_LOSS = 0.03, 0.01
SURE = 0.95  # share of validation that reaches a threshold: correct answers for confidence, all for familiarity


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True, help="index.csv of the photos")
    parser.add_argument("--model", type=Path, required=True, help="Keras model by scripts/train.py")
    parser.add_argument("--quantize", choices=("int8", "float16", "float32"), default="int8", help="[%(default)s]")
    parser.add_argument("--output", type=Path, required=True, help="the file to write (.tflite)")
    args = parser.parse_args()
    record, photos = read_training_record(args.model), read_index(args.index)
    labels = record.pop("labels")
    check_same_labels(args.model, labels, photos)

    from training.tflite import to_tflite

    model = load_model(args.model)
    size = model.input_shape[1:3]
    train, validation = ([photo for photo in photos if photo.split == split] for split in ("train", "validation"))
    some = np.random.default_rng(0).permutation(len(train))[:100]  # int8 takes the ranges of its activations from these
    calibration = load_split([train[i] for i in some], labels, size)
    network = to_tflite(model, args.quantize, calibration.images)
    record |= {"quantize": args.quantize, "created": datetime.now(timezone.utc).isoformat("T", "seconds"),
               **check(network, model, load_split(validation, labels, size))}
    with atomic(args.output) as temporary:
        temporary.write_bytes(network)
        with zipfile.ZipFile(temporary, "a") as archive:  # interpreters ignore it; stored, as MediaPipe requires
            archive.writestr("labels.txt", "\n".join(labels) + "\n")
            archive.writestr("metadata.json", json.dumps(record, indent=1))
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.2f} MB {args.quantize}, "
          f"from {args.model.stat().st_size / 1e6:.2f} MB of Keras")


def check(network: bytes, model, validation) -> dict:
    """The network's metrics and thresholds on validation. Ends the script if it differs too much from the model."""
    images, targets = validation.images, validation.targets
    before, _ = model.predict(images.astype(np.float32), batch_size=32, verbose=0)
    converted = Network(network, threads=2)
    after, familiarity = map(np.array, zip(*(converted.run(image) for image in images)))

    old, new = before.argmax(1), after.argmax(1)
    right = new == targets
    figures = {"accuracy": float(np.mean(right)), "accuracy_keras": float(np.mean(old == targets)),
               "agreement": float(np.mean(old == new)), "photos": len(targets)}
    print(f"validation, {len(targets)} photos: accuracy {figures['accuracy']:.4f}, Keras "
          f"{figures['accuracy_keras']:.4f}; same label for {figures['agreement']:.2%}")
    if is_spoilt(old, new, targets):
        fail(f"the conversion changes the model too much (allowed: another label for {MAX_CHANGED:.0%} of the photos, "
             f"{MAX_ACCURACY_LOSS:.0%} less accuracy); nothing was written. QUANTIZE=float16 changes less than int8, "
             "float32 least")
    return {"metrics": {"validation": figures},
            "confidence_threshold": float(np.quantile(after.max(1)[right], 1 - SURE)) if right.any() else 0.0,
            "familiarity_threshold": min(1.0, float(np.quantile(familiarity.astype(float), 1 - SURE)))}


def is_spoilt(before, after, targets) -> bool:
    """Whether significantly more labels changed or right answers were lost than allowed. All are int [photos].

    By a binomial test, so that chance doesn't refuse a good file where validation has few photos.
    """
    from scipy.stats import binomtest

    changed = int((before != after).sum())
    lost = max(0, int((before == targets).sum()) - int((after == targets).sum()))
    return any(binomtest(count, len(targets), allowed, "greater").pvalue < 0.05
               for count, allowed in ((changed, MAX_CHANGED), (lost, MAX_ACCURACY_LOSS)))


if __name__ == "__main__":
    main()
