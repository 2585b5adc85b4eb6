"""Train a classifier on the photos of an index: first its head on cached features, then the whole by fine-tuning.

    python scripts/train.py --index data/clothing/index.csv --backbone data/backbones/efficientnet-lite2.keras \\
        --output artifacts/model.keras

prints a line per epoch and ends with the accuracy on validation; the test split is never read. The model takes pixels,
float32 [N, H, W, 3] in 0..255 as lambda/preprocess.py gives them, and returns probabilities, float32 [N, labels]. Its
file also holds record.json: labels, flags, versions, history, doubtful labels. A run that was killed goes on after its
last epoch. Curves while it runs: `.venv/train/bin/tensorboard --logdir artifacts/training`.
"""
import argparse
import hashlib
import json
import platform
import random
import subprocess
import time
from pathlib import Path

from common import ROOT, fail
from training.index import data_digest, load_photos, read_index


def image_size(text: str) -> tuple[int, int]:
    """'300x228' -> (300, 228), height and width in pixels."""
    height, width = map(int, text.split("x"))
    if min(height, width) < 32:
        raise ValueError("backbones shrink their input 32 times")
    return height, width


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True, help="index.csv of the photos")
    parser.add_argument("--backbone", type=Path, required=True, help="network to start from: by "
                        "scripts/fetch_backbone.py, or a model that this script trained")
    parser.add_argument("--output", type=Path, required=True, help="the model to write (.keras)")
    parser.add_argument("--size", type=image_size, default="300x228", help="input height x width [%(default)s]")
    parser.add_argument("--epochs", type=int, default=8, help="of fine-tuning; 0: head only [%(default)s]")
    parser.add_argument("--batch", type=int, default=32, help="photos per step [%(default)s]")
    parser.add_argument("--lr", type=float, default=3e-4, help="peak learning rate of fine-tuning [%(default)s]")
    parser.add_argument("--weight-decay", type=float, default=1e-2, help="[%(default)s]")
    parser.add_argument("--label-smoothing", type=float, default=0.1, help="[%(default)s]")
    parser.add_argument("--dropout", type=float, default=0.2, help="before the head [%(default)s]")
    parser.add_argument("--freeze", type=float, default=0.4, help="share of the backbone's layers, from below, that "
                        "fine-tuning leaves alone [%(default)s]")
    parser.add_argument("--patience", type=int, default=4, help="epochs without gain before stopping [%(default)s]")
    parser.add_argument("--soft-labels", type=Path, help="by scripts/teach.py, to learn from in place of the labels")
    parser.add_argument("--limit", type=int, help="use only so many photos per split, for a quick try")
    parser.add_argument("--seed", type=int, default=1, help="[%(default)s]")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    started = time.monotonic()
    photos = read_index(args.index)
    labels = sorted({photo.label for photo in photos})
    splits = {split: [photo for photo in photos if photo.split == split] for split in ("train", "validation")}
    if args.limit:
        draw = random.Random(args.seed)
        splits = {split: draw.sample(rows, min(args.limit, len(rows))) for split, rows in splits.items()}
    images, val_images = (load_photos(rows, args.size) for rows in splits.values())
    targets, val_targets = ([labels.index(photo.label) for photo in rows] for rows in splits.values())

    import keras  # only now, so that whatever is wrong with the photos is said at once
    import numpy as np
    import tensorflow as tf

    from training import metrics
    from training.fine_tuning import fine_tune, read_record, save
    from training.head import features, find_suspects, fit_head

    keras.utils.set_random_seed(args.seed)
    targets, val_targets = np.array(targets), np.array(val_targets)
    flags = {name: value for name, value in vars(args).items()
             if name not in ("index", "backbone", "output", "soft_labels")}
    backbone, name = keras.models.load_model(args.backbone, compile=False), args.backbone.stem
    if "backbone" in [layer.name for layer in backbone.layers]:
        backbone, name = backbone.get_layer("backbone"), read_record(args.backbone)["backbone"]
    record = {"labels": labels, "size": args.size, "dataset": args.index.parent.name, "backbone": name,
              "flags": flags, "data_digest": data_digest(photos),
              "commit": subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, text=True,
                                       capture_output=True).stdout.strip(),
              "versions": {"python": platform.python_version(), "tensorflow": tf.__version__,
                           "keras": keras.__version__},
              "history": []}
    read = [path.read_bytes() for path in (args.backbone, args.soft_labels) if path]
    fingerprint = repr((flags, record["data_digest"], *[hashlib.sha256(content).hexdigest() for content in read]))
    record["fingerprint"] = hashlib.sha256(fingerprint.encode()).hexdigest()

    soft = None
    if args.soft_labels:
        file = np.load(args.soft_labels)
        soft, about = file["soft"], json.loads(str(file["about"]))
        made_for = [about[name] for name in ("data_digest", "seed", "batch")]
        if made_for != [record["data_digest"], args.seed, args.batch] or soft.shape[1:] != (len(images), len(labels)):
            fail(f"{args.soft_labels} is of other photos, or of another --seed, --batch or --limit; run "
                 "scripts/teach.py again with these")
        record["teachers"] = about["teachers"]

    def new_head():  # on features of the photos and of their mirror images; and its logits on validation
        extract = features(backbone, args.size)
        inputs, mirrored = extract(images), extract(images[:, :, ::-1])
        weights, bias = fit_head(np.concatenate([inputs, mirrored]), np.concatenate([targets, targets]), len(labels))
        val_logits = extract(val_images) @ weights + bias
        print(f"head: validation accuracy {metrics.accuracy(val_logits, val_targets):.4f} "
              f"after {time.monotonic() - started:.0f} s")
        return inputs, [weights, bias], val_logits

    inputs, head, val_logits = new_head()
    record["suspects"] = find_suspects(splits["train"], inputs, targets, labels)
    dense = keras.layers.Dense(len(labels), name="logits")
    dense.build((None, len(head[0])))
    dense.set_weights(head)
    if args.epochs:
        pixels = keras.Input((None, None, 3), name="pixels")
        backbone.name = "backbone"
        pooled = keras.layers.GlobalAveragePooling2D()(backbone(pixels))
        model = keras.Model(pixels, dense(keras.layers.Dropout(args.dropout)(pooled)))
        folder = args.output.parent / "training"
        model = fine_tune(model, (images, targets), (val_images, val_targets), soft, record, folder, args)
        # The head once more, on what the backbone sees now: on other photos it beats the head that was trained with
        # mixed and augmented ones (last-layer retraining, Kirichenko et al. 2023).
        backbone = model.get_layer("backbone")
        _, head, val_logits = new_head()
        dense.set_weights(head)

    temperature = metrics.best_temperature(val_logits, val_targets)  # folded in: probabilities mean what they say
    dense.set_weights([weights / temperature for weights in dense.get_weights()])
    record["temperature"] = temperature
    record["seconds"] = round(time.monotonic() - started)
    pixels = keras.Input((*args.size, 3), name="pixels")
    probabilities = keras.layers.Softmax(name="probabilities")(
        dense(keras.layers.GlobalAveragePooling2D()(backbone(pixels))))
    save(keras.Model(pixels, probabilities), record, args.output)
    if args.epochs:
        (folder / "checkpoint.keras").unlink()
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.1f} MB; validation accuracy "
          f"{metrics.accuracy(val_logits, val_targets):.4f}, trained in {record['seconds']} s")


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        fail(f"{error}; is there room on the disk? What was finished is kept, and a next run goes on from there")
