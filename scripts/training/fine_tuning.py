"""The second half of training: fine-tuning on augmented photos, which resumes after the last finished epoch."""
import argparse
import sys
from math import ceil
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from common import atomic, fail
from training.augmentation import augment, mixup
from training.head import calibrate
from training.index import Photo
from training.photos import Split, load_split
from training.record import load_model, read_training_record, save_model

BATCH = 32  # photos per step
FROZEN = 0.4  # share of the backbone's layers, from the input on, that stay as they are
PATIENCE = 4  # epochs without gain before training stops


def load_teacher(path: Path, record: dict, photos: list[Photo]) -> tuple[keras.Model, np.ndarray]:
    """A model to teach a student, and the photos at its size, uint8 [N, H, W, 3]. The student's record will name it."""
    about = read_training_record(path)
    if about["data_digest"] != record["data_digest"]:
        fail(f"{path} was trained on other photos; train it again")
    record["teacher"] = {key: about[key] for key in ("fingerprint", "backbone", "flags")}
    model = load_model(path)
    return model, load_split(photos, about["labels"], model.input_shape[1:3]).images


def training_data(train: Split, labels: int, epochs: range, seed: int, teacher: tuple | None = None):
    """The augmented and mixed batches of some epochs. They depend on the seed and the number of the epoch alone.

    Each batch consists of views, float32 [BATCH, H, W, 3]; targets that sum to 1, float32 [BATCH, labels]; and weights.
    The targets of a student are its teacher's probabilities for the very same views (Beyer et al. 2022).
    """
    # As tensors: an array would become a constant of the data's graph, which takes minutes to optimise.
    images, teacher_images = tf.constant(train.images), tf.constant(teacher[1]) if teacher else None
    targets = tf.one_hot(train.targets, labels) * train.weights[:, np.newaxis]

    def rows_of_batches():
        for epoch in epochs:
            order = np.random.default_rng((seed, epoch)).permutation(len(train.images))
            for step, rows in enumerate(np.split(order, range(BATCH, len(order), BATCH))):
                yield step + epoch * 100_000 + seed * 7919, rows

    def batch(batch_seed, rows):
        def views_of(photos):
            return mixup(augment(tf.gather(photos, rows), batch_seed), tf.gather(targets, rows), batch_seed)

        views, mixed_targets = views_of(images)
        weights = tf.reduce_sum(mixed_targets, 1)
        if teacher:
            return views, teacher[0](views_of(teacher_images)[0], training=False)[0], weights
        return views, mixed_targets / weights[:, tf.newaxis], weights

    signature = tf.TensorSpec((), tf.int32), tf.TensorSpec((None,), tf.int64)
    return tf.data.Dataset.from_generator(rows_of_batches, output_signature=signature).map(batch).prefetch(2)


class AfterEpoch(keras.callbacks.SwapEMAWeights):
    """Validates the averaged weights, writes those with the lowest loss to one file, and all of the run to another.

    The loss is measured at the best temperature, because label smoothing and mixup change how confident the model is.
    keras.callbacks.BackupAndRestore keeps no history, and a kill between its two files would train an epoch twice.
    """

    def __init__(self, validation: Split, record: dict, best: Path, checkpoint: Path):
        super().__init__()
        self.validation, self.record, self.best, self.checkpoint = validation, record, best, checkpoint

    def on_epoch_end(self, epoch, logs):
        history, targets = self.record["history"], self.validation.targets
        self.on_test_begin()  # swaps the averaged weights in
        logits = self.model.predict(self.validation.images, batch_size=32, verbose=0)
        if not np.isfinite(logits).all():
            fail(f"training diverged in epoch {epoch + 1}; lower the learning rate (--lr)")
        _, logs["val_loss"] = calibrate(logits, targets)
        logs["val_accuracy"] = float(np.mean(logits.argmax(1) == targets))
        if all(logs["val_loss"] < row["val_loss"] for row in history):
            with atomic(self.best) as temporary:
                self.model.save_weights(temporary)
        self.on_test_end()  # swaps the trained weights back
        history.append({"epoch": epoch + 1, **logs})
        save_model(self.model, self.record, self.checkpoint)


def fine_tune(model, train: Split, validation: Split, teacher: tuple | None, record: dict, folder: Path,
              args: argparse.Namespace):
    """Fine-tune a model of logits; returns it with the averaged (EMA) weights of the epoch with the lowest loss.

    Appends a row per epoch to record["history"]. A run with the same record["fingerprint"] resumes from `folder`.
    """
    checkpoint, best = folder / "checkpoint.keras", folder / "best.weights.h5"
    steps = ceil(len(train.images) / BATCH)
    if checkpoint.exists() and (state := read_training_record(checkpoint))["fingerprint"] == record["fingerprint"]:
        model = load_model(checkpoint)  # with the state of the optimizer
        record["history"] = state["history"]
        print(f"resuming after epoch {len(record['history'])}, from {checkpoint}")
    else:
        layers = model.get_layer("backbone").layers
        for position, layer in enumerate(layers):
            is_upper = position >= FROZEN * len(layers)
            layer.trainable = is_upper and not isinstance(layer, keras.layers.BatchNormalization)
        warmup = steps // 2  # half an epoch
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0, args.epochs * steps - warmup, warmup_target=args.lr, warmup_steps=warmup)
        model.compile(
            keras.optimizers.AdamW(schedule, weight_decay=1e-2, use_ema=True, ema_momentum=0.99),
            keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0 if teacher else 0.1),
            metrics=["accuracy"])
    first_epoch = len(record["history"])
    if first_epoch < args.epochs:
        model.fit(
            training_data(train, len(record["labels"]), range(first_epoch, args.epochs), args.seed, teacher),
            initial_epoch=first_epoch,
            epochs=args.epochs,
            steps_per_epoch=steps,
            verbose=1 if sys.stdout.isatty() else 2,  # a bar, or a line per epoch
            callbacks=[
                AfterEpoch(validation, record, best, checkpoint),  # first, as it adds to the logs of the others
                keras.callbacks.EarlyStopping("val_loss", patience=PATIENCE, verbose=1),
                keras.callbacks.TerminateOnNaN(),
                keras.callbacks.TensorBoard(folder, write_graph=False),
            ])
    model.load_weights(best)
    return model
