"""What `make bench` compares: engines, and the code around them. Each is imported only where it is measured."""
import base64
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lambda"))


# Engines: each gives its version, the input's height and width, and a function from pixels to probabilities, NumPy's.
def litert(model: str, threads: int):
    import model as serving  # imports whichever of the two interpreters is installed
    interpreter = serving.Interpreter(model_path=model, num_threads=threads)
    interpreter.allocate_tensors()
    asked, answered = interpreter.get_input_details()[0], interpreter.get_output_details()[0]["index"]

    def predict(pixels):
        interpreter.set_tensor(asked["index"], pixels)
        interpreter.invoke()
        return interpreter.get_tensor(answered)[0]
    package = sys.modules[serving.Interpreter.__module__.partition(".")[0]]
    return f"{package.__name__} {package.__version__}", asked["shape"][1:3], predict


def onnxruntime(model: str, threads: int):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    asked = session.get_inputs()[0]
    return (f"onnxruntime {onnxruntime.__version__}", asked.shape[1:3],
            lambda pixels: session.run(None, {asked.name: pixels})[0][0])


def openvino(model: str, threads: int):
    import openvino
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1,
                                                            "PERFORMANCE_HINT": "LATENCY"})
    request = compiled.create_infer_request()
    return (f"openvino {openvino.__version__.partition('-')[0]}", list(compiled.input(0).shape)[1:3],
            lambda pixels: request.infer({0: pixels})[0][0])


def keras(model: str, threads: int):
    import tensorflow
    tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    network = tensorflow.keras.models.load_model(model, compile=False)
    call = tensorflow.function(lambda pixels: network(tensorflow.cast(pixels, "float32"), training=False))
    return (f"tensorflow {tensorflow.__version__}", network.input_shape[1:3],
            lambda pixels: call(tensorflow.constant(pixels)).numpy()[0])


ENGINES = {"litert": litert, "tflite-runtime": litert, "onnxruntime": onnxruntime, "openvino": openvino, "keras": keras}


class Function(NamedTuple):
    """What is around an engine.

    event: from a photo's bytes to what the function is asked with, which is its caller's work; request: from that to
    JSON; prepare: from the bytes to the network's input; predict: the network alone.
    """
    version: str
    event: Callable
    request: Callable
    prepare: Callable
    predict: Callable


def plain(spec: dict) -> Function:
    """An engine with our preprocessing and little else: what one would write around it."""
    from serving import preprocess
    version, size, predict = ENGINES[spec["engine"]](spec["model"], spec["threads"])
    size = tuple(int(side) for side in size)

    def prepare(content: bytes):
        return preprocess(content, size)[None]
    return Function(version, bytes, lambda content: to_json(predict(prepare(content))), prepare, predict)


def to_json(probabilities) -> str:
    return json.dumps(dict(enumerate(probabilities.tolist())))


def reference(spec: dict) -> Function:
    """The function that the reference describes: Pillow's decoding and resizing, 1/255, one float32 photo.

    It names no filter, so Pillow's own is taken. It converts to RGB, without which a grey photo would fail.
    """
    import numpy as np
    from PIL import Image
    version, _, predict = ENGINES[spec["engine"]](spec["model"], spec["threads"])

    def prepare(content: bytes):
        image = Image.open(io.BytesIO(content)).convert("RGB").resize((150, 150))
        return np.array([image], dtype="float32") / 255
    return Function(version, bytes, lambda content: to_json(predict(prepare(content))), prepare, predict)


def ours(spec: dict) -> Function:
    """Our function as it is on Lambda, asked by API Gateway's event."""
    os.environ.update(MODEL_PATH=spec["model"], AWS_LAMBDA_FUNCTION_MEMORY_SIZE=str(1769 * spec["threads"]))
    import classifier
    import lambda_function
    from serving import preprocess

    def event(content: bytes) -> dict:
        return {"httpMethod": "POST", "path": "/predict", "headers": {"content-type": "image/jpeg"},
                "body": base64.b64encode(content).decode(), "isBase64Encoded": True}

    def request(event: dict) -> str:
        response = lambda_function.lambda_handler(event)
        assert response["statusCode"] == 200, response["body"]
        return response["body"]
    package = sys.modules[lambda_function.Interpreter.__module__.partition(".")[0]]
    return Function(f"{package.__name__} {package.__version__}", event, request,
                    lambda content: preprocess(content, classifier.MODEL.size)[None],
                    lambda pixels: classifier.MODEL.predict(pixels[0]))


def imports(spec: dict) -> Function:
    """No function at all but its imports: a start can't be faster than this with these packages."""
    import model  # noqa: F401, the interpreter and NumPy
    from PIL import Image  # noqa: F401
    return Function("", bytes, lambda event: "{}", bytes, bytes)


FUNCTIONS = {"plain": plain, "reference": reference, "ours": ours, "imports": imports}
