"""Servers on loopback that behave well or badly on demand, and a resolver with given answers."""
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """A TCP server: behaviour(connection, request) answers each connection; None says nothing and closes.

    connections counts them, requests holds what was sent up to the blank line (or TLS's first message).
    With an SSL context as `tls`, the server speaks TLS.
    """

    def __init__(self, behaviour: Callable | None = None, address: str = "127.0.0.77", tls=None):
        self.tls = tls
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.behaviour, self.connections, self.requests, self.ended = behaviour, 0, [], threading.Event()
        self.socket = socket.create_server((address, 0), family=family, dualstack_ipv6=":" in address)
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                self.connections += 1
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            try:
                if self.tls:
                    connection = self.tls.wrap_socket(connection, server_side=True)
                if self.behaviour:
                    request = b""
                    while b"\r\n\r\n" not in request and request[:1] != b"\x16" and (received := connection.recv(4096)):
                        request += received
                    self.requests.append(request)
                    self.behaviour(connection, request)
            finally:
                self.ended.set()


@contextlib.contextmanager
def serving(behaviour: Callable | None = None, address: str = "127.0.0.77") -> Iterator[Server]:
    server = Server(behaviour, address)
    try:
        yield server
    finally:
        server.socket.close()


def http_server(answer: Callable, address: str = "127.0.0.1") -> str:
    """Start a proper HTTP server, which lives as long as the process. answer(handler, body) answers each request."""
    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            answer(self, self.rfile.read(int(self.headers.get("Content-Length") or 0)))

        do_GET = do_POST = do_OPTIONS = answer

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer((address, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://{address}:{server.server_port}"


def reply(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: object) -> None:
    """Answer a request of http_server; underscores in the names of headers stand for hyphens."""
    handler.send_response(status)
    for name, value in {"Content_Length": len(body), **headers}.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    handler.wfile.write(body)


def replying(content: bytes) -> Callable:
    """A behaviour: send these bytes and nothing else."""
    return lambda connection, request: connection.sendall(content)


def http(body: bytes = b"", status: str = "200 OK", **headers: object) -> bytes:
    """An HTTP response; underscores in the names of headers stand for hyphens."""
    lines = {"Content-Length": len(body), **{name.replace("_", "-"): value for name, value in headers.items()}}
    return "".join([f"HTTP/1.1 {status}\r\n", *(f"{name}: {value}\r\n" for name, value in lines.items()
                                                if value is not None), "\r\n"]).encode() + body


def resolver(table: dict[str, list[str]]) -> Callable:
    """A getaddrinfo that also knows the table. Each call takes the next answer of a name; the last one repeats."""
    known, real = {name: list(answers) for name, answers in table.items()}, socket.getaddrinfo

    def getaddrinfo(host, port, *arguments, **options):
        if host not in known:
            return real(host, port, *arguments, **options)
        answers = known[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [entry for address in addresses.split() for entry in real(address, port, type=socket.SOCK_STREAM)]
    return getaddrinfo
