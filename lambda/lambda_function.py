"""The API on AWS Lambda: photos in, probabilities of their labels out.

POST /predict takes {"url": …}, {"image": <base64>}, the bytes of a photo or the files of a form; GET /health
describes the model; GET / is a page to try it. An event that is itself {"url": …} gets the plain mapping.

Environment: MODEL_PATH (model.tflite beside this file), CORS_ORIGIN (*), S3_BUCKETS (none), API_KEYS (none needed).
"""
import functools
import json
import os
import platform
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
from request import Request, RequestError, Source, has_lists_only, is_proxy, parse, request_id, sources, sources_in
from telemetry import timed, write

PAGE, DESCRIPTION = (Path(__file__).with_name(name) for name in ("index.html", "openapi.json"))
HEADERS = {"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
           "Access-Control-Allow-Origin": os.environ.get("CORS_ORIGIN", "*"),
           "Access-Control-Expose-Headers": "X-Confidence, X-Familiarity, X-Model", "X-Model": MODEL.digest}
PREFLIGHT = {"Access-Control-Allow-Headers": "Authorization, Content-Type, X-Api-Key",
             "Access-Control-Max-Age": "86400"}


class Response(NamedTuple):
    status: int
    body: object  # a str, or any value to send as JSON
    headers: dict[str, str] = {}


def lambda_handler(event: object, context: object = None) -> object:
    """Answer an HTTP request with a response, any other event with the plain mapping; never raises."""
    record = {"request_id": request_id(event) or getattr(context, "aws_request_id", None), "model": MODEL.digest}
    proxy = is_proxy(event)
    with timed(record, "total_ms"):
        try:
            if proxy:
                response = route(parse(event), record)
            elif batch.is_batch(event):
                response = Response(200, batch.answer(event, record))
            else:
                response = answer(*sources_in(event), None, record)
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
    if not proxy:
        return response.body
    headers = {**HEADERS, **response.headers}
    sent = {"multiValueHeaders": {name: [value] for name, value in headers.items()}} if has_lists_only(event) else {
        "headers": headers}
    return {"statusCode": response.status, **sent, "body": body, "isBase64Encoded": False}


def route(request: Request, record: dict) -> Response:
    """Call the function that ROUTES names for the path and the method."""
    record["route"] = f"{request.method} {request.path}"[:200]
    methods = ROUTES.get(request.path)
    if methods is None:
        raise RequestError(404, f"there is nothing at this path; there is {', '.join(ROUTES)}")
    allowed = ", ".join([*methods, "OPTIONS"])
    if request.method == "OPTIONS":
        return Response(204, "", {"Allow": allowed, "Access-Control-Allow-Methods": allowed, **PREFLIGHT})
    if request.method not in methods:
        return Response(405, {"error": f"this path takes {allowed}"}, {"Allow": allowed})
    response = methods[request.method](request, record)
    return response._replace(body="") if request.method == "HEAD" else response


def page(request: Request, record: dict) -> Response:
    """The page to try the API."""
    html, policy = _page()
    return Response(200, html, {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy,
                                "Referrer-Policy": "no-referrer"})


@functools.cache
def _page() -> tuple[str, str]:
    """The page and its Content-Security-Policy, which allows its inline script and style by their hashes."""
    import base64
    import hashlib
    import re
    html = PAGE.read_text("utf-8")

    def hashes(tag: str) -> str:
        return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
                        for text in re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL))
    return html, (f"default-src 'none'; script-src {hashes('script')}; style-src {hashes('style')}; "
                  "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
                  "frame-ancestors 'none'")


def health(request: Request, record: dict) -> Response:
    """The model's record, without the parts that only the report needs."""
    card = {name: value for name, value in MODEL.record.items() if name not in ("history", "suspects")}
    interpreter = sys.modules[Interpreter.__module__.partition(".")[0]]
    versions = {"python": platform.python_version(), "numpy": np.__version__, "pillow": PIL.__version__,
                interpreter.__name__: interpreter.__version__}
    return Response(200, {"status": "ok", "model": MODEL.digest, **card, "size": MODEL.size, "versions": versions})


def predict(request: Request, record: dict) -> Response:
    """Labels and probabilities; with ?top=N only the N highest."""
    key = request.headers.get("x-api-key", "")
    record["key"] = api_keys.holder(key)
    if not record["key"]:
        wrong = "this API key is not valid" if key else "an API key is needed"
        return Response(401, {"error": f"{wrong}; send yours in the header x-api-key"}, {"WWW-Authenticate": "ApiKey"})
    top = request.query.get("top")
    if top is not None and not (top.isascii() and top.isdecimal() and len(top) < 10 and int(top)):
        raise RequestError(400, "top must be a whole number from 1, such as ?top=3")
    return answer(*sources(request), top and int(top), record)


def description(request: Request, record: dict) -> Response:
    """The API for programs, from which other languages' clients are generated."""
    return Response(200, DESCRIPTION.read_text("utf-8"))


ROUTES = {
    "/": {"GET": page, "HEAD": page},
    "/health": {"GET": health, "HEAD": health},
    "/openapi.json": {"GET": description, "HEAD": description},
    "/predict": {"POST": predict},
}


def answer(asked: list[Source], many: bool, top: int | None, record: dict) -> Response:
    """The mapping for a single image, or a list for several; with `top`, only so many labels of each."""
    answers = classify(asked, record)
    good = [found for found in answers if isinstance(found, Answer)]
    if not many and not good:
        raise answers[0]
    labels = [next(iter(found.scores)) for found in good]
    measures = {"confidence": [max(found.scores.values()) for found in good],
                "familiarity": [found.familiarity for found in good],
                "confident": [int(found.confident) for found in good],  # numbers, as metrics can't be true or false
                "familiar": [int(found.familiar) for found in good]}

    def highest(found: Answer) -> dict[str, float]:
        return dict([*found.scores.items()][:top])
    if many:
        errors = [str(found) for found in answers if isinstance(found, RequestError)]
        record.update(labels=labels, errors=errors, **measures)
        return Response(200, [{"error": str(found), "status": found.status} if isinstance(found, RequestError) else
                              {"predictions": highest(found), "confident": found.confident, "familiar": found.familiar}
                              for found in answers])
    record.update(label=labels[0], **{name: value for name, [value] in measures.items()})
    headers = {"X-Familiarity": f"{good[0].familiarity:.3f}"}
    return Response(200, highest(good[0]), headers if good[0].confident else {**headers, "X-Confidence": "low"})
