"""Log each request as one JSON line on standard output. The line also holds the metrics, in CloudWatch's embedded
metric format (EMF), which needs neither a client nor a further request.
"""
import contextlib
import json
import os
import time
from collections.abc import Iterator

NAMESPACE = "ImageClassifier"
FUNCTION = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
UNITS = {"total_ms": "Milliseconds", "fetch_ms": "Milliseconds", "decode_ms": "Milliseconds",
         "model_ms": "Milliseconds", "images": "Count", "client_errors": "Count", "server_errors": "Count",
         "confidence": "None", "familiarity": "None", "confident": "None"}


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
        status = record["status"]
        record.update(function=FUNCTION, client_errors=int(400 <= status < 500),
                      server_errors=int(status == 500))  # 502 and 504 are the fault of a URL
        metrics = [_metrics(["function"], {name: unit for name, unit in UNITS.items() if record.get(name, []) != []})]
        if "label" in record:  # the metric's sample count is the number of answers with that label
            metrics.append(_metrics(["function", "label"], {"confidence": "None"}))
        record["_aws"] = {"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": metrics}
    print(json.dumps(record), flush=True)


def _metrics(dimensions: list[str], units: dict[str, str]) -> dict:
    return {"Namespace": NAMESPACE, "Dimensions": [dimensions],
            "Metrics": [{"Name": name, "Unit": unit} for name, unit in units.items()]}
