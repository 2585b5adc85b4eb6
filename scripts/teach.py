"""Soft labels for distillation: what teachers say about the very views that a student will be trained on.

    python scripts/teach.py --index data/clothing/index.csv --teachers a/model.keras b/model.keras \\
        --output artifacts/soft-labels.npz

averages the teachers' probabilities for every training photo, augmented and mixed as in each epoch of fine-tuning ("a
good teacher is patient and consistent", Beyer et al. 2022), and ends with the teachers' accuracy on validation. Train
the student with `scripts/train.py --soft-labels artifacts/soft-labels.npz`. A run that was killed goes on after its
last epoch.
"""
import argparse
import json
import zipfile
from pathlib import Path

from common import atomic, data_digest, fail, load_photos, read_index
from finetune import read_record, training_data


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True, help="index.csv of the photos")
    parser.add_argument("--teachers", type=Path, nargs="+", required=True, help="models by scripts/train.py")
    parser.add_argument("--output", type=Path, required=True, help="the file to write (.npz)")
    parser.add_argument("--epochs", type=int, default=24, help="epochs with views of their own; a student that is "
                        "trained for longer sees them again [%(default)s]")
    parser.add_argument("--batch", type=int, default=32, help="photos per step of the student [%(default)s]")
    parser.add_argument("--seed", type=int, default=1, help="of the views [%(default)s]")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    photos = read_index(args.index)
    records = [read_record(path) for path in args.teachers]
    labels = sorted({photo.label for photo in photos})
    for path, record in zip(args.teachers, records):
        if record["labels"] != labels or record["data_digest"] != data_digest(photos):
            fail(f"{path} was trained on other photos than those of {args.index}; train it again")
    train, validation = ([photo for photo in photos if photo.split == split] for split in ("train", "validation"))

    import keras
    import numpy as np
    import tensorflow as tf
    from tqdm import tqdm

    import metrics
    from tflite import runner

    about = json.dumps({"teachers": [{name: record[name] for name in ("fingerprint", "backbone", "size", "flags")}
                                     for record in records],
                        "data_digest": data_digest(photos), "batch": args.batch, "seed": args.seed})
    soft = np.zeros((args.epochs, len(train), len(labels)), np.float16)
    partial, done = args.output.with_suffix(".partial.npz"), 0
    if partial.exists() and str((state := np.load(partial))["about"]) == about:
        done = min(len(state["soft"]), args.epochs)
        soft[:done] = state["soft"][:done]
        print(f"going on after epoch {done}, from {partial}")

    teachers, val_scores = [], 0
    for path, record in zip(args.teachers, records):
        teacher = runner(keras.models.load_model(path, compile=False))
        val_scores += np.stack([teacher(image) for image in load_photos(validation, record["size"])])
        teachers.append((teacher, tf.constant(load_photos(train, record["size"]))))
    unused = tf.zeros((len(train), len(labels)))
    targets = np.array([labels.index(photo.label) for photo in validation])
    for epoch in tqdm(range(done, args.epochs), "soft labels", args.epochs, initial=done, unit="epoch"):
        for teacher, images in teachers:
            batches = training_data(images, unused, epoch, args)
            said = np.stack([teacher(np.uint8(view)) for views, _ in batches for view in views])
            soft[epoch] += said / len(teachers)
        with atomic(partial) as temporary:
            np.savez(temporary, soft=soft[:epoch + 1], about=about)
    partial.rename(args.output)
    print(f"{args.output}: {args.epochs} epochs of {len(train)} photos; the teachers together on validation: accuracy "
          f"{metrics.accuracy(val_scores, targets):.4f}")


if __name__ == "__main__":
    main()
