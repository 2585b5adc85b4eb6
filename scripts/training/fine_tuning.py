"""The second half of training: fine-tuning on augmented photos, which resumes after the last finished epoch."""
import argparse
from functools import reduce
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from training.augmentation import augment, mixup
from training.callbacks import Checkpoint, Progress, Validation, is_finished
from training.photos import Split
from training.record import read_training_record


def training_data(images, targets, epoch: int, args: argparse.Namespace, soft_labels: np.ndarray | None = None):
    """One epoch of augmented and mixed batches; the seed and the epoch alone decide about order and augmentation.

    images: tensor [N, H, W, 3]. targets: one-hot tensor [N, labels]. soft_labels: float [view epochs, N, labels] by
    scripts/teach.py, teacher probabilities used instead of the targets, one set per epoch of views. Later epochs repeat
    these views, mirrored every second time: the probabilities hold for the mirror images too.
    """
    repeat, view_epoch = (0, epoch) if soft_labels is None else divmod(epoch, len(soft_labels))
    order = np.random.default_rng((args.seed, view_epoch)).permutation(len(images))

    def view(step, rows):
        seed = tf.cast(step, tf.int32) + view_epoch * 100_000 + args.seed * 7919
        return mixup(augment(tf.gather(images, rows), seed), tf.gather(targets, rows), seed)

    views = tf.data.Dataset.from_tensor_slices(order).batch(args.batch).enumerate().map(view)
    if soft_labels is None:
        return views
    teacher_probabilities = tf.data.Dataset.from_tensor_slices(soft_labels[view_epoch].astype(np.float32))
    flip = -1 if repeat % 2 else 1
    return tf.data.Dataset.zip(views, teacher_probabilities.batch(args.batch)).map(
        lambda view, probabilities: (view[0][:, :, ::flip], probabilities))


def fine_tune(model, train: Split, validation: Split, soft_labels: np.ndarray | None, record: dict, folder: Path,
              args: argparse.Namespace):
    """Fine-tune a model of logits; returns it with the averaged (EMA) weights of the epoch with the lowest
    validation loss.

    soft_labels: see `training_data`. Appends a row per epoch to record["history"]. `folder` holds the checkpoint, from
    which a run with the same record["fingerprint"] resumes, and the logs for TensorBoard.
    """
    checkpoint, best = folder / "checkpoint.keras", folder / "best.weights.h5"
    steps = -(-len(train.images) // args.batch)
    freeze(model.get_layer("backbone"), args.freeze)
    compile_model(model, steps, args)
    if checkpoint.exists() and (state := read_training_record(checkpoint))["fingerprint"] == record["fingerprint"]:
        model = keras.models.load_model(checkpoint)  # with the state of the optimizer
        record["history"] = state["history"]
        print(f"resuming after epoch {len(record['history'])}, from {checkpoint}")
    first_epoch = len(record["history"])
    if not is_finished(record["history"], args):
        # As tensors: arrays would become constants of each epoch's graph, which take minutes to optimise.
        images, targets = tf.constant(train.images), tf.one_hot(train.targets, len(record["labels"]))
        epochs = [training_data(images, targets, epoch, args, soft_labels) for epoch in range(first_epoch, args.epochs)]
        model.fit(
            reduce(tf.data.Dataset.concatenate, epochs).prefetch(2),
            initial_epoch=first_epoch,
            epochs=args.epochs,
            steps_per_epoch=steps,
            verbose=0,
            callbacks=[
                Validation(validation, record["history"], best, args),  # first, as it adds to the logs of the others
                Checkpoint(record, checkpoint, args),
                keras.callbacks.TensorBoard(folder, write_graph=False),
                Progress(steps, first_epoch, args),
            ])
    if len(record["history"]) < args.epochs:
        print(f"stopped early: no gain on validation for {args.patience} epochs")
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
