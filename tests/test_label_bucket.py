"""make label-bucket with the real `aws` client, moto's S3, and tests/aws/s3_batch.py for S3 Batch Operations."""
import csv
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from urllib.parse import unquote, urlsplit

import pytest

import api
import colour_model
import test_docker
from api import picture
from conftest import ROOT, clean_environment
from labelling.table import FIXED
from loopback import http_server, reply

boto3 = pytest.importorskip("boto3")
sys.path.insert(0, str(ROOT / "tests" / "aws"))
from s3_batch import BatchOperations, Throttled  # noqa: E402

REGION = "eu-central-1"
SCRIPT = ROOT / "scripts" / "aws" / "label_bucket.sh"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}
# The parts of the stack that the script reads; tests/test_template.py checks that lambda/template.yaml has them.
STACK = """
Parameters:
  S3Buckets: {Type: String}
  Architecture: {Type: String, Default: arm64}
  Memory: {Type: Number, Default: 1769}
  BulkConcurrency: {Type: Number, Default: 100}
Resources:
  Reports: {Type: "AWS::S3::Bucket", Properties: {BucketName: reports}}
Outputs:
  BulkFunction: {Value: "arn:aws:lambda:eu-central-1:123456789012:function:clothes-BulkFunction-1"}
  BulkRole: {Value: "arn:aws:iam::123456789012:role/clothes-BulkRole-1"}
  BulkReports: {Value: !Ref Reports}
"""


def faulty_s3(moto: str, address: str = "127.0.0.1") -> str:
    """The address of a new proxy for moto's S3 that denies access to forbidden/, and at first to busy/."""
    asked = Counter()

    def answer(handler, body):
        key = unquote(handler.path)
        asked[key] += 1
        if "/forbidden/" in key:
            return reply(handler, b"<Error><Code>AccessDenied</Code></Error>", 403)
        if "/busy/" in key and asked[key] <= 3:  # the function's client tries twice
            return reply(handler, b"<Error><Code>SlowDown</Code></Error>", 503)
        real = http.client.HTTPConnection(urlsplit(moto).netloc)
        real.request("GET", handler.path, headers=dict(handler.headers.items()))
        found = real.getresponse()
        reply(handler, found.read(), found.status)
    return http_server(answer, address)


@pytest.fixture(scope="module")
def moto():
    from moto.server import ThreadedMotoServer
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def s3(moto, monkeypatch):
    """A client of an S3 with the empty buckets `photos` and `others`, beside the stack `clothes`."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    urllib.request.urlopen(urllib.request.Request(f"{moto}/moto-api/reset", method="POST")).close()
    client = boto3.client("s3", endpoint_url=moto)
    for name in ("photos", "others"):
        client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    boto3.client("cloudformation", endpoint_url=moto).create_stack(
        StackName="clothes", TemplateBody=STACK, Tags=[{"Key": "application", "Value": "image-classifier"}],
        Parameters=[{"ParameterKey": "S3Buckets", "ParameterValue": "photos,elsewhere"}])
    return client


@pytest.fixture
def handler(tmp_path, moto, s3, monkeypatch):
    """The function in this process, which reads the faulty S3."""
    function = api.load(tmp_path, confidence_threshold=0.6, familiarity_threshold=0.9)
    function.batch.s3._client.cache_clear()
    monkeypatch.setenv("AWS_ENDPOINT_URL", faulty_s3(moto))
    monkeypatch.setenv("S3_BUCKETS", "photos")
    return function.lambda_handler


@pytest.fixture
def service(s3, handler):
    return BatchOperations(s3, handler)


def put(s3, **objects: bytes) -> None:
    for key, content in objects.items():
        s3.put_object(Bucket="photos", Key=key, Body=content)


@pytest.fixture
def environment(moto, service) -> dict[str, str]:
    return clean_environment(AWS_ENDPOINT_URL=moto, AWS_CONFIG_FILE=os.devnull, POLL="0.1", BUCKET="photos",
                             AWS=str(ROOT / ".venv/aws/bin/aws"), **KEYS, **service.environment)


@pytest.fixture
def run(tmp_path, environment):
    """run(answer, NAME=value, …) runs the command, and gives the answer to its questions."""
    def run(answer="y\n", **variables):
        return subprocess.run([SCRIPT], cwd=tmp_path, env=environment | variables, input=answer, text=True, timeout=300,
                              capture_output=True)
    return run


def table(folder) -> dict[str, dict]:
    with open(folder / "labels.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len({row["image"] for row in rows}), "a photo has two rows"
    return {row["image"].removeprefix("s3://photos/"): row for row in rows}


# The function's answers to the events of S3 Batch Operations.

def batch_event(*keys: str, **task) -> dict:
    tasks = [{"taskId": f"task{number}", "s3Key": key, "s3VersionId": None, "s3Bucket": "photos", **task}
             for number, key in enumerate(keys)]
    return {"invocationSchemaVersion": "2.0", "invocationId": "abc", "job": {"id": "f3cc4f60"}, "tasks": tasks}


def test_each_task_is_answered_with_the_labels_of_its_object(handler, s3, capsys):
    put(s3, **{"a b/ü+1.jpg": picture("red"), "b.png": picture("grey", "PNG")})
    answer = handler(batch_event("a+b/%C3%BC%2B1.jpg", "b.png"), None)
    results = answer.pop("results")
    assert answer == {
        "invocationSchemaVersion": "2.0", "invocationId": "abc", "treatMissingKeysAs": "PermanentFailure"}
    assert [(result["taskId"], result["resultCode"]) for result in results] == [
        ("task0", "Succeeded"), ("task1", "Succeeded")]
    red, grey = (json.loads(result["resultString"]) for result in results)
    assert next(iter(red["scores"])) == "red" and re.fullmatch("[0-9a-f]{12}", red["model"])
    assert (red["confident"], red["familiarity"], red["familiar"]) == (True, pytest.approx(0.99, abs=0.01), True)
    assert (grey["confident"], grey["familiarity"], grey["familiar"]) == (False, 0.577, False)
    log = json.loads(capsys.readouterr().out)
    assert log["job"] == "f3cc4f60" and log["status"] == 200 and log["model"] == red["model"]


@pytest.mark.parametrize("bucket, key, code, words", [
    ("photos", "cut.jpg", "Succeeded", "is the file complete?"), ("photos", "gone.jpg", "Succeeded", "NoSuchKey"),
    ("photos", "forbidden/a.jpg", "PermanentFailure", "AccessDenied"),
    ("others", "cut.jpg", "PermanentFailure", "not enabled"),
    ("photos", "busy/a.jpg", "TemporaryFailure", "SlowDown"),
])
def test_an_error_of_an_object_is_in_its_result(handler, s3, bucket, key, code, words):
    put(s3, **{"cut.jpg": picture("red")[:400]})
    [result] = handler(batch_event(key, s3Bucket=bucket), None)["results"]
    assert result["resultCode"] == code and words in json.loads(result["resultString"])["error"]


def test_the_object_version_that_the_task_names_is_read(handler, s3):
    s3.put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket="photos", Key="a.jpg", Body=picture("red"))["VersionId"]
    put(s3, **{"a.jpg": picture("blue")})
    [result] = handler(batch_event("a.jpg", s3VersionId=first), None)["results"]
    assert next(iter(json.loads(result["resultString"])["scores"])) == "red"


def test_a_result_of_many_labels_keeps_the_most_likely(tmp_path, handler, s3):
    function = api.load(tmp_path, labels=["blue", "green", "r" * 950])
    put(s3, **{"a.jpg": picture("green")})
    [result] = function.lambda_handler(batch_event("a.jpg"), None)["results"]
    assert len(result["resultString"]) <= 1000 and next(iter(json.loads(result["resultString"])["scores"])) == "green"


# The command.

def test_each_of_500_objects_gets_one_row_in_spite_of_errors_and_changes(
        tmp_path, run, s3, service, container_or_handler):
    colours = ("red", "green", "blue")
    objects = {f"shop/{number:03} {colours[number % 3]}+ü.jpg": picture(colours[number % 3]) for number in range(480)}
    bad = {"shop/cut.jpg": picture("red")[:400], "shop/movie.mp4": b"\0\0\0\x18ftypmp42", "shop/photo.heic": b"heic",
           "shop/large.jpg": bytes(10_000_001), "shop/empty.jpg": b"", "shop/folder/": b""}
    forbidden = {f"shop/forbidden/{number}.jpg": picture("red") for number in range(8)}
    later = {f"shop/busy/{number}.jpg": picture("blue") for number in range(3)}
    later |= {f"shop/{name}.jpg": picture("blue") for name in ("turned away", "changed", "deleted")}
    assert len(objects | bad | forbidden | later) == 500
    put(s3, **objects, **bad, **forbidden, **later, **{"elsewhere.jpg": picture("red")})
    turned_away = []

    def invoke(event):
        if "turned" in event["tasks"][0]["s3Key"] and len(turned_away) < 2:
            turned_away.append(event)
            raise Throttled
        return container_or_handler(event)

    def interfere(key):
        if key == "shop/changed.jpg":
            put(s3, **{key: picture("red")})
        elif key == "shop/deleted.jpg":
            s3.delete_object(Bucket="photos", Key=key)
    service.invoke, service.before = invoke, interfere
    result = run(PREFIX="shop/")
    assert result.returncode == 1, result.stdout + result.stderr
    rows = table(tmp_path)
    assert rows.keys() == (objects | bad | forbidden | later).keys()
    assert all(rows[key]["label"] == colours[number % 3] for number, key in enumerate(objects))
    assert {key for key, row in rows.items() if row["error"]} == {*bad, *forbidden, "shop/deleted.jpg"}
    assert {rows[key]["error"] for key in forbidden} == {"S3 Batch Operations: failed, PermanentFailure"}
    assert "NoSuchKey" in rows["shop/deleted.jpg"]["error"] and "too large" in rows["shop/large.jpg"]["error"]
    assert rows["shop/changed.jpg"]["label"] == "red" and rows["shop/busy/0.jpg"]["label"] == "blue"
    assert "500 in s3://photos/shop/" in result.stdout and "min with 100 photos at a time" in result.stdout
    assert "labels.csv: 500 photos" in result.stdout and "15 failed" in result.stdout
    red = rows["shop/000 red+ü.jpg"]
    assert list(red) == [*FIXED, "blue", "green", "red"] and red["probability"] == red["red"]
    assert red["confident"] == red["familiar"] == "true" and float(red["familiarity"]) > 0.9


@pytest.fixture(params=["handler", "container"])
def container_or_handler(request, moto, handler, tmp_path_factory):
    """invoke(event) of the function in this process, or in a container of the image."""
    if request.param == "handler":
        yield handler
        return
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("no Docker engine answers")
    folder = tmp_path_factory.mktemp("image")
    model = colour_model.write(folder / "model.tflite", confidence_threshold=0.6, familiarity_threshold=0.9)
    project = test_docker.Project(folder / "project", model, f"test-batch-{os.getpid()}")
    layer = folder / "layer"  # AWS's base image has boto3, the stand-in has not
    for name in ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3"):
        shutil.copytree(os.path.dirname(__import__(name).__file__), layer / name)
    shutil.copy(__import__("six").__file__, layer)
    try:
        status, output = project.make("artifacts/image.iid")
        assert status == 0, output
        gateway = test_docker.docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")
        variables = {**KEYS, "AWS_ENDPOINT_URL": faulty_s3(moto, gateway), "S3_BUCKETS": "photos"}
        flags = [flag for name, value in variables.items() for flag in ("--env", f"{name}={value}")]
        with test_docker.running(project.image, *flags, "--volume", f"{layer}:/opt/python:ro") as (_, port):
            yield lambda event: test_docker.invoke(port, event)
    finally:
        test_docker.docker("rmi", "--force", project.container, check=False)


def test_no_job_is_started_without_confirmation(run, s3, service):
    put(s3, **{"a.jpg": picture()})
    result = run(answer="\n")
    assert result.returncode == 1 and "no job was started" in result.stderr and not service.jobs


@pytest.mark.parametrize("variables, message, hint", [
    ({"BUCKET": ""}, "BUCKET is empty", "make label-bucket BUCKET="),
    ({"BUCKET": "others"}, "function for buckets that may read others", "S3Buckets=photos,elsewhere,others"),
    ({"BUCKET": "elsewhere"}, "NoSuchBucket", "repeat the command"),
    ({"PREFIX": "none/"}, "nothing in s3://photos/none/", "Check BUCKET and PREFIX"),
    ({"STACK": "other"}, "no stack other", "make deploy"),
    ({"OUT": "labels.parquet"}, "is a .csv or .jsonl file", ""),
])
def test_wrong_settings_are_reported_before_a_job_is_started(run, service, variables, message, hint):
    result = run(**variables)
    assert result.returncode == 1 and message in result.stderr and hint in result.stderr
    assert not service.jobs


def test_a_job_continues_without_the_command_and_is_found_again(tmp_path, run, environment, s3, service):
    prefix = "it's \"a\" `b`/"
    put(s3, **{f"{prefix}1.jpg": picture("red"), "c/2.jpg": picture("red")})
    service.hold.clear()
    process = subprocess.Popen([SCRIPT], cwd=tmp_path, env=environment | {"PREFIX": prefix}, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True,
                               start_new_session=True,  # a job in the background ignores SIGINT
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    process.stdin.write("y\n")
    process.stdin.flush()
    while "Active" not in process.stdout.readline():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
    assert "does not stop the job" in process.communicate(timeout=30)[0] and process.returncode == 130
    service.hold.set()
    result = run(answer="", PREFIX=prefix)
    assert result.returncode == 0, result.stderr
    assert len(service.jobs) == 1
    assert [*table(tmp_path)] == [f"{prefix}1.jpg"]


def test_after_a_job_the_user_can_fetch_its_labels_again_or_start_a_new_job(tmp_path, run, s3, service):
    put(s3, **{"1.jpg": picture("red")})
    assert run().returncode == 0
    (tmp_path / "labels.csv").unlink()
    assert run(answer="f\n").returncode == 0
    assert len(table(tmp_path)) == len(service.jobs) == 1
    put(s3, **{"2.jpg": picture("blue")})
    assert run(answer="n\ny\n").returncode == 0
    assert len(table(tmp_path)) == len(service.jobs) == 2


@pytest.mark.parametrize("status, reasons", [("Cancelled", []), ("Failed", ["too many tasks failed"])])
def test_a_job_that_ends_early_keeps_the_labels_so_far(tmp_path, run, s3, service, status, reasons):
    put(s3, **{f"{number}.jpg": picture("red") for number in range(5)})

    def end(key):
        if key == "3.jpg":
            [job] = service.jobs.values()
            job.status = status
            job.reasons = [{"FailureCode": "JobFailed", "FailureReason": reason} for reason in reasons]
    service.before = end
    result = run()
    said = " ".join([f"ended before all photos were labelled: {status}.", *reasons])
    assert result.returncode == 1 and said in result.stderr
    assert len(table(tmp_path)) == 3
