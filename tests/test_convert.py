"""Conversion to TensorFlow Lite: number formats, interpreters, the record, and models that conversion would spoil."""
import json
import subprocess

import numpy as np
import pytest
from conftest import ROOT
from convert import is_spoilt
from model import Model
from training.index import read_index, write_index
from training.record import load_model, save_model
from training_runs import load, record_of, script, successful

RUNTIMES = {name: ROOT / ".venv" / name / "bin/python" for name in ("ai-edge-litert", "tflite-runtime")}

LOOK = """
import sys, json; sys.path.insert(0, sys.argv[1])
import numpy as np, model
m = model.Model(sys.argv[2])
image = np.random.default_rng(1).integers(0, 256, (*m.size, 3), np.uint8)
details = [m._interpreter.get_input_details()[0]["dtype"], m._interpreter.get_output_details()[0]["dtype"]]
kinds = [str(np.dtype(kind)) for kind in details]
print(json.dumps([kinds, m.labels, m.size, m.predict(image)[0].tolist(), m.record["quantize"]]))
"""


@pytest.mark.parametrize("quantize", ["int8", "float16", "float32"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_format_loads_in_both_runtimes(converted, trained, runtime, quantize):
    if not RUNTIMES[runtime].exists():
        pytest.skip(f"{runtime} has no wheel for this Python; `make test PYTHON=python3.11` tests it")
    command = [RUNTIMES[runtime], "-c", LOOK, ROOT / "lambda", converted / f"{quantize}.tflite"]
    done = successful(subprocess.run(command, capture_output=True, text=True, timeout=60))
    kinds, labels, size, probabilities, recorded = json.loads(done.stdout)
    assert kinds == ["uint8", "float32"] and size == [64, 48] and recorded == quantize
    assert labels == record_of(trained)["labels"] and sum(probabilities) == pytest.approx(1, abs=1e-5)


def test_the_formats_agree_with_keras(photos, converted, trained):
    images = load(photos, "validation").images
    wanted = np.concatenate(load_model(trained).predict(images.astype("float32"), verbose=0), axis=1)
    for quantize, tolerance in (("float32", 1e-4), ("float16", 1e-2), ("int8", 0.25)):
        model = Model(converted / f"{quantize}.tflite")
        answers = [np.append(*model.predict(image)) for image in images]
        np.testing.assert_allclose(answers, wanted, atol=tolerance)


def test_a_converted_model_carries_its_record(converted):
    record = Model(converted / "int8.tflite").record
    assert {"created", "dataset", "data_digest", "commit", "backbone", "flags", "quantize", "temperature", "history",
            "suspects", "confidence_threshold", "familiarity_threshold"} <= set(record)
    assert 0 < record["confidence_threshold"] < 1 and record["metrics"]["validation"]["agreement"] >= 0.97
    sizes = {path.stem: path.stat().st_size for path in converted.iterdir()}
    assert sizes["int8"] < sizes["float32"]


@pytest.mark.parametrize("quantize", ["int8", "float16", "float32"])
def test_equal_vectors_are_stored_once_and_weights_are_aligned(converted, quantize):
    from tensorflow.lite.python.schema_py_generated import Model
    content = (converted / f"{quantize}.tflite").read_bytes()
    model = Model.GetRootAs(content)
    buffers = [model.Buffers(number) for number in range(model.BuffersLength())]
    # 4 is the place of `data` among the fields of a buffer, 10 that of `zero_point` in a tensor's quantization.
    places = [buffer._tab.Vector(buffer._tab.Offset(4)) for buffer in buffers if buffer.DataLength()]
    assert places and all(place % 16 == 0 for place in places)
    tensors = [model.Subgraphs(0).Tensors(number) for number in range(model.Subgraphs(0).TensorsLength())]
    scales = [tensor.Quantization() for tensor in tensors if tensor.Quantization()]
    zeros = {(each.ZeroPointLength(), each._tab.Vector(each._tab.Offset(10))) for each in scales
             if each.ZeroPointLength() > 1}
    assert len(zeros) == len({length for length, _ in zeros}) and (len(zeros) > 2 or quantize != "int8")


def test_the_tensors_of_a_file_have_unique_names(converted):
    from tensorflow.lite.python.schema_py_generated import Model
    graph = Model.GetRootAs((converted / "int8.tflite").read_bytes()).Subgraphs(0)
    names = [graph.Tensors(number).Name() for number in range(graph.TensorsLength())]
    assert len(names) == len(set(names)) and {b"probabilities", b"familiarity"} <= set(names)


def convert(index, model, output):
    return script("convert.py", "--index", index, "--model", model, "--output", output)


def test_a_conversion_that_changes_the_answers_writes_nothing(photos, trained, tmp_path):
    # The same answers, but one feature is so much larger than the others that eight bits hold nothing of them.
    model = load_model(trained)
    norm, head = model.get_layer("backbone").layers[-2], model.get_layer("logits")
    gamma, beta, *statistics = norm.get_weights()
    kernel, bias = head.get_weights()
    gamma, beta, kernel = gamma * 1e-4, beta * 1e-4, kernel * 1e4
    gamma[0], beta[0], kernel[0] = 0, 6, 0
    norm.set_weights([gamma, beta, *statistics])
    head.set_weights([kernel, bias])
    save_model(model, record_of(trained), tmp_path / "model.keras")
    (tmp_path / "model.tflite").write_bytes(b"the previous model")
    done = convert(photos / "index.csv", tmp_path / "model.keras", tmp_path / "model.tflite")
    assert done.returncode == 1 and "QUANTIZE=float16 changes less" in done.stderr
    assert (tmp_path / "model.tflite").read_bytes() == b"the previous model"
    assert {path.name for path in tmp_path.iterdir()} == {"model.keras", "model.tflite"}


@pytest.mark.parametrize("photos, lost, gained, changed, spoilt", [
    (20, 1, 0, 1, False), (20, 2, 0, 2, True), (20, 1, 1, 2, False), (20, 0, 0, 3, True), (341, 0, 8, 8, False),
    (5000, 50, 0, 50, False), (5000, 70, 0, 70, True), (5000, 0, 0, 150, False), (5000, 0, 0, 180, True)])
def test_changes_that_chance_explains_do_not_spoil_a_model(photos, lost, gained, changed, spoilt):
    before, after, targets = np.zeros(photos, int), np.zeros(photos, int), np.zeros(photos, int)
    after[:lost] = 1
    before[lost:lost + gained] = 1
    before[lost + gained:changed], after[lost + gained:changed] = 1, 2  # both are wrong
    assert is_spoilt(before, after, targets) == spoilt


def test_a_model_of_other_labels_is_refused(photos, trained, tmp_path):
    write_index(tmp_path / "index.csv", [row for row in read_index(photos / "index.csv") if row.label != "hue 3"])
    done = convert(tmp_path / "index.csv", trained, tmp_path / "model.tflite")
    assert done.returncode == 1 and "the labels hue 0, hue 1" in done.stderr
