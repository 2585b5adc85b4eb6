"""The handler loaded with a tiny model that names the colour of a picture, and the events to call it with."""
import base64
import importlib
import io
import json
import sys
from urllib.parse import parse_qs

import pytest
from PIL import Image

import colour_model
from serve import proxy_event

KINDS = ("v1", "v2")


def load(folder, **record):
    """lambda_function with a colour model in `folder`, and on it its own classifier, telemetry and model_path."""
    path = colour_model.write(folder / "model.tflite", **record)
    for name in ("lambda_function", "batch", "classifier", "telemetry"):
        sys.modules.pop(name, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL_PATH", str(path))
        function = importlib.import_module("lambda_function")
    function.classifier, function.telemetry = sys.modules["classifier"], sys.modules["telemetry"]
    function.model_path = str(path)
    return function


def picture(colour="red", kind="JPEG", size=(60, 80), **options) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour_model.COLOURS.get(colour, colour)).save(file, kind, **options)
    return file.getvalue()


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def form(*files: bytes, boundary="----form", name="image", filename="photo.jpg") -> bytes:
    return b"".join(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
                    "Content-Type: image/jpeg\r\n\r\n".encode() + file + b"\r\n" for file in files
                    ) + f"--{boundary}--\r\n".encode()


def event(method="POST", target="/predict", body=b"", kind="v1", **headers) -> dict:
    """A proxy event; underscores in the names of headers stand for hyphens, and a dict as body for its JSON."""
    if not isinstance(body, bytes):
        body, headers = json.dumps(body).encode(), {"content_type": "application/json", **headers}
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    found = proxy_event(method, target, headers, body)
    return found if kind == "v2" else rest_api_event(found)


def rest_api_event(found: dict) -> dict:
    """The event of a REST API (payload format 1.0) for the same request as that of an HTTP API."""
    query = parse_qs(found["rawQueryString"], keep_blank_values=True)
    context, method = found["requestContext"], found["requestContext"]["http"]["method"]
    return {"resource": "/{proxy+}", "path": found["rawPath"], "httpMethod": method, "headers": found["headers"],
            "multiValueHeaders": {name: [value] for name, value in found["headers"].items()},
            "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
            "multiValueQueryStringParameters": query or None,
            "requestContext": {"requestId": context["requestId"], "stage": "prod", "httpMethod": method},
            "body": found["body"], "isBase64Encoded": found["isBase64Encoded"]}
