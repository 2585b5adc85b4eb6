"""Write soft labels for distillation: teacher probabilities for the very views that a student will be trained on.

    python scripts/teach.py --index data/clothing/index.csv --teachers a/model.tflite b/model.tflite \\
        --output artifacts/soft-labels.npz

averages the teachers' probabilities for every training photo and its mirror image, augmented and mixed as in each epoch
of fine-tuning ("a good teacher is patient and consistent", Beyer et al. 2022), and ends with the teachers' accuracy on
validation. int8 teachers are several times as fast as Keras models. Train the student with
`scripts/train.py --soft-labels artifacts/soft-labels.npz`. A killed run resumes after its last finished epoch.
"""
import argparse
import json
import os
from pathlib import Path

from common import atomic, fail
from training.index import data_digest, read_training_photos


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True, help="index.csv of the photos")
    parser.add_argument("--extra", type=Path, help="index.csv of further training photos")
    parser.add_argument("--teachers", type=Path, nargs="+", required=True, help="models by scripts/convert.py")
    parser.add_argument("--output", type=Path, required=True, help="the file to write (.npz)")
    parser.add_argument("--epochs", type=int, default=10, help="number of epochs with different views; a student that "
                        "is trained for longer sees them again [%(default)s]")
    parser.add_argument("--batch", type=int, default=32, help="the student's photos per step [%(default)s]")
    parser.add_argument("--seed", type=int, default=1, help="the student's seed [%(default)s]")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    photos, extra = read_training_photos(args.index, args.extra)
    labels = sorted({photo.label for photo in photos})

    import numpy as np
    import tensorflow as tf
    from tqdm import tqdm

    from training import metrics
    from training.fine_tuning import training_data
    from training.photos import load_split

    teachers = load_teachers(args, labels, data_digest(photos))
    train, validation = ([photo for photo in photos if photo.split == split] for split in ("train", "validation"))
    train += extra
    about = describe(args, teachers, train)
    partial, done = args.output.with_suffix(".partial.npz"), 0
    soft_labels = np.zeros((args.epochs, len(train), len(labels)), np.float16)
    if partial.exists() and str((state := np.load(partial))["about"]) == about:
        done = len(state["soft"])
        soft_labels[:done] = state["soft"]
        print(f"resuming after epoch {done}, from {partial}")

    val_splits = [load_split(validation, labels, teacher.size) for teacher in teachers]
    val_probabilities = sum(ask(teacher, split.images) for teacher, split in zip(teachers, val_splits))
    images = [tf.constant(load_split(train, labels, teacher.size).images) for teacher in teachers]
    no_targets = tf.zeros((len(train), len(labels)))
    for epoch in tqdm(range(done, args.epochs), "soft labels", args.epochs, initial=done, unit="epoch"):
        for teacher, own_size in zip(teachers, images):
            batches = training_data(own_size, no_targets, range(epoch, epoch + 1), args)
            answers = [ask(teacher, views.numpy().astype(np.uint8)) for views, *_ in batches]
            soft_labels[epoch] += np.concatenate(answers) / len(teachers)
        with atomic(partial) as temporary:
            np.savez(temporary, soft=soft_labels[:epoch + 1], about=about)
    with atomic(args.output) as temporary:
        np.savez(temporary, soft=soft_labels, about=about)
    partial.unlink(missing_ok=True)
    print(f"{args.output}: {args.epochs} epochs of {len(train)} photos; the teachers together on validation: accuracy "
          f"{metrics.accuracy(val_probabilities, val_splits[0].targets):.4f}")


def load_teachers(args: argparse.Namespace, labels: list[str], digest: str) -> list:
    """Load the teachers; end the script if one was trained on other photos."""
    from serving import Model

    teachers = [Model(path, threads=os.cpu_count()) for path in args.teachers]
    for path, teacher in zip(args.teachers, teachers):
        if teacher.labels != labels or teacher.record["data_digest"] != digest:
            fail(f"{path} was trained on other photos than those of {args.index}; train it again")
    return teachers


def describe(args: argparse.Namespace, teachers: list, photos: list) -> str:
    """JSON that says what the soft labels depend on: the teachers, the photos, the views and the source code."""
    from training.record import sources_digest

    known = [{key: teacher.record[key] for key in ("fingerprint", "backbone", "size", "flags")} for teacher in teachers]
    return json.dumps({"teachers": known, "photos": data_digest(photos), "epochs": args.epochs,
                       "batch": args.batch, "seed": args.seed, "sources": sources_digest()})


def ask(teacher, images):
    """Average the teacher's probabilities for images, uint8 [N, H, W, 3], and their mirror images: [N, labels]."""
    import numpy as np

    return np.stack([(teacher.predict(image)[0] + teacher.predict(image[:, ::-1])[0]) / 2 for image in images])


if __name__ == "__main__":
    main()
