"""The second half of training: fine-tuning on augmented photos, which resumes after the last finished epoch."""
import argparse
import sys
from math import ceil
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from training.augmentation import augment, mixup
from training.callbacks import Checkpoint, Validation
from training.photos import Split
from training.record import load_model, read_training_record


def training_data(images, targets, epochs: range, args: argparse.Namespace, soft_labels: np.ndarray | None = None):
    """The augmented and mixed batches of some epochs. They depend on args.seed and the number of the epoch alone.

    images: tensor [N, H, W, 3]. targets: tensor [N, labels], one-hot, times the weight of the photo. soft_labels: float
    [view epochs, N, labels] by scripts/teach.py, teacher probabilities used instead of the targets, one set per epoch
    of views. Later epochs repeat these views, mirrored every second time: the probabilities hold for the mirror images
    too. Each batch consists of views, targets that sum to 1, and weights.
    """
    view_epochs = len(soft_labels) if soft_labels is not None else epochs.stop
    orders = [np.random.default_rng((args.seed, epoch % view_epochs)).permutation(len(images)) for epoch in epochs]

    def batch(epoch, step, rows):
        repeat, view_epoch = epoch // view_epochs, epoch % view_epochs
        seed = tf.cast(step, tf.int32) + view_epoch * 100_000 + args.seed * 7919
        views, mixed_targets = mixup(augment(tf.gather(images, rows), seed), tf.gather(targets, rows), seed)
        weights = tf.reduce_sum(mixed_targets, 1)
        if soft_labels is None:
            return views, mixed_targets / weights[:, tf.newaxis], weights
        first = tf.cast(step, tf.int32) * args.batch
        teacher_probabilities = tf.gather(soft_labels, view_epoch)[first:first + tf.shape(rows)[0]]
        flip = repeat % 2 == 1
        return tf.where(flip, views[:, :, ::-1], views), tf.cast(teacher_probabilities, tf.float32), weights

    def one_epoch(epoch, order):
        batches = tf.data.Dataset.from_tensor_slices(order).batch(args.batch).enumerate()
        return batches.map(lambda step, rows: batch(epoch, step, rows))

    # One graph for all epochs: a dataset of its own for each epoch would hold a copy of all photos.
    return tf.data.Dataset.from_tensor_slices((list(epochs), orders)).flat_map(one_epoch).prefetch(2)


def fine_tune(model, train: Split, validation: Split, soft_labels: np.ndarray | None, record: dict, folder: Path,
              args: argparse.Namespace):
    """Fine-tune a model of logits; returns it with the averaged (EMA) weights of the best epoch.

    The best epoch is the one with the lowest validation loss. soft_labels: see `training_data`. Appends a row per epoch
    to record["history"]. `folder` holds the logs for TensorBoard and the checkpoint, from which a run with the same
    record["fingerprint"] resumes.
    """
    checkpoint, best = folder / "checkpoint.keras", folder / "best.weights.h5"
    steps = ceil(len(train.images) / args.batch)
    freeze(model.get_layer("backbone"), args.freeze)
    compile_model(model, steps, args)
    if checkpoint.exists() and (state := read_training_record(checkpoint))["fingerprint"] == record["fingerprint"]:
        model = load_model(checkpoint)  # with the state of the optimizer
        record["history"] = state["history"]
        print(f"resuming after epoch {len(record['history'])}, from {checkpoint}")
    first_epoch = len(record["history"])
    if first_epoch < args.epochs:
        # As a tensor: an array would become a constant of the data's graph, which takes minutes to optimise.
        images, targets = tf.constant(train.images), tf.one_hot(train.targets, len(record["labels"]))
        targets *= train.weights[:, np.newaxis]
        model.fit(
            training_data(images, targets, range(first_epoch, args.epochs), args, soft_labels),
            initial_epoch=first_epoch,
            epochs=args.epochs,
            steps_per_epoch=steps,
            verbose=1 if sys.stdout.isatty() else 2,  # a bar, or a line per epoch
            callbacks=[
                Validation(validation, record["history"], best),  # first, as it adds to the logs of the others
                Checkpoint(record, checkpoint),
                keras.callbacks.EarlyStopping("val_loss", patience=args.patience, verbose=1),
                keras.callbacks.TerminateOnNaN(),
                keras.callbacks.TensorBoard(folder, write_graph=False),
            ])
    model.load_weights(best)
    return model


def freeze(backbone, share: float) -> None:
    """Freeze a share of the layers, counted from the input, and the running statistics of all."""
    for position, layer in enumerate(backbone.layers):
        is_upper = position >= share * len(backbone.layers)
        layer.trainable = is_upper and not isinstance(layer, keras.layers.BatchNormalization)


def compile_model(model, steps: int, args: argparse.Namespace) -> None:
    """Set the optimizer, AdamW with averaged weights and a cosine schedule after half an epoch of warm-up."""
    warmup = steps // 2
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, args.epochs * steps - warmup, warmup_target=args.lr, warmup_steps=warmup)
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=args.weight_decay, use_ema=True, ema_momentum=0.99),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=args.label_smoothing),
        metrics=["accuracy"])
