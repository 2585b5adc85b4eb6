"""scripts/export_onnx.py writes an ONNX file only if it gives the labels of model.tflite."""
import numpy as np
import pytest
from PIL import Image

import colour_model
from training.index import Photo, write_index
from training_runs import script


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """model.keras, which names the strongest colour, its model.tflite, a file of another model, and six photos."""
    folder = tmp_path_factory.mktemp("onnx")
    colour_model.keras_model().save(folder / "model.keras")
    colour_model.write(folder / "model.tflite", confidence_threshold=0.6, familiarity_threshold=0.9)
    colour_model.write(folder / "other.tflite", sharpness=-5)
    photos = []
    for label, colour in colour_model.COLOURS.items():
        for split in ("train", "validation"):
            path = folder / f"{split}-{label}.png"
            Image.new("RGB", (30, 40), colour).save(path)
            photos.append(Photo(path, label, split, "0" * 64))
    write_index(folder / "index.csv", photos)
    return folder


def export(folder, tflite: str):
    return script("export_onnx.py", "--index", folder / "index.csv", "--model", folder / "model.keras", "--tflite",
                  folder / tflite, "--output", folder / f"{tflite}.onnx")


def test_the_network_its_labels_and_its_thresholds_are_exported(folder):
    import onnxruntime

    result = export(folder, "model.tflite")
    assert result.returncode == 0 and "100.0% of 3 photos" in result.stdout, result.stderr
    session = onnxruntime.InferenceSession(folder / "model.tflite.onnx")
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["labels"].split("\n") == [*colour_model.LABELS]
    assert (facts["confidence_threshold"], facts["familiarity_threshold"]) == ("0.6", "0.9")
    red = np.full((1, *colour_model.SIZE, 3), colour_model.COLOURS["red"], np.uint8)
    [probabilities], familiarity = session.run(["probabilities", "familiarity"], {session.get_inputs()[0].name: red})
    assert probabilities.argmax() == colour_model.LABELS.index("red")
    assert probabilities.sum() == pytest.approx(1, abs=1e-5) and familiarity == pytest.approx(0.99, abs=0.01)


def test_a_network_that_disagrees_with_the_tflite_file_is_not_written(folder):
    result = export(folder, "other.tflite")
    assert result.returncode == 1 and "agree on only 0.0%" in result.stderr
    assert not (folder / "other.tflite.onnx").exists()
