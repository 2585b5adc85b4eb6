"""scripts/predict.py as its users call it, in the environment with only the packages that serving needs."""
import json
import os
import subprocess

import pytest
from PIL import Image

import colour_model
from conftest import ROOT

PYTHON = ROOT / ".venv" / "ai-edge-litert" / "bin" / "python"


@pytest.fixture(scope="module", autouse=True)
def serving_environment():
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is not there; `make .venv/ai-edge-litert/.installed` makes it")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, a photo per colour, a dark one and a grey one, files that should be ignored, and broken files."""
    folder = tmp_path_factory.mktemp("predict")
    colour_model.write(folder / "model.tflite", confidence_threshold=0.6, familiarity_threshold=0.9)
    (folder / "photos" / "deeper" / ".hidden").mkdir(parents=True)
    for name, colour in [*colour_model.COLOURS.items(), ("deeper/grey", (128, 128, 128)), ("deeper/.hidden/no", "red")]:
        Image.new("RGB", (60, 80), colour).save(folder / "photos" / f"{name}.jpg")
    (folder / "photos" / "green.jpg").rename(folder / "photos" / "GREEN.JPEG")
    (folder / "photos" / "._red.jpg").write_bytes(b"metadata that macOS writes on other file systems")
    Image.new("RGB", (60, 80), (30, 0, 0)).save(folder / "dark.jpg")
    (folder / "photos" / "notes.md").write_text("no photo")
    (folder / "list.txt").write_text("photos/red.jpg\ngone.jpg\n")
    (folder / "cut.jpg").write_bytes((folder / "photos" / "red.jpg").read_bytes()[:400])
    (folder / "none").mkdir()
    return folder


def predict(folder, *arguments, model="model.tflite", **environment):
    return subprocess.run([PYTHON, ROOT / "scripts" / "predict.py", "--model", model, *arguments], cwd=folder,
                          capture_output=True, encoding="utf-8", stdin=subprocess.DEVNULL,
                          env={**os.environ, "PYTHONIOENCODING": "utf-8", "COLUMNS": "60", **environment})


def test_one_photo_gets_a_bar_per_label_highest_first(folder):
    result = predict(folder, "photos/red.jpg")
    title, *bars = result.stdout.splitlines()
    assert (result.returncode, result.stderr, title) == (0, "", "photos/red.jpg: red")
    assert [bar.split()[0] for bar in bars] == ["red", "blue", "green"]
    assert [float(bar.split()[1][:-1]) for bar in bars] == pytest.approx([96.6, 1.7, 1.7], abs=1)
    assert bars[0].count("█") > 30 and bars[1].count("█") <= 1


@pytest.mark.parametrize("columns, least, most", [("24", 20, 24), ("60", 50, 60), ("500", 90, 100)])
def test_bars_fit_the_terminal(folder, columns, least, most):
    lines = predict(folder, "photos/red.jpg", COLUMNS=columns).stdout.splitlines()[1:]
    assert least <= max(map(len, lines)) <= most


def test_a_terminal_without_utf8_gets_plain_characters(folder):
    result = predict(folder, "photos/red.jpg", PYTHONIOENCODING="ascii")
    assert result.returncode == 0 and "####" in result.stdout and result.stdout.isascii()


def test_top_limits_the_bars(folder):
    assert len(predict(folder, "photos/red.jpg", "--top", "2").stdout.splitlines()) == 3


@pytest.mark.parametrize("photo, title", [("dark.jpg", "dark.jpg: red (low confidence)"),
                                          ("photos/deeper/grey.jpg", "photos/deeper/grey.jpg: blue (unfamiliar)")])
def test_the_note_tells_an_unfamiliar_photo_from_low_confidence(folder, photo, title):
    assert predict(folder, photo).stdout.splitlines()[0] == title


def test_a_folder_gets_a_line_per_photo_and_a_count_per_label(folder):
    result = predict(folder, "photos", "photos/red.jpg", "dark.jpg")
    *lines, total = result.stdout.splitlines()
    found = [(line.split()[0], *line.split("%")[1].split()) for line in lines]
    assert result.returncode == 0 and found == [
        ("green", "photos/GREEN.JPEG"), ("blue", "photos/blue.jpg"), ("blue", "unfamiliar", "photos/deeper/grey.jpg"),
        ("red", "photos/red.jpg"), ("red", "photos/red.jpg"), ("red", "low", "confidence", "dark.jpg")]
    assert total == "6 of 6 photos labelled: 3 red, 2 blue, 1 green"


def test_json_lines_hold_each_photo_and_each_error(folder):
    result = predict(folder, "--json", "photos/red.jpg", "gone.jpg", "photos/deeper", "dark.jpg")
    red, gone, grey, dark = map(json.loads, result.stdout.splitlines())
    assert (red["image"], red["label"], red["familiarity"]) == ("photos/red.jpg", "red", pytest.approx(0.99, abs=0.01))
    assert [(row["familiar"], row["confident"]) for row in (red, grey, dark)] == [
        (True, True), (False, False), (True, False)]
    assert list(red["probabilities"])[0] == "red" and sum(red["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert gone == {"image": "gone.jpg", "error": "No such file or directory"}
    assert result.returncode == 1


@pytest.mark.parametrize("source, said", [
    ("cut.jpg", "is the file complete?"),
    ("photos/notes.md", "not an image"),  # tried, because the user named it
    ("none", "holds no photo (.jpg"),
    ("http://127.0.0.1/shirt.jpg", "not a public address"),
])
def test_an_unreadable_photo_is_reported_and_the_others_are_labelled(folder, source, said):
    result = predict(folder, source, "photos/red.jpg")
    assert result.returncode == 1
    assert result.stderr.startswith(f"{source}: ") and said in result.stderr and len(result.stderr.splitlines()) == 1
    assert result.stdout.splitlines()[0].startswith("red ")
    assert result.stdout.splitlines()[1] == "1 of 2 photos labelled: 1 red"


@pytest.mark.parametrize("model, said", [
    ("gone.tflite", "there is no model gone.tflite"), ("photos", "there is no model photos"),
    ("cut.jpg", "not a model"), ("headless.tflite", "can't load the model"),
])
def test_a_file_that_is_not_a_model_is_refused(folder, model, said):
    (folder / "headless.tflite").write_bytes((folder / "model.tflite").read_bytes()[500:])
    result = predict(folder, "photos/red.jpg", model=model)
    assert result.returncode == 1 and said in result.stderr and "make model.tflite" in result.stderr
    assert result.stdout == "" and len(result.stderr.splitlines()) == 1


def test_control_characters_in_names_do_not_reach_the_terminal(folder):
    name = "evil\x1b[2J\n.jpg"
    (folder / name).write_bytes((folder / "photos" / "red.jpg").read_bytes())
    assert predict(folder, name).stdout.startswith("evil?[2J?.jpg: red\n")
    assert json.loads(predict(folder, "--json", name).stdout)["image"] == name


def test_lists_and_globs_are_expanded(folder):
    result = predict(folder, "list.txt", "photos/d*")
    *lines, _ = result.stdout.splitlines()
    assert [line.split()[-1] for line in lines] == ["photos/red.jpg", "photos/deeper/grey.jpg"]
    assert result.stderr == "gone.jpg: No such file or directory\n"


def test_a_closed_pipe_causes_no_error_message(folder):
    process = subprocess.Popen([PYTHON, ROOT / "scripts" / "predict.py", "--model", "model.tflite", "photos"],
                               cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    process.wait()


def test_the_environment_has_no_tensorflow():
    result = subprocess.run([PYTHON, "-c", "import tensorflow"], capture_output=True, text=True)
    assert "ModuleNotFoundError" in result.stderr
