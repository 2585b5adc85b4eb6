"""One turn of a contender of `make bench`, in a process of its own: its start, its times and its memory.

contenders.py starts it in the environment that has the engine, with lambda/ on the path, as in the Lambda image. It
classifies the first photo and prints a line of JSON, from which the caller takes the time of a cold start. Then it
measures requests with each photo and prints a second line. Times are in milliseconds, memory is in megabytes.
"""
import base64
import io
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from engines import ENGINES
from preprocess import preprocess

TURN = 150  # milliseconds that each part of a request is repeated for, at least three times


def handler(spec: dict) -> dict[str, Callable]:
    """Our Lambda function, called with an event of API Gateway. 1,769 MB is one CPU on Lambda."""
    os.environ.update(MODEL_PATH=spec["model"], AWS_LAMBDA_FUNCTION_MEMORY_SIZE="1769")
    from classifier import MODEL
    from lambda_function import lambda_handler

    def event(content: bytes) -> dict:
        return {"httpMethod": "POST", "path": "/predict", "headers": {"content-type": "image/jpeg"},
                "body": base64.b64encode(content).decode(), "isBase64Encoded": True}

    def request(event: dict) -> str:
        response = lambda_handler(event)
        if response["statusCode"] != 200:
            raise RuntimeError(response["body"])
        return response["body"]

    return {"event": event, "request": request, "network": MODEL.predict,
            "decode": lambda content: preprocess(content, MODEL.size)}


def plain(spec: dict) -> dict[str, Callable]:
    """An engine with nothing but the preprocessing of its network."""
    size, network = ENGINES[spec["engine"]].load(spec["model"])
    pixels = reference_pixels if spec["network"] == "reference" else preprocess

    def decode(content: bytes) -> np.ndarray:
        return pixels(content, size)[np.newaxis]

    def request(content: bytes) -> str:
        return json.dumps(dict(enumerate(network(decode(content)).tolist())))

    return {"event": bytes, "request": request, "network": network, "decode": decode}


def reference_pixels(content: bytes, size: tuple[int, int]) -> np.ndarray:
    """The reference's preprocessing. It names no filter for the resizing, so this is Pillow's default."""
    image = Image.open(io.BytesIO(content)).convert("RGB").resize(size[::-1])
    return np.array(image, dtype="float32") / 255


def milliseconds(call: Callable, argument) -> float:
    """The median over the runs of TURN."""
    call(argument)  # not counted: it fills the caches
    times = []
    while len(times) < 3 or sum(times) < TURN:
        started = time.perf_counter()
        call(argument)
        times.append((time.perf_counter() - started) * 1e3)
    return float(np.median(times))


def peak_memory() -> float:
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    status = Path("/proc/self/status").read_text()  # on Linux, ru_maxrss may be the parent's
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def main() -> None:
    spec = json.loads(sys.argv[1])
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what engines and the handler print goes to stderr
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    contents = {name: Path(photo).read_bytes() for name, photo in spec["photos"].items()}
    function = {"handler": handler, "plain": plain}[spec["function"]](spec)
    answer = json.loads(function["request"](function["event"](next(iter(contents.values())))))
    print(json.dumps({"probability": max(answer.values()), "start_memory": peak_memory()}), file=output, flush=True)
    times = {}
    for name, content in contents.items():
        inputs = {"decode": content, "network": function["decode"](content), "request": function["event"](content)}
        times |= {f"{name}_{part}": milliseconds(function[part], argument) for part, argument in inputs.items()}
    print(json.dumps(times | {"memory": peak_memory()}), file=output, flush=True)


if __name__ == "__main__":
    main()
