"""The inference engines that `make bench` compares. Each is imported only in the process that measures it.

The functions load a network. They return (height, width) of its input, and a function that turns pixels [1, H, W, 3]
into probabilities [classes].
"""
from collections.abc import Callable
from typing import NamedTuple


class Engine(NamedTuple):
    name: str
    environment: str  # the folder in .venv that has it
    package: str  # its name on PyPI
    suffix: str  # the format that it loads
    load: Callable


def litert(path: str) -> tuple:
    from model import Network  # loads ai-edge-litert or tflite-runtime, whichever the environment has

    network = Network(path)
    return network.size, lambda pixels: network.run(pixels[0])[0]


def openvino(path: str) -> tuple:
    from openvino import Core

    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    compiled = Core().compile_model(path, "CPU", settings)
    request = compiled.create_infer_request()
    return tuple(compiled.input(0).shape)[1:3], lambda pixels: request.infer({0: pixels})[0][0]


def onnxruntime(path: str) -> tuple:
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = 1
    session = InferenceSession(path, options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    return tuple(source.shape[1:3]), lambda pixels: session.run(None, {source.name: pixels})[0][0]


ENGINES = {
    "litert": Engine("LiteRT", "ai-edge-litert", "ai-edge-litert", ".tflite", litert),
    "tflite-runtime": Engine("tflite-runtime", "tflite-runtime", "tflite-runtime", ".tflite", litert),
    "openvino": Engine("OpenVINO", "bench", "openvino", ".tflite", openvino),
    "openvino-onnx": Engine("OpenVINO, from ONNX", "bench", "openvino", ".onnx", openvino),
    "onnxruntime": Engine("ONNX Runtime, from ONNX", "bench", "onnxruntime", ".onnx", onnxruntime),
}
