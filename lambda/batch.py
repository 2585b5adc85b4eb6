"""The events of S3 Batch Operations: objects of a bucket in, their labels out as result strings.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/batch-ops-invoke-lambda.html describes event and answer.
A result string is JSON, "model" and the fields of Answer, or "error".
"""
import json
import traceback
from urllib.parse import unquote_plus

import s3
from classifier import MODEL, Answer, classify
from request import Images, RequestError

# By the status of the error. Other tasks succeed, so that their errors are reported: S3 drops the results of failed
# tasks, and ends a job if over half of 1,000 or more fail permanently.
RESULT_CODES = {403: "PermanentFailure", 500: "TemporaryFailure", 504: "TemporaryFailure"}
MAX_RESULT = 1000  # characters of a result string; the least likely labels are left out of a longer one


def answer(event: dict, record: dict) -> dict:
    """The answer to an event of version 2.0. An error of an object is part of its result."""
    record["job"] = event.get("job", {}).get("id")
    return {
        "invocationSchemaVersion": event["invocationSchemaVersion"],
        "treatMissingKeysAs": "PermanentFailure",
        "invocationId": event.get("invocationId"),
        "results": [_result(task, record) for task in event["tasks"]],
    }


def _result(task: dict, record: dict) -> dict:
    try:
        content = s3.read_object(task["s3Bucket"], unquote_plus(task["s3Key"]), task.get("s3VersionId"))
        [found] = classify(Images("raw", [content]), record)
    except RequestError as error:
        found = error
    except Exception:
        record["exception"] = traceback.format_exc()
        found = RequestError(500, "the function failed; its log says why")
    if isinstance(found, Answer):
        code, result = "Succeeded", {"model": MODEL.digest, **found._asdict()}
        while len(json.dumps(result)) > MAX_RESULT:
            result["scores"].popitem()
    else:
        code, result = RESULT_CODES.get(found.status, "Succeeded"), {"error": str(found)}
        record.setdefault("errors", []).append(str(found))
    return {"taskId": task.get("taskId"), "resultCode": code, "resultString": json.dumps(result)}
