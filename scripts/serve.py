"""The API on this machine, without Docker or AWS: the Lambda handler behind a small HTTP server.

    .venv/ai-edge-litert/bin/python scripts/serve.py --model artifacts/release/model.tflite --port 8080
"""
import argparse
import base64
import contextlib
import json
import os
import re
import socket
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote

import serving  # noqa: F401, makes lambda/ importable
from common import fail

TOO_LARGE = "send a body with its Content-Length; Lambda takes 6 MB, which is a photo of 4.5 MB"
REQUEST_SECONDS = 30  # for a request to arrive and be answered
PHOTO = ("https://raw.githubusercontent.com/alexeygrigorev/clothing-dataset-small/"
         "11961516512414bf9f6c150a832cfd21b54a6b54/test/pants/01033304-f9a4-48c4-af65-677512880fae.jpg")


def proxy_event(method: str, target: str, headers: dict[str, str], body: bytes) -> dict:
    """The event that an HTTP API of API Gateway would make of a request (payload format 2.0)."""
    path, _, query = target.partition("?")
    values = parse_qs(query, keep_blank_values=True)
    is_text = headers.get("content-type", "").lower().startswith(("text/", "application/json"))
    try:
        text = body.decode() if is_text else None
    except UnicodeDecodeError:
        text = None
    return {
        "version": "2.0",
        "rawPath": unquote(path),
        "rawQueryString": query,
        "headers": headers,
        "queryStringParameters": {name: ",".join(values[name]) for name in values},
        "requestContext": {"requestId": str(uuid.uuid4()), "stage": "$default",
                           "http": {"method": method, "path": path}},
        "body": base64.b64encode(body).decode() if text is None else text,
        "isBase64Encoded": text is None,
    }


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # connections that wait to be accepted; with the default of 5, bursts are refused


class Gateway(BaseHTTPRequestHandler):
    """Does what API Gateway does: HTTP to event, event to the handler, response to HTTP."""
    protocol_version = "HTTP/1.1"
    error_content_type = "application/json"
    error_message_format = '{"error": "%(explain)s"}'
    one_at_a_time = threading.Lock()  # like one instance of a function on Lambda

    def handle_one_request(self) -> None:
        too_slow = threading.Timer(REQUEST_SECONDS, self.connection.shutdown, [socket.SHUT_RDWR])
        too_slow.start()
        try:
            super().handle_one_request()
        except ConnectionError:  # clients may leave at any time
            self.close_connection = True
        finally:
            too_slow.cancel()

    def answer(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not re.fullmatch("[0-9]{1,7}", length):
            return self.send_error(413, explain=TOO_LARGE)
        headers = {name.lower(): value for name, value in self.headers.items()}
        event = proxy_event(self.command, self.path, headers, self.rfile.read(int(length)))
        if len(json.dumps(event)) > 6 * 1024 * 1024:  # Lambda's limit for an event, in which a photo is base64
            return self.send_error(413, explain=TOO_LARGE)
        with self.one_at_a_time:
            response = self.lambda_handler(event)
        content = response["body"].encode()
        self.send_response(response["statusCode"])
        for name, value in response["headers"].items():
            self.send_header(name, value)
        if content:  # there is none for HEAD and with 204
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_QUERY = answer

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse a request. http.server calls this too, with 501 or 505 for unknown methods and versions of HTTP."""
        super().send_error(400 if code > 500 else code, message, explain)

    def log_message(self, *_) -> None:
        pass  # the handler logs its requests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="model.tflite to serve")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 lets the network in")
    arguments = parser.parse_args()

    os.environ["MODEL_PATH"] = str(arguments.model)  # the handler loads it when it is imported
    try:
        from lambda_function import lambda_handler
    except (ValueError, OSError) as error:
        fail(f"can't load {arguments.model} ({error}); `make model.tflite` builds a model")
    Gateway.lambda_handler = staticmethod(lambda_handler)
    try:
        server = Server((arguments.host, arguments.port), Gateway)
    except OSError as error:
        fail(f"can't listen on port {arguments.port} ({error.strerror}); choose another: make serve PORT=8081")
    url = f"http://{arguments.host}:{server.server_port}"
    print(f"""{arguments.model} at {url}/ (Ctrl-C ends it)
    curl {url}/health
    curl {url}/predict -H 'Content-Type: image/jpeg' --data-binary @photo.jpg
    curl {url}/predict -d '{{"url": "{PHOTO}"}}'""", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
