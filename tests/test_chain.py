"""The whole chain by make, on drawn garments with a real backbone: from nothing to a model that has learnt."""
import json
import subprocess
import zipfile

import pytest
from conftest import clean_environment, project_copy

VARIABLES = ["DATASET=drawn", "BACKBONE=efficientnet-lite0", "TRAIN_FLAGS=--size 128x96 --epochs 1"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project without data and artifacts, which the tests below fill one after the other."""
    return project_copy(tmp_path_factory.mktemp("project"))


def make(project, *arguments):
    return subprocess.run(["make", *arguments, *VARIABLES], cwd=project, capture_output=True, text=True,
                          env=clean_environment(), timeout=1200)


def test_a_fresh_copy_trains_a_model_that_has_learnt(project):
    for target in ("model.tflite", "report"):
        done = make(project, target)
        assert done.returncode == 0, done.stderr
    metrics = json.loads((project / "artifacts/report/metrics.json").read_text())
    assert metrics["splits"]["test"]["accuracy"] > 0.7  # chance is 0.1
    with zipfile.ZipFile(project / "artifacts/model.tflite") as archive:
        assert json.loads(archive.read("metadata.json"))["dataset"] == "drawn"
    assert "<h1" in (project / "artifacts/report/report.html").read_text()


def test_a_second_make_does_nothing(project):
    assert make(project, "-q", "model.tflite", "report").returncode == 0


def test_predict_names_the_garment(project):
    photo = min((project / "data/drawn/test/pants").glob("*.jpg"))
    done = make(project, "--silent", "predict", f"IMAGE={photo.relative_to(project)}")
    assert done.returncode == 0 and "pants" in done.stdout
