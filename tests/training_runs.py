"""Small real training runs that several test files share: photos of ten colours and a tiny untrained backbone."""
import colorsys
import importlib
import io
import itertools
import json
import subprocess
import sys
import zipfile
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import pytest
from PIL import Image

SIZE = 64, 48


def script(name, *arguments):
    """Run scripts/<name> to its end, in this process: others would import TensorFlow anew, which takes seconds."""
    output, errors, status = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output), redirect_stderr(errors):
        patch.setattr(sys, "argv", [name, *map(str, arguments)])
        try:
            importlib.import_module(name.removesuffix(".py")).main()
        except SystemExit as end:
            status = 1 if isinstance(end.code, str) else end.code or 0
            print(end.code, file=errors)
    return subprocess.CompletedProcess(arguments, status, output.getvalue(), errors.getvalue())


def train_arguments(photos, output, *flags, backbone=None):
    return ["--index", photos / "index.csv", "--backbone", backbone or photos / "backbone.keras", "--output", output,
            "--size", "64x48", *flags]


def successful(done):
    assert done.returncode == 0, done.stderr
    return done


def record_of(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("record.json"))


def load(photos, split):
    from training.index import read_index
    from training.photos import load_split
    rows = [photo for photo in read_index(photos / "index.csv") if photo.split == split]
    return load_split(rows, [f"hue {hue}" for hue in range(10)], SIZE)


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder with index.csv, 60 training, 20 validation and 20 test photos of ten hues, and backbone.keras."""
    import keras
    from keras import layers
    from training.index import Photo, write_index

    folder = tmp_path_factory.mktemp("photos")
    rows, noise = [], np.random.default_rng(0)
    for hue, number in itertools.product(range(10), range(10)):
        split = "train" if number < 6 else "validation" if number < 8 else "test"
        path = folder / f"{split}-{hue}-{number}.jpg"
        colour = np.array(colorsys.hsv_to_rgb(hue / 10, 1, 0.8)) * 255
        pixels = colour + noise.normal(0, 12, (*SIZE, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
        rows.append(Photo(path, f"hue {hue}", split, f"{hue}-{number}"))
    write_index(folder / "index.csv", rows)

    keras.utils.set_random_seed(3)
    pixels = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 128, offset=-127 / 128)(pixels)
    for channels in (8, 16, 32):
        x = layers.Conv2D(channels, 3, 2, "same", use_bias=False)(x)
        x = layers.ReLU(6)(layers.BatchNormalization()(x))
        x = layers.ReLU(6)(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(x)))
    keras.Model(pixels, x).save(folder / "backbone.keras")
    return folder


@pytest.fixture(scope="session")
def trained(photos, tmp_path_factory):
    """A model of three epochs, trained without interruption."""
    output = tmp_path_factory.mktemp("trained") / "model.keras"
    successful(script("train.py", *train_arguments(photos, output, "--epochs", "3")))
    return output


@pytest.fixture(scope="session")
def converted(photos, trained, tmp_path_factory):
    """A folder with the trained model as int8.tflite, float16.tflite and float32.tflite."""
    folder = tmp_path_factory.mktemp("converted")
    for quantize in ("int8", "float16", "float32"):
        successful(script("convert.py", "--index", photos / "index.csv", "--model", trained, "--quantize", quantize,
                          "--output", folder / f"{quantize}.tflite"))
    return folder
