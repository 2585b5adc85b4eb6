"""The second half of training: fine-tuning on augmented photos, resumable after every epoch."""
import argparse
import json
import zipfile
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common import atomic, fail
from training import metrics


def training_data(images, targets, epoch: int, args: argparse.Namespace, soft: np.ndarray | None = None):
    """One epoch of augmented and mixed batches; order and augmentation follow from the seed and the epoch alone.

    images: [N, H, W, 3]; targets: one-hot [N, labels], both tensors. soft: float [epochs, N, labels], what teachers say
    about the views of so many epochs, in the place of the targets. Further epochs see these views again, every second
    time mirrored, as the teachers' answers hold for both.
    """
    import tensorflow as tf
    from training.augmentation import augment, mixup

    turn, views = (0, epoch) if soft is None else divmod(epoch, len(soft))
    order = np.random.default_rng((args.seed, views)).permutation(len(images))

    def batch(step, rows):
        seed = tf.cast(step, tf.int32) + views * 100_000 + args.seed * 7919
        return mixup(augment(tf.gather(images, rows), seed), tf.gather(targets, rows), seed)
    batches = tf.data.Dataset.from_tensor_slices(order).batch(args.batch).enumerate().map(batch, num_parallel_calls=1)
    if soft is not None:
        said = tf.data.Dataset.from_tensor_slices(soft[views].astype(np.float32)).batch(args.batch)
        side = -1 if turn % 2 else 1
        batches = tf.data.Dataset.zip(batches, said).map(lambda mixed, said: (mixed[0][:, :, ::side], said))
    return batches.prefetch(2)


def fine_tune(model, train, validation, soft, record: dict, folder: Path, args: argparse.Namespace):
    """Fine-tune a model of logits; returns it with the averaged (EMA) weights of the epoch that validation liked best.

    train, validation: (uint8 [N, H, W, 3], int [N]). soft: soft labels by scripts/teach.py, [epochs, N, labels], or
    None. Appends a row per epoch to record["history"]. `folder` holds the checkpoint, from which a run with the same
    record["fingerprint"] goes on.
    """
    import keras
    import tensorflow as tf

    (images, targets), (val_images, val_targets) = train, validation
    # As a tensor: an array would become a constant of each epoch's graph, which takes minutes to optimise.
    images, one_hot = tf.constant(images), tf.one_hot(targets, len(record["labels"]))
    steps = -(-len(images) // args.batch)
    backbone = model.get_layer("backbone")
    for position, layer in enumerate(backbone.layers):  # frozen: the lower layers, and all running statistics
        layer.trainable = (position >= args.freeze * len(backbone.layers)
                           and not isinstance(layer, keras.layers.BatchNormalization))
    warmup = steps // 2
    schedule = keras.optimizers.schedules.CosineDecay(0.0, args.epochs * steps - warmup, warmup_target=args.lr,
                                                      warmup_steps=warmup)
    model.compile(keras.optimizers.AdamW(schedule, weight_decay=args.weight_decay, use_ema=True, ema_momentum=0.99),
                  keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=args.label_smoothing),
                  metrics=["accuracy"])
    checkpoint, best = folder / "checkpoint.keras", folder / "best.weights.h5"
    if checkpoint.exists() and (state := read_record(checkpoint))["fingerprint"] == record["fingerprint"]:
        model = keras.models.load_model(checkpoint)  # with the optimizer's moments and averages
        record["history"] = state["history"]
        print(f"going on after epoch {len(record['history'])}, from {checkpoint}")
    log = tf.summary.create_file_writer(str(folder))
    bar = tqdm(total=args.epochs * steps, initial=len(record["history"]) * steps, desc="fine-tuning", mininterval=5,
               unit="batch")

    class Progress(keras.callbacks.Callback):
        def on_train_batch_end(self, step, logs):
            bar.update()
            bar.set_postfix(loss=f"{logs['loss']:.3f}", refresh=False)
            stop_if_diverged(logs["loss"])

    def stop_if_diverged(loss):
        if not np.isfinite(loss):
            fail(f"the loss became {loss} in epoch {epoch + 1}; lower the learning rate (--lr {args.lr / 3:g})")

    for epoch in range(len(record["history"]), args.epochs):
        batches = training_data(images, one_hot, epoch, args, soft)
        fitted = model.fit(batches, epochs=epoch + 1, initial_epoch=epoch, verbose=0, callbacks=[Progress()]).history
        raw = model.get_weights()
        model.optimizer.finalize_variable_values(model.trainable_variables)
        logits = model.predict(val_images, batch_size=32, verbose=0)
        # At its best temperature, as label smoothing and mixup make the raw loss speak of confidence, not of errors.
        probabilities = metrics.softmax(logits / metrics.best_temperature(logits, val_targets))
        row = {"epoch": epoch + 1, "loss": fitted["loss"][0], "accuracy": fitted["accuracy"][0],
               "val_loss": metrics.log_loss(probabilities, val_targets),
               "val_accuracy": metrics.accuracy(probabilities, val_targets)}
        stop_if_diverged(row["val_loss"])
        if all(row["val_loss"] < earlier["val_loss"] for earlier in record["history"]):
            with atomic(best) as temporary:
                model.save_weights(temporary)
        model.set_weights(raw)
        record["history"].append(row)
        save(model, record, checkpoint)
        with log.as_default():
            for name, value in row.items():
                tf.summary.scalar(name, value, step=epoch + 1)
        tqdm.write("epoch {epoch}: loss {loss:.4f}, accuracy {accuracy:.4f}; validation: loss {val_loss:.4f}, "
                   "accuracy {val_accuracy:.4f}".format(**row))
        best_epoch = min(record["history"], key=lambda row: row["val_loss"])["epoch"]
        if epoch + 1 - best_epoch >= args.patience:
            tqdm.write(f"no gain on validation for {args.patience} epochs: stopping")
            break
    bar.close()
    model.load_weights(best)
    return model


def save(model, record: dict, path: Path) -> None:
    """Write a Keras model with its record inside, or nothing."""
    with atomic(path) as temporary:
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr("record.json", json.dumps(record))


def read_record(path: Path) -> dict:
    """The record inside a Keras model written by `save`."""
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("record.json"))
