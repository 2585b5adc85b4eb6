"""Write soft labels for distillation: teacher probabilities for the very views that a student will be trained on.

    python scripts/teach.py --index data/clothing/index.csv --teacher a/model.tflite --output artifacts/soft-labels.npz

averages the teacher's probabilities for every training photo and its mirror image, augmented and mixed as in each epoch
of fine-tuning ("a good teacher is patient and consistent", Beyer et al. 2022), and ends with the teacher's accuracy on
validation. An int8 teacher is several times as fast as a Keras model. Train the student with
`scripts/train.py --soft-labels artifacts/soft-labels.npz`.
"""
import argparse
import json
import os
from pathlib import Path

import numpy as np

from common import atomic, fail
from training.index import data_digest, read_training_photos


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True, help="index.csv of the photos")
    parser.add_argument("--extra", type=Path, help="index.csv of further training photos")
    parser.add_argument("--teacher", type=Path, required=True, help="a model by scripts/convert.py")
    parser.add_argument("--output", type=Path, required=True, help="the file to write (.npz)")
    parser.add_argument("--epochs", type=int, default=10, help="number of epochs with different views; a student that "
                        "is trained for longer sees them again [%(default)s]")
    parser.add_argument("--batch", type=int, default=32, help="the student's photos per step [%(default)s]")
    parser.add_argument("--seed", type=int, default=1, help="the student's seed [%(default)s]")
    args = parser.parse_args()
    photos, extra = read_training_photos(args.index, args.extra)
    labels = sorted({photo.label for photo in photos})
    train, validation = ([photo for photo in photos if photo.split == split] for split in ("train", "validation"))

    import tensorflow as tf
    from tqdm import tqdm

    from serving import Model
    from training import metrics
    from training.fine_tuning import training_data
    from training.photos import load_split

    teacher = Model(args.teacher, threads=os.cpu_count())
    if teacher.labels != labels or teacher.record["data_digest"] != data_digest(photos):
        fail(f"{args.teacher} was trained on other photos than those of {args.index}; train it again")
    train, validation = (load_split(split, labels, teacher.size) for split in (train + extra, validation))
    images, no_targets = tf.constant(train.images), tf.zeros((len(train.photos), len(labels)))
    soft_labels = []
    for epoch in tqdm(range(args.epochs), "soft labels", unit="epoch"):
        batches = training_data(images, no_targets, range(epoch, epoch + 1), args)
        soft_labels.append(np.concatenate([ask(teacher, views.numpy().astype(np.uint8)) for views, *_ in batches]))
    known = {key: teacher.record[key] for key in ("fingerprint", "backbone", "size", "flags")}
    about = {"teacher": known, "photos": data_digest(train.photos), "batch": args.batch, "seed": args.seed}
    with atomic(args.output) as temporary:
        np.savez(temporary, soft=np.array(soft_labels, np.float16), about=json.dumps(about))
    accuracy = metrics.accuracy(ask(teacher, validation.images), validation.targets)
    print(f"{args.output}: {args.epochs} epochs of {len(train.photos)} photos; the teacher on validation: accuracy "
          f"{accuracy:.4f}")


def ask(teacher, images):
    """Average the teacher's probabilities for images, uint8 [N, H, W, 3], and their mirror images: [N, labels]."""
    return np.stack([(teacher.predict(image)[0] + teacher.predict(image[:, ::-1])[0]) / 2 for image in images])


if __name__ == "__main__":
    main()
