"""The API on this machine, without Docker or AWS: the Lambda handler behind a small HTTP server.

    .venv/ai-edge-litert/bin/python scripts/serve.py --model artifacts/release/model.tflite --port 8080

Turns each request into a proxy event of API Gateway, as the handler gets it on AWS, with the same limits. Prints the
page's address and three `curl` lines, then the handler's log line for each request.
"""
import argparse
import base64
import contextlib
import json
import socket
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from common import fail
from serving import load_handler

EVENT_LIMIT = 6 * 1024 * 1024  # bytes of Lambda's invocation payload, in which a photo grows by a third, as base64
TOO_LARGE = "the request is too large; Lambda takes 6 MB, which is a photo of 4.5 MB"
REQUEST_SECONDS = 30  # for a whole request to arrive
PHOTO = ("https://raw.githubusercontent.com/alexeygrigorev/clothing-dataset-small/"
         "11961516512414bf9f6c150a832cfd21b54a6b54/test/pants/01033304-f9a4-48c4-af65-677512880fae.jpg")


def proxy_event(method: str, target: str, headers: dict[str, str], body: bytes) -> dict:
    """The event that an HTTP API of API Gateway would make of a request (payload format 2.0)."""
    parts = urlsplit(target)
    query = parse_qs(parts.query, keep_blank_values=True)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    text = kind in ("application/json", "application/x-www-form-urlencoded") or kind.startswith("text/")
    try:
        content = body.decode() if text else base64.b64encode(body).decode()
    except UnicodeDecodeError:
        text, content = False, base64.b64encode(body).decode()
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": unquote(parts.path),
        "rawQueryString": parts.query,
        "headers": headers,
        "queryStringParameters": {name: ",".join(values) for name, values in query.items()},
        "requestContext": {"requestId": str(uuid.uuid4()), "stage": "$default",
                           "http": {"method": method, "path": parts.path}},
        "body": content or None,
        "isBase64Encoded": bool(content) and not text,
    }


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # connections that wait to be accepted; with the default of 5, bursts are refused

    def handle_error(self, *arguments) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # clients may leave at any time
            super().handle_error(*arguments)


class Gateway(BaseHTTPRequestHandler):
    """Does what API Gateway does: HTTP to event, event to the handler, response to HTTP."""
    protocol_version = "HTTP/1.1"
    timeout = REQUEST_SECONDS  # for each read from the client
    one_at_a_time = threading.Lock()  # like one instance of a function on Lambda

    def handle_one_request(self) -> None:
        self.too_slow = threading.Timer(REQUEST_SECONDS, self.hang_up)
        self.too_slow.daemon = True
        self.too_slow.start()
        try:
            super().handle_one_request()
        finally:
            self.too_slow.cancel()

    def hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def answer(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdecimal()):
            return self.send_error(411, "send the body with its Content-Length")
        if len(length) > 9 or int(length) > EVENT_LIMIT:
            return self.send_error(413, TOO_LARGE)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionAbortedError
        self.too_slow.cancel()
        try:
            event = proxy_event(self.command, self.path, headers, body)
        except ValueError:
            return self.send_error(400, "the path is not valid")
        if len(json.dumps(event)) > EVENT_LIMIT:
            return self.send_error(413, TOO_LARGE)
        with self.one_at_a_time:
            response = self.lambda_handler(event)
        self.respond(response["statusCode"], response["headers"], response["body"])

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_QUERY = answer

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse a request; http.server calls this too, with 501 or 505 for unknown methods and versions of HTTP."""
        error = json.dumps({"error": message or "the request is not valid"})
        self.respond(400 if code in (501, 505) else code, {"Connection": "close"}, error)

    def respond(self, status: int, headers: dict[str, str], text: str) -> None:
        body = b"" if self.command == "HEAD" else text.encode()
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(name, value)
        if status != 204 and self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass  # the handler logs its requests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="model.tflite to serve")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 lets the network in")
    arguments = parser.parse_args()

    try:
        lambda_handler = load_handler(arguments.model)
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
