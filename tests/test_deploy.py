"""make deploy and its companions: the real client, engine, image and registry, with moto for AWS itself.

ECR's host name must lead to this computer (/etc/hosts), where Debian's docker-registry listens in ECR's place.
"""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

import colour_model
from api import picture
from conftest import ROOT, clean_environment, project_copy
from loopback import http_server, reply
from serve import proxy_event
from test_docker import assert_failure, assert_success, docker

REGION = "eu-central-1"
HOST = f"123456789012.dkr.ecr.{REGION}.amazonaws.com"
OURS = "Key=application,Value=image-classifier"
BASE_IMAGE = os.environ.get("BASE_IMAGE", "lambda-python:3.13")


def wait_for(port: int, address: str = "127.0.0.1") -> None:
    for _ in range(1200):
        with socket.socket() as connection:
            if connection.connect_ex((address, port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"nothing listens on {address}:{port}")


class Cloud:
    """moto's server, asked with an administrator's rights."""

    def __init__(self, port: int):
        self.url = f"http://127.0.0.1:{port}"
        self.environment = clean_environment(
            AWS_ENDPOINT_URL=self.url, AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test",
            AWS_DEFAULT_REGION=REGION, AWS_CONFIG_FILE=os.devnull, AWS_EC2_METADATA_DISABLED="true")

    def ask(self, path: str, data: bytes | None = None, service: str = "moto"):
        """The JSON of an answer, by a plain HTTP request: starting the client takes longer."""
        signature = f"AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/{service}/aws4_request, Signature=0"
        headers = {"Content-Type": "text/plain", "Authorization": signature}
        request = urllib.request.Request(f"{self.url}/{path}", data, headers)
        return json.loads(urllib.request.urlopen(request, timeout=60).read())

    def aws(self, *arguments: str):
        answer = subprocess.run([ROOT / ".venv/aws/bin/aws", *arguments, "--output", "json"], env=self.environment,
                                capture_output=True, text=True, timeout=60, check=True).stdout
        return json.loads(answer) if answer else None

    def invoke(self, event: dict) -> dict:
        """The answer of the version that serves."""
        return self.ask(f"2015-03-31/functions/{self.name()}:live/invocations", json.dumps(event).encode(), "lambda")

    def create_stack(self, template: str, *flags: str) -> None:
        self.aws("cloudformation", "create-stack", "--stack-name", "clothes", "--template-body", template, *flags)

    def stacks(self) -> list[str]:
        return [stack["StackName"] for stack in self.aws("cloudformation", "describe-stacks")["Stacks"]]

    def name(self) -> str | None:
        """The function's name, if there is a function."""
        functions = self.ask("2015-03-31/functions", service="lambda")["Functions"]
        return functions[0]["FunctionName"] if functions else None

    def function(self, qualifier: str = "$LATEST") -> dict:
        return self.ask(f"2015-03-31/functions/{self.name()}?Qualifier={qualifier}", service="lambda")

    def versions(self) -> list[str]:
        versions = self.ask(f"2015-03-31/functions/{self.name()}/versions", service="lambda")["Versions"]
        return [version["Version"] for version in versions if version["Version"] != "$LATEST"]

    def live(self) -> str:
        """The number of the version that serves."""
        return self.function("live")["Configuration"]["Version"]

    def images(self, count: int) -> set[str]:
        """The digests in ECR. Waits until there are `count` of them, as the registry reports a push with a delay."""
        for _ in range(100):
            images = self.aws("ecr", "list-images", "--repository-name", "clothes")["imageIds"]
            if len(images) == count:
                break
            time.sleep(0.2)
        return {image["imageDigest"] for image in images}


@pytest.fixture(scope="module")
def moto(tmp_path_factory):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with open(tmp_path_factory.mktemp("moto") / "log", "w") as log:
        process = subprocess.Popen([ROOT / ".venv/aws-tests/bin/python", ROOT / "tests/aws/server.py",
                                    "--port", str(port)], stdout=log, stderr=log)
    wait_for(port)
    yield Cloud(port)
    process.terminate()
    process.wait()
    if shutil.which("docker"):
        for container in docker("ps", "--all", "--quiet", "--filter", f"label=stand-in={port}", check=False).split():
            docker("rm", "--force", container)


@pytest.fixture
def cloud(moto):
    """moto, empty."""
    moto.ask("moto-api/reset", b"")
    return moto


class Registry:
    """A registry under ECR's name that reports each push to moto's ECR."""

    def __init__(self, folder: Path, address: str, cloud: Cloud):
        def notified(handler, body):
            for event in json.loads(body)["events"]:
                if event["action"] == "push" and event["target"].get("tag"):
                    tell(cloud, **event["target"])
            reply(handler, b"")

        self.folder, self.address = folder, address
        (folder / "config.yml").write_text(yaml.safe_dump({
            "version": "0.1", "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
            "http": {"addr": f"{address}:80"}, "notifications": {"endpoints": [{
                "name": "ecr", "url": http_server(notified), "timeout": "60s", "threshold": 5, "backoff": "1s"}]}}))

    def start(self) -> None:
        shutil.rmtree(self.folder / "data", ignore_errors=True)  # empty each time, so that a push takes its time
        with open(self.folder / "log", "a") as log:
            self.process = subprocess.Popen(["docker-registry", "serve", self.folder / "config.yml"],
                                            stdout=log, stderr=log)
        wait_for(80, self.address)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def tell(cloud: Cloud, repository: str, tag: str, digest: str, mediaType: str, **_) -> None:
    request = urllib.request.Request(f"http://{HOST}/v2/{repository}/manifests/{digest}", headers={"Accept": mediaType})
    manifest = urllib.request.urlopen(request, timeout=30).read().decode()
    with contextlib.suppress(subprocess.CalledProcessError):  # an image of an earlier test, whose repository is gone
        cloud.aws("ecr", "put-image", "--repository-name", repository, "--image-tag", tag, "--image-digest", digest,
                  "--image-manifest", manifest)


@pytest.fixture(scope="module")
def registry(moto, tmp_path_factory):
    address = ""
    with contextlib.suppress(OSError):
        address = socket.gethostbyname(HOST)
    if not address.startswith("127."):
        pytest.skip(f"needs {HOST} on a loopback address, in /etc/hosts")
    if not shutil.which("docker-registry"):
        pytest.skip("needs Debian's docker-registry")
    registry = Registry(tmp_path_factory.mktemp("registry"), address, moto)
    registry.start()
    yield registry
    registry.stop()


class Project:
    """A copy of the project, in which make runs with an owner's settings of the client, which records all calls."""

    def __init__(self, folder: Path, environment: dict[str, str], api: str):
        self.folder, self.api, self.history = project_copy(folder), api, folder / "history.db"
        self.photo = folder / "red" / "1.jpg"
        (folder / "config").write_text("[default]\noutput = text\ncli_pager = less\ncli_history = enabled\n")
        self.environment = environment | {
            "DOCKER_CONFIG": str(folder / ".docker"), "AWS_CONFIG_FILE": str(folder / "config"),
            "AWS_CLI_HISTORY_FILE": str(self.history)}
        (folder / "data").mkdir()
        (ROOT / "data" / "wheels").mkdir(exist_ok=True, parents=True)
        (folder / "data" / "wheels").symlink_to(ROOT / "data" / "wheels")
        (folder / "artifacts").mkdir()
        self.photo.parent.mkdir()
        self.photo.write_bytes(picture("red"))
        self.model()

    def model(self, **record) -> None:
        """Write the model that is deployed; each record gives another image."""
        colour_model.write(self.folder / "own.tflite", dataset="clothing", confidence_threshold=0.6, **record)

    def command(self, *goals: str, **variables: str) -> list[str]:
        variables = {"MODEL": "own.tflite", "PHOTO": "red/1.jpg", "BASE_IMAGE": BASE_IMAGE,
                     "CONTAINER": "deploy-test", "API_URL": self.api, **variables}
        return ["make", *goals, *(f"{name}={value}" for name, value in variables.items())]

    def make(self, *goals: str, text: str = "", **variables: str) -> tuple[int, str]:
        ran = subprocess.run(self.command(*goals, **variables), cwd=self.folder, env=self.environment, text=True,
                             input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
        return ran.returncode, ran.stdout

    def predict(self, key: str | None = None):
        """Status, headers and JSON of the API's answer to the photo."""
        headers = {"Content-Type": "image/jpeg"} | ({"x-api-key": key} if key else {})
        request = urllib.request.Request(f"{self.api}predict", self.photo.read_bytes(), headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.headers, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, error.headers, json.load(error)


@pytest.fixture(scope="module")
def project(moto, tmp_path_factory):
    inspect = ["docker", "image", "inspect", BASE_IMAGE]
    if not shutil.which("docker") or subprocess.run(inspect, capture_output=True).returncode:
        pytest.skip(f"needs a Docker engine with {BASE_IMAGE} (tests/docker/base.sh)")

    def gateway(handler, body):
        """API Gateway's stand-in, as moto has no data plane for HTTP APIs: every route leads to the alias."""
        headers = {name.lower(): value for name, value in handler.headers.items()}
        response = moto.invoke(proxy_event(handler.command, handler.path, headers, body))
        reply(handler, (response.get("body") or "").encode(), response["statusCode"], **response.get("headers", {}))

    project = Project(tmp_path_factory.mktemp("project"), moto.environment, f"{http_server(gateway)}/")
    assert_success(project.make("artifacts/image.iid"))
    return project


class TestFromTheFirstDeploymentToTheLast:
    """One stack, in the order in which its owner would do these things."""

    @pytest.fixture(scope="class", autouse=True)
    def no_stack(self, moto, registry, project):
        moto.ask("moto-api/reset", b"")

    def test_the_plan_shows_changes_and_costs_and_makes_nothing(self, moto, project):
        text = assert_success(project.make("deploy-plan"), "AWS::Lambda::Function", "Nothing was changed")
        assert re.search(r"about \$[\d.]+ per million predictions: API Gateway 1.00, Lambda's requests 0.20, \d+ ms of "
                         r"1769 MB [\d.]+, logs and metrics [\d.]+\n", text)
        assert not moto.stacks() and not moto.name()
        assert project.make("deploy-status") == (
            0, "There is no stack clothes in account 123456789012, region eu-central-1.\n")

    def test_the_first_deployment_checks_a_version_and_prints_a_key(self, moto, project):
        text = assert_success(project.make("deploy", PARAMETERS="Memory=2048 S3Buckets=a,b"))
        assert re.search(r'Check    version 1 says of red/1.jpg: \{"red": [\d.]+, .*\} \(\d+ ms\)\n', text)
        assert text.splitlines()[-1].endswith(f"--data-binary @photo.jpg {project.api}predict")
        function = moto.function("live")
        assert function["Code"]["ImageUri"].startswith(f"{HOST}/clothes@sha256:")
        assert function["Configuration"]["MemorySize"] == 2048
        assert moto.function()["Concurrency"]["ReservedConcurrentExecutions"] == 10
        type(self).key = re.search(r"API key  first: (\S+)", text)[1]
        assert self.key not in json.dumps(moto.aws("cloudformation", "describe-stacks"))

    def test_the_api_answers_only_holders_of_the_key(self, project):
        with urllib.request.urlopen(f"{project.api}health", timeout=60) as health:
            assert json.load(health)["labels"] == list(colour_model.LABELS)
        status, headers, answer = project.predict(self.key)
        assert (status, next(iter(answer)), headers["Access-Control-Allow-Origin"]) == (200, "red", "*")
        assert [project.predict()[0], project.predict("guessed")[0]] == [401, 401]

    def test_a_second_deployment_changes_nothing(self, moto, project):
        before = moto.function()
        text = assert_success(project.make("deploy"), "No changes to deploy")
        assert "The push refers" not in text and "API key" not in text
        assert moto.function() == before and moto.versions() == ["1"]

    def test_a_new_model_becomes_version_2_and_parameters_stay(self, moto, project):
        project.model(sharpness=6)
        assert "layer already exists" in assert_success(project.make("deploy")).lower()
        assert moto.live() == "2" and moto.function("live")["Configuration"]["MemorySize"] == 2048
        assert len(moto.images(2)) == 2

    def test_a_version_that_fails_its_check_never_serves_and_leaves_nothing(self, moto, project):
        seen, done = set(), threading.Event()

        def visitor():
            while not done.wait(0.2):
                status, _, answer = project.predict(self.key)
                seen.add((status, next(iter(answer))))
        thread = threading.Thread(target=visitor)
        thread.start()
        project.model(labels=["blue", "red", "green"])  # calls red things green
        before = moto.function()["Code"]["ImageUri"]
        try:
            ran = project.make("deploy", PARAMETERS="Memory=3008")
        finally:
            done.set()
            thread.join()
        assert_failure(ran, 'says of red/1.jpg: {"green"',
                       "version 3 failed its check and was removed; version 2 kept serving")
        assert seen == {(200, "red")}
        assert moto.live() == "2" and moto.versions() == ["1", "2"] and len(moto.images(2)) == 2
        latest = moto.function()
        assert latest["Code"]["ImageUri"] == before and latest["Configuration"]["MemorySize"] == 2048
        assert latest["Configuration"]["Environment"]["Variables"]["S3_BUCKETS"] == "a,b"

    def test_rollback_restores_the_previous_version(self, moto, project):
        assert "The push refers" not in assert_success(project.make("rollback"), "Version 1 serves instead of 2.")
        assert moto.live() == "1"
        assert_success(project.make("deploy-status"), "Live=1\n", "Url=https://", "status=UPDATE_COMPLETE")
        assert_failure(project.make("rollback"), "there is no version before 1")

    def test_a_deployment_after_a_rollback_deletes_the_version_that_was_rolled_back(self, moto, project):
        project.model(sharpness=7)
        assert_success(project.make("deploy", KEY="ann"), "API key  ann: ")
        assert moto.live() == "4" and moto.versions() == ["1", "4"] and len(moto.images(2)) == 2

    def test_a_withdrawn_key_is_refused(self, project):
        assert project.predict(self.key)[0] == 200
        assert_success(project.make("deploy", NO_KEY="first"))
        assert project.predict(self.key)[0] == 401

    def test_undeploy_asks_first_and_leaves_nothing(self, moto, project):
        assert_failure(project.make("undeploy", text="yes\n"), "nothing was deleted")
        assert "clothes" in moto.stacks()
        assert_success(project.make("undeploy", text="clothes\n"), "is gone")
        assert not moto.stacks() and not moto.name()
        assert not moto.aws("ecr", "describe-repositories")["repositories"]
        assert not moto.aws("apigatewayv2", "get-apis")["Items"]

    def test_the_policy_allows_every_call_that_was_made(self, project):
        rows = sqlite3.connect(project.history).execute("SELECT payload FROM records WHERE event_type = 'API_CALL'")
        called = {f"{call['service']}:{call['operation']}" for call in (json.loads(row[0]) for row in rows)}
        renamed = {"lambda:Invoke": "lambda:InvokeFunction"}
        policy = json.loads((ROOT / "lambda/deploy-policy.json").read_text())
        allowed = {action for statement in policy["Statement"] for action in statement["Action"]}
        assert {"lambda:PublishVersion", "lambda:UpdateAlias"} < called
        assert {renamed.get(action, action) for action in called} <= allowed


def test_a_first_version_that_fails_its_check_is_kept_for_inspection(cloud, registry, project):
    project.model(labels=["blue", "red", "green"])
    assert_failure(project.make("deploy"), "nothing is served yet", "make logs")
    assert cloud.versions() == ["1"] and not cloud.aws("apigatewayv2", "get-apis")["Items"]
    project.model()
    assert_success(project.make("deploy"))
    assert cloud.live() == "2" and cloud.versions() == ["2"]


def test_an_interrupted_deployment_continues(cloud, registry, project):
    registry.stop()
    assert_failure(project.make("deploy"), "the push stopped; what serves is as it was")
    registry.start()

    # A push that ends well although it is interrupted: the deployment must not go on after it.
    slow = project.folder / "bin" / "docker"
    slow.parent.mkdir()
    slow.write_text(f"""#!/bin/sh
[ "$1" != push ] || {{ trap '' INT; echo pushing; sleep 1; }}
exec {shutil.which("docker")} "$@"
""")
    slow.chmod(0o755)
    environment = project.environment | {"PATH": f"{slow.parent}:{project.environment['PATH']}"}
    with subprocess.Popen(project.command("deploy"), cwd=project.folder, text=True, env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          start_new_session=True,  # a job in the background ignores SIGINT
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) as process:
        assert "pushing\n" in process.stdout
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode != 0 and not cloud.name()

    # Of a photo whose label the model does not know, any answer will do.
    assert_success(project.make("deploy", PHOTO=str(ROOT / "tests/photos/pants/jeans.jpg")), "jeans.jpg: ")
    assert cloud.live() == "1"


def run(cloud: Cloud, *command: str, cwd: Path = ROOT, **environment: str) -> tuple[int, str]:
    """Exit status and output of a script in scripts/, or of a command for `bash -c` if it starts with a blank."""
    command = ["bash", "-c", *command] if command[0].startswith(" ") else [f"scripts/{command[0]}", *command[1:]]
    ran = subprocess.run(command, cwd=cwd, text=True, stdout=subprocess.PIPE, timeout=120, stderr=subprocess.STDOUT,
                         env=cloud.environment | environment)
    return ran.returncode, ran.stdout


@pytest.mark.parametrize("environment, words", [
    ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, ["Unable to locate credentials", "AWS_PROFILE"]),
    ({"AWS_DEFAULT_REGION": ""}, ["no region is set", "AWS_REGION="]),
    ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_REGION": "eu-central-9"},
     ["Could not connect to the endpoint URL", "eu-central-9 is a region", "network"]),
    ({"AWS": "/nowhere/aws"}, ["no AWS client at /nowhere/aws", "make .venv/aws/.installed"]),
    ({"STACK": "My_Stack"}, ["lower-case letters"]),
])
def test_wrong_settings_are_explained(cloud, environment, words):
    assert_failure(run(cloud, "aws/stack.sh", "status", **environment), *words)


def answering(**answers: tuple[int, str]) -> str:
    """The URL of a stand-in for AWS with fixed answers: answering(Action=(status, body))."""
    def answer(handler, form):
        status, body = answers[form.decode().split("Action=")[1].split("&")[0]]
        reply(handler, body.encode(), status)
    return http_server(answer)


def xml(action: str, content: str) -> tuple[int, str]:
    return 200, f"<{action}Response><{action}Result>{content}</{action}Result></{action}Response>"


def error(code: str, message: str) -> tuple[int, str]:
    return 400, f"<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"


@pytest.mark.parametrize("action, code, message, advice", [
    ("GetCallerIdentity", "ExpiredToken", "The security token included in the request is expired",
     "Log in to AWS again"),
    ("GetCallerIdentity", "InvalidClientTokenId", "The security token included in the request is invalid",
     "check AWS_PROFILE and AWS_REGION"),
    ("DescribeStacks", "AccessDenied", "User: guest is not authorized to perform: cloudformation:DescribeStacks",
     "lambda/deploy-policy.json"),
])
def test_refused_credentials_are_explained(moto, action, code, message, advice):
    url = answering(**{"GetCallerIdentity": xml("GetCallerIdentity", "<Account>1</Account>"),
                       action: error(code, message)})
    assert_failure(run(moto, "deploy.sh", AWS_ENDPOINT_URL=url), message, advice)


def update(cloud: Cloud, event: str, **answers: tuple[int, str]) -> tuple[int, str]:
    """A change that AWS refuses, of a stack with a failed event."""
    url = answering(
        DescribeStacks=xml("DescribeStacks", "<Stacks><member><StackStatus>x</StackStatus></member></Stacks>"),
        GetTemplateSummary=xml("GetTemplateSummary", "<Parameters/>"),
        DescribeEvents=xml("DescribeEvents", f"<OperationEvents><member>{event}</member></OperationEvents>"), **answers)
    return run(cloud, " source scripts/aws/common.sh; update Live=", AWS_ENDPOINT_URL=url)


@pytest.mark.parametrize("state, advice", [
    ("ROLLBACK_COMPLETE", "Run make undeploy"), ("UPDATE_IN_PROGRESS", "Wait until make deploy-status"),
    ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback --stack-name clothes")])
def test_a_stack_that_cannot_be_changed_is_explained(moto, state, advice):
    ran = update(moto, "<LogicalResourceId>Function</LogicalResourceId>"
                       "<ResourceStatusReason>No more of that</ResourceStatusReason>",
                 CreateChangeSet=error("ValidationError", f"Stack:arn is in {state} state and can not be updated."))
    assert_failure(ran, "Function\tNo more of that", f"is in {state} state", advice)


def test_names_that_are_taken_are_listed(moto):
    """CloudFormation finds them before it starts."""
    reason = "failed: [AWS::EarlyValidation::ResourceExistenceCheck]. To troubleshoot, use the DescribeEvents API."
    ran = update(moto, "<LogicalResourceId>Repository</LogicalResourceId>"
                       "<ValidationStatusReason>clothes already exists</ValidationStatusReason>",
                 CreateChangeSet=xml("CreateChangeSet", "<Id>arn:aws:cloudformation:x:1:changeSet/a/b</Id>"),
                 DescribeChangeSet=xml(
                     "DescribeChangeSet", f"<Status>FAILED</Status><StatusReason>{reason}</StatusReason>"))
    assert_failure(ran, "Repository\tclothes already exists", "STACK=")


@pytest.mark.parametrize("command", [("deploy.sh",), ("aws/stack.sh", "undeploy")])
def test_a_stack_made_by_somebody_else_is_left_alone(cloud, command):
    cloud.create_stack("Resources: {Topic: {Type: 'AWS::SNS::Topic'}}")
    assert_failure(run(cloud, *command), "was not made by make deploy", "STACK=")
    assert cloud.stacks() == ["clothes"]


def test_a_repository_of_that_name_stops_the_first_deployment(cloud, project):
    cloud.aws("ecr", "create-repository", "--repository-name", "clothes")
    assert_failure(project.make("deploy"), "already exists", "STACK=")
    assert not cloud.name()


def plan(cloud: Cloud, project: Project, **environment: str) -> tuple[int, str]:
    return run(cloud, "deploy.sh", "--plan", cwd=project.folder, **{"MODEL": "own.tflite", **environment})


def test_a_model_of_drawn_data_is_refused_unless_forced(cloud, project):
    """A forced plan also shows the account's permissions boundary. No key is made if the API is to be open."""
    cloud.aws("iam", "create-policy", "--policy-name", "clothes-boundary", "--policy-document",
              f"file://{ROOT}/lambda/boundary.json")
    colour_model.write(project.folder / "drawn.tflite", dataset="drawn")
    assert_failure(plan(cloud, project, MODEL="drawn.tflite"), "drawn data", "FORCE=1")
    text = assert_success(
        plan(cloud, project, MODEL="drawn.tflite", FORCE="1", PARAMETERS="ApiKeys="), "data: drawn",
        "Boundary=arn:aws:iam::123456789012:policy/clothes-boundary")
    assert "first:" not in text


def test_a_missing_engine_is_explained(cloud, project):
    assert_failure(plan(cloud, project, DOCKER_HOST="unix:///nowhere/docker.sock"), "Docker does not answer")


def test_the_stacks_processor_stays_unless_another_is_asked_for(cloud, project):
    cloud.create_stack((ROOT / "lambda/template.yaml").read_text(), "--tags", OURS)
    assert_failure(plan(cloud, project), "the stack runs on arm64, this image is for x86_64", "ARCH=arm64")
    assert_success(plan(cloud, project, ARCH="x86_64"), "Architecture=x86_64")


def test_nothing_is_reserved_in_an_account_with_little_to_spare(cloud, project, tmp_path):
    stub = tmp_path / "aws"
    stub.write_text(f'#!/bin/sh\ncase "$*" in *UnreservedConcurrent*) echo 109 ;; '
                    f'*) exec {ROOT}/.venv/aws/bin/aws "$@" ;; esac\n')
    stub.chmod(0o755)
    assert_success(plan(cloud, project, AWS=str(stub)), "Concurrency=-1")


@pytest.mark.parametrize("version, used", [("aws-cli/2.31.0 Python/3.13.7", True), ("aws-cli/1.40.0", False)])
def test_an_installed_client_is_used_if_it_is_version_2(cloud, project, version, used, tmp_path, monkeypatch):
    (tmp_path / "aws").write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "{version}" && exit\nexit 99\n')
    (tmp_path / "aws").chmod(0o755)
    monkeypatch.setitem(project.environment, "PATH", f"{tmp_path}:{project.environment['PATH']}")
    status, text = project.make("deploy-status")
    assert (status == 0 and "There is no stack" in text) != used, text


def test_logs_are_followed(cloud):
    cloud.create_stack("Resources: {Logs: {Type: 'AWS::Logs::LogGroup'}}\nOutputs: {LogGroup: {Value: !Ref Logs}}",
                       "--tags", OURS)
    group = cloud.aws("logs", "describe-log-groups")["logGroups"][0]["logGroupName"]
    cloud.aws("logs", "create-log-stream", "--log-group-name", group, "--log-stream-name", "s")

    def say(text):
        cloud.aws("logs", "put-log-events", "--log-group-name", group, "--log-stream-name", "s", "--log-events",
                  json.dumps([{"timestamp": int(time.time() * 1000), "message": text}]))
    say("first\tline")
    process = subprocess.Popen(["timeout", "60", "scripts/aws/stack.sh", "logs"], cwd=ROOT, text=True,
                               stdout=subprocess.PIPE, env=cloud.environment, start_new_session=True)
    try:
        assert process.stdout.readline() == "first\tline\n"
        say("second line")
        assert process.stdout.readline() == "second line\n"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
