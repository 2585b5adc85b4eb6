"""The container, built by make and run by a real engine, with AWS's emulator and runtime client inside.

The base image is BASE_IMAGE, in CI a stand-in (tests/docker/base.sh), else the Makefile's default, which is pulled.
TFLITE_BASE_IMAGE is the one for RUNTIME=tflite-runtime. CONTAINERD_ENGINE is the image of a second engine.
"""
import base64
import contextlib
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import hostile
import numpy as np
import pytest
from conftest import ROOT, clean_environment, project_copy
from PIL import Image

from model import Model
from preprocess import preprocess

PORT = 18480
INVOKE = "http://127.0.0.1:{}/2015-03-31/functions/function/invocations"
RELEASED = ROOT / "artifacts" / "release" / "model.tflite"
# Stricter than Lambda: less memory than the default, no root, nothing to write to.
STRICT = ["--read-only", "--user", "1234:1234", "--cap-drop", "ALL", "--memory", "512m", "--cpus", "1"]


def docker(*arguments: str, check: bool = True, stderr: int = subprocess.PIPE) -> str:
    """The standard output of docker. Its warnings, also those about the host, go to standard error."""
    ran = subprocess.run(["docker", *arguments], stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=300)
    assert not check or ran.returncode == 0, ran.stderr or ran.stdout
    return ran.stdout.strip()


def assert_success(ran: tuple[int, str], *words: str) -> str:
    """Return the output of a command that succeeded and printed the words."""
    status, output = ran
    assert status == 0, output
    assert not [word for word in words if word not in output], output
    return output


def assert_failure(ran: tuple[int, str], *words: str) -> None:
    """A command failed and printed the words."""
    status, output = ran
    assert status != 0, output
    assert not [word for word in words if word not in output], output


@pytest.fixture(scope="module", autouse=True)
def engine():
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("needs a Docker engine")


class Project:
    """A copy of the project with its own git history, in which make runs."""

    def __init__(self, folder, model=RELEASED, container=f"test-{os.getpid()}", port=PORT):
        self.folder, self.container, self.port = project_copy(folder), container, port
        (folder / "artifacts" / "release").mkdir(parents=True)
        shutil.copy2(model, folder / "artifacts" / "release" / "model.tflite")
        shutil.copy2(ROOT / ".gitignore", folder)
        git = ["git", "-C", folder, "-c", "user.name=test", "-c", "user.email=test@example.org"]
        for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "A copy"], ["tag", "v1.2.3"]):
            subprocess.run([*git, *command], check=True)

    def make(self, *arguments, **environment) -> tuple[int, str]:
        """The exit status of make, and what it prints."""
        return self.run("make", *arguments, **environment)

    def run(self, *command, **environment) -> tuple[int, str]:
        environment = {"PORT": str(self.port), "CONTAINER": self.container, **environment}
        ran = subprocess.run(command, cwd=self.folder, env=clean_environment(**environment), text=True, timeout=300,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return ran.returncode, ran.stdout

    @property
    def image(self) -> str:
        return (self.folder / "artifacts" / "image.iid").read_text().strip()


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(RELEASED)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project after its first `make docker-run`, with that run's `output`."""
    project = Project(tmp_path_factory.mktemp("project"))
    try:
        project.output = assert_success(project.make("docker-run"))
        yield project
    finally:
        ours = project.container
        for container in docker("ps", "--all", "--quiet", "--filter", f"name={ours}").split():
            docker("rm", "--force", "--volumes", container)
        for tag in docker("images", "--format", "{{.Repository}}", "--filter", f"reference={ours}*").split():
            docker("rmi", "--force", tag)


@contextlib.contextmanager
def running(image, *flags):
    """A container of the image; gives its id and its port."""
    container = docker("run", "--detach", "--publish", "127.0.0.1::8080", *flags, image)
    try:
        yield container, int(docker("port", container, "8080").split(":")[-1])
    finally:
        docker("rm", "--force", container, check=False)


def invoke(port: int, body: bytes | dict | str) -> object:
    """The function's answer to an event; waits for up to a minute until something listens."""
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


def encoded(width=400, height=533, **options) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (height // 20 + 1, width // 20 + 1, 3), np.uint8)
    return hostile.encoded(Image.fromarray(noise).resize((width, height)), "JPEG", **options)


def event(image: bytes) -> dict:
    return {"image": base64.b64encode(image).decode()}


# make docker-run, docker-test, docker-stop.

def test_docker_run_says_which_model_answers_and_docker_test_asks_it(project, model):
    for words in ("artifacts/release/model.tflite", INVOKE.format(PORT), "make docker-stop"):
        assert words in project.output
    photo = project.folder / "a photo.jpg"
    photo.write_bytes(encoded())
    assert_success(project.make("docker-test", f"IMAGE={photo}"), "█", *model.labels)


def test_a_second_docker_run_builds_nothing_and_starts_a_new_container(project):
    before = docker("container", "inspect", "--format", "{{.Id}}", project.container)
    assert "docker.sh build" not in assert_success(project.make("docker-run"))
    assert docker("container", "inspect", "--format", "{{.Id}}", project.container) != before
    assert invoke(PORT, event(encoded()))


def test_an_engine_with_a_containerd_store_knows_the_id_of_the_image(project, tmp_path):
    """With --iidfile buildx writes a different id, which such an engine does not know."""
    engine, base = os.environ.get("CONTAINERD_ENGINE"), os.environ.get("BASE_IMAGE")
    if not engine or not base:
        pytest.skip("needs BASE_IMAGE and CONTAINERD_ENGINE, an image by tests/docker/containerd.sh")
    other = Project(tmp_path)
    shutil.copytree(project.folder / "data" / "wheels", tmp_path / "data" / "wheels")
    rights = [f"--cap-add={name}" for name in ("SYS_ADMIN", "NET_ADMIN", "MKNOD")]
    rights += [f"--security-opt={name}=unconfined" for name in ("seccomp", "apparmor", "systempaths")]
    name = f"{project.container}-containerd"
    docker("run", "--detach", "--name", name, "--network", "none", *rights, "--volume", f"{tmp_path}:/project",
           "--volume", "/sys/fs/cgroup:/sys/fs/cgroup", engine)
    for _ in range(60):
        if "Server" in docker("exec", name, "docker", "version", check=False):
            break
        time.sleep(0.5)
    subprocess.run(f"docker save {base} | docker exec --interactive {name} docker load", shell=True, check=True)
    values = {"CONTAINER": "built", "BASE_IMAGE": base, "RUNTIME": "ai-edge-litert",
              "ARCH": platform.machine().replace("aarch64", "arm64"), "REQUIREMENTS": "requirements-serve.txt",
              "MODEL": "artifacts/release/model.tflite"}
    docker("exec", "--workdir", "/project", *(f"--env={key}={value}" for key, value in values.items()), name,
           "scripts/docker.sh", "build", "artifacts/image.iid")
    assert docker("exec", name, "docker", "inspect", "--format", "{{.RepoTags}}", other.image) == "[built:latest]"


def test_a_port_that_is_taken_is_named(project):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ran = project.make("docker-run", f"PORT={port}", f"CONTAINER={project.container}-port")
    assert_failure(ran, f"port {port} is taken")


def test_a_container_of_the_same_name_made_by_somebody_else_is_left_alone(project):
    name = f"{project.container}-foreign"
    docker("run", "--detach", "--name", name, "--label", "org.opencontainers.image.title=theirs",
           "--entrypoint", "sleep", project.image, "600")
    assert_failure(project.make("docker-run", f"CONTAINER={name}"), f"the container named {name} is not ours")
    assert_success(project.make("docker-stop", f"CONTAINER={name}"))
    assert docker("container", "inspect", "--format", "{{.State.Running}}", name) == "true"


def test_the_log_of_a_function_that_cannot_start_is_shown(project, tmp_path):
    name = f"{project.container}-broken"
    created = docker("create", "--name", name, project.image)
    (tmp_path / "iid").write_text(docker("commit", "--change", 'CMD ["no_such_module.handler"]', created, name))
    docker("rm", name)
    ran = project.run("scripts/docker.sh", "run", str(tmp_path / "iid"), CONTAINER=name, PORT=str(PORT + 1))
    assert_failure(ran, "no_such_module", "does not answer")
    assert name not in docker("ps", "--all", "--format", "{{.Names}}").split()


@pytest.mark.parametrize("message, advice", [
    ("Cannot connect to the Docker daemon at unix:///x.sock. Is the docker daemon running?", "no Docker engine"),
    ("failed to connect to the docker API at unix:///home/me/.docker/run/docker.sock", "no Docker engine"),
    ("permission denied while trying to connect to the docker API at unix:///var/run/docker.sock", "usermod"),
    ("write /var/task/numpy.libs/x.so: no space left on device", "the engine's disk is full"),
    ("something else", "its message is above"),
])
def test_an_error_of_the_engine_is_explained(project, tmp_path, message, advice):
    """The messages of several versions of Docker, from a stand-in for its client."""
    (tmp_path / "docker").write_text(f"#!/bin/sh\necho '{message}' >&2\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    ran = project.make("docker-run", "-W", "lambda/Dockerfile", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert_failure(ran, message, advice)


# The image.

def test_the_image_carries_version_and_commit(project):
    labels = json.loads(docker("inspect", "--format", "{{json .Config.Labels}}", project.image))
    commit = subprocess.run(["git", "-C", project.folder, "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    assert labels["org.opencontainers.image.version"] == "v1.2.3"
    assert labels["org.opencontainers.image.revision"] == commit.strip()


@pytest.mark.parametrize("buildkit", ["0", "1"], ids=["classic builder", "BuildKit"])
def test_the_same_inputs_give_the_same_layers(project, tmp_path, buildkit):
    """With both builders, without their caches, from files with other dates and permissions."""
    client = tmp_path / "docker"  # Debian's client, in /usr/bin, has both builders
    client.write_text('#!/bin/sh\nif [ "$1" = build ]; then shift; set -- build --no-cache "$@"; fi\n'
                      'exec /usr/bin/docker "$@"\n')
    client.chmod(0o755)
    again = Project(tmp_path / "again", container=f"{project.container}-again")
    shutil.copytree(project.folder / "data" / "wheels", again.folder / "data" / "wheels")
    for path in (again.folder / "lambda").iterdir():
        path.chmod(0o600)
        os.utime(path)
    ran = again.make("artifacts/image.iid", DOCKER_BUILDKIT=buildkit, PATH=f"{tmp_path}:{os.environ['PATH']}")
    if "buildx component is missing" in ran[1]:
        pytest.skip("this Docker client has no BuildKit")
    assert_success(ran)
    layers = "inspect", "--format", "{{.RootFS.Layers}}"
    assert docker(*layers, again.image) == docker(*layers, project.image)


def test_the_image_adds_at_most_120_mb_to_its_base(project):
    history = docker("history", "--human=false", "--format", "{{.Size}} {{.CreatedBy}}", project.image).splitlines()
    ours = [int(line.split()[0]) for line in history if "COPY" in line][:3]  # the newest come first
    assert len(ours) == 3
    assert sum(ours) <= 120_000_000


def test_the_image_holds_what_serving_needs_and_nobody_can_write_to_it(project):
    output = docker("run", "--rm", "--workdir", "/var/task", *STRICT, "--entrypoint", "python3", project.image,
                    "-c", """
import ctypes, glob, importlib.util, os, sys
sys.path.insert(0, "/var/task")
import lambda_function
assert not [name for name in ("tensorflow", "keras") if importlib.util.find_spec(name)]
for source in glob.glob("/var/task/**/*.py", recursive=True):
    assert os.path.exists(importlib.util.cache_from_source(source)), source
libraries = glob.glob("/var/task/**/*.so*", recursive=True)
for library in libraries:  # each loads without what was removed
    ctypes.CDLL(library)
assert len(libraries) > 9
for folder, folders, files in os.walk("/var/task"):
    for path in (os.path.join(folder, name) for name in folders + files):
        assert os.access(path, os.R_OK) and not os.access(path, os.W_OK), path
print(os.getuid())
""")
    assert output.splitlines()[-1] == "1234"


# The function in the container.

@pytest.fixture(scope="module")
def strict(project):
    """The id and the port of a container under STRICT."""
    with running(project.image, *STRICT) as container:
        yield container


def test_a_request_is_answered_even_if_it_comes_during_the_cold_start(project, model):
    with running(project.image, *STRICT) as (container, port):
        assert set(invoke(port, event(encoded()))) == set(model.labels)
        assert "INIT RTDONE(status: success)" in docker("logs", container, stderr=subprocess.STDOUT)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A hundred and twenty drawn photos, in folders of their labels."""
    index = tmp_path_factory.mktemp("photos") / "index.csv"
    draw = [sys.executable, ROOT / "scripts" / "draw_data.py", "--per-label", "7", "--output", index]
    subprocess.run(draw, check=True)
    return index.parent


def test_the_container_answers_as_the_model_does_here(strict, model, photos):
    paths = sorted(photos.rglob("*.jpg"))
    probabilities = [model.predict(preprocess(path, model.size))[0] for path in paths]
    right = sum(model.labels[int(np.argmax(p))] == path.parent.name for p, path in zip(probabilities, paths))
    ran = subprocess.run([sys.executable, ROOT / "scripts/test_lambda.py", "--url", INVOKE.format(strict[1]), photos],
                         capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert len(paths) == 120 and f"({right} of 120 right)" in ran.stdout, ran.stdout
    for path, expected in list(zip(paths, probabilities))[::10]:
        answer = invoke(strict[1], event(path.read_bytes()))
        assert [answer[label] for label in model.labels] == pytest.approx(list(expected), abs=2e-7)


def test_the_function_needs_less_than_200_mb_for_a_12_megapixel_photo(strict):
    container, port = strict
    invoke(port, event(encoded(4000, 3000)))
    peaks = docker("exec", container, "sh", "-c", "grep -h VmHWM /proc/[0-9]*/status")
    assert max(int(line.split()[1]) for line in peaks.splitlines() if line.startswith("VmHWM")) <= 200_000


@pytest.mark.parametrize("body, key", [
    (event(encoded()[:2000]), "error"),
    ({"url": "http://127.0.0.1:9001/2018-06-01/runtime/init/error"}, "error"),
    (b"{", "errorMessage"),
    (event(b"x" * 5_000_000), "errorMessage"),
], ids=lambda value: repr(value)[:40])
def test_a_bad_request_gets_an_error_and_the_next_one_an_answer(strict, model, body, key):
    answer = invoke(strict[1], body)
    assert isinstance(answer, dict) and answer.get(key), answer
    assert set(invoke(strict[1], event(encoded()))) == set(model.labels)


def test_hostile_files_do_not_kill_a_container_with_1769_mb(project):
    """It has as much memory as the function on Lambda."""
    with running(project.image, *STRICT, "--memory", "1769m", "--memory-swap", "1769m") as (container, port):
        for what, (make, status) in hostile.CASES.items():
            assert ("error" in invoke(port, event(make()))) == (status != 200), what
        assert docker("inspect", "--format", "{{.RestartCount}} {{.State.OOMKilled}}", container) == "0 false"


def test_the_largest_photo_that_fits_an_event_is_answered(strict, model):
    photo = encoded(2000, 1500, quality=90)
    photo += b"\0" * (4_500_000 - len(photo))  # bytes after the end of a JPEG are ignored
    assert set(invoke(strict[1], event(photo))) == set(model.labels)


def test_sigterm_stops_the_function_at_once(project):
    with running(project.image, *STRICT) as (container, port):
        invoke(port, event(encoded()))
        docker("stop", "--time", "30", container)
        assert docker("container", "inspect", "--format", "{{.State.ExitCode}}", container) == "0"


def test_tflite_runtime_is_built_and_gives_nearly_the_same_probabilities(project, photos, tmp_path):
    base = os.environ.get("TFLITE_BASE_IMAGE")
    if "BASE_IMAGE" in os.environ and not base:
        pytest.skip("needs TFLITE_BASE_IMAGE, a base image with Python 3.11, beside BASE_IMAGE")
    other = Project(tmp_path, container=f"{project.container}-tflite", port=PORT + 2)
    assert_success(other.make("docker-run", "RUNTIME=tflite-runtime", *([f"BASE_IMAGE={base}"] if base else [])))
    card = json.loads(invoke(other.port, {"httpMethod": "GET", "path": "/health"})["body"])
    assert "tflite_runtime" in card["versions"]
    for path in sorted(photos.rglob("*.jpg"))[::20]:
        ours, theirs = (invoke(port, event(path.read_bytes())) for port in (PORT, other.port))
        assert theirs == pytest.approx(ours, abs=0.1)  # other kernels; measured on 80 photos: at most 0.075


def test_docker_stop_removes_the_container_and_may_be_repeated(project):
    for _ in range(2):
        assert_success(project.make("docker-stop"))
        assert project.container not in docker("ps", "--all", "--format", "{{.Names}}").split()
