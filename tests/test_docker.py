"""The container, built by Make and run by a real engine, with AWS's emulator and runtime client inside.

The base image is BASE_IMAGE, in CI a stand-in (tests/docker/base.sh), else the Makefile's default, which is pulled;
TFLITE_BASE_IMAGE is the one for RUNTIME=tflite-runtime.
"""
import base64
import contextlib
import csv
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from conftest import ROOT, clean_environment, project_copy
from PIL import Image

import colour_model
from model import Model
from preprocess import preprocess

PORT = 18080
INVOKE = "http://127.0.0.1:{}/2015-03-31/functions/function/invocations"
RELEASED = ROOT / "artifacts" / "release" / "model.tflite"
ARCHIVE = ROOT.parent / "shared" / "data" / "clothing-dataset-small-11961516512414bf9f6c150a832cfd21b54a6b54.tar.gz"
# Where Lambda is strictest: less memory than the default, no root, nothing to write to.
STRICT = ["--read-only", "--user", "1234:1234", "--cap-drop", "ALL", "--memory", "512m", "--cpus", "1"]


def docker(*arguments: str, check: bool = True, stderr: int = subprocess.PIPE) -> str:
    """What docker prints on stdout; its warnings, about the host too, are on stderr."""
    ran = subprocess.run(["docker", *arguments], stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=120)
    assert not check or ran.returncode == 0, ran.stderr or ran.stdout
    return ran.stdout.strip()


@pytest.fixture(scope="module", autouse=True)
def engine():
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("needs a Docker engine")


class Project:
    """A copy of the project with its own git history, in which Make runs."""

    def __init__(self, folder, model):
        self.folder, self.container = folder, f"test-{os.getpid()}"
        project_copy(folder)
        (folder / ".gitignore").write_text("/.venv\n/data\n/artifacts\n__pycache__\n")
        (folder / "artifacts" / "release").mkdir(parents=True)
        shutil.copy2(model, folder / "artifacts" / "release" / "model.tflite")
        git = ["git", "-C", folder, "-c", "user.name=test", "-c", "user.email=test@example.org"]
        for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "A copy"], ["tag", "v1.2.3"]):
            subprocess.run([*git, *command], check=True)

    def make(self, *arguments, **environment) -> tuple[int, str]:
        """The exit status of make, and what it prints."""
        ran = subprocess.run(
            ["make", *arguments], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=300, env=clean_environment(**{"PORT": str(PORT), "CONTAINER": self.container, **environment}))
        return ran.returncode, ran.stdout


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The released model, or before there is one a tiny one."""
    return RELEASED if RELEASED.exists() else colour_model.write(tmp_path_factory.mktemp("model") / "model.tflite")


@pytest.fixture(scope="module")
def project(tmp_path_factory, model):
    project = Project(tmp_path_factory.mktemp("project"), model)
    project.status, project.output = project.make("docker-run")
    yield project
    for name in docker("ps", "--all", "--quiet", "--filter", f"name={project.container}").split():
        docker("rm", "--force", name)
    for tag in docker("images", "--format", "{{.Repository}}", "--filter", f"reference={project.container}*").split():
        docker("rmi", "--force", tag)


@pytest.fixture
def image(project) -> str:
    """The image's id."""
    assert project.status == 0, project.output
    return (project.folder / "artifacts" / "image.iid").read_text()


@contextlib.contextmanager
def running(image, *flags):
    """A container of the image; gives its name and its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    name = f"test-{os.getpid()}-{port}"
    docker("run", "--detach", "--name", name, "--publish", f"127.0.0.1:{port}:8080", *flags, image)
    try:
        yield name, port
    finally:
        docker("rm", "--force", name, check=False)


def invoke(port: int, body: bytes | dict) -> object:
    """The function's answer to an event; as long as nothing listens yet, tries again."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(INVOKE.format(port), body, timeout=60) as response:
                return json.load(response)
        except urllib.error.HTTPError:
            raise
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def encoded(width=400, height=533, format="JPEG", **options) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (height // 20 + 1, width // 20 + 1, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((width, height)).save(file, format, **options)
    return file.getvalue()


def event(image: bytes) -> dict:
    return {"image": base64.b64encode(image).decode()}


def inside(image: str, code: str) -> str:
    """What Python code prints in a container of the image."""
    return docker("run", "--rm", "--workdir", "/var/task", *STRICT, "--entrypoint", "python3", image, "-c", code)


def test_docker_run_builds_starts_and_says_how_to_call_it(project, model):
    assert project.status == 0, project.output
    assert "model: artifacts/release/model.tflite" in project.output
    assert INVOKE.format(PORT) in project.output and "make docker-stop" in project.output
    assert list(invoke(PORT, event(encoded()))) and set(invoke(PORT, event(encoded()))) == set(Model(model).labels)


def test_a_second_docker_run_builds_nothing_and_starts_anew(project, image):
    before = docker("container", "inspect", "--format", "{{.Id}}", project.container)
    status, output = project.make("docker-run")
    assert status == 0 and "docker.sh build" not in output, output
    assert docker("container", "inspect", "--format", "{{.Id}}", project.container) != before
    assert invoke(PORT, event(encoded()))


@pytest.mark.parametrize("change", [["-W", "lambda/lambda_function.py"], ["-W", "artifacts/release/model.tflite"],
                                    ["-W", "requirements-serve.txt"], ["-W", "lambda/Dockerfile"],
                                    ["BASE_IMAGE=another"], ["ARCH=arm64"], ["RUNTIME=tflite-runtime"]])
def test_what_the_image_is_made_of_makes_it_stale_and_trains_nothing(project, image, change):
    status, output = project.make("-n", "docker-run", *change)
    assert status == 0 and "docker.sh build" in output and "train.py" not in output, output


def test_wheels_are_those_of_the_images_processor(project):
    assert "--platform manylinux2014_aarch64" in project.make("-n", "docker-run", "ARCH=arm64")[1]
    assert "--platform linux/arm64" in project.make("-n", "docker-run", "ARCH=arm64")[1]


def test_an_image_that_the_engine_has_lost_is_stale(project, image):
    (project.folder / "artifacts" / "image.iid").write_text("sha256:" + "0" * 64)
    os.utime(project.folder / "artifacts" / "image.iid")
    assert "docker.sh build" in project.make("-n", "docker-run")[1]
    (project.folder / "artifacts" / "image.iid").write_text(image)
    assert "docker.sh build" not in project.make("-n", "docker-run")[1]


def test_docker_test_asks_the_container_about_a_photo(project, image, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(encoded())
    status, output = project.make("docker-test", f"IMAGE={tmp_path / 'photo.jpg'}")
    assert status == 0 and "█" in output, output


def test_the_image_says_what_it_is(project, image):
    labels = json.loads(docker("inspect", "--format", "{{json .Config.Labels}}", image))
    commit = subprocess.run(["git", "-C", project.folder, "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    assert labels["org.opencontainers.image.version"] == "v1.2.3"
    assert labels["org.opencontainers.image.revision"] == commit.strip()


def layers(image: str) -> list[str]:
    return json.loads(docker("inspect", "--format", "{{json .RootFS.Layers}}", image))


@pytest.mark.parametrize("buildkit", ["0", "1"], ids=["classic builder", "BuildKit"])
def test_the_same_inputs_give_the_same_layers_by_either_builder(project, image, tmp_path, buildkit):
    rebuild = re.sub(r".*(mkdir -p artifacts/image/code.*--iidfile )\S+", rf"\1{tmp_path / 'iid'}",
                     project.make("-n", "docker-run", "-W", "lambda/Dockerfile")[1], flags=re.DOTALL)
    rebuild = rebuild.partition("rm -rf artifacts/image\n")[0].replace("docker.sh build", "docker.sh build --no-cache")
    # Other dates and permissions on the way in.
    rebuild = "umask 077; rm -rf artifacts/image; " + rebuild
    # Debian's client, in /usr/bin, has both builders.
    ran = subprocess.run(["bash", "-ec", rebuild], cwd=project.folder, capture_output=True, text=True, timeout=300, env=clean_environment(
        DOCKER_BUILDKIT=buildkit, PATH=f"/usr/bin:{os.environ['PATH']}"))
    if "buildx component is missing" in ran.stdout + ran.stderr:
        pytest.skip("this Docker client has no BuildKit")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert layers((tmp_path / "iid").read_text()) == layers(image)


def test_the_image_is_small(image, capsys):
    history = docker("history", "--human=false", "--format", "{{.Size}} {{.CreatedBy}}", image).splitlines()
    ours = [line.split(maxsplit=1) for line in history if "COPY" in line][:3]  # the newest come first
    with capsys.disabled():
        print("\nlayers on top of the base image:")
        for size, text in ours:
            print(f"  {int(size) / 1e6:6.2f} MB  {text[-60:]}")
    assert len(ours) == 3 and sum(int(size) for size, _ in ours) <= 120_000_000


def test_nothing_left_in_the_image_needs_what_was_taken_out(image):
    loaded = inside(image, """
import ctypes, glob, sys
sys.path.insert(0, "/var/task")
import numpy, PIL.Image
files = [f for f in glob.glob("/var/task/**/*.so*", recursive=True)]
for file in files:
    ctypes.CDLL(file)
print(len(files), "libraries load")
""")
    assert re.fullmatch(r"\d{2,} libraries load", loaded), loaded


def test_there_is_no_tensorflow_and_nothing_to_compile(image):
    assert inside(image, """
import glob, importlib.util, os, sys
sys.path.insert(0, "/var/task")
import lambda_function
assert not [name for name in sys.modules if name.startswith(("tensorflow", "keras"))]
assert importlib.util.find_spec("tensorflow") is None
for source in glob.glob("/var/task/**/*.py", recursive=True):
    assert os.path.exists(importlib.util.cache_from_source(source)), source
print("good")
""").splitlines()[-1] == "good"


def test_every_file_can_be_read_by_any_user(image):
    assert inside(image, """
import os
for folder, folders, files in os.walk("/var/task"):
    for name in folders + files:
        path = os.path.join(folder, name)
        assert os.access(path, os.R_OK) and not os.access(path, os.W_OK), path
print(os.getuid())
""") == "1234"


@pytest.fixture(scope="module")
def strict(project):
    """A container under STRICT, used by several tests."""
    assert project.status == 0, project.output
    with running((project.folder / "artifacts" / "image.iid").read_text(), *STRICT) as (name, port):
        yield name, port


def test_the_first_request_may_come_while_the_function_starts(image, model, capsys):
    start = time.monotonic()
    with running(image, *STRICT) as (name, port):
        answer = invoke(port, event(encoded()))
        elapsed = time.monotonic() - start
        log = docker("logs", name, stderr=subprocess.STDOUT)
    assert set(answer) == set(Model(model).labels)
    assert "INIT RTDONE(status: success)" in log
    with capsys.disabled():
        print(f"\ncold start: init {re.search(r'INIT REPORT.durationMs: ([0-9.]+)', log)[1]} ms,"
              f" first answer {1000 * elapsed:.0f} ms after `docker run` began")


def hundred(everything: list) -> list:
    """A hundred of them, evenly spread."""
    return [everything[number * len(everything) // 100] for number in range(100)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory, model):
    """A hundred labelled photos: real ones where they are at hand, else drawn; for the tiny model coloured ones."""
    folder = tmp_path_factory.mktemp("photos")
    labels = Model(model).labels
    index = ROOT / "data" / "clothing" / "index.csv"
    if model != RELEASED:
        for number in range(100):
            label = labels[number % len(labels)]
            (folder / label).mkdir(exist_ok=True)
            picture = Image.new("RGB", (300 + number, 400), colour_model.COLOURS[labels[number * 7 // 5 % len(labels)]])
            picture.save(folder / label / f"{number}.jpg")
    elif index.exists():
        with open(index, newline="") as file:
            for row in hundred([row for row in csv.DictReader(file) if row["split"] == "test"]):
                (folder / row["label"]).mkdir(exist_ok=True)
                shutil.copy(index.parent / row["path"], folder / row["label"])
    elif ARCHIVE.exists():
        with tarfile.open(ARCHIVE) as archive:
            for member in hundred([member for member in archive if "/test/" in member.name and member.isfile()]):
                label, name = member.name.split("/")[-2:]
                (folder / label).mkdir(exist_ok=True)
                (folder / label / name).write_bytes(archive.extractfile(member).read())
    else:
        subprocess.run([sys.executable, ROOT / "scripts" / "draw_data.py", "--per-label", "7",
                        "--output", folder / "index.csv"], check=True)
    paths = sorted(folder.rglob("*.jpg"))
    assert len(paths) >= 100
    return folder, paths


def test_it_answers_about_a_hundred_photos_as_the_model_does_here(strict, model, photos, capsys):
    folder, paths = photos
    here = Model(model)
    probabilities = [here.predict(preprocess(path, here.size)) for path in paths]
    right = sum(here.labels[int(np.argmax(p))] == path.parent.name for p, path in zip(probabilities, paths))
    ran = subprocess.run([sys.executable, ROOT / "scripts/test_lambda.py", "--url", INVOKE.format(strict[1]), folder],
                         capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert f"accuracy {right / len(paths):.4f} ({right} of {len(paths)} right, 0 refused)" in ran.stdout, ran.stdout
    for path, expected in list(zip(paths, probabilities))[::10]:
        answer = invoke(strict[1], event(path.read_bytes()))
        assert [answer[label] for label in here.labels] == pytest.approx(list(expected), abs=2e-7)
    with capsys.disabled():
        print(f"\n{ran.stdout}")


def test_it_needs_less_than_200_mb(strict, photos, capsys):
    name, port = strict
    invoke(port, event(encoded(4000, 3000)))
    peaks = docker("exec", name, "sh", "-c", "grep -h VmHWM /proc/[0-9]*/status")
    peak = max(int(line.split()[1]) for line in peaks.splitlines() if line.startswith("VmHWM"))
    with capsys.disabled():
        print(f"\npeak memory of the function's process: {peak / 1000:.0f} MB")
    assert peak <= 200_000


@pytest.mark.parametrize("format, options", [("JPEG", {}), ("PNG", {}), ("GIF", {}), ("WEBP", {}), ("BMP", {})])
def test_every_format_is_decoded(strict, model, format, options):
    assert set(invoke(strict[1], event(encoded(format=format, **options)))) == set(Model(model).labels)


@pytest.mark.parametrize("body, words", [
    ({}, "error"), ([], "error"), ("text", "error"), ({"image": "!"}, "error"), ({"image": ""}, "error"),
    (event(b"no image"), "error"), (event(encoded()[:2000]), "error"), (event(encoded(9000, 6000, quality=1)), "error"),
    ({"url": "file:///etc/passwd"}, "error"), ({"url": "http://127.0.0.1:9001/2018-06-01/runtime/init/error"}, "error"),
    (b"{", "errorMessage"), (b"", "errorMessage"), (event(b"x" * 5_000_000), "errorMessage"),
], ids=lambda value: repr(value)[:40])
def test_a_bad_request_gets_words_and_the_next_one_an_answer(strict, model, body, words):
    answer = invoke(strict[1], body if isinstance(body, bytes) else json.dumps(body).encode())
    assert isinstance(answer, dict) and answer.get(words), answer
    assert set(invoke(strict[1], event(encoded()))) == set(Model(model).labels)


def test_the_largest_photo_that_fits_an_event_is_answered(strict, model):
    photo = encoded(2000, 1500, quality=90)
    photo += b"\0" * (4_500_000 - len(photo))  # what follows a JPEG's end is ignored
    assert set(invoke(strict[1], event(photo))) == set(Model(model).labels)


def test_sigterm_ends_it_at_once(image):
    with running(image, *STRICT) as (name, port):
        invoke(port, event(encoded()))
        docker("stop", "--time", "30", name)
        assert docker("container", "inspect", "--format", "{{.State.ExitCode}}", name) == "0"


def test_docker_run_names_a_port_that_is_taken(project, image):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        status, output = project.make("docker-run", f"PORT={port}", f"CONTAINER={project.container}-port")
    assert status != 0 and f"port {port} is taken" in output, output
    assert f"{project.container}-port" not in docker("ps", "--all")


def test_a_container_that_is_not_ours_is_left_alone(project, image):
    name = f"{project.container}-foreign"
    docker("run", "--detach", "--name", name, "--label", "org.opencontainers.image.title=theirs",
           "--entrypoint", "sleep", image, "600")
    for target in ("docker-run", "docker-stop"):
        status, output = project.make(target, f"CONTAINER={name}")
        assert status != 0 and f"the container named {name} is not ours" in output, output
    assert docker("container", "inspect", "--format", "{{.State.Running}}", name) == "true"


def test_a_function_that_can_not_start_shows_its_log(project, image):
    name = f"{project.container}-broken"
    broken = docker("commit", "--change", 'CMD ["no_such_module.handler"]', docker("create", "--name", name, image))
    docker("rm", name)
    docker("tag", broken, name)
    ran = subprocess.run(["scripts/docker.sh", "run", broken, name, str(PORT + 1)], cwd=project.folder,
                         capture_output=True, text=True, timeout=300)
    assert ran.returncode != 0 and "no_such_module" in ran.stderr and "does not answer" in ran.stderr, ran.stderr
    assert name not in docker("ps", "--all")


@pytest.mark.parametrize("said, words", [
    ("Cannot connect to the Docker daemon at unix:///x.sock. Is the docker daemon running?", "no Docker engine"),
    ("failed to connect to the docker API at unix:///home/me/.docker/run/docker.sock", "no Docker engine"),
    ("permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock", "usermod"),
    ("permission denied while trying to connect to the docker API at unix:///var/run/docker.sock", "usermod"),
    ("write /var/task/numpy.libs/x.so: no space left on device", "the engine's disk is full"),
    ("something else", "see above"),
])
def test_what_the_engine_complains_about_is_explained(project, tmp_path, said, words):
    """The words of several versions of Docker, said by a stand-in for its client."""
    (tmp_path / "docker").write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    for target in ("docker-run", "docker-stop"):
        status, output = project.make(target, "-W", "lambda/Dockerfile", PATH=f"{tmp_path}:{os.environ['PATH']}")
        assert status != 0 and words in output, output


def test_no_engine_and_no_permission_by_the_real_client(project, image, tmp_path):
    status, output = project.make("docker-stop", DOCKER_HOST=f"unix://{tmp_path}/nothing.sock")
    assert status != 0 and "no Docker engine answers at unix://" in output, output
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    if os.getuid() == 0 and os.path.exists(address):
        script = (project.folder / "scripts" / "docker.sh").read_text()
        ran = subprocess.run(["bash", "-s", "stop", "x"], input=script, cwd="/", user=65534, group=65534,
                             extra_groups=[], capture_output=True, text=True, timeout=60)
        assert ran.returncode != 0 and "no permission to use the Docker engine" in ran.stderr, ran.stderr


def test_tflite_runtime_is_built_and_answers_too(project, image, model, photos, tmp_path_factory):
    base = os.environ.get("TFLITE_BASE_IMAGE")
    if "BASE_IMAGE" in os.environ and not base:
        pytest.skip("needs TFLITE_BASE_IMAGE, a base image with Python 3.11, beside BASE_IMAGE")
    other = Project(tmp_path_factory.mktemp("tflite"), model)
    other.container = f"{project.container}-tflite"
    status, output = other.make("docker-run", "RUNTIME=tflite-runtime", f"PORT={PORT + 2}",
                                *([f"BASE_IMAGE={base}"] if base else []))
    assert status == 0, output
    card = json.loads(invoke(PORT + 2, {"httpMethod": "GET", "path": "/health"})["body"])
    assert "tflite_runtime" in card["versions"]
    for path in photos[1][::20]:
        answers = [invoke(port, event(path.read_bytes())) for port in (PORT, PORT + 2)]
        assert max(answers[0], key=answers[0].get) == max(answers[1], key=answers[1].get)


def test_docker_stop_stops_it(project, image):
    assert project.make("docker-stop")[0] == 0
    assert project.container not in docker("ps", "--all", "--format", "{{.Names}}").split()
    assert project.make("docker-stop")[0] == 0
