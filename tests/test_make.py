"""The Makefile, with stubs in place of the scripts: what is built, what is stale, how values reach the scripts."""
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from conftest import ROOT, clean_environment, project_copy

# Stands for the Pythons of the environments and for the shell scripts. It notes the script's name in runs.log and its
# arguments in NAME.args, then writes the --output; it stops halfway in the script that FAIL names.
STUB = """#!/usr/bin/env bash
if [[ $1 == -u ]]; then shift; fi
if [[ $0 == *.sh ]]; then script=$0; else script=$1; shift; fi
name=$(basename "$script")
echo "$name" >>runs.log
printf '%s\\0' "$@" >"$name.args"
printf '%s\\0' "MODEL=${MODEL-}" "STACK=${STACK-}" "PARAMETERS=${PARAMETERS-}" >"$name.env"
output=/dev/null
if [[ $name == docker.sh && $1 == build ]]; then output=$2; fi
while [[ $# -gt 0 ]]; do if [[ $1 == --output ]]; then output=$2; fi; shift; done
mkdir -p "$(dirname "$output")"
printf half >"$output"
if [[ ${FAIL-} == "$name" ]]; then exit 1; fi
printf ' and whole' >>"$output"
"""
CHAIN = {"download_data.py", "fetch_backbone.py", "train.py", "convert.py"}
EVERYTHING = CHAIN | {"evaluate.py"}
FROM_TRAINING = {"train.py", "convert.py", "evaluate.py"}


class Project:
    """A copy of the project in which every script is a stub."""

    def __init__(self, folder: Path):
        self.path = project_copy(folder, environments=False)
        for name in ("train", "ai-edge-litert", "label", "aws"):
            self._stub(f".venv/{name}/bin/python")
            (self.path / ".venv" / name / ".installed").touch()
        for name in ("docker.sh", "deploy.sh", "aws/stack.sh", "aws/label_bucket.sh"):
            self._stub(f"scripts/{name}")
        self.write("bin/docker", "#!/bin/sh\necho ok").chmod(0o755)  # an engine that has every image
        self.write("artifacts/release/model.tflite", "released")

    def _stub(self, name: str) -> None:
        self.write(name, STUB).chmod(0o755)

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def make(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        path, home = f"{self.path / 'bin'}:{os.environ['PATH']}", str(self.path / "home")
        return subprocess.run(["make", *arguments], cwd=self.path, capture_output=True, text=True, timeout=60,
                              env=clean_environment(**{"PATH": path, "HOME": home, **environment}))

    def build(self, *arguments: str, **environment: str) -> list[str]:
        """Run make successfully; the names of the scripts that it ran, sorted."""
        self.ran()
        done = self.make(*arguments, **environment)
        assert done.returncode == 0, done.stderr
        return self.ran()

    def ran(self) -> list[str]:
        """The names of the scripts that ran since the last call, sorted."""
        log = self.path / "runs.log"
        runs = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        return sorted(runs)

    def is_fresh(self, *arguments: str) -> bool:
        return self.make("-q", *arguments).returncode == 0

    def arguments(self, script: str) -> list[str]:
        """The arguments that the script got when it ran last."""
        return (self.path / f"{script}.args").read_text().split("\0")[:-1]

    def environment(self, script: str) -> dict[str, str]:
        entries = (self.path / f"{script}.env").read_text().split("\0")[:-1]
        return dict(entry.split("=", 1) for entry in entries)

    def touch(self, name: str) -> None:
        time.sleep(0.02)  # past the granularity of the file system's clock
        os.utime(self.path / name)


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A project whose model and report are built; tests leave it that way."""
    project = Project(tmp_path_factory.mktemp("built"))
    project.build("model.tflite", "report")
    return project


# What is built and what is stale.

def test_the_chain_runs_once_and_a_second_make_does_nothing(project):
    assert project.build("-j8", "model.tflite", "data", "train", "convert", "report") == sorted(EVERYTHING)
    assert project.build("model.tflite", "report") == []
    assert project.is_fresh("model.tflite", "report")


@pytest.mark.parametrize("touched, rebuilt", [
    ("scripts/download_data.py", EVERYTHING - {"fetch_backbone.py"}),
    ("scripts/training/efficientnet_lite.py", EVERYTHING - {"download_data.py"}),
    ("data/clothing/index.csv", FROM_TRAINING),
    ("data/backbones/efficientnet-lite2.keras", FROM_TRAINING),
    ("scripts/train.py", FROM_TRAINING),
    ("lambda/preprocess.py", FROM_TRAINING),
    ("scripts/common.py", EVERYTHING),
    ("scripts/training/index.py", EVERYTHING - {"fetch_backbone.py"}),
    ("scripts/convert.py", {"convert.py", "evaluate.py"}),
    ("artifacts/model.tflite", {"evaluate.py"}),
    ("scripts/report/page.html", {"evaluate.py"}),
    ("requirements-train.txt", set()),
])
def test_a_touched_input_rebuilds_exactly_what_follows(built, touched, rebuilt):
    built.touch(touched)
    built.touch(".venv/train/.installed")  # new pins renew the environment, not the model
    assert built.build("model.tflite", "report") == sorted(rebuilt)
    assert built.is_fresh("model.tflite", "report")


@pytest.mark.parametrize("variable, rebuilt", [
    ("TRAIN_FLAGS=it's --epochs 0", FROM_TRAINING),
    ("QUANTIZE=float16", {"convert.py", "evaluate.py"}),
    ("BACKBONE=efficientnet-lite0", FROM_TRAINING | {"fetch_backbone.py"}),
    ("BACKBONE_WEIGHTS=my weights.h5", FROM_TRAINING | {"fetch_backbone.py"}),
    ("DATASET=drawn", FROM_TRAINING | {"draw_data.py"}),
    ("EXTRA=data/worn/index.csv", FROM_TRAINING | {"crop_worn.py"}),
    ("DATA_MIRROR=elsewhere", set()),
])
def test_a_changed_variable_rebuilds_exactly_what_follows(built, variable, rebuilt):
    assert built.is_fresh("model.tflite", variable) == (not rebuilt)
    announced = built.make("-n", "model.tflite", "report", variable).stdout
    scripts = EVERYTHING | {"draw_data.py", "crop_worn.py"}
    assert {name for name in scripts if f" scripts/{name}" in announced} == rebuilt
    assert built.build("model.tflite", "report", variable) == sorted(rebuilt)
    assert built.is_fresh("model.tflite", "report", variable)
    built.build("model.tflite", "report")


@pytest.mark.parametrize("change", [
    ["-W", "lambda/lambda_function.py"], ["-W", "lambda/index.html"], ["-W", "requirements-serve.txt"],
    ["-W", "lambda/Dockerfile"], ["BASE_IMAGE=another"], ["ARCH=arm64"], ["RUNTIME=tflite-runtime"],
    ["MODEL=same name.tflite"]])
def test_the_image_is_stale_when_anything_that_it_is_made_of_changes(built, change):
    built.build("docker-run")
    built.write("same name.tflite", "other content")
    assert "docker.sh build" not in built.make("-n", "docker-run").stdout
    assert "docker.sh build" in built.make("-n", "docker-run", *change).stdout


def test_an_image_that_the_engine_has_lost_is_stale(built):
    built.build("docker-run")
    built.write("empty/docker", "#!/bin/sh\nexit 1").chmod(0o755)
    path = f"{built.path / 'empty'}:{os.environ['PATH']}"
    assert "docker.sh build" in built.make("-n", "docker-run", PATH=path).stdout


@pytest.mark.parametrize("before, after", [("my_weights.h5", "my weights.h5"), ("aa", "a"), ("a", "")])
def test_similar_values_are_told_apart(project, before, after):
    project.build("train", f"TRAIN_FLAGS={before}")
    assert not project.is_fresh("train", f"TRAIN_FLAGS={after}")


def test_own_photos_are_indexed_again_when_one_is_added(project):
    project.write("my photos/cats/1.jpg", "a photo")
    variable = f"DATA={project.path / 'my photos'}"
    assert project.build("model.tflite", variable) == sorted(CHAIN - {"download_data.py"} | {"index_folder.py"})
    assert project.is_fresh("model.tflite", variable)
    project.write("my photos/cats/2.jpg", "another")
    assert project.build("data", variable) == ["index_folder.py"]


def test_a_recipe_that_fails_leaves_no_target_behind(project):
    assert project.make("model.tflite", FAIL="train.py").returncode != 0
    assert not (project.path / "artifacts/model.keras").exists()
    assert project.make("model.tflite").returncode == 0


def test_release_builds_each_stage_once_and_continues_where_it_was_stopped(project):
    assert project.make("release", FAIL="convert.py").returncode != 0
    assert project.ran().count("train.py") == 1  # the large model
    runs = project.build("release")
    assert runs.count("train.py") == 1 and runs.count("convert.py") == 2 and "download_data.py" not in runs
    assert project.arguments("train.py")[-2:] == ["--teacher", "artifacts/stages/large/model.keras"]
    released = (project.path / "artifacts/release").iterdir()
    assert {path.name for path in released} == {"model.tflite", "model-small.tflite"}
    assert "train.py" not in project.make("-n", "release").stdout
    project.touch("data/backbones/efficientnet-lite0.keras")  # the student is trained again, the teacher is not
    assert project.build("release").count("train.py") == 1


# Which model is used.

def test_the_model_that_the_same_make_builds_is_used(project):
    project.build("-j4", "model.tflite", "report", "docker-run")
    report = project.arguments("evaluate.py")
    assert report[report.index("--model") + 1] == "artifacts/model.tflite"
    assert project.environment("docker.sh")["MODEL"] == "artifacts/model.tflite"
    assert project.is_fresh("report") and project.is_fresh("artifacts/image.iid")


def test_without_an_own_model_the_released_one_is_used_and_nothing_is_trained(project):
    assert project.build("report", "docker-run") == ["docker.sh", "docker.sh", "download_data.py", "evaluate.py"]
    assert project.environment("docker.sh")["MODEL"] == "artifacts/release/model.tflite"


def test_a_model_is_taken_as_it_is_even_if_its_sources_have_changed(project):
    project.build("model.tflite")
    project.touch("scripts/training/augmentation.py")
    for target in ("report", "predict", "label", "serve", "docker-run", "deploy", "deploy-plan"):
        assert not set(project.build(target, "IMAGE=shirt.jpg")) & {"train.py", "convert.py"}, target


def test_a_model_is_tracked_by_its_content(project):
    model = project.write("my model.tflite", "one")
    project.build("report", f"MODEL={model}")
    project.touch("my model.tflite")
    assert project.is_fresh("report", f"MODEL={model}")
    model.write_text("two")
    assert project.build("report", f"MODEL={model}") == ["evaluate.py"]
    assert not project.is_fresh("report")


# How the user's values reach the scripts.

HOSTILE = [
    "; touch executed;", "& touch executed &", "| touch executed", "`touch executed`", "$(touch executed)",
    "$$(touch executed)", "$(shell touch executed)", "'; touch executed; '", '"; touch executed; "',
    "a\ntouch executed", ")'`\"; touch executed", "x: ; touch executed", "it's # (a) \"photo\"? & `touch executed`",
]
NAMES = ("DATASET", "BACKBONE", "QUANTIZE", "RUNTIME", "ARCH")  # values that become part of file names
MAKEFILES = "".join(path.read_text() for path in (ROOT / "Makefile", *(ROOT / "scripts").glob("*.mk")))
SETTINGS = re.findall(r"^([A-Z_]+) \?=", MAKEFILES, re.M)
PHONY = " ".join(re.findall(r"^\.PHONY: ((?:.*\\\n)*.*)", MAKEFILES, re.M))
TARGETS = set(PHONY.replace("\\\n", " ").split()) - {"FORCE"}
GOALS = sorted(TARGETS - {"test", "fuzz", "bench", "release", "clean", "distclean"})


@pytest.mark.parametrize("number, value", [*enumerate(HOSTILE)])
@pytest.mark.parametrize("origin", ["command line", "environment"])
def test_no_value_is_executed(project, number, value, origin):
    free = {name: value for name in [*SETTINGS, "PHOTO", "UNKNOWN"] if name not in NAMES}
    for variables in (free, {NAMES[number % len(NAMES)]: value}):
        flags = [f"{name}={value}" for name, value in variables.items()] if origin == "command line" else []
        done = project.make("-k", *GOALS, *flags, **({} if flags else variables))
        assert not (project.path / "executed").exists(), variables
        assert variables == free or "must consist of letters" in done.stderr
    assert project.ran()


@pytest.mark.parametrize("image, arguments", [
    ("https://host/a.jpg?w=1&h=2", ["https://host/a.jpg?w=1&h=2"]),
    ("it's (1) #2 & \"more\".jpg", ["it's (1) #2 & \"more\".jpg"]),  # such a file exists
    ("a.jpg  https://host/b.jpg?c=(d) it's", ["a.jpg", "https://host/b.jpg?c=(d)", "it's"]),
    ("~/a.jpg b.jpg", ["HOME/a.jpg", "b.jpg"]),
    ("$HOME.jpg", ["$HOME.jpg"]),
    ("--json", ["--json"]),
])
def test_images_reach_the_scripts_unchanged(project, image, arguments):
    project.write("it's (1) #2 & \"more\".jpg", "a photo")
    arguments = [argument.replace("HOME/", f"{project.path}/home/") for argument in arguments]
    project.build("predict", f"IMAGE={image}")
    assert project.arguments("predict.py") == ["--model", "artifacts/release/model.tflite", "--", *arguments]
    project.build("label", f"IMAGE={image}", f"OUT={image}")
    table = image.replace("~", f"{project.path}/home")
    assert project.arguments("label.py")[2:] == ["--output", table, "--unsure", "0", "--", *arguments]


def test_values_reach_the_scripts_unchanged(project):
    odd = "it's (1) #2 & $more"
    project.write(f"{odd}/cats/1.jpg", "a photo")
    project.write(f"{odd}.tflite", "a model")
    project.build("train", "deploy", f"DATA={odd}", f"MODEL={odd}.tflite", f"STACK={odd}", f"PARAMETERS=A={odd}",
                  f"EXTRA={odd}", f"BACKBONE_WEIGHTS={odd}", "TRAIN_FLAGS=--epochs 0 --teacher ~/a;b")
    assert project.arguments("index_folder.py")[:2] == ["--input", odd]
    assert project.arguments("fetch_backbone.py")[1:3] == ["--weights", odd]
    assert project.arguments("train.py")[2:4] == ["--extra", odd]
    assert project.arguments("train.py")[-4:] == ["--epochs", "0", "--teacher", f"{project.path}/home/a;b"]
    assert project.environment("deploy.sh") == {"MODEL": f"{odd}.tflite", "STACK": odd, "PARAMETERS": f"A={odd}"}


@pytest.mark.parametrize("target", ["predict", "label"])
def test_without_an_image_make_says_so(project, target):
    done = project.make(target)
    assert done.returncode != 0 and "IMAGE is empty" in done.stderr


# Cleaning and help.

def test_cleaning_keeps_photos_and_the_released_model(project):
    photo = project.write("data/mine/cats/1.jpg", "a photo")
    project.build("model.tflite")
    project.build("clean")
    assert sorted(path.name for path in (project.path / "artifacts").iterdir()) == ["release"]
    for kept in ("data/clothing/index.csv", "data/backbones/efficientnet-lite2.keras", ".venv/train/.installed"):
        assert (project.path / kept).exists(), kept
    project.build("distclean")
    assert photo.exists() and (project.path / "artifacts/release/model.tflite").exists()
    assert not (project.path / ".venv").exists() and not (project.path / "data/clothing").exists()


def test_help_names_every_target_and_variable(project):
    done = project.make()
    for name in TARGETS.union(SETTINGS):
        assert re.search(rf"^  {re.escape(name)} +\S", done.stdout, re.M), name


def test_no_undefined_variable_is_used(project):
    for arguments in ([], ["-n", *GOALS, "test", "release", "IMAGE=a"]):
        assert "warning" not in project.make("--warn-undefined-variables", *arguments).stderr
