"""The whole chain by make, on drawn garments with a real backbone: from nothing to a model that has learnt."""
import json
import subprocess
import zipfile

from conftest import clean_environment, project_copy

VARIABLES = ["DATASET=drawn", "BACKBONE=efficientnet-lite0", "TRAIN_FLAGS=--size 128x96 --epochs 1"]


def test_a_fresh_copy_trains_a_model_that_has_learnt_and_a_second_make_does_nothing(tmp_path):
    project = project_copy(tmp_path)

    def make(*arguments):
        return subprocess.run(["make", *arguments, *VARIABLES], cwd=project, capture_output=True, text=True,
                              env=clean_environment(), timeout=1200)

    for target in ("model.tflite", "report"):
        done = make(target)
        assert done.returncode == 0, done.stderr
    metrics = json.loads((project / "artifacts/report/metrics.json").read_text())
    assert metrics["splits"]["test"]["accuracy"] > 0.7  # chance is 0.1
    with zipfile.ZipFile(project / "artifacts/model.tflite") as archive:
        assert json.loads(archive.read("metadata.json"))["dataset"] == "drawn"
    assert "<h1" in (project / "artifacts/report/report.html").read_text()
    assert make("-q", "model.tflite", "report").returncode == 0
    photo = min((project / "data/drawn/test/pants").glob("*.jpg"))
    done = make("--silent", "predict", f"IMAGE={photo.relative_to(project)}")
    assert done.returncode == 0 and "pants" in done.stdout
