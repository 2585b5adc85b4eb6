"""What happens after each epoch of fine-tuning: validation, a checkpoint, a line of progress."""
import argparse
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from common import atomic, fail
from training import metrics
from training.photos import Split
from training.record import save_model


def is_finished(history: list[dict], args: argparse.Namespace) -> bool:
    """Whether all epochs are done, or the last ones brought no gain (early stopping).

    This follows from the history alone; keras.callbacks.EarlyStopping would forget its count when a run is resumed.
    """
    if not history:
        return False
    best = min(history, key=lambda row: row["val_loss"])
    return len(history) == args.epochs or len(history) - best["epoch"] >= args.patience


def stop_if_diverged(loss: float, epoch: int, args: argparse.Namespace) -> None:
    """End the script if the loss is not a number, before anything is saved."""
    if not np.isfinite(loss):
        fail(f"the loss became {loss} in epoch {epoch + 1}; lower the learning rate (--lr {args.lr * 0.3:g})")


class Validation(keras.callbacks.SwapEMAWeights):
    """Validates the averaged weights after every epoch, and writes those with the lowest loss to a file.

    The loss is measured at the best temperature, because label smoothing and mixup change how confident the model is.
    """

    def __init__(self, validation: Split, history: list[dict], best: Path, args: argparse.Namespace):
        super().__init__()
        self.validation, self.history, self.best, self.args = validation, history, best, args

    def on_epoch_end(self, epoch, logs):
        self.on_test_begin()  # swaps the averaged weights in
        images, targets = self.validation.images, self.validation.targets
        logits = self.model.predict(images, batch_size=32, verbose=0)
        stop_if_diverged(logits.sum(), epoch, self.args)
        probabilities = metrics.softmax(logits / metrics.best_temperature(logits, targets))
        logs["val_loss"] = metrics.log_loss(probabilities, targets)
        logs["val_accuracy"] = metrics.accuracy(probabilities, targets)
        if all(logs["val_loss"] < row["val_loss"] for row in self.history):
            with atomic(self.best) as temporary:
                self.model.save_weights(temporary)
        self.on_test_end()  # swaps the trained weights back


class Checkpoint(keras.callbacks.Callback):
    """Writes model, optimizer and history to one file after every epoch, and stops training when it is finished.

    keras.callbacks.BackupAndRestore keeps no history and writes weights and epoch one after the other, so that a kill
    in between would train an epoch twice.
    """

    def __init__(self, record: dict, path: Path, args: argparse.Namespace):
        super().__init__()
        self.record, self.path, self.args = record, path, args

    def on_epoch_end(self, epoch, logs):
        self.record["history"].append({"epoch": epoch + 1, **logs})
        save_model(self.model, self.record, self.path)
        self.model.stop_training = is_finished(self.record["history"], self.args)


class Progress(keras.callbacks.Callback):
    """Shows a progress bar and a line per epoch, and ends the script as soon as the loss is not a number."""

    def __init__(self, steps: int, first_epoch: int, args: argparse.Namespace):
        super().__init__()
        self.args = args
        self.bar = tqdm(total=args.epochs * steps, initial=first_epoch * steps, desc="fine-tuning", mininterval=5,
                        unit="batch")

    def on_epoch_begin(self, epoch, logs):
        self.epoch = epoch

    def on_train_batch_end(self, step, logs):
        stop_if_diverged(logs["loss"], self.epoch, self.args)
        self.bar.set_postfix(loss=f"{logs['loss']:.3f}", refresh=False)
        self.bar.update()

    def on_epoch_end(self, epoch, logs):
        tqdm.write(f"epoch {epoch + 1}: loss {logs['loss']:.4f}, accuracy {logs['accuracy']:.4f}; "
                   f"validation: loss {logs['val_loss']:.4f}, accuracy {logs['val_accuracy']:.4f}")

    def on_train_end(self, logs):
        self.bar.close()
