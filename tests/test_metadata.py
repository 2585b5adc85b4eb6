"""MediaPipe Tasks, whose code is the same on Android, iOS and in browsers, reads our model files."""
import json
import subprocess

import pytest
from PIL import Image

import colour_model
from conftest import ROOT

PYTHON = ROOT / ".venv" / "mediapipe" / "bin" / "python"
CLASSIFY = """
import json, sys
import mediapipe
from mediapipe.tasks.python import BaseOptions, vision
options = vision.ImageClassifierOptions(BaseOptions(model_asset_path=sys.argv[1]))
with vision.ImageClassifier.create_from_options(options) as classifier:
    answer = classifier.classify(mediapipe.Image.create_from_file(sys.argv[2]))
print(json.dumps({head.head_name: [(category.category_name, category.score) for category in head.categories]
                  for head in answer.classifications}))
"""


@pytest.mark.parametrize("model, label", [
    ("colour", "red"), ("model.tflite", "pants"), ("model-small.tflite", "pants")])
def test_mediapipe_classifies_with_our_models(tmp_path, model, label):
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is not there; `make .venv/mediapipe/.installed` makes it")
    path, photo = ROOT / "artifacts" / "release" / model, ROOT / "tests" / "photos" / "pants" / "jeans.jpg"
    if model == "colour":
        path, photo = colour_model.write(tmp_path / "model.tflite"), tmp_path / "red.png"
        Image.new("RGB", (30, 40), colour_model.COLOURS["red"]).save(photo)
    answer = json.loads(subprocess.check_output([PYTHON, "-c", CLASSIFY, path, photo], text=True))
    probabilities, [[_, familiarity]] = answer["probability"], answer["familiarity"]
    assert probabilities[0][0] == label and probabilities[0][1] > 0.6
    assert sum(score for _, score in probabilities) == pytest.approx(1, abs=1e-5)
    assert 0.7 < familiarity < 1.001
