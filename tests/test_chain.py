"""The whole chain by make, on drawn garments with a real backbone: from nothing to a model that has learnt."""
import json
import os
import shutil
import subprocess
import zipfile

import pytest
from conftest import ROOT

VARIABLES = ["DATASET=drawn", "BACKBONE=efficientnet-lite0", "TRAIN_FLAGS=--size 128x96 --epochs 1"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project without its data and artifacts; calling it runs make in it."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("Makefile", "requirements-train.txt", "requirements-serve.txt", "scripts", "lambda"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, folder / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE") and key != "MFLAGS"}

    def make(*arguments):
        return subprocess.run(["make", *arguments, *VARIABLES], cwd=folder, capture_output=True, text=True,
                              env=environment, timeout=1200)
    make.path = folder
    return make


def test_from_nothing_to_a_model_that_has_learnt(project):
    for target in ("model.tflite", "report"):
        done = project(target)
        assert done.returncode == 0, done.stderr
    metrics = json.loads((project.path / "artifacts/report/metrics.json").read_text())
    assert metrics["splits"]["test"]["accuracy"] > 0.7  # chance is 0.1
    with zipfile.ZipFile(project.path / "artifacts/model.tflite") as archive:
        assert json.loads(archive.read("metadata.json"))["dataset"] == "drawn"
    assert "<h1" in (project.path / "artifacts/report/report.html").read_text()


def test_a_second_make_does_nothing(project):
    assert project("-q", "model.tflite", "report").returncode == 0


def test_predict_names_the_garment(project):
    photos = sorted((project.path / "data/drawn/test/pants").glob("*.jpg"))
    done = project("--silent", "predict", f"IMAGE={photos[0].relative_to(project.path)}")
    assert done.returncode == 0 and "pants" in done.stdout
