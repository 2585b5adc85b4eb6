"""Export a trained Keras model to ONNX in floating point, and check it against its model.tflite.

    python scripts/export_onnx.py --index data/clothing/index.csv --model artifacts/model.keras \\
        --tflite artifacts/model.tflite --output artifacts/model.onnx

The network takes the array that `preprocess` returns, as uint8 [1, H, W, 3]. Its outputs are `probabilities`, float32
[1, labels], and `familiarity`, float32 [1, 1]. Its metadata_props hold the labels and the two thresholds.
"""
import argparse
import tempfile
from pathlib import Path

from common import atomic, fail
from training.index import read_index
from training.record import load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True, help="index.csv of the photos to check it with")
    parser.add_argument("--model", type=Path, required=True, help="Keras model by scripts/train.py")
    parser.add_argument("--tflite", type=Path, required=True, help="model.tflite by scripts/convert.py, of that model")
    parser.add_argument("--output", type=Path, required=True, help="the file to write (.onnx)")
    args = parser.parse_args()
    photos = [photo for photo in read_index(args.index) if photo.split == "validation"]

    import onnx
    import onnxruntime
    import tf2onnx

    from serving import THRESHOLDS, Model, preprocess
    from training.tflite import to_tflite

    tflite = Model(args.tflite)
    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:  # the converter knows its operations best
        file.write(to_tflite(load_model(args.model), "float32"))
        file.flush()
        model, _ = tf2onnx.convert.from_tflite(file.name, opset=18)
    properties = {name: str(tflite.record[name]) for name in THRESHOLDS}
    onnx.helper.set_model_props(model, {"labels": "\n".join(tflite.labels), **properties})
    session = onnxruntime.InferenceSession(model.SerializeToString())
    pixels = session.get_inputs()[0].name
    same = 0
    for photo in photos:
        image = preprocess(photo.path, tflite.size)
        [exported] = session.run(["probabilities"], {pixels: image[None]})
        same += exported.argmax() == tflite.predict(image)[0].argmax()
    agreement = same / len(photos)
    if agreement < 0.97:
        fail(f"the ONNX network and {args.tflite} agree on only {agreement:.1%} of the validation photos; it was not "
             f"written. Was {args.tflite} made from {args.model}? Run make model.tflite")
    with atomic(args.output) as temporary:
        onnx.save(model, temporary)
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.1f} MB in float32; the same label as {args.tflite} for "
          f"{agreement:.1%} of {len(photos)} photos")


if __name__ == "__main__":
    main()
