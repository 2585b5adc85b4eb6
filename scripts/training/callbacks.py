"""What happens after each epoch of fine-tuning, besides what Keras brings: validation, then a checkpoint."""
from pathlib import Path

import keras
import numpy as np
from scipy.special import softmax

from common import atomic, fail
from training import metrics
from training.photos import Split
from training.record import save_model


class Validation(keras.callbacks.SwapEMAWeights):
    """Validates the averaged weights after every epoch, and writes those with the lowest loss to a file.

    The loss is measured at the best temperature, because label smoothing and mixup change how confident the model is.
    Ends the script if the weights are no longer numbers.
    """

    def __init__(self, validation: Split, history: list[dict], best: Path):
        super().__init__()
        self.validation, self.history, self.best = validation, history, best

    def on_epoch_end(self, epoch, logs):
        self.on_test_begin()  # swaps the averaged weights in
        images, targets = self.validation.images, self.validation.targets
        logits = self.model.predict(images, batch_size=32, verbose=0)
        if not np.isfinite(logits).all():
            fail(f"training diverged in epoch {epoch + 1}; lower the learning rate (--lr)")
        probabilities = softmax(logits / metrics.best_temperature(logits, targets), 1)
        logs["val_loss"] = metrics.log_loss(probabilities, targets)
        logs["val_accuracy"] = metrics.accuracy(probabilities, targets)
        if all(logs["val_loss"] < row["val_loss"] for row in self.history):
            with atomic(self.best) as temporary:
                self.model.save_weights(temporary)
        self.on_test_end()  # swaps the trained weights back


class Checkpoint(keras.callbacks.Callback):
    """Writes model, optimizer and history to one file after every epoch.

    keras.callbacks.BackupAndRestore keeps no history and writes weights and epoch one after the other, so that a kill
    in between would train an epoch twice.
    """

    def __init__(self, record: dict, path: Path):
        super().__init__()
        self.record, self.path = record, path

    def on_epoch_end(self, epoch, logs):
        self.record["history"].append({"epoch": epoch + 1, **logs})
        save_model(self.model, self.record, self.path)
