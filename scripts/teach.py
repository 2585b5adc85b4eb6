"""Soft labels for distillation: what teachers say about the very views that a student will be trained on.

    python scripts/teach.py --index data/clothing/index.csv --teachers a/model.tflite b/model.tflite \\
        --output artifacts/soft-labels.npz

averages the teachers' probabilities for every training photo and its mirror image, augmented and mixed as in each epoch
of fine-tuning ("a good teacher is patient and consistent", Beyer et al. 2022), and ends with the teachers' accuracy on
validation. Teachers in int8 answer several times as fast as Keras models. Train the student with
`scripts/train.py --soft-labels artifacts/soft-labels.npz`. A run that was killed goes on after its last epoch.
"""
import argparse
import json
import os
from pathlib import Path

from common import atomic, fail
from training.fine_tuning import training_data
from training.index import data_digest, load_photos, read_index


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True, help="index.csv of the photos")
    parser.add_argument("--teachers", type=Path, nargs="+", required=True, help="models by scripts/convert.py")
    parser.add_argument("--output", type=Path, required=True, help="the file to write (.npz)")
    parser.add_argument("--epochs", type=int, default=10, help="epochs with views of their own; a student that is "
                        "trained for longer sees them again [%(default)s]")
    parser.add_argument("--batch", type=int, default=32, help="photos per step of the student [%(default)s]")
    parser.add_argument("--seed", type=int, default=1, help="of the views [%(default)s]")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    photos = read_index(args.index)
    labels = sorted({photo.label for photo in photos})
    train, validation = ([photo for photo in photos if photo.split == split] for split in ("train", "validation"))

    import numpy as np
    import tensorflow as tf
    from tqdm import tqdm

    from serving import Model
    from training import metrics

    teachers = [Model(path, threads=os.cpu_count()) for path in args.teachers]
    for path, teacher in zip(args.teachers, teachers):
        if teacher.labels != labels or teacher.record["data_digest"] != data_digest(photos):
            fail(f"{path} was trained on other photos than those of {args.index}; train it again")
    known = ("fingerprint", "backbone", "size", "flags")
    about = json.dumps({"teachers": [{name: teacher.record[name] for name in known} for teacher in teachers],
                        "data_digest": data_digest(photos), "batch": args.batch, "seed": args.seed})
    soft = np.zeros((args.epochs, len(train), len(labels)), np.float16)
    partial, done = args.output.with_suffix(".partial.npz"), 0
    if partial.exists() and str((state := np.load(partial))["about"]) == about:
        done = min(len(state["soft"]), args.epochs)
        soft[:done] = state["soft"][:done]
        print(f"going on after epoch {done}, from {partial}")

    def ask(teacher, images):  # uint8 [N, H, W, 3] -> [N, labels]
        return np.stack([teacher.predict(image) + teacher.predict(image[:, ::-1]) for image in images]) / 2

    val_scores = sum(ask(teacher, load_photos(validation, teacher.size)) for teacher in teachers)
    images = [tf.constant(load_photos(train, teacher.size)) for teacher in teachers]
    unused = tf.zeros((len(train), len(labels)))
    targets = np.array([labels.index(photo.label) for photo in validation])
    for epoch in tqdm(range(done, args.epochs), "soft labels", args.epochs, initial=done, unit="epoch"):
        for teacher, photos_of_its_size in zip(teachers, images):
            batches = training_data(photos_of_its_size, unused, epoch, args)
            soft[epoch] += np.concatenate([ask(teacher, np.uint8(views)) for views, _ in batches]) / len(teachers)
        with atomic(partial) as temporary:
            np.savez(temporary, soft=soft[:epoch + 1], about=about)
    with atomic(args.output) as temporary:
        np.savez(temporary, soft=soft, about=about)
    partial.unlink(missing_ok=True)
    print(f"{args.output}: {args.epochs} epochs of {len(train)} photos; the teachers together on validation: accuracy "
          f"{metrics.accuracy(val_scores, targets):.4f}")


if __name__ == "__main__":
    main()
