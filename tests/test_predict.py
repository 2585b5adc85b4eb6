"""scripts/predict.py as its users call it, in the environment with only the packages that serving needs."""
import json
import os
import subprocess

import pytest

import colour_model
from api import picture
from conftest import ROOT

PYTHON = ROOT / ".venv" / "ai-edge-litert" / "bin" / "python"


@pytest.fixture(scope="module", autouse=True)
def serving_environment():
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is not there; `make .venv/ai-edge-litert/.installed` makes it")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, a photo per colour, a dark one and a grey one, a list, and files that are no photo or no model."""
    folder = tmp_path_factory.mktemp("predict")
    colour_model.write(folder / "model.tflite", confidence_threshold=0.6, familiarity_threshold=0.9)
    (folder / "headless.tflite").write_bytes((folder / "model.tflite").read_bytes()[500:])
    (folder / "photos" / "deeper").mkdir(parents=True)
    for name, colour in {"photos/red.jpg": "red", "photos/GREEN.JPEG": "green", "photos/blue.jpg": "blue",
                         "photos/deeper/grey.jpg": "grey", "dark.jpg": (30, 0, 0)}.items():
        (folder / name).write_bytes(picture(colour))
    (folder / "photos" / "notes.md").write_text("no photo")
    (folder / "list.txt").write_text("photos/red.jpg\ngone.jpg\n")
    return folder


def predict(folder, *arguments, model="model.tflite", **environment):
    return subprocess.run([PYTHON, ROOT / "scripts" / "predict.py", "--model", model, *arguments], cwd=folder,
                          capture_output=True, encoding="utf-8", stdin=subprocess.DEVNULL,
                          env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment})


def test_one_photo_gets_a_bar_per_label_highest_first(folder):
    result = predict(folder, "photos/red.jpg")
    title, *bars = result.stdout.splitlines()
    assert (result.returncode, result.stderr, title) == (0, "", "photos/red.jpg: red")
    assert [bar.split()[0] for bar in bars] == ["red", "blue", "green"]
    assert [float(bar.split()[1][:-1]) for bar in bars] == pytest.approx([96.6, 1.7, 1.7], abs=1)
    assert bars[0].count("█") > 30 and bars[1].count("█") <= 1


def test_a_terminal_without_utf8_gets_plain_characters(folder):
    result = predict(folder, "photos/red.jpg", PYTHONIOENCODING="ascii")
    assert result.returncode == 0 and "####" in result.stdout and result.stdout.isascii()


def test_each_photo_gets_its_label_and_a_note_if_the_model_is_not_sure(folder):
    result = predict(folder, "photos", "photos/red.jpg", "dark.jpg")
    assert result.returncode == 0 and result.stdout.splitlines()[::4] == [
        "photos/GREEN.JPEG: green", "photos/blue.jpg: blue", "photos/deeper/grey.jpg: blue (unfamiliar)",
        "photos/red.jpg: red", "photos/red.jpg: red", "dark.jpg: red (low confidence)"]


def test_json_lines_hold_an_object_for_each_photo_and_each_error_of_lists_and_globs(folder):
    result = predict(folder, "--json", "list.txt", "photos/d*", "dark.jpg")
    gone, red, grey, dark = sorted(map(json.loads, result.stdout.splitlines()), key=lambda row: "error" not in row)
    assert (red["image"], red["label"], red["familiarity"]) == ("photos/red.jpg", "red", pytest.approx(0.99, abs=0.01))
    assert [(row["familiar"], row["confident"]) for row in (red, grey, dark)] == [
        (True, True), (False, False), (True, False)]
    assert next(iter(red["probabilities"])) == "red" and sum(red["probabilities"].values()) == pytest.approx(1)
    assert (gone["image"], gone["error"]) == ("gone.jpg", "No such file or directory")
    assert (result.returncode, result.stderr) == (1, "")


def test_an_unreadable_photo_is_reported_and_the_others_are_labelled(folder):
    result = predict(folder, "photos/notes.md", "photos/red.jpg")  # the former is tried, because the user named it
    assert result.returncode == 1
    assert result.stderr.startswith("photos/notes.md: not an image") and len(result.stderr.splitlines()) == 1
    assert result.stdout.startswith("photos/red.jpg: red\n")


@pytest.mark.parametrize("model, said", [
    ("photos", "'photos'"), ("list.txt", "not a model"), ("headless.tflite", "can't load the model"),
])
def test_a_file_that_is_not_a_model_is_refused_in_one_line(folder, model, said):
    result = predict(folder, "photos/red.jpg", model=model)
    assert result.returncode == 1 and said in result.stderr and "make model.tflite" in result.stderr
    assert result.stdout == "" and len(result.stderr.splitlines()) == 1


def test_control_characters_in_names_do_not_reach_the_terminal(folder):
    name = "evil\x1b[2J\n.jpg"
    (folder / name).write_bytes(picture("red"))
    assert predict(folder, name).stdout.startswith("evil?[2J?.jpg: red\n")
    assert json.loads(predict(folder, "--json", name).stdout)["image"] == name


def test_a_closed_pipe_causes_no_error_message(folder):
    with subprocess.Popen([PYTHON, ROOT / "scripts" / "predict.py", "--model", "model.tflite", "photos"],
                          cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""


def test_the_environment_has_no_tensorflow():
    result = subprocess.run([PYTHON, "-c", "import tensorflow"], capture_output=True, text=True)
    assert "ModuleNotFoundError" in result.stderr
