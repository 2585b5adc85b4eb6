"""make deploy and its companions: the real client, engine, image and registry, with moto for AWS itself.

ECR's host name must lead to this computer (/etc/hosts), where Debian's docker-registry listens in ECR's place.
"""
import contextlib
import http.server
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request

import colour_model
import pytest
import yaml
from conftest import ROOT
from PIL import Image

sys.path.insert(0, str(ROOT / "tests" / "aws"))
from gateway import Gateway, emulator  # noqa: E402

REGION = "eu-central-1"
HOST = f"123456789012.dkr.ecr.{REGION}.amazonaws.com"
BIN = ROOT / ".venv" / "aws-tests" / "bin"
BASE_IMAGE = os.environ.get("BASE_IMAGE", "lambda-python:3.13")
CLEAN = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "MAKE")) and key != "MFLAGS"}


def docker(*arguments):
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=300)


def wait_for(port, address="127.0.0.1"):
    for _ in range(300):
        with socket.socket() as connection:
            if connection.connect_ex((address, port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"nothing listens on {address}:{port}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def moto(tmp_path_factory):
    """moto's server; reset() empties it, aws(…) asks it by the real client, with administrator's rights."""
    port, log = free_port(), tmp_path_factory.mktemp("moto") / "log"
    with open(log, "w") as out:
        process = subprocess.Popen([BIN / "python", ROOT / "tests/aws/server.py", "--port", str(port)],
                                   stdout=out, stderr=out)
    wait_for(port)

    def post(path, data=b""):
        urllib.request.urlopen(urllib.request.Request(f"{moto.url}/moto-api/{path}", data, method="POST",
                                                      headers={"Content-Type": "text/plain"}), timeout=30)

    def aws(*arguments):
        answer = subprocess.run([ROOT / ".venv/aws/bin/aws", *arguments, "--output", "json"], env=moto.environment,
                                capture_output=True, text=True, timeout=60, check=True).stdout
        return json.loads(answer) if answer else None

    def moto():
        pass
    moto.url, moto.aws, moto.post = f"http://127.0.0.1:{port}", aws, post
    moto.environment = CLEAN | {
        "AWS_ENDPOINT_URL": moto.url, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION, "AWS_CONFIG_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}
    yield moto
    process.terminate()
    process.wait()


@pytest.fixture
def cloud(moto):
    """moto, empty."""
    moto.post("reset")
    return moto


@pytest.fixture(scope="module")
def engine():
    if docker("info").returncode:
        pytest.skip("needs a Docker engine")
    if docker("image", "inspect", BASE_IMAGE).returncode:
        pytest.skip(f"needs the stand-in for Lambda's base image, {BASE_IMAGE} (tests/docker/base.sh)")


@pytest.fixture(scope="module")
def registry(moto, tmp_path_factory):
    """A registry under ECR's name, which tells moto's ECR of each image pushed to it; start() and stop() it."""
    try:
        address = socket.gethostbyname(HOST)
    except OSError:
        address = ""
    if not address.startswith("127."):
        pytest.skip(f"needs {HOST} on a loopback address, in /etc/hosts")
    if not shutil.which("docker-registry"):
        pytest.skip("needs Debian's docker-registry")
    folder = tmp_path_factory.mktemp("registry")

    class Notified(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            for event in json.loads(self.rfile.read(int(self.headers["Content-Length"])))["events"]:
                target = event["target"]
                if event["action"] == "push" and target.get("tag"):
                    manifest = urllib.request.Request(f"http://{HOST}/v2/{target['repository']}/manifests/"
                                                      + target["digest"], headers={"Accept": target["mediaType"]})
                    with contextlib.suppress(subprocess.CalledProcessError):  # of a test before, forgotten since
                        moto.aws("ecr", "put-image", "--repository-name", target["repository"], "--image-tag",
                                 target["tag"], "--image-digest", target["digest"], "--image-manifest",
                                 urllib.request.urlopen(manifest, timeout=30).read().decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    notified = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Notified)
    threading.Thread(target=notified.serve_forever, daemon=True).start()
    (folder / "config.yml").write_text(yaml.safe_dump({
        "version": "0.1", "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"{address}:80"}, "notifications": {"endpoints": [{
            "name": "ecr", "url": f"http://127.0.0.1:{notified.server_port}", "timeout": "60s", "threshold": 5,
            "backoff": "1s"}]}}))

    def registry():
        pass

    def start():
        shutil.rmtree(folder / "data", ignore_errors=True)  # empty each time, so that a push takes its time
        with open(folder / "log", "a") as log:
            registry.process = subprocess.Popen(["docker-registry", "serve", folder / "config.yml"],
                                                stdout=log, stderr=log)
        wait_for(80, address)

    def stop():
        registry.process.terminate()
        registry.process.wait()
    registry.start, registry.stop = start, stop
    start()
    yield registry
    stop()


@pytest.fixture(scope="module")
def project(engine, moto, tmp_path_factory):
    """A copy of the project; make(goal, NAME=value, …) runs make in it as somebody with an account would."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("Makefile", "requirements-train.txt", "requirements-serve.txt", "scripts", "lambda", "tests/photos"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy2)(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    (folder / "data").mkdir()
    (folder / "data" / "wheels").symlink_to(ROOT / "data" / "wheels")
    (ROOT / "data" / "wheels").mkdir(exist_ok=True)
    (folder / "artifacts").mkdir()
    colour_model.write(folder / "own.tflite", dataset="clothing")
    (folder / "red").mkdir()
    Image.new("RGB", (60, 80), colour_model.COLOURS["red"]).save(folder / "red" / "1.jpg")

    def make(*goals, environment=None, text="", **variables):
        variables = {"MODEL": "own.tflite", "PHOTO": "red/1.jpg", "BASE_IMAGE": BASE_IMAGE, **variables}
        return subprocess.run(
            ["make", *goals, *(f"{name}={value}" for name, value in variables.items())], cwd=folder, text=True,
            input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600,
            env=moto.environment | {"DOCKER_CONFIG": str(folder / ".docker")} | (environment or {}))
    make.folder = folder
    answer = make("artifacts/image.iid")
    assert answer.returncode == 0, answer.stdout
    return make


@pytest.fixture
def gateway(engine, moto):
    """API Gateway in front of a container of whatever image is deployed at the time."""
    running = {}

    def invoke(event):
        uri = function(moto)["Code"]["ImageUri"]
        if uri not in running:
            answer = docker("run", "--detach", "--publish", "127.0.0.1::8080", "--read-only", "--tmpfs", "/tmp", uri)
            assert answer.returncode == 0, answer.stderr
            port = docker("port", answer.stdout.strip(), "8080").stdout.split(":")[-1].strip()
            running[uri] = answer.stdout.strip(), f"http://127.0.0.1:{port}"
            wait_for(int(port))
        return emulator(running[uri][1])(event)
    kinds = yaml.load((ROOT / "lambda/template.yaml").read_text(), Loader)["Resources"]["Api"]["Properties"]
    yield Gateway(invoke, kinds["BinaryMediaTypes"])
    for container, _ in running.values():
        docker("rm", "--force", container)


class Loader(yaml.SafeLoader):
    pass


Loader.add_multi_constructor("!", lambda loader, suffix, node: None)


def function(moto):
    name = moto.aws("lambda", "list-functions")["Functions"][0]["FunctionName"]
    return moto.aws("lambda", "get-function", "--function-name", name)


def stacks(moto):
    return {stack["StackName"]: stack for stack in moto.aws("cloudformation", "describe-stacks")["Stacks"]}


def known_to_ecr(moto):
    """The images that ECR knows, once it has been told of all that were pushed."""
    for _ in range(100):
        images = moto.aws("ecr", "list-images", "--repository-name", "clothes")["imageIds"]
        if any(image["imageDigest"] in function(moto)["Code"]["ImageUri"] for image in images):
            return {image["imageDigest"] for image in images}
        time.sleep(0.3)
    raise TimeoutError("the registry told of no image")


def calls(history):
    """What the client has called, by its own records, as the actions of IAM policies."""
    methods = {"GetAccount": "GET", "GetApiKey": "GET", "UpdateAccount": "PATCH"}
    rows = sqlite3.connect(history).execute("SELECT payload FROM records WHERE event_type = 'API_CALL'")
    for call in (json.loads(row[0]) for row in rows):
        name = methods[call["operation"]] if call["service"] == "apigateway" else call["operation"]
        yield f"{call['service']}:{name}"


def test_from_the_first_deployment_to_the_last(cloud, registry, project, gateway, tmp_path):
    config = tmp_path / "config"
    config.write_text("[default]\ncli_history = enabled\n")
    environment = {"AWS_CONFIG_FILE": str(config), "AWS_CLI_HISTORY_FILE": str(tmp_path / "history.db")}

    def make(*goals, **options):
        answer = project(*goals, environment=environment, SMOKE_URL=gateway.url, **options)
        return answer.returncode, answer.stdout

    # The plan shows everything and makes nothing.
    status, text = make("deploy-plan")
    assert status == 0 and "AWS::Lambda::Function" in text and "Nothing was changed" in text, text
    assert not stacks(cloud) and not cloud.aws("lambda", "list-functions")["Functions"]
    assert make("deploy-status") == (0, "There is no stack clothes in account 123456789012, region eu-central-1.\n")

    # The first deployment.
    status, text = make("deploy", PARAMETERS="Memory=2048 S3Buckets=a,b")
    assert status == 0, text
    assert 'Smoke    red/1.jpg is {"red":' in text and "about $7.03 per million" in text
    assert text.splitlines()[-1].endswith(f"--data-binary @photo.jpg {gateway.url}predict")
    first = function(cloud)
    assert first["Code"]["ImageUri"].startswith(f"{HOST}/clothes@sha256:")
    assert (first["Configuration"]["MemorySize"], first["Concurrency"]["ReservedConcurrentExecutions"]) == (2048, 10)
    assert len(known_to_ecr(cloud)) == 1

    # A second one has nothing to do.
    status, text = make("deploy")
    assert status == 0 and "No changes to deploy" in text and "The push refers" not in text, text
    assert function(cloud) == first

    # The deployed shape answers as API Gateway would have it.
    with urllib.request.urlopen(gateway.url + "health", timeout=30) as answer:
        assert json.load(answer)["labels"] == list(colour_model.LABELS)
    request = urllib.request.Request(gateway.url + "predict", method="OPTIONS", headers={"Origin": "https://a.example"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(gateway.url + "predict", b"not json", timeout=30)
    assert 400 <= error.value.code < 500 and "error" in json.load(error.value)

    # A new model, and a parameter that stays.
    colour_model.write(project.folder / "own.tflite", sharpness=6, dataset="clothing")
    status, text = make("deploy")
    assert status == 0 and "layer already exists" in text.lower(), text
    second = function(cloud)
    assert second["Code"]["ImageUri"] != first["Code"]["ImageUri"] and second["Configuration"]["MemorySize"] == 2048
    assert len(known_to_ecr(cloud)) == 2

    # One that calls red things green does not stay.
    colour_model.write(project.folder / "own.tflite", labels=["blue", "red", "green"], dataset="clothing")
    status, text = make("deploy", PARAMETERS="Memory=3008")
    assert status != 0 and 'is {"green":' in text and "the one before is back" in text, text
    assert function(cloud)["Code"]["ImageUri"] == second["Code"]["ImageUri"]
    assert function(cloud)["Configuration"]["MemorySize"] == 2048
    assert function(cloud)["Configuration"]["Environment"]["Variables"]["S3_BUCKETS"] == "a,b"

    status, text = make("deploy-status")
    assert status == 0 and f"ImageUri\t{second['Code']['ImageUri']}" in text and "Url\thttps://" in text, text

    # It goes only if asked twice, and leaves nothing.
    status, text = make("undeploy", text="yes\n")
    assert status != 0 and "nothing was deleted" in text and "clothes" in stacks(cloud), text
    cloud.aws("apigateway", "update-account", "--patch-operations",  # as the stack's ApiAccount does, which moto skips
              "op=replace,path=/cloudwatchRoleArn,value=arn:aws:iam::123456789012:role/clothes-ApiLogWriter-1")
    status, text = make("undeploy", text="clothes\n")
    assert status == 0 and "is gone" in text, text
    assert not cloud.aws("apigateway", "get-account").get("cloudwatchRoleArn")
    assert not stacks(cloud) and not cloud.aws("lambda", "list-functions")["Functions"]
    assert not cloud.aws("ecr", "describe-repositories")["repositories"]

    policy = json.loads((ROOT / "lambda/deploy-policy.json").read_text())
    actions = [statement["Action"] for statement in policy["Statement"]]
    allowed = {action for these in actions for action in ([these] if isinstance(these, str) else these)}
    called = set(calls(tmp_path / "history.db"))
    assert {"cloudformation:ExecuteChangeSet", "ecr:GetAuthorizationToken"} < called <= allowed


def run(moto, script="deploy.sh", *arguments, cwd=ROOT, **environment):
    """A script as it is; its status and all that it says."""
    answer = subprocess.run([f"scripts/{script}", *arguments], cwd=cwd, text=True, stdout=subprocess.PIPE, timeout=120,
                            stderr=subprocess.STDOUT, env=moto.environment | environment)
    return answer.returncode, answer.stdout


def test_an_interrupted_deployment_goes_on(cloud, registry, project, gateway):
    registry.stop()
    answer = project("deploy", SMOKE_URL=gateway.url)
    assert answer.returncode != 0 and "the push stopped; what serves is as it was" in answer.stdout, answer.stdout
    registry.start()

    command = ["make", "deploy", "MODEL=own.tflite", f"BASE_IMAGE={BASE_IMAGE}", f"SMOKE_URL={gateway.url}"]
    process = subprocess.Popen(command, cwd=project.folder, text=True, stdout=subprocess.PIPE, start_new_session=True,
                               stderr=subprocess.STDOUT, env=cloud.environment | {"PHOTO": "red/1.jpg"})
    for line in process.stdout:
        if "The push refers" in line:
            os.killpg(process.pid, signal.SIGINT)
            break
    process.communicate(timeout=60)
    assert process.returncode != 0 and not cloud.aws("lambda", "list-functions")["Functions"]

    answer = project("deploy", SMOKE_URL=gateway.url, PHOTO=str(ROOT / "tests/photos/pants/jeans.jpg"))
    assert answer.returncode == 0, answer.stdout  # of a photo whose label the model does not know, any answer will do
    assert "Smoke " in answer.stdout and function(cloud)


@pytest.mark.parametrize("environment, words", [
    ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, ["Unable to locate credentials", "Set AWS_PROFILE"]),
    ({"AWS_DEFAULT_REGION": ""}, ["no region is set", "AWS_REGION="]),
    ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_REGION": "eu-central-9"},
     ["Could not connect to the endpoint URL", "eu-central-9 is a region", "network"]),
    ({"AWS": "/nowhere/aws"}, ["no AWS client at /nowhere/aws", "make .venv/aws/.installed"]),
    ({"STACK": "My_Stack"}, ["lower-case letters"]),
])
def test_wrong_settings(cloud, environment, words):
    for script in ("deploy.sh", "aws/stack.sh"):
        status, text = run(cloud, script, **environment)
        assert status != 0 and all(word in text for word in words), text


@pytest.fixture
def answering():
    """AWS as far as needed to say one thing: answering(action=(status, body)) -> its URL."""
    servers = []

    def answering(**answers):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                status, body = answers[form.split("Action=")[1].split("&")[0]]
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_):
                pass
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"
    yield answering
    for server in servers:
        server.shutdown()


def test_expired_credentials(moto, answering):
    url = answering(GetCallerIdentity=(
        403, "<ErrorResponse><Error><Code>ExpiredToken</Code><Message>The security token included in the request is "
             "expired</Message></Error></ErrorResponse>"))
    for script in ("deploy.sh", "aws/stack.sh"):
        status, text = run(moto, script, AWS_ENDPOINT_URL=url)
        assert status != 0 and "expired" in text and "Log in to AWS again" in text, text


@pytest.mark.parametrize("state, words", [
    ("ROLLBACK_COMPLETE", ["can only be deleted", "Run make undeploy", "Function CREATE_FAILED No more of that"]),
    ("CREATE_FAILED", ["can only be deleted", "Run make undeploy", "Function CREATE_FAILED No more of that"]),
    ("UPDATE_IN_PROGRESS", ["is being changed (UPDATE_IN_PROGRESS)", "make deploy-status"]),
    ("UPDATE_ROLLBACK_FAILED", ["is stuck", "continue-update-rollback --stack-name clothes"]),
])
def test_a_stack_that_cannot_be_changed(moto, answering, state, words):
    member = "<member><Key>application</Key><Value>image-classifier</Value></member>"
    url = answering(
        GetCallerIdentity=(200, "<R><GetCallerIdentityResult><Account>1</Account></GetCallerIdentityResult></R>"),
        DescribeStacks=(200, "<R><DescribeStacksResult><Stacks><member><StackName>clothes</StackName>"
                             f"<StackStatus>{state}</StackStatus><Tags>{member}</Tags></member></Stacks>"
                             "</DescribeStacksResult></R>"),
        DescribeStackEvents=(200, "<R><DescribeStackEventsResult><StackEvents><member><LogicalResourceId>Function"
                                  "</LogicalResourceId><ResourceStatus>CREATE_FAILED</ResourceStatus>"
                                  "<ResourceStatusReason>No more of that</ResourceStatusReason></member></StackEvents>"
                                  "</DescribeStackEventsResult></R>"))
    status, text = run(moto, AWS_ENDPOINT_URL=url)
    text = text.replace("\t", " ")
    assert status != 0 and all(word in text for word in words), text


def test_credentials_without_the_permission_or_of_nobody(cloud):
    cloud.aws("iam", "create-user", "--user-name", "guest")
    key = cloud.aws("iam", "create-access-key", "--user-name", "guest")["AccessKey"]
    cloud.post("reset-auth", b"0")
    try:
        guest = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        status, text = run(cloud, **guest)
        assert status != 0 and "not authorized to perform" in text and "lambda/deploy-policy.json" in text, text
        status, text = run(cloud, AWS_ACCESS_KEY_ID="AKIAIOSFODNN7EXAMPLE")
        assert status != 0 and "AWS refuses these credentials in eu-central-1" in text, text
    finally:
        cloud.post("reset-auth", b"inf")


def test_somebody_elses_stack_is_left_alone(cloud, tmp_path):
    (tmp_path / "t.yaml").write_text("Resources: {Topic: {Type: 'AWS::SNS::Topic'}}\n")
    cloud.aws("cloudformation", "create-stack", "--stack-name", "clothes", "--template-body",
              f"file://{tmp_path}/t.yaml")
    for script, arguments in (("deploy.sh", []), ("deploy.sh", ["--plan"]), ("aws/stack.sh", ["remove"])):
        status, text = run(cloud, script, *arguments)
        assert status != 0 and "was not made by make deploy" in text and "STACK=" in text, text
    assert stacks(cloud)["clothes"]["StackStatus"] == "CREATE_COMPLETE"


def test_the_repositorys_name_is_taken(cloud, project):
    cloud.aws("ecr", "create-repository", "--repository-name", "clothes")
    answer = project("deploy")
    assert answer.returncode != 0 and "already exists" in answer.stdout and "STACK=" in answer.stdout, answer.stdout
    assert not cloud.aws("lambda", "list-functions")["Functions"]


def test_a_model_of_drawn_data_is_refused_unless_forced(cloud, project):
    colour_model.write(project.folder / "drawn.tflite", dataset="drawn")
    environment = {"MODEL": "drawn.tflite", "IID": "artifacts/image.iid"}
    status, text = run(cloud, "deploy.sh", "--plan", cwd=project.folder, **environment)
    assert status != 0 and "drawn data" in text and "FORCE=1" in text, text
    status, text = run(cloud, "deploy.sh", "--plan", cwd=project.folder, FORCE="1", **environment)
    assert status == 0 and "data: drawn" in text, text


def test_no_engine(cloud, project):
    status, text = run(cloud, cwd=project.folder, DOCKER_HOST="unix:///nowhere/docker.sock", MODEL="own.tflite")
    assert status != 0 and "Docker does not answer" in text, text


def test_an_account_that_has_a_role_for_api_logs_keeps_it(cloud, project):
    role = "arn:aws:iam::123456789012:role/theirs"
    cloud.aws("apigateway", "update-account", "--patch-operations", f"op=replace,path=/cloudwatchRoleArn,value={role}")
    status, text = run(cloud, "deploy.sh", "--plan", cwd=project.folder, MODEL="own.tflite")
    assert status == 0 and "ApiLogRole=account" in text, text


def test_logs_are_followed(cloud, tmp_path):
    (tmp_path / "t.yaml").write_text("Resources: {Logs: {Type: 'AWS::Logs::LogGroup'}}\n"
                                     "Outputs: {LogGroup: {Value: !Ref Logs}}\n")
    cloud.aws("cloudformation", "create-stack", "--stack-name", "clothes", "--template-body",
              f"file://{tmp_path}/t.yaml", "--tags", "Key=application,Value=image-classifier")
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
