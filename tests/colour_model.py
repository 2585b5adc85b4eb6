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


@cache
def network(sharpness: float) -> bytes:
    """uint8 [1, 40, 30, 3] -> softmax over sharpness * (mean blue, green, red in 0..1), and familiarity.

    The prototypes are pure blue, green and red: these have a familiarity of almost 1, grey has 0.58.
    """
    import keras
    import tensorflow as tf

    from training.tflite import finish, frozen_graph
    pixels = keras.Input((*SIZE, 3), batch_size=1, dtype="uint8")
    means = keras.layers.GlobalAveragePooling2D()(keras.ops.cast(pixels, "float32") / 255)
    dense = keras.layers.Dense(3, "softmax", use_bias=False)
    familiarity = keras.ops.max(keras.layers.UnitNormalization()(means), axis=1, keepdims=True)
    model = keras.Model(pixels, [dense(means), familiarity])
    dense.set_weights([sharpness * np.eye(3)[::-1]])
    return finish(tf.lite.TFLiteConverter.from_concrete_functions([frozen_graph(model)]).convert())


def write(path: Path, labels=LABELS, sharpness: float = 5, **metadata) -> Path:
    path.write_bytes(network(sharpness))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "".join(f"{label}\n" for label in labels))
        archive.writestr("metadata.json", json.dumps(metadata))
    return path
