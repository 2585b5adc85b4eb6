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
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from PIL import Image

import colour_model
from conftest import ROOT, clean_environment, project_copy
from loopback import http_server, reply

sys.path.insert(0, str(ROOT / "tests" / "aws"))
from gateway import http_api  # noqa: E402

REGION = "eu-central-1"
HOST = f"123456789012.dkr.ecr.{REGION}.amazonaws.com"
OURS = "Key=application,Value=image-classifier"
BASE_IMAGE = os.environ.get("BASE_IMAGE", "lambda-python:3.13")


def docker(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=300)


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
        for container in docker("ps", "--all", "--quiet", "--filter", f"label=stand-in={port}").stdout.split():
            docker("rm", "--force", container)


@pytest.fixture
def cloud(moto):
    """moto, empty."""
    moto.ask("moto-api/reset", b"")
    return moto


@pytest.fixture(scope="module")
def engine():
    if docker("info").returncode:
        pytest.skip("needs a Docker engine")
    if docker("image", "inspect", BASE_IMAGE).returncode:
        pytest.skip(f"needs the stand-in for Lambda's base image, {BASE_IMAGE} (tests/docker/base.sh)")


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
    """A copy of the project, in which make runs with an account's credentials."""

    def __init__(self, folder: Path, environment: dict[str, str]):
        self.folder, self.environment = folder, environment | {"DOCKER_CONFIG": str(folder / ".docker")}
        project_copy(folder)
        (folder / "data").mkdir()
        (ROOT / "data" / "wheels").mkdir(exist_ok=True, parents=True)
        (folder / "data" / "wheels").symlink_to(ROOT / "data" / "wheels")
        (folder / "artifacts").mkdir()
        (folder / "red").mkdir()
        Image.new("RGB", (60, 80), colour_model.COLOURS["red"]).save(folder / "red" / "1.jpg")
        self.model()

    def model(self, **record) -> None:
        """Write the model that is deployed; each record gives another image."""
        colour_model.write(self.folder / "own.tflite", dataset="clothing", confidence_threshold=0.6, **record)

    def command(self, *goals: str, **variables: str) -> list[str]:
        variables = {"MODEL": "own.tflite", "PHOTO": "red/1.jpg", "BASE_IMAGE": BASE_IMAGE,
                     "CONTAINER": "deploy-test", **variables}
        return ["make", *goals, *(f"{name}={value}" for name, value in variables.items())]

    def make(self, *goals: str, text: str = "", **variables: str) -> tuple[int, str]:
        ran = subprocess.run(self.command(*goals, **variables), cwd=self.folder, env=self.environment, text=True,
                             input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
        return ran.returncode, ran.stdout


@pytest.fixture(scope="module")
def project(engine, moto, tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("project"), moto.environment)
    status, text = project.make("artifacts/image.iid")
    assert status == 0, text
    return project


@pytest.fixture(scope="module")
def api(moto):
    """The URL of the HTTP API in front of the alias."""
    return http_api(moto.invoke)


def ask(api: str, path: str, body: bytes | None = None, **headers: str):
    """Status, headers and body of an answer."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(api + path, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


class TestFromTheFirstDeploymentToTheLast:
    """One stack, in the order in which its owner would do these things."""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def owner(cls, moto, registry, project, api, tmp_path_factory):
        """Give the client the owner's own settings, and let it record all calls."""
        moto.ask("moto-api/reset", b"")
        folder = tmp_path_factory.mktemp("owner")
        (folder / "config").write_text("[default]\noutput = text\ncli_pager = less\ncli_history = enabled\n")
        own, project.environment = project.environment, project.environment | {
            "AWS_CONFIG_FILE": str(folder / "config"), "AWS_CLI_HISTORY_FILE": str(folder / "history.db")}
        cls.make = staticmethod(lambda *goals, **options: project.make(*goals, API_URL=api, **options))
        cls.history, cls.photo = folder / "history.db", (project.folder / "red" / "1.jpg").read_bytes()
        yield
        project.environment = own

    def test_the_plan_shows_changes_and_costs_and_makes_nothing(self, moto):
        status, text = self.make("deploy-plan")
        assert status == 0 and "AWS::Lambda::Function" in text and "Nothing was changed" in text, text
        assert re.search(r"about \$[\d.]+ per million predictions: API Gateway 1.00, Lambda's requests 0.20, \d+ ms of "
                         r"1769 MB [\d.]+, logs and metrics [\d.]+\n", text)
        assert re.search(r"At most  \$746 a month for Lambda, if holders of a key keep all 10 instances busy", text)
        assert not moto.stacks() and not moto.name()
        assert self.make("deploy-status") == (
            0, "There is no stack clothes in account 123456789012, region eu-central-1.\n")

    def test_the_first_deployment_checks_a_version_and_prints_a_key(self, moto, api):
        status, text = self.make("deploy", PARAMETERS="Memory=2048 S3Buckets=a,b")
        assert status == 0, text
        assert re.search(r'Check    version 1 says of red/1.jpg: \{"red": [\d.]+, .*\} \(\d+ ms\)\n', text)
        assert text.splitlines()[-1].endswith(f"--data-binary @photo.jpg {api}predict")
        function = moto.function("live")
        assert function["Code"]["ImageUri"].startswith(f"{HOST}/clothes@sha256:")
        assert function["Configuration"]["MemorySize"] == 2048
        assert moto.function()["Concurrency"]["ReservedConcurrentExecutions"] == 10
        type(self).key = re.search(r"API key  first: (\S+)", text)[1]
        assert self.key not in json.dumps(moto.aws("cloudformation", "describe-stacks"))

    def test_the_api_answers_only_holders_of_the_key(self, api):
        assert json.loads(ask(api, "health")[2])["labels"] == list(colour_model.LABELS)
        photo = {"body": self.photo, "Content_Type": "image/jpeg"}
        status, headers, body = ask(api, "predict", **photo, x_api_key=self.key)
        assert status == 200 and next(iter(json.loads(body))) == "red" and headers["Access-Control-Allow-Origin"] == "*"
        assert [ask(api, "predict", **photo)[0], ask(api, "predict", **photo, x_api_key="guessed")[0]] == [401, 401]

    def test_a_second_deployment_changes_nothing(self, moto):
        before = moto.function()
        status, text = self.make("deploy")
        assert status == 0 and "No changes to deploy" in text and "The push refers" not in text, text
        assert "API key" not in text and moto.function() == before and moto.versions() == ["1"]

    def test_a_new_model_becomes_version_2_and_parameters_stay(self, moto, project):
        project.model(sharpness=6)
        status, text = self.make("deploy")
        assert status == 0 and "layer already exists" in text.lower(), text
        assert moto.live() == "2" and moto.function("live")["Configuration"]["MemorySize"] == 2048
        assert len(moto.images(2)) == 2

    def test_a_version_that_fails_its_check_never_serves_and_leaves_nothing(self, moto, project, api):
        seen, done = set(), threading.Event()

        def visitor():
            while not done.wait(0.2):
                status, _, body = ask(api, "predict", self.photo, x_api_key=self.key, Content_Type="image/jpeg")
                seen.add((status, next(iter(json.loads(body)))))
        thread = threading.Thread(target=visitor)
        thread.start()
        project.model(labels=["blue", "red", "green"])  # calls red things green
        before = moto.function()["Code"]["ImageUri"]
        try:
            status, text = self.make("deploy", PARAMETERS="Memory=3008")
        finally:
            done.set()
            thread.join()
        assert status != 0 and 'says of red/1.jpg: {"green"' in text, text
        assert "version 3 failed its check and was removed; version 2 kept serving" in text
        assert seen == {(200, "red")}
        assert moto.live() == "2" and moto.versions() == ["1", "2"] and len(moto.images(2)) == 2
        latest = moto.function()
        assert latest["Code"]["ImageUri"] == before and latest["Configuration"]["MemorySize"] == 2048
        assert latest["Configuration"]["Environment"]["Variables"]["S3_BUCKETS"] == "a,b"

    def test_rollback_restores_the_previous_version(self, moto):
        status, text = self.make("rollback")
        assert status == 0 and "Version 1 serves instead of 2." in text and "The push refers" not in text, text
        assert moto.live() == "1"
        status, text = self.make("deploy-status")
        assert status == 0 and "Live\t1" in text and "Url\thttps://" in text, text
        status, text = self.make("rollback")
        assert status != 0 and "there is no version before 1" in text, text

    def test_a_deployment_after_a_rollback_deletes_the_version_that_was_rolled_back(self, moto, project):
        project.model(sharpness=7)
        status, text = self.make("deploy", KEY="ann")
        assert status == 0 and re.search("API key  ann: ", text), text
        assert moto.live() == "4" and moto.versions() == ["1", "4"] and len(moto.images(2)) == 2

    def test_a_withdrawn_key_is_refused(self, api):
        photo = {"body": self.photo, "Content_Type": "image/jpeg"}
        assert ask(api, "predict", **photo, x_api_key=self.key)[0] == 200
        status, text = self.make("deploy", NO_KEY="first")
        assert status == 0, text
        assert ask(api, "predict", **photo, x_api_key=self.key)[0] == 401

    def test_undeploy_asks_first_and_leaves_nothing(self, moto):
        status, text = self.make("undeploy", text="yes\n")
        assert status != 0 and "nothing was deleted" in text and "clothes" in moto.stacks(), text
        status, text = self.make("undeploy", text="clothes\n")
        assert status == 0 and "is gone" in text, text
        assert not moto.stacks() and not moto.name()
        assert not moto.aws("ecr", "describe-repositories")["repositories"]
        assert not moto.aws("apigatewayv2", "get-apis")["Items"]

    def test_the_policy_allows_every_call_that_was_made(self):
        rows = sqlite3.connect(self.history).execute("SELECT payload FROM records WHERE event_type = 'API_CALL'")
        called = {f"{call['service']}:{call['operation']}" for call in (json.loads(row[0]) for row in rows)}
        renamed = {"lambda:Invoke": "lambda:InvokeFunction"}
        policy = json.loads((ROOT / "lambda/deploy-policy.json").read_text())
        allowed = {action for statement in policy["Statement"] for action in statement["Action"]}
        assert {"lambda:PublishVersion", "lambda:UpdateAlias"} < called
        assert {renamed.get(action, action) for action in called} <= allowed


def test_a_first_version_that_fails_its_check_is_kept_for_inspection(cloud, registry, project, api):
    project.model(labels=["blue", "red", "green"])
    status, text = project.make("deploy", API_URL=api)
    assert status != 0 and "nothing is served yet" in text and "make logs" in text, text
    assert cloud.versions() == ["1"] and not cloud.aws("apigatewayv2", "get-apis")["Items"]
    project.model()
    status, text = project.make("deploy", API_URL=api)
    assert status == 0 and cloud.live() == "2" and cloud.versions() == ["2"], text


def test_an_interrupted_deployment_continues(cloud, registry, project, api):
    registry.stop()
    status, text = project.make("deploy", API_URL=api)
    assert status != 0 and "the push stopped; what serves is as it was" in text, text
    registry.start()

    process = subprocess.Popen(project.command("deploy", API_URL=api), cwd=project.folder, text=True,
                               env=project.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               start_new_session=True)
    for line in process.stdout:
        if "The push refers" in line:
            os.killpg(process.pid, signal.SIGINT)
            break
    process.communicate(timeout=60)
    assert process.returncode != 0 and not cloud.name()

    status, text = project.make("deploy", API_URL=api, PHOTO=str(ROOT / "tests/photos/pants/jeans.jpg"))
    assert status == 0, text  # of a photo whose label the model does not know, any answer will do
    assert "jeans.jpg: " in text and cloud.live() == "1"


def run(cloud: Cloud, *command: str, cwd: Path = ROOT, **environment: str) -> tuple[int, str]:
    """Exit status and output of a script in scripts/, or of a command for `bash -c` if it starts with a blank."""
    command = ["bash", "-c", *command] if command[0].startswith(" ") else [f"scripts/{command[0]}", *command[1:]]
    ran = subprocess.run(command, cwd=cwd, text=True, stdout=subprocess.PIPE, timeout=120, stderr=subprocess.STDOUT,
                         env=cloud.environment | environment)
    return ran.returncode, ran.stdout


@pytest.mark.parametrize("environment, words", [
    ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, ["Unable to locate credentials", "Set AWS_PROFILE"]),
    ({"AWS_DEFAULT_REGION": ""}, ["no region is set", "AWS_REGION="]),
    ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_REGION": "eu-central-9"},
     ["Could not connect to the endpoint URL", "eu-central-9 is a region", "network"]),
    ({"AWS": "/nowhere/aws"}, ["no AWS client at /nowhere/aws", "make .venv/aws/.installed"]),
    ({"STACK": "My_Stack"}, ["lower-case letters"]),
])
def test_wrong_settings_are_explained(cloud, environment, words):
    status, text = run(cloud, "aws/stack.sh", "status", **environment)
    assert status != 0 and all(word in text for word in words), text


def answering(**answers: tuple[int, str]) -> str:
    """The URL of a stand-in with fixed answers: answering(Action=(status, body))."""
    def answer(handler, form):
        status, body = answers[form.decode().split("Action=")[1].split("&")[0]]
        reply(handler, body.encode(), status)
    return http_server(answer)


def xml(action: str, content: str) -> tuple[int, str]:
    return 200, f"<{action}Response><{action}Result>{content}</{action}Result></{action}Response>"


IDENTITY = xml("GetCallerIdentity", "<Account>1</Account>")


def in_state(state: str) -> tuple[int, str]:
    tag = "<member><Key>application</Key><Value>image-classifier</Value></member>"
    return xml("DescribeStacks", f"<Stacks><member><StackName>clothes</StackName><StackStatus>{state}</StackStatus>"
                                 f"<Tags>{tag}</Tags></member></Stacks>")


def test_expired_credentials_are_explained(moto):
    url = answering(GetCallerIdentity=(
        403, "<ErrorResponse><Error><Code>ExpiredToken</Code><Message>The security token included in the request is "
             "expired</Message></Error></ErrorResponse>"))
    status, text = run(moto, "deploy.sh", AWS_ENDPOINT_URL=url)
    assert status != 0 and "expired" in text and "Log in to AWS again" in text, text


@pytest.mark.parametrize("state, words", [
    ("ROLLBACK_COMPLETE", ["can only be deleted", "Run make undeploy", "Function CREATE_FAILED No more of that"]),
    ("UPDATE_IN_PROGRESS", ["is being changed (UPDATE_IN_PROGRESS)", "make deploy-status"]),
    ("UPDATE_ROLLBACK_FAILED", ["is stuck", "continue-update-rollback --stack-name clothes"]),
])
def test_a_stack_that_cannot_be_changed_is_explained(moto, state, words):
    url = answering(GetCallerIdentity=IDENTITY, DescribeStacks=in_state(state), DescribeStackEvents=xml(
        "DescribeStackEvents", "<StackEvents><member><LogicalResourceId>Function</LogicalResourceId><ResourceStatus>"
        "CREATE_FAILED</ResourceStatus><ResourceStatusReason>No more of that</ResourceStatusReason></member>"
        "</StackEvents>"))
    status, text = run(moto, "deploy.sh", AWS_ENDPOINT_URL=url)
    text = text.replace("\t", " ")
    assert status != 0 and all(word in text for word in words), text


def test_names_that_are_taken_are_listed(moto):
    """CloudFormation finds them before it starts; its messages are not among the stack's events."""
    url = answering(
        DescribeStacks=in_state("CREATE_COMPLETE"), GetTemplateSummary=xml("GetTemplateSummary", "<Parameters/>"),
        CreateChangeSet=xml("CreateChangeSet", "<Id>arn:aws:cloudformation:x:1:changeSet/a/b</Id>"),
        DescribeChangeSet=xml("DescribeChangeSet", "<Status>FAILED</Status><StatusReason>The following hook(s)/"
                              "validation failed: [AWS::EarlyValidation::ResourceExistenceCheck]. To troubleshoot Early"
                              " Validation errors, use the DescribeEvents API.</StatusReason>"),
        DescribeEvents=xml("DescribeEvents", "<OperationEvents><member><EventType>VALIDATION_ERROR</EventType>"
                           "<LogicalResourceId>Repository</LogicalResourceId><ValidationStatusReason>clothes already "
                           "exists</ValidationStatusReason></member></OperationEvents>"))
    status, text = run(moto, " source scripts/aws/common.sh; update lambda/template.yaml --parameter-overrides Live=",
                       AWS_ENDPOINT_URL=url)
    assert status != 0 and "Repository\tclothes already exists" in text and "STACK=" in text, text


def test_missing_permissions_and_unknown_credentials_are_explained(cloud):
    cloud.aws("iam", "create-user", "--user-name", "guest")
    key = cloud.aws("iam", "create-access-key", "--user-name", "guest")["AccessKey"]
    cloud.ask("moto-api/reset-auth", b"0")
    try:
        guest = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        status, text = run(cloud, "deploy.sh", **guest)
        assert status != 0 and "not authorized to perform" in text and "lambda/deploy-policy.json" in text, text
        status, text = run(cloud, "deploy.sh", AWS_ACCESS_KEY_ID="AKIAIOSFODNN7EXAMPLE")
        assert status != 0 and "AWS refuses these credentials in eu-central-1" in text, text
    finally:
        cloud.ask("moto-api/reset-auth", b"inf")


@pytest.mark.parametrize("command", [("deploy.sh",), ("aws/stack.sh", "undeploy")])
def test_a_stack_made_by_somebody_else_is_left_alone(cloud, command):
    cloud.create_stack("Resources: {Topic: {Type: 'AWS::SNS::Topic'}}")
    status, text = run(cloud, *command)
    assert status != 0 and "was not made by make deploy" in text and "STACK=" in text, text
    assert cloud.stacks() == ["clothes"]


def test_a_repository_of_that_name_stops_the_first_deployment(cloud, project):
    cloud.aws("ecr", "create-repository", "--repository-name", "clothes")
    status, text = project.make("deploy")
    assert status != 0 and "already exists" in text and "STACK=" in text, text
    assert not cloud.name()


def plan(cloud: Cloud, project: Project, **environment: str) -> tuple[int, str]:
    environment = {"MODEL": "own.tflite", "IID": "artifacts/image.iid", **environment}
    return run(cloud, "deploy.sh", "--plan", cwd=project.folder, **environment)


def test_a_model_of_drawn_data_is_refused_unless_forced(cloud, project):
    """A forced plan also shows the account's permissions boundary, and an API that is open on purpose."""
    cloud.aws("iam", "create-policy", "--policy-name", "clothes-boundary", "--policy-document",
              f"file://{ROOT}/lambda/boundary.json")
    colour_model.write(project.folder / "drawn.tflite", dataset="drawn")
    status, text = plan(cloud, project, MODEL="drawn.tflite")
    assert status != 0 and "drawn data" in text and "FORCE=1" in text, text
    status, text = plan(cloud, project, MODEL="drawn.tflite", FORCE="1", PARAMETERS="ApiKeys=")
    assert status == 0 and "data: drawn" in text, text
    assert "Boundary=arn:aws:iam::123456789012:policy/clothes-boundary" in text
    assert "if strangers keep all 10 instances busy" in text and "first:" not in text


def test_a_missing_engine_is_explained(cloud, project):
    status, text = plan(cloud, project, DOCKER_HOST="unix:///nowhere/docker.sock")
    assert status != 0 and "Docker does not answer" in text, text


def test_the_stacks_processor_stays_unless_another_is_asked_for(cloud, project):
    cloud.create_stack((ROOT / "lambda/template.yaml").read_text(), "--tags", OURS)
    status, text = plan(cloud, project)
    assert status != 0 and "the stack runs on arm64, this image is for x86_64" in text and "ARCH=arm64" in text, text
    status, text = plan(cloud, project, ARCH="x86_64")
    assert status == 0 and "Architecture=x86_64" in text, text


def test_nothing_is_reserved_in_an_account_with_little_to_spare(cloud, project):
    status, text = plan(cloud, project)
    assert status == 0 and "Concurrency" not in text.split("\nCost")[0], text
    stub = project.folder / "aws"
    stub.write_text(f'#!/bin/sh\ncase "$*" in *UnreservedConcurrent*) echo 109 ;; '
                    f'*) exec {ROOT}/.venv/aws/bin/aws "$@" ;; esac\n')
    stub.chmod(0o755)
    status, text = plan(cloud, project, AWS=str(stub))
    assert status == 0 and "Concurrency=-1" in text and "At most" not in text, text


@pytest.mark.parametrize("version, used", [("aws-cli/2.31.0 Python/3.13.7", True), ("aws-cli/1.40.0", False)])
def test_an_installed_client_is_used_if_it_is_version_2(cloud, project, version, used, tmp_path):
    (tmp_path / "aws").write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "{version}" && exit\nexit 99\n')
    (tmp_path / "aws").chmod(0o755)
    project.environment["PATH"], before = f"{tmp_path}:{project.environment['PATH']}", project.environment["PATH"]
    try:
        status, text = project.make("deploy-status")
    finally:
        project.environment["PATH"] = before
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
