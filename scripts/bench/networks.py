"""The networks that `make bench` runs, in each engine's format; kept, as making them takes minutes.

    python scripts/bench_networks.py artifacts/release/model.tflite … --output artifacts/bench/networks

writes reference.tflite, the network that the reference describes, and for each model NAME the files NAME-int8.onnx and
NAME-float32.keras, .tflite, .onnx. Weights make no difference to speed: the reference's are random, and "float32" is
the model's backbone as it comes from ImageNet, with a random head, at the model's input size. The last line is JSON:
for each .tflite the multiply-adds per photo, and for each file that could not be made, why.
"""
import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="*", help="model.tflite by scripts/convert.py, int8")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    return parser.parse_args()


def reference(path: Path, _: Path) -> None:
    """InceptionV3 up to mixed7 at 150 x 150, Flatten, Dense 1024, Dense 10: 47.5 million weights; takes float32."""
    import keras
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    inception = keras.applications.InceptionV3(weights=None, include_top=False, input_shape=(150, 150, 3))
    features = keras.layers.Flatten()(inception.get_layer("mixed7").output)
    hidden = keras.layers.Dense(1024, "relu")(features)
    model = keras.Model(inception.input, keras.layers.Dense(10, "softmax")(hidden))
    network = tf.function(lambda pixels: model(pixels, training=False)).get_concrete_function(
        tf.TensorSpec((1, 150, 150, 3), tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([convert_variables_to_constants_v2(network)])
    path.write_bytes(converter.convert())


def unquantised(path: Path, model: Path) -> None:
    """The network that a model's record names, in Keras."""
    import keras

    from fetch_backbone import LITE, efficientnet_lite, lite_tensors
    from serving import read_record

    record = read_record(model)
    if record.get("backbone") not in LITE:
        raise ValueError(f"of backbones, only {', '.join(LITE)} can be rebuilt here, not {record.get('backbone')}")
    backbone = efficientnet_lite(*LITE[record["backbone"]], lite_tensors(record["backbone"]))
    pixels = keras.Input((*record["size"], 3), name="pixels")
    pooled = keras.layers.GlobalAveragePooling2D()(backbone(pixels))
    keras.Model(pixels, keras.layers.Dense(len(record["labels"]), "softmax")(pooled)).save(path)


def to_tflite(path: Path, source: Path) -> None:
    import keras

    import tflite
    path.write_bytes(tflite.to_tflite(keras.models.load_model(source, compile=False), "float32"))


def to_onnx(path: Path, source: Path) -> None:
    import tf2onnx
    tf2onnx.convert.from_tflite(str(source), opset=18, output_path=str(path))


def multiply_adds(path: Path) -> int:
    """Of convolutions and dense layers, per photo: each weight is used once per output position."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType
    from numpy import prod

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(path), experimental_op_resolver_type=plain)
    shapes = {tensor["index"]: tensor["shape"] for tensor in interpreter.get_tensor_details()}
    return sum(int(prod(shapes[node["inputs"][1]]) * prod(shapes[node["outputs"][0]][1:-1]))
               for node in interpreter._get_ops_details()
               if node["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"))


def main() -> None:
    args = parse_args()
    from tqdm import tqdm

    from common import atomic

    steps = [(args.output / "reference.tflite", reference, Path(__file__))]
    for model in args.models:
        floats = args.output / f"{model.stem}-float32.keras"
        steps += [(floats, unquantised, model), (floats.with_suffix(".tflite"), to_tflite, floats),
                  (floats.with_suffix(".onnx"), to_onnx, floats.with_suffix(".tflite")),
                  (args.output / f"{model.stem}-int8.onnx", to_onnx, model)]
    facts = {"multiply_adds": {}, "errors": {}}
    with tqdm(steps, unit="file") as bar:
        for path, make, source in bar:
            bar.set_description(f"networks: {path.name}")
            if not source.exists():
                facts["errors"][str(path)] = facts["errors"].get(str(source), f"there is no {source.name}")
                continue
            try:
                if not path.exists() or path.stat().st_mtime < source.stat().st_mtime:
                    with atomic(path) as temporary:
                        make(temporary, source)
            except (Exception, SystemExit) as error:  # a row of the table says so, and the others go on
                facts["errors"][str(path)] = f"{type(error).__name__}: {error}".splitlines()[0]
    for path in [*args.output.glob("*.tflite"), *(model for model in args.models if model.exists())]:
        facts["multiply_adds"][str(path)] = multiply_adds(path)
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
