"""Log each request as one JSON line on standard output. It also holds the metrics, in CloudWatch's embedded metric
format (EMF), which needs no client.
"""
import contextlib
import json
import os
import time
from collections.abc import Iterator

NAMESPACE = "ImageClassifier"
FUNCTION = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
UNITS = {**dict.fromkeys(["total_ms", "fetch_ms", "decode_ms", "model_ms"], "Milliseconds"),
         **dict.fromkeys(["images", "client_errors", "server_errors"], "Count"),
         **dict.fromkeys(["confidence", "familiarity", "confident"], "None")}


@contextlib.contextmanager
def timed(record: dict, name: str) -> Iterator[None]:
    """Add the block's milliseconds to record[name]."""
    started = time.perf_counter()
    try:
        yield
    finally:
        record[name] = round(record.get(name, 0) + (time.perf_counter() - started) * 1e3, 3)


def write(record: dict) -> None:
    """Print the record of a request; on Lambda with the metrics in UNITS, and the confidence by label."""
    if FUNCTION:
        status = record["status"]  # 502 and 504 are the fault of a URL
        record.update(function=FUNCTION, client_errors=int(400 <= status < 500), server_errors=int(status == 500))
        metrics = [{"Name": name, "Unit": unit} for name, unit in UNITS.items() if record.get(name, []) != []]
        directives = [{"Namespace": NAMESPACE, "Dimensions": [["function"]], "Metrics": metrics}]
        if "label" in record:  # the metric's sample count is the number of answers with that label
            directives.append({"Namespace": NAMESPACE, "Dimensions": [["function", "label"]],
                               "Metrics": [{"Name": "confidence", "Unit": "None"}]})
        record["_aws"] = {"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": directives}
    print(json.dumps(record), flush=True)
