"""One turn of a contender of `make bench`, in a process of its own: its start, its times and its memory.

    python worker.py FUNCTION MODEL PACKAGE STARTED

runs in the environment that has the engine's package, with lambda/ on the path. The photos lie beside the model. The
cold start lasts from STARTED, in seconds since 1970, to the answer for the small photo. The last line printed is JSON:
times in milliseconds, sizes and memory in megabytes.
"""
import base64
import io
import json
import os
import resource
import sys
import time
import timeit
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from preprocess import preprocess


def litert(model: str) -> tuple:
    """Load a network: (height, width) of its input, a function from pixels [H, W, 3] to probabilities [classes]."""
    from model import Network  # loads ai-edge-litert or tflite-runtime, whichever the environment has

    network = Network(model)
    return network.size, lambda pixels: network.run(pixels)[0]


def openvino(model: str) -> tuple:
    from openvino import Core

    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    compiled = Core().compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()
    return tuple(compiled.input(0).shape)[1:3], lambda pixels: request.infer({0: pixels[None]})[0][0]


def onnxruntime(model: str) -> tuple:
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = 1
    session = InferenceSession(model, options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    return tuple(source.shape[1:3]), lambda pixels: session.run(None, {source.name: pixels[None]})[0][0]


LOADERS = {"ai-edge-litert": litert, "tflite-runtime": litert, "openvino": openvino, "onnxruntime": onnxruntime}


def handler(model: Path) -> dict[str, Callable]:
    """Our Lambda function, called with an event of API Gateway. 1,769 MB is one CPU on Lambda."""
    os.environ.update(MODEL_PATH=str(model), AWS_LAMBDA_FUNCTION_MEMORY_SIZE="1769")
    from classifier import MODEL
    from lambda_function import lambda_handler

    def event(content: bytes) -> dict:
        return {"httpMethod": "POST", "path": "/predict", "headers": {"content-type": "image/jpeg"},
                "body": base64.b64encode(content).decode(), "isBase64Encoded": True}

    return {"event": event, "request": lambda event: lambda_handler(event)["body"], "network": MODEL.predict,
            "decode": partial(preprocess, size=MODEL.size)}


def plain(model: Path, package: str) -> dict[str, Callable]:
    """An engine with nothing but the preprocessing of its network."""
    size, network = LOADERS[package](str(model))
    decode = partial(reference_pixels if model.stem == "reference" else preprocess, size=size)
    return {"event": bytes, "request": lambda content: json.dumps(dict(enumerate(network(decode(content)).tolist()))),
            "network": network, "decode": decode}


def reference_pixels(content: bytes, size: tuple[int, int]) -> np.ndarray:
    """The reference's preprocessing. It names no filter for the resizing, so this is Pillow's default."""
    image = Image.open(io.BytesIO(content)).convert("RGB").resize(size[::-1])
    return np.array(image, dtype="float32") / 255


def milliseconds(call: Callable, argument) -> float:
    """The median over 150 milliseconds of calls, at least three."""
    timer = timeit.Timer(lambda: call(argument))
    first = timer.timeit(1)  # not counted: it fills the caches
    return 1e3 * float(np.median(timer.repeat(max(3, round(0.15 / first)), number=1)))


def peak_memory() -> float:
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    status = Path("/proc/self/status").read_text()  # on Linux, ru_maxrss may be the parent's
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def main() -> None:
    kind, model, package, started = sys.argv[1:]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    model = Path(model)
    photos = {name: model.with_name(f"{name}.jpg").read_bytes() for name in ("small", "large")}
    function = handler(model) if kind == "handler" else plain(model, package)
    answer = json.loads(function["request"](function["event"](photos["small"])))
    figures = {"start": (time.time() - float(started)) * 1e3, "start_memory": peak_memory(),
               "probability": float(max(answer.values())), "model_size": model.stat().st_size / 1e6}
    for name, content in photos.items():
        inputs = {"decode": content, "network": function["decode"](content), "request": function["event"](content)}
        figures |= {f"{name}_{part}": milliseconds(function[part], argument) for part, argument in inputs.items()}
    figures["memory"] = peak_memory()
    from importlib.metadata import version  # late, as it takes time and memory
    print(json.dumps(figures | {"version": f"{package} {version(package)}"}))


if __name__ == "__main__":
    main()
