"""API Gateway's stand-in: turns HTTP requests into its REST events, and what the function answers into HTTP.

    Gateway(invoke, binary_types).url -> "http://127.0.0.1:43210/prod/"

moto has no data plane for functions in containers, so this is what `make deploy SMOKE_URL=…` asks in the tests.
"""
import base64
import http.server
import json
import threading
from collections.abc import Callable


class Gateway:
    """invoke(event) -> the function's answer; requests of one of binary_types arrive as base64, as in the template."""

    def __init__(self, invoke: Callable[[dict], dict], binary_types: list[str]):
        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                binary = self.headers.get_content_type() in binary_types
                path = self.path.removeprefix("/prod") or "/"
                response = invoke({
                    "resource": path, "path": path, "httpMethod": self.command, "headers": dict(self.headers.items()),
                    "multiValueHeaders": {name: self.headers.get_all(name) for name in self.headers},
                    "queryStringParameters": None, "requestContext": {"stage": "prod", "path": "/prod" + path},
                    "body": (base64.b64encode(body) if binary else body).decode() or None, "isBase64Encoded": binary})
                self.send_response(response["statusCode"])
                for name, value in response.get("headers", {}).items():
                    self.send_header(name, value)
                self.end_headers()
                body = response.get("body") or ""
                self.wfile.write(base64.b64decode(body) if response.get("isBase64Encoded") else body.encode())

            do_GET = do_POST = do_OPTIONS = answer

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/prod/"


def emulator(url: str) -> Callable[[dict], dict]:
    """invoke for a container with AWS's emulator at url."""
    import urllib.request

    def invoke(event):
        request = urllib.request.Request(f"{url}/2015-03-31/functions/function/invocations", json.dumps(event).encode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    return invoke
