"""Log each request as one JSON line, with metrics in CloudWatch's embedded metric format (EMF)."""
import contextlib
import json
import os
import time
from collections.abc import Iterator

NAMESPACE = "ImageClassifier"
FUNCTION = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
METRICS = ("images", "fetch_ms", "decode_ms", "model_ms", "server_errors",
           "confidence", "familiarity", "confident")


@contextlib.contextmanager
def timed(record: dict, name: str) -> Iterator[None]:
    """Add the block's milliseconds to record[name]."""
    started = time.perf_counter()
    try:
        yield
    finally:
        record[name] = round(record.get(name, 0) + (time.perf_counter() - started) * 1e3, 3)


def write(record: dict) -> None:
    """Print the record of a request; on Lambda with its METRICS, and the confidence by label."""
    if FUNCTION:
        server_errors = int(record["status"] == 500)  # 502 and 504 are the fault of a URL
        record.update(function=FUNCTION, server_errors=server_errors)
        metrics = [{"Name": name} for name in METRICS if record.get(name, []) != []]
        directives = [{"Namespace": NAMESPACE, "Dimensions": [["function"]], "Metrics": metrics}]
        if "label" in record:  # the metric's sample count is the number of answers with that label
            directives.append({"Namespace": NAMESPACE, "Dimensions": [["function", "label"]],
                               "Metrics": [{"Name": "confidence"}]})
        record["_aws"] = {"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": directives}
    print(json.dumps(record), flush=True)
