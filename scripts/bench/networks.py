"""The networks of `make bench` in the formats that the engines load. They are kept, as making them takes minutes."""
import sys
from pathlib import Path

from bench.contenders import CONVERTED, NETWORKS
from common import atomic


def make_networks() -> None:
    """Write the files that are missing or older than their source. One that can't be made is left out."""
    makers = [(NETWORKS["reference"], make_reference, Path(__file__))]
    makers += [(CONVERTED / f"{name}.onnx", make_onnx, source) for name, source in NETWORKS.items()]
    for path, make, source in makers:
        if path.exists() and source.exists() and path.stat().st_mtime >= source.stat().st_mtime:
            continue
        print(f"making {path.name} …", flush=True)
        path.unlink(missing_ok=True)
        try:
            with atomic(path) as temporary:
                make(temporary, source)
        except Exception as error:  # the tables say that it is missing
            print(f"{path.name} can't be made: {type(error).__name__}: {error}", file=sys.stderr)


def make_reference(path: Path, _: Path) -> None:
    """The network that the reference describes: 47.5 million weights in float32, for 150 x 150 pixels in 0..1.

    It is InceptionV3 up to mixed7, Flatten, Dense 1024, Dense 10. Speed doesn't depend on the weights: they are random.
    """
    import keras
    import tensorflow as tf

    from training.tflite import frozen_graph

    inception = keras.applications.InceptionV3(weights=None, include_top=False, input_shape=(150, 150, 3))
    features = keras.layers.Flatten()(inception.get_layer("mixed7").output)
    hidden = keras.layers.Dense(1024, "relu")(features)
    network = keras.Model(inception.input, keras.layers.Dense(10, "softmax")(hidden))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen_graph(network)])
    path.write_bytes(converter.convert())


def make_onnx(path: Path, source: Path) -> None:
    import tf2onnx

    tf2onnx.convert.from_tflite(str(source), opset=18, output_path=str(path))
