"""The Makefile's graph, with stubs in place of the scripts: what is built, what is stale, what is left alone."""
import os
import re
import subprocess
import time

import pytest
from conftest import ROOT, clean_environment, project_copy

# Stands for .venv/*/bin/python: notes the script in runs.log and writes its --output, half of it where FAIL names it.
STUB = """#!/usr/bin/env bash
script=$1; echo "$(basename "$script")" >>runs.log
while [ $# -gt 0 ]; do if [ "$1" = --output ]; then output=$2; fi; shift; done
mkdir -p "$(dirname "$output")"; printf half >"$output"
if [ "${FAIL:-}" = "$(basename "$script")" ]; then exit 1; fi
printf ' and whole' >>"$output"
"""
CHAIN = {"download_data.py", "fetch_backbone.py", "train.py", "convert.py"}


@pytest.fixture
def project(tmp_path):
    """A copy of the project's files, its environments replaced by stubs; calling it runs make in it."""
    project_copy(tmp_path, environments=False)
    for name in ("train", "ai-edge-litert"):
        python = tmp_path / ".venv" / name / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(STUB)
        python.chmod(0o755)
        (tmp_path / ".venv" / name / ".installed").touch()

    def make(*arguments, **environment):
        return subprocess.run(["make", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60,
                              env=clean_environment(**environment))

    def built():
        log = tmp_path / "runs.log"
        runs = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        return sorted(runs)
    make.path, make.built = tmp_path, built
    return make


def test_the_chain_runs_once_and_a_second_make_does_nothing(project):
    assert project("model.tflite").returncode == 0
    assert project.built() == sorted(CHAIN)
    assert project("model.tflite").returncode == 0
    assert project("-q", "model.tflite").returncode == 0
    assert project.built() == []


def test_parallel_make_runs_nothing_twice(project):
    assert project("-j8", "model.tflite", "data", "train", "convert").returncode == 0
    assert project.built() == sorted(CHAIN)
    assert project("-j8", "model.tflite", "report").returncode == 0
    assert project.built() == ["evaluate.py"]


EVERYTHING = CHAIN | {"evaluate.py"}
FROM_TRAINING = {"train.py", "convert.py", "evaluate.py"}


@pytest.mark.parametrize("touched, rebuilt", [
    ("scripts/download_data.py", EVERYTHING - {"fetch_backbone.py"}),
    ("scripts/fetch_backbone.py", EVERYTHING - {"download_data.py"}),
    ("data/clothing/index.csv", FROM_TRAINING),
    ("data/backbones/efficientnet-lite2.keras", FROM_TRAINING),
    ("scripts/train.py", FROM_TRAINING),
    ("scripts/training/head.py", FROM_TRAINING),
    ("scripts/training/fine_tuning.py", FROM_TRAINING),
    ("scripts/training/augmentation.py", FROM_TRAINING),
    ("lambda/preprocess.py", FROM_TRAINING),
    ("scripts/training/metrics.py", FROM_TRAINING),
    ("scripts/common.py", EVERYTHING),
    ("scripts/training/index.py", EVERYTHING - {"fetch_backbone.py"}),
    ("artifacts/model.keras", {"convert.py", "evaluate.py"}),
    ("scripts/training/tflite.py", FROM_TRAINING),
    ("scripts/convert.py", {"convert.py", "evaluate.py"}),
    ("lambda/model.py", FROM_TRAINING),
    ("artifacts/model.tflite", {"evaluate.py"}),
    ("scripts/evaluate.py", {"evaluate.py"}),
    ("scripts/report/page.html", {"evaluate.py"}),
    ("scripts/predict.py", set()),
    ("requirements-train.txt", set()),
])
def test_a_touched_input_rebuilds_exactly_what_follows(project, touched, rebuilt):
    project("model.tflite")
    project("report")
    project.built()
    time.sleep(0.02)  # past the granularity of the file system's clock
    os.utime(project.path / touched)
    (project.path / ".venv/train/.installed").touch()  # pins renew the environment, not the model
    assert project("model.tflite", "report").returncode == 0
    assert project.built() == sorted(rebuilt)
    assert project("-q", "model.tflite", "report").returncode == 0


@pytest.mark.parametrize("variable, rebuilt", [
    ("TRAIN_FLAGS=--epochs 0", FROM_TRAINING),
    ("TRAIN_FLAGS=--note 'it''s'", FROM_TRAINING),
    ("QUANTIZE=float16", {"convert.py", "evaluate.py"}),
    ("BACKBONE=efficientnet-lite0", FROM_TRAINING | {"fetch_backbone.py"}),
    ("BACKBONE_WEIGHTS=my weights.h5", FROM_TRAINING | {"fetch_backbone.py"}),
    ("DATASET=drawn", FROM_TRAINING | {"draw_data.py"}),
    ("DATA_MIRROR=elsewhere", set()),
])
def test_a_changed_variable_rebuilds_exactly_what_follows(project, variable, rebuilt):
    project("model.tflite")
    project("report")
    project.built()
    assert project("-q", "model.tflite", variable).returncode == (1 if rebuilt else 0)
    dry = project("-n", "model.tflite", "report", variable).stdout
    assert {name for name in EVERYTHING | {"draw_data.py"} if f" scripts/{name}" in dry} == rebuilt
    assert project("model.tflite", "report", variable).returncode == 0
    assert project.built() == sorted(rebuilt)
    assert project("-q", "model.tflite", "report", variable).returncode == 0


def test_own_photos_are_indexed_again_when_one_is_added(project):
    photos = project.path / "my photos" / "cats"
    photos.mkdir(parents=True)
    (photos / "1.jpg").write_text("a photo")
    variable = f"DATA={photos.parent}"
    assert project("model.tflite", variable).returncode == 0
    assert project.built() == sorted(CHAIN - {"download_data.py"} | {"index_folder.py"})
    assert project("-q", "model.tflite", variable).returncode == 0
    (photos / "2.jpg").write_text("another")
    assert project("-q", "model.tflite", variable).returncode == 1
    project("data", variable)
    assert project.built() == ["index_folder.py"]


@pytest.mark.parametrize("script, target", [("train.py", "artifacts/model.keras"),
                                            ("convert.py", "artifacts/model.tflite"),
                                            ("download_data.py", "data/clothing/index.csv")])
def test_a_recipe_that_fails_leaves_no_target_behind(project, script, target):
    assert project("model.tflite", FAIL=script).returncode != 0
    assert not (project.path / target).exists()
    assert project("model.tflite").returncode == 0


def test_release_makes_each_stage_once_and_goes_on_where_it_was_stopped(project):
    (project.path / "artifacts/release").mkdir(parents=True)
    assert project("-j2", "release", FAIL="teach.py").returncode != 0
    assert {"teach.py", "train.py"} <= set(project.built())
    assert project("release").returncode == 0
    built = project.built()
    assert built.count("train.py") == 4 and built.count("convert.py") == 2 and "download_data.py" not in built
    released = (project.path / "artifacts/release").iterdir()
    assert {path.name for path in released} == {"model.tflite", "model-small.tflite"}
    assert "train.py" not in project("-n", "release").stdout
    os.utime(project.path / "scripts/teach.py")
    project("release")
    assert project.built().count("train.py") == 4  # the students, each in two stages, not their teachers


def test_a_released_model_is_never_made_by_the_way(project):
    (project.path / "artifacts/release").mkdir(parents=True)
    (project.path / "artifacts/release/model.tflite").touch()
    assert project("report").returncode == 0
    assert project.built() == ["download_data.py", "evaluate.py"]


def test_predict_takes_the_model_as_it_is(project):
    project("model.tflite")
    project.built()
    os.utime(project.path / "scripts/train.py")
    project("predict", "IMAGE=shirt.jpg")
    assert project.built() == ["predict.py"]
    asked = project("predict")
    assert asked.returncode != 0 and "IMAGE is empty" in asked.stderr


def test_clean_keeps_photos_backbones_and_environments_and_distclean_keeps_the_users_own(project):
    project("model.tflite")
    for kept in ("artifacts/release/model.tflite", "data/mine/cats/1.jpg"):
        (project.path / kept).parent.mkdir(parents=True)
        (project.path / kept).touch()
    project("clean")
    left = {str(path.relative_to(project.path)) for path in project.path.rglob("*") if path.is_file()}
    assert {"data/clothing/index.csv", "data/backbones/efficientnet-lite2.keras", "artifacts/release/model.tflite",
            ".venv/train/.installed"} <= left
    assert not left & {"artifacts/model.keras", "artifacts/model.tflite"}
    project("distclean")
    assert (project.path / "data/mine/cats/1.jpg").exists() and (project.path / "artifacts/release/model.tflite").exists()
    assert not (project.path / ".venv").exists() and not (project.path / "data/clothing").exists()


def test_help_names_every_target_and_variable(project):
    text = project().stdout
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)", makefile, re.M).group(1).replace("\\\n", " ").split()
    variables = re.findall(r"^([A-Z_]+) \?=", makefile, re.M)
    for name in [*phony, *variables]:
        assert name == "FORCE" or re.search(rf"^  {re.escape(name)} +\S", text, re.M), name
