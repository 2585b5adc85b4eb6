"""One turn of a contender of `make bench`, in a process of its own: its start, its times and its memory.

    python worker.py FUNCTION NETWORK ENGINE FOLDER STARTED

runs in the environment that has the engine, with lambda/ on the path, as in the Lambda image. FOLDER holds the networks
and the photos; the cold start lasts from STARTED, seconds since 1970, to the answer for the small photo. Then requests
with each photo are measured. The last line printed is JSON: times in milliseconds, sizes and memory in megabytes.
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


def handler(model: Path) -> dict[str, Callable]:
    """Our Lambda function, called with an event of API Gateway. 1,769 MB is one CPU on Lambda."""
    os.environ.update(MODEL_PATH=str(model), AWS_LAMBDA_FUNCTION_MEMORY_SIZE="1769")
    from classifier import MODEL
    from lambda_function import lambda_handler

    def event(content: bytes) -> dict:
        return {"httpMethod": "POST", "path": "/predict", "headers": {"content-type": "image/jpeg"},
                "body": base64.b64encode(content).decode(), "isBase64Encoded": True}

    return {"event": event, "request": lambda event: lambda_handler(event)["body"], "network": MODEL.predict,
            "decode": lambda content: preprocess(content, MODEL.size)}


def plain(model: Path, engine: str) -> dict[str, Callable]:
    """An engine with nothing but the preprocessing of its network."""
    size, network = ENGINES[engine].load(str(model))
    pixels = reference_pixels if model.stem == "reference" else preprocess

    def decode(content: bytes) -> np.ndarray:
        return pixels(content, size)[np.newaxis]

    return {"event": bytes, "network": network, "decode": decode,
            "request": lambda content: json.dumps(dict(enumerate(network(decode(content)).tolist())))}


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
    kind, network, engine, folder, started = sys.argv[1:]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    photos = {name: Path(folder, f"{name}.jpg").read_bytes() for name in ("small", "large")}
    model = Path(folder, network + ENGINES[engine].suffix)
    function = handler(model) if kind == "handler" else plain(model, engine)
    answer = json.loads(function["request"](function["event"](photos["small"])))
    figures = {"start": (time.time() - float(started)) * 1e3, "start_memory": peak_memory(),
               "probability": float(max(answer.values())), "model_size": model.stat().st_size / 1e6}
    for name, content in photos.items():
        inputs = {"decode": content, "network": function["decode"](content), "request": function["event"](content)}
        figures |= {f"{name}_{part}": milliseconds(function[part], argument) for part, argument in inputs.items()}
    figures["memory"] = peak_memory()
    from importlib import metadata  # late, as it takes time and memory
    package = ENGINES[engine].package
    print(json.dumps(figures | {"version": f"{package} {metadata.version(package)}"}))


if __name__ == "__main__":
    main()
