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
from training.distillation import Teacher
from training.photos import Split
from training.record import load_model, read_training_record


def training_data(images, targets, epochs: range, args: argparse.Namespace, teacher: Teacher | None = None):
    """The augmented and mixed batches of some epochs. They depend on args.seed and the number of the epoch alone.

    images: tensor [N, H, W, 3]. targets: tensor [N, labels], one-hot, times the weight of the photo. Each batch
    consists of views; targets that sum to 1, which are the teacher's probabilities for the same views if there is one;
    and weights.
    """
    teacher_images = tf.constant(teacher.images) if teacher else None
    orders = [np.random.default_rng((args.seed, epoch)).permutation(len(images)) for epoch in epochs]

    def batch(epoch, step, rows):
        seed = tf.cast(step, tf.int32) + epoch * 100_000 + args.seed * 7919

        def views_of(photos):
            return mixup(augment(tf.gather(photos, rows), seed), tf.gather(targets, rows), seed)

        views, mixed_targets = views_of(images)
        weights = tf.reduce_sum(mixed_targets, 1)
        if teacher:
            teacher_views, _ = views_of(teacher_images)
            return views, teacher.network(teacher_views, training=False)[0], weights
        return views, mixed_targets / weights[:, tf.newaxis], weights

    def one_epoch(epoch, order):
        batches = tf.data.Dataset.from_tensor_slices(order).batch(args.batch).enumerate()
        return batches.map(lambda step, rows: batch(epoch, step, rows))

    # One graph for all epochs: a dataset of its own for each epoch would hold a copy of all photos.
    return tf.data.Dataset.from_tensor_slices((list(epochs), orders)).flat_map(one_epoch).prefetch(2)


def fine_tune(model, train: Split, validation: Split, teacher: Teacher | None, record: dict, folder: Path,
              args: argparse.Namespace):
    """Fine-tune a model of logits; returns it with the averaged (EMA) weights of the best epoch.

    The best epoch is the one with the lowest validation loss. A student learns its teacher's probabilities instead of
    the labels. Appends a row per epoch to record["history"]. `folder` holds the logs for TensorBoard and the
    checkpoint, from which a run with the same record["fingerprint"] resumes.
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
            training_data(images, targets, range(first_epoch, args.epochs), args, teacher),
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
    """Set the loss and the optimizer: AdamW, averaged weights, a cosine schedule after half an epoch of warm-up."""
    warmup = steps // 2
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, args.epochs * steps - warmup, warmup_target=args.lr, warmup_steps=warmup)
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=args.weight_decay, use_ema=True, ema_momentum=0.99),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=args.label_smoothing),
        metrics=["accuracy"])
