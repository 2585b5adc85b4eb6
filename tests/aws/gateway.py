"""API Gateway's stand-in: an HTTP API whose every route leads to a function, as in lambda/template.yaml.

    HttpApi(invoke).url -> "http://127.0.0.1:43210/"

moto has no data plane for HTTP APIs, so this is what `make deploy API_URL=…` asks in the tests.
"""
import base64
import http.server
import threading
from collections.abc import Callable

from serve import proxy_event


class HttpApi:
    """Turns HTTP requests into events of payload format 2.0, and what invoke(event) answers into HTTP."""

    def __init__(self, invoke: Callable[[dict], dict]):
        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                response = invoke(proxy_event(self.command, self.path, headers, body, "2.0"))
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
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
