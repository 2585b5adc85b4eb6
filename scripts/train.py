"""Train a classifier: fit a linear head to the features of a pre-trained backbone, then fine-tune both.

    python scripts/train.py --index data/clothing/index.csv --backbone data/backbones/efficientnet-lite2.keras \\
        --output artifacts/model.keras

prints a line per epoch and the accuracy on validation; it never reads the test split. The model takes float32
[N, H, W, 3] in 0..255 and returns probabilities, float32 [N, labels], and familiarity, float32 [N, 1]. The file also
holds record.json. To watch the curves: `.venv/train/bin/tensorboard --logdir artifacts/training`.
"""
import argparse
import os
import time
from itertools import groupby, islice
from pathlib import Path

from common import fail
from training.index import Photo, read_training_photos
from training.photos import load_split


def image_size(text: str) -> tuple[int, int]:
    """'300x228' -> (300, 228), height and width in pixels."""
    height, width = map(int, text.split("x"))
    return height, width


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True, help="index.csv of the photos")
    parser.add_argument("--extra", type=Path, help="index.csv of further training photos")
    parser.add_argument("--backbone", type=Path, required=True, help="pre-trained network by scripts/fetch_backbone.py")
    parser.add_argument("--output", type=Path, required=True, help="the model to write (.keras)")
    parser.add_argument("--size", type=image_size, default="300x228", help="input height x width [%(default)s]")
    parser.add_argument("--epochs", type=int, default=7, help="of fine-tuning; 0 trains the head only [%(default)s]")
    parser.add_argument("--lr", type=float, default=1e-3, help="peak learning rate of fine-tuning [%(default)s]")
    parser.add_argument("--teacher", type=Path, help="a model by this script; its probabilities replace the labels")
    parser.add_argument("--limit", type=int, help="train on at most this many photos of each label")
    parser.add_argument("--seed", type=int, default=1, help="[%(default)s]")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    started = time.monotonic()
    photos, extra = read_training_photos(args.index, args.extra)
    labels = sorted({photo.label for photo in photos})
    chosen = first_of_each_label([photo for photo in photos + extra if photo.split == "train"], args.limit)
    train = load_split(chosen, labels, args.size)
    validation = load_split([photo for photo in photos if photo.split == "validation"], labels, args.size)

    os.environ.setdefault("TF_SET_ONEDNN_FPMATH_MODE", "BF16")  # a fifth faster on CPUs that multiply in bfloat16
    import keras  # late, so that errors in the photos show at once
    import numpy as np

    from training import head
    from training.fine_tuning import fine_tune, load_teacher
    from training.record import load_model, new_record, save_model

    keras.utils.set_random_seed(args.seed)
    record = new_record(args, photos)
    model = head.build_classifier(load_model(args.backbone), args.size, len(labels))
    features, val_features = head.extract_features(model, train, validation)
    own = {photo.sha256 for photo in photos}
    train, features, record["suspects"] = head.check_labels(train, features, labels, own)
    teacher = load_teacher(args.teacher, record, train.photos) if args.teacher else None
    val_logits = head.refit_head(model, train, validation, features, val_features)
    if args.epochs:
        folder = args.output.parent / "training"
        model = fine_tune(model, train, validation, teacher, record, folder, args)
        # Fit the head again, to photos as they are: it does better than the head that was trained on augmented and
        # mixed ones (last-layer retraining, Kirichenko et al. 2023).
        features, val_features = head.extract_features(model, train, validation)
        val_logits = head.refit_head(model, train, validation, features, val_features)

    record["temperature"], _ = head.calibrate(val_logits, validation.targets)
    layer = model.get_layer("logits")
    layer.set_weights([weights / record["temperature"] for weights in layer.get_weights()])
    record["seconds"] = round(time.monotonic() - started)
    # Only the index's own photos count as familiar: the model is less sure to be right about others.
    is_own = np.tile([photo.sha256 in own for photo in train.photos], 2)
    classifier = head.with_familiarity(model, features[is_own], np.tile(train.targets, 2)[is_own])
    save_model(classifier, record, args.output)
    if args.epochs:
        for name in ("checkpoint.keras", "best.weights.h5"):
            (folder / name).unlink()
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.1f} MB, trained in {record['seconds']} s")


def first_of_each_label(photos: list[Photo], count: int | None) -> list[Photo]:
    """The `count` photos of each label with the lowest hashes, so that more photos include fewer; None for all."""
    order = sorted(photos, key=lambda photo: (photo.label, photo.sha256))
    first = {photo for _, group in groupby(order, lambda photo: photo.label) for photo in islice(group, count)}
    return [photo for photo in photos if photo in first]


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        fail(f"{error}; is there room on the disk? Finished epochs are kept, and the next run resumes after them")
