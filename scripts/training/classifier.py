"""The network: a backbone, its averaged features, and a linear head."""
from pathlib import Path

import keras
import numpy as np

from training import metrics
from training.head import feature_extractor, fit_head
from training.photos import Split
from training.record import read_training_record


def load_backbone(path: Path) -> tuple[keras.Model, str]:
    """Load a backbone and its name, from its own file or from a classifier by scripts/train.py."""
    model = keras.models.load_model(path, compile=False)
    if "backbone" in [layer.name for layer in model.layers]:
        return model.get_layer("backbone"), read_training_record(path)["backbone"]
    model.name = "backbone"
    return model, path.stem


def build_classifier(backbone: keras.Model, size: tuple[int, int], labels: int, dropout: float) -> keras.Model:
    """Build a model that gives logits, float32 [N, labels]; its head is the layer "logits"."""
    pixels = keras.Input((*size, 3), name="pixels")
    features = keras.layers.GlobalAveragePooling2D(name="features")(backbone(pixels))
    logits = keras.layers.Dense(labels, name="logits")(keras.layers.Dropout(dropout)(features))
    return keras.Model(pixels, logits)


def refit_head(model: keras.Model, train: Split, validation: Split) -> tuple[np.ndarray, np.ndarray]:
    """Fit the head to the features of the training photos and of their mirror images.

    Returns these features, float32 [2 N, channels], and the logits of the validation photos.
    """
    head = model.get_layer("logits")
    extract = feature_extractor(model.get_layer("backbone"), train.images.shape[1:])
    features = np.concatenate([extract(train.images), extract(train.images[:, :, ::-1])])
    weights, bias = fit_head(features, np.tile(train.targets, 2), head.units)
    head.set_weights([weights, bias])
    val_logits = extract(validation.images) @ weights + bias
    print(f"head: validation accuracy {metrics.accuracy(val_logits, validation.targets):.4f}")
    return features, val_logits
