"""The API on AWS Lambda: photos in, probabilities of their labels out. README.md describes it."""
import base64
import hashlib
import json
import os
import platform
import re
import sys
import traceback
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL

import api_keys
import batch
from classifier import MODEL, Answer, classify
from model import Interpreter
from preprocess import ImageError
from request import Images, Request, RequestError, context_of, images_in, images_of, is_proxy, parse
from telemetry import timed, write

FOLDER = Path(__file__).parent
HEADERS = {"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
           "Access-Control-Allow-Origin": os.environ.get("CORS_ORIGIN", "*"),
           "Access-Control-Expose-Headers": "X-Confidence, X-Familiarity, X-Model", "X-Model": MODEL.digest}


class Response(NamedTuple):
    status: int
    body: object  # a str, or any value to send as JSON
    headers: dict[str, str] = {}


def lambda_handler(event: object, context: object = None) -> object:
    """Answer an HTTP request with a response, any other event with the plain mapping; never raises."""
    identity = context_of(event).get("requestId") or getattr(context, "aws_request_id", None)
    record = {"request_id": identity, "model": MODEL.digest}
    with timed(record, "total_ms"):
        try:
            if is_proxy(event):
                response = route(parse(event), record)
            elif isinstance(event, dict) and "invocationSchemaVersion" in event:
                response = Response(200, batch.answer(event, record))
            else:
                response = answer(images_in(event), None, record)
        except RequestError as error:
            response = Response(error.status, {"error": str(error)})
        except Exception:
            record["exception"] = traceback.format_exc()
            response = Response(500, {"error": "the server failed; its log says why"})
        body = response.body if isinstance(response.body, str) else json.dumps(response.body) + "\n"
    record["status"] = response.status
    if response.status >= 400:
        record["error"] = response.body["error"]
    write(record)
    if not is_proxy(event):
        return response.body
    headers = {**HEADERS, **response.headers}
    return {"statusCode": response.status, "headers": headers, "body": body, "isBase64Encoded": False}


def route(request: Request, record: dict) -> Response:
    """Answer POST /predict, or GET of one of the PAGES."""
    record["route"] = f"{request.method} {request.path}"[:200]
    if request.path != "/predict" and request.path not in PAGES:
        raise RequestError(404, f"there is nothing at this path; there is {', '.join(PAGES)}, /predict")
    allowed = "POST, OPTIONS" if request.path == "/predict" else "GET, HEAD, OPTIONS"
    if request.method not in allowed.split(", "):
        return Response(405, {"error": f"this path takes {allowed}"}, {"Allow": allowed})
    if request.method == "OPTIONS":
        return Response(204, "", {"Allow": allowed, "Access-Control-Allow-Methods": allowed,
                                  "Access-Control-Allow-Headers": "Authorization, Content-Type, X-Api-Key",
                                  "Access-Control-Max-Age": "86400"})
    if request.method == "POST":
        return predict(request, record)
    response = PAGES[request.path]()
    return response._replace(body="") if request.method == "HEAD" else response


def page() -> Response:
    """The page, with a Content-Security-Policy that allows its script and style by their hashes."""
    html = (FOLDER / "index.html").read_text("utf-8")
    policy = ("default-src 'none'; img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; "
              "form-action 'none'; frame-ancestors 'none'")
    for tag in ("script", "style"):
        text = re.search(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        policy += f"; {tag}-src 'sha256-{digest}'"
    return Response(200, html, {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy,
                                "Referrer-Policy": "no-referrer"})


def health() -> Response:
    """The model's record, without the parts that only the report needs."""
    card = {name: value for name, value in MODEL.record.items() if name not in ("history", "suspects")}
    interpreter = sys.modules[Interpreter.__module__.partition(".")[0]]
    versions = {"python": platform.python_version(), "numpy": np.__version__, "pillow": PIL.__version__,
                interpreter.__name__: interpreter.__version__}
    return Response(200, {"status": "ok", "model": MODEL.digest, **card, "size": MODEL.size, "versions": versions})


PAGES = {"/": page, "/health": health,
         "/openapi.json": lambda: Response(200, (FOLDER / "openapi.json").read_text("utf-8"))}


def predict(request: Request, record: dict) -> Response:
    """Labels and probabilities; with ?top=N only the N highest."""
    record["key"] = api_keys.holder(request.headers.get("x-api-key", ""))
    if not record["key"]:
        error = "a valid API key is needed; send yours in the header x-api-key"
        return Response(401, {"error": error}, {"WWW-Authenticate": "ApiKey"})
    top = request.query.get("top")
    if top is not None and not (re.fullmatch("[0-9]{1,9}", top) and int(top)):
        raise RequestError(400, "top must be a whole number from 1, such as ?top=3")
    return answer(images_of(request), top and int(top), record)


def answer(images: Images, top: int | None, record: dict) -> Response:
    """The mapping for a single image, or a list for several; of each, the `top` labels."""
    answers = classify(images, record, top)
    good = [found for found in answers if isinstance(found, Answer)]
    errors = [found for found in answers if not isinstance(found, Answer)]
    if errors and not images.many:
        raise RequestError(errors[0].status, str(errors[0]))
    labels = [next(iter(found.scores)) for found in good]
    measures = {"confidence": [max(found.scores.values()) for found in good],
                "familiarity": [found.familiarity for found in good],
                "confident": [int(found.confident) for found in good],  # metrics are numbers
                "familiar": [int(found.familiar) for found in good]}
    if images.many:
        record.update(labels=labels, errors=[str(error) for error in errors], **measures)
        return Response(200, [_item(found) for found in answers])
    record.update(label=labels[0], **{name: value for name, [value] in measures.items()})
    headers = {"X-Familiarity": f"{good[0].familiarity:.3f}"}
    if not good[0].confident:
        headers["X-Confidence"] = "low"
    return Response(200, good[0].scores, headers)


def _item(found: Answer | RequestError | ImageError) -> dict:
    if isinstance(found, Answer):
        return {"predictions": found.scores, "confident": found.confident, "familiar": found.familiar}
    return {"error": str(found), "status": found.status}
