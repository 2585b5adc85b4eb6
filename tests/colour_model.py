"""A tiny model whose answers are known: it names the strongest of red, green and blue, in a file as convert.py writes.

    write(path, labels=["red", "green", "blue"], confidence_threshold=0.6)
"""
import json
import zipfile
from functools import cache
from pathlib import Path

import numpy as np

SIZE = 40, 30
LABELS = ("blue", "green", "red")  # as folder names sort
COLOURS = {"blue": (20, 20, 230), "green": (20, 230, 20), "red": (230, 20, 20)}


def keras_model(sharpness: float = 5):
    """float32 [N, 40, 30, 3] -> softmax over sharpness * (mean blue, green, red in 0..1), and familiarity.

    The prototypes are pure blue, green and red: these have a familiarity of almost 1, grey has 0.58.
    """
    import keras
    pixels = keras.Input((*SIZE, 3))
    means = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(pixels))
    dense = keras.layers.Dense(3, "softmax", use_bias=False)
    familiarity = keras.ops.max(keras.layers.UnitNormalization()(means), axis=1, keepdims=True)
    model = keras.Model(pixels, [dense(means), familiarity])
    dense.set_weights([sharpness * np.eye(3)[::-1]])
    return model


@cache
def network(sharpness: float) -> bytes:
    from training.tflite import to_tflite
    return to_tflite(keras_model(sharpness), "float32")


def write(path: Path, labels=LABELS, sharpness: float = 5, **metadata) -> Path:
    path.write_bytes(network(sharpness))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "".join(f"{label}\n" for label in labels))
        archive.writestr("metadata.json", json.dumps(metadata))
    return path
