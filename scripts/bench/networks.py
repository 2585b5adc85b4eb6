"""Write the networks that `make bench` measures, as .tflite and .onnx: PYTHONPATH=scripts python networks.py FOLDER."""
import shutil
import sys
from pathlib import Path

import keras
import tensorflow as tf
import tf2onnx

from common import ROOT
from training.tflite import frozen_graph


def reference() -> bytes:
    """The reference's network, with random weights, as speed doesn't depend on them."""
    inception = keras.applications.InceptionV3(weights=None, include_top=False, input_shape=(150, 150, 3))
    features = keras.layers.Flatten()(inception.get_layer("mixed7").output)
    hidden = keras.layers.Dense(1024, "relu")(features)
    network = keras.Model(inception.input, keras.layers.Dense(10, "softmax")(hidden))
    return tf.lite.TFLiteConverter.from_concrete_functions([frozen_graph(network)]).convert()


def main() -> None:
    folder = Path(sys.argv[1])
    shutil.copy(ROOT / "artifacts/release/model.tflite", folder / "large.tflite")
    shutil.copy(ROOT / "artifacts/release/model-small.tflite", folder / "small.tflite")
    (folder / "reference.tflite").write_bytes(reference())
    for file in folder.glob("*.tflite"):
        tf2onnx.convert.from_tflite(str(file), opset=18, output_path=str(file.with_suffix(".onnx")))


if __name__ == "__main__":
    main()
