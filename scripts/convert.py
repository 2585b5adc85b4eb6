"""Convert a trained Keras model to TensorFlow Lite, check the file, and put labels and record into it.

    python scripts/convert.py --index data/clothing/index.csv --model artifacts/model.keras \\
        --output artifacts/model.tflite

prints the sizes and how the file agrees with the Keras model on the validation photos. Nothing is written, and the exit
status is not 0, when the two name the same label for less than 97 % of them or the accuracy falls by more than a point.
The file takes uint8 [1, H, W, 3] and returns probabilities, float32 [1, labels].
"""
import argparse
import json
import zipfile
from datetime import datetime, timezone
from pathlib import Path

from common import atomic, fail
from training.fine_tuning import read_record
from training.index import load_photos, read_index

MIN_AGREEMENT, MAX_ACCURACY_LOSS = 0.97, 0.01
CONFIDENT_SHARE = 0.95  # of the correct answers on validation pass the confidence threshold


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True, help="index.csv of the photos")
    parser.add_argument("--model", type=Path, required=True, help="Keras model by scripts/train.py")
    parser.add_argument("--quantize", choices=("int8", "float16", "float32"), default="int8", help="[%(default)s]")
    parser.add_argument("--calibration", type=int, default=100, help="training photos to calibrate by [%(default)s]")
    parser.add_argument("--output", type=Path, required=True, help="the file to write (.tflite)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    record, photos = read_record(args.model), read_index(args.index)
    labels = record.pop("labels")
    if {photo.label for photo in photos} != set(labels):
        fail(f"{args.model} was trained on the labels {', '.join(labels)}, {args.index} holds others; `make train`")

    import keras
    import numpy as np

    from serving import Model
    from training import metrics
    from training.tflite import to_tflite

    keras_model = keras.models.load_model(args.model, compile=False)
    size = keras_model.input_shape[1:3]
    train, validation = ([photo for photo in photos if photo.split == split] for split in ("train", "validation"))
    chosen = np.random.default_rng(0).permutation(len(train))[:args.calibration]
    network = to_tflite(keras_model, args.quantize, load_photos([train[i] for i in chosen], size))

    with atomic(args.output) as temporary:
        created = datetime.now(timezone.utc).isoformat("T", "seconds")
        metadata = {**record, "quantize": args.quantize, "created": created}
        write_model(temporary, network, labels, metadata)
        images = load_photos(validation, size)
        targets = np.array([labels.index(photo.label) for photo in validation])
        before = keras_model.predict(images.astype(np.float32), batch_size=32, verbose=0)
        runtime = Model(temporary, threads=2)
        after = np.stack([runtime.predict(image) for image in images])

        agreement = float((before.argmax(1) == after.argmax(1)).mean())
        scores = [metrics.accuracy(probabilities, targets) for probabilities in (before, after)]
        print(f"validation, {len(targets)} photos: accuracy {scores[1]:.4f}, Keras {scores[0]:.4f}; "
              f"same label for {agreement:.2%}")
        if agreement < MIN_AGREEMENT or scores[0] - scores[1] > MAX_ACCURACY_LOSS:
            fail(f"{args.quantize} changes the model too much (wanted: same label for {MIN_AGREEMENT:.0%}, at most "
                 f"{MAX_ACCURACY_LOSS:.0%} less accuracy); nothing was written; try QUANTIZE=float16")
        correct = after.max(1)[after.argmax(1) == targets]
        metadata["confidence_threshold"] = float(np.quantile(correct, 1 - CONFIDENT_SHARE)) if len(correct) else 0.0
        metadata["metrics"] = {"validation": {
            "accuracy": scores[1], "accuracy_keras": scores[0], "agreement": agreement, "photos": len(targets),
            "macro_f1": metrics.macro_f1(after, targets), "loss": metrics.log_loss(after, targets)}}
        write_model(temporary, network, labels, metadata)
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.2f} MB {args.quantize}, "
          f"from {args.model.stat().st_size / 1e6:.2f} MB of Keras")


def write_model(path: Path, network: bytes, labels: list[str], metadata: dict) -> None:
    """The network with labels.txt and metadata.json as zip entries behind it, where interpreters don't look."""
    path.write_bytes(network)
    with zipfile.ZipFile(path, "a") as archive:  # not compressed, as MediaPipe requires
        archive.writestr("labels.txt", "\n".join(labels) + "\n")
        archive.writestr("metadata.json", json.dumps(metadata, indent=1))


if __name__ == "__main__":
    main()
