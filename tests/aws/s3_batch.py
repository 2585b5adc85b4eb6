"""The stand-in for S3 Batch Operations, which moto lacks: S3 Control's jobs, run against a function.

    service = BatchOperations(s3, invoke)    s3: a boto3 client; invoke(event) -> answer, or Throttled
    service.environment                      leads the `aws` client to it

Each call is validated against botocore's model of the service. A job lists the objects itself (manifest generator),
gives each to the function in an event of its own, repeats tasks that failed for now, ends early if its status is set,
and writes the results of its report as S3 does: files without a header, keys URL-encoded, no result strings of failed
tasks. `service.before` is called with the key ahead of each task, so that a test can interfere.
"""
import csv
import io
import re
import threading
import uuid
from collections import Counter
from datetime import datetime, timezone
from urllib.parse import quote_plus, urlsplit
from xml.etree import ElementTree

import botocore.session
from botocore import parsers, serialize, validate

from loopback import http_server, reply

MODEL = botocore.session.get_session().get_service_model("s3control")
ACCOUNT = "123456789012"
ATTEMPTS = 5  # of a task that fails for now
PATHS = {"CreateJob": "POST /v20180820/jobs", "ListJobs": "GET /v20180820/jobs",
         "DescribeJob": "GET /v20180820/jobs/([^/]+)"}


class Throttled(Exception):
    """Lambda throttled the invocation."""


class Refused(Exception):
    """The service's error answer."""


def check(shape, value, name="") -> None:
    """Check what botocore leaves to the service: patterns, enumerations and maximum lengths."""
    if shape.type_name == "structure":
        for key, member in value.items():
            check(shape.members[key], member, f"{name}.{key}")
    elif shape.type_name == "list":
        for member in value:
            check(shape.member, member, f"{name}[]")
    elif shape.type_name == "string":
        facts = shape.metadata
        if facts.get("enum") and value not in facts["enum"] or len(value) > facts.get("max", len(value)) \
                or "pattern" in facts and not re.fullmatch(facts["pattern"].replace(r"\p", "."), value):
            raise Refused(f"{name} is wrong: {value}")


class Job:
    def __init__(self, request: dict):
        self.request, self.id, self.status = request, str(uuid.uuid4()), "New"
        self.created, self.tasks, self.done, self.reasons = datetime.now(timezone.utc), [], Counter(), []

    def describe(self) -> dict:
        return {"JobId": self.id, "Status": self.status, "CreationTime": self.created, "FailureReasons": self.reasons,
                "Description": self.request.get("Description", ""), "Report": self.request["Report"],
                "Operation": self.request["Operation"], "ProgressSummary": {
                    "TotalNumberOfTasks": len(self.tasks), "NumberOfTasksSucceeded": self.done["succeeded"],
                    "NumberOfTasksFailed": self.done["failed"]}}


class BatchOperations:
    def __init__(self, s3, invoke):
        self.s3, self.invoke, self.before, self.jobs = s3, invoke, lambda key: None, {}
        self.hold = threading.Event()  # jobs run while it is set
        self.hold.set()

        def answer(handler, body):
            status, text = self.answer(handler.command, handler.path, body, handler.headers)
            reply(handler, text, status, Content_Type="application/xml")

        url = http_server(answer)
        # The client puts the account's number before the host's name, which no name server knows: so as a proxy.
        self.environment = {"AWS_ENDPOINT_URL_S3_CONTROL": "http://s3-control.example", "NO_PROXY": "127.0.0.1",
                            "HTTP_PROXY": url}

    def answer(self, method: str, url: str, body: bytes, headers) -> tuple[int, bytes]:
        """The status and the XML of the answer to an HTTP request."""
        address = urlsplit(url)
        try:
            if address.hostname != f"{ACCOUNT}.s3-control.example" or headers["x-amz-account-id"] != ACCOUNT:
                raise Refused(f"the account is missing in {url} or in the headers")
            for name, pattern in PATHS.items():
                if found := re.fullmatch(pattern, f"{method} {address.path}"):
                    operation = MODEL.operation_model(name)
                    result = getattr(self, name)(*found.groups(), *self.parse(operation, body))
                    return 200, self.to_xml(operation.output_shape, result)
            raise Refused(f"unknown call {method} {url}")
        except Refused as error:
            return 400, f"<Error><Code>InvalidRequest</Code><Message>{error}</Message></Error>".encode()

    def parse(self, operation, body: bytes) -> list[dict]:
        """The body as a list of one request; an empty list if there is none."""
        if not body:
            return []
        request = parsers.RestXMLParser()._parse_shape(operation.input_shape, ElementTree.fromstring(body))
        report = validate.ParamValidator().validate({"AccountId": ACCOUNT, **request}, operation.input_shape)
        if report.has_errors():
            raise Refused(report.generate_report())
        check(operation.input_shape, request)
        return [request]

    def to_xml(self, shape, value: dict) -> bytes:
        root = ElementTree.Element("Result")
        serialize.RestXMLSerializer()._serialize(shape, value, root, shape.name)
        return ElementTree.tostring(root[0])

    def CreateJob(self, request: dict) -> dict:
        job = Job(request)
        self.jobs[job.id] = job
        threading.Thread(target=self.run, args=(job,), daemon=True).start()
        return {"JobId": job.id}

    def ListJobs(self) -> dict:
        names = MODEL.shape_for("JobListDescriptor").members.keys() - {"Operation"}
        return {"Jobs": [{name: value for name, value in job.describe().items() if name in names}
                         for job in self.jobs.values()]}

    def DescribeJob(self, job: str) -> dict:
        return {"Job": self.jobs[job].describe()}

    def run(self, job: Job) -> None:
        generator = job.request["ManifestGenerator"]["S3JobManifestGenerator"]
        bucket = generator["SourceBucket"].rpartition(":")[2]
        prefixes = tuple(generator.get("Filter", {}).get("KeyNameConstraint", {}).get("MatchAnyPrefix", [""]))
        job.status = "Preparing"
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            job.tasks += [found["Key"] for found in page.get("Contents", []) if found["Key"].startswith(prefixes)]
        job.status = "Active"
        rows = {"succeeded": [], "failed": []}
        for key in job.tasks:
            self.hold.wait()
            self.before(key)
            if job.status != "Active":
                break
            state, error, message = self.run_task(job, bucket, key)
            rows[state].append([bucket, quote_plus(key), "", state, error, "200" if state == "failed" else "", message])
            job.done[state] += 1
        self.report(job, rows)
        if job.status == "Active":
            job.status = "Complete"

    def run_task(self, job: Job, bucket: str, key: str) -> tuple[str, str, str]:
        """The final state of a task, its error code and its message."""
        task = {"taskId": uuid.uuid4().hex, "s3Key": quote_plus(key), "s3VersionId": None, "s3Bucket": bucket}
        event = {"invocationSchemaVersion": job.request["Operation"]["LambdaInvoke"]["InvocationSchemaVersion"],
                 "invocationId": uuid.uuid4().hex, "job": {"id": job.id}, "tasks": [task]}
        for _ in range(ATTEMPTS):
            try:
                answer = self.invoke(event)
            except Throttled:
                continue
            assert answer["invocationId"] == event["invocationId"] and answer["invocationSchemaVersion"] == "2.0"
            [result] = answer["results"]
            assert result["taskId"] == task["taskId"]
            if result["resultCode"] == "Succeeded":
                return "succeeded", "200", result["resultString"]
            if result["resultCode"] == "PermanentFailure":
                return "failed", "PermanentFailure", ""
        return "failed", "TemporaryFailure", ""

    def report(self, job: Job, rows: dict) -> None:
        target = job.request["Report"]
        bucket = target["Bucket"].rpartition(":")[2]
        for state, found in rows.items():
            if found:
                text = io.StringIO()
                csv.writer(text, lineterminator="\n").writerows(found)
                self.s3.put_object(Bucket=bucket, Key=f"{target['Prefix']}/job-{job.id}/results/{uuid.uuid4().hex}.csv",
                                   Body=text.getvalue().encode())
