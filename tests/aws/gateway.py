"""API Gateway's stand-in: an HTTP API whose every route leads to a function, as in lambda/template.yaml.

    http_api(invoke) -> "http://127.0.0.1:43210/"

moto has no data plane for HTTP APIs, so this is what `make deploy API_URL=…` asks in the tests.
"""
from collections.abc import Callable

from loopback import http_server, reply
from serve import proxy_event


def http_api(invoke: Callable[[dict], dict]) -> str:
    """Start an HTTP server that turns requests into events of payload format 2.0 for `invoke`. Returns its URL."""
    def answer(handler, body):
        headers = {name.lower(): value for name, value in handler.headers.items()}
        response = invoke(proxy_event(handler.command, handler.path, headers, body))
        reply(handler, (response.get("body") or "").encode(), response["statusCode"], **response.get("headers", {}))
    return f"{http_server(answer)}/"
