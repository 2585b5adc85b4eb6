"""Fetch images from URLs that strangers send, without reaching any address inside the network.

All addresses of a host must be public, for each redirect too. The connection goes to the very address that was
checked, whatever the name server says next, never to a proxy.
"""
import contextlib
import functools
import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from urllib.parse import quote, urljoin, urlsplit

from request import MAX_BYTES, RequestError

SECONDS = 10.0  # for all URLs of a request together, including name resolution and redirects
PROCESSOR_SECONDS = 4.0  # for the same; an answer may come in millions of pieces
CONNECT_SECONDS = 3.0  # for each of the three addresses of a host that are tried
TOTAL_BYTES = 4 * MAX_BYTES  # of all URLs of a request together
REDIRECTS = 5
USUAL_PORT = {"http": 80, "https": 443}
PORTS = {80, 443}
HOST = re.compile(r"[a-z0-9._-]{1,253}|[0-9a-f:.]{2,45}")
HEADERS = {"User-Agent": "image-classifier/1.0", "Accept": "image/*", "Connection": "close"}
UNICAST = ipaddress.ip_network("2000::/3")  # the public part of IPv6, without mapped and NAT64 addresses
# What is_global accepts in some versions of Python: IETF protocols with Teredo, 6to4 and its relays, documentation.
SPECIAL = [ipaddress.ip_network(network) for network in
           ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20")]
_tls = functools.cache(ssl.create_default_context)  # made once, as it reads all certificates


def is_public(address: str) -> bool:
    """Whether an address, as the resolver gives it, is a global unicast one."""
    ip = ipaddress.ip_address(address)
    return (ip.is_global and not ip.is_multicast and not any(ip in network for network in SPECIAL)
            and (ip.version == 4 or ip in UNICAST))


def fetch_all(urls: list[str]) -> list[bytes | RequestError]:
    """The contents of the URLs, fetched at once; a RequestError in place of each that fails."""
    deadline = time.monotonic() + SECONDS
    busy_until = time.process_time() + PROCESSOR_SECONDS
    fetches = []
    for url in urls:
        fetches.append(Fetch(url, fetches))
        fetches[-1].start()
    for fetch in fetches:
        while fetch.is_alive() and time.monotonic() < deadline and time.process_time() < busy_until:
            fetch.join(0.1)
    results = [fetch.result for fetch in fetches]
    for fetch in fetches:
        fetch.stop()
    return results


class Fetch(threading.Thread):
    """Fetches a URL in its own thread, so that not even a slow name server can delay the request."""

    def __init__(self, url: str, fetches: list["Fetch"]):
        super().__init__(daemon=True)
        self.url, self.fetches = url, fetches
        self.received, self.stopped, self._socket = 0, False, None
        self.result = RequestError(504, f"the URL was too slow; it must answer within {SECONDS:.0f} seconds")

    def run(self) -> None:
        try:
            if self.url.startswith("s3://"):
                import s3
                bucket, _, key = self.url.removeprefix("s3://").partition("/")
                self.result = s3.read_object(bucket, key)
            else:
                self.result = self._get(self.url)
        except TimeoutError:
            pass
        except RequestError as error:
            self.result = error
        except Exception as error:  # a stranger's server can cause any kind of error
            kind = type(error).__name__
            self.result = RequestError(502, f"the URL can't be read ({kind}); can a browser open it?")

    def stop(self) -> None:
        self.stopped = True
        with contextlib.suppress(OSError, TypeError):  # it may have ended, or not be connected yet
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # TLS's method would wait for the server

    def _get(self, url: str) -> bytes:
        for _ in range(REDIRECTS + 1):
            scheme, host, port, path = split(url)
            self._connect(host, port)
            try:
                if scheme == "https":
                    self._socket = _tls().wrap_socket(self._socket, server_hostname=host.rstrip("."))
                if self.stopped:  # stop() came before there was a connection
                    raise TimeoutError
                connection = http.client.HTTPConnection(host, port)
                connection.sock, connection.default_port = self._socket, USUAL_PORT[scheme]
                connection.request("GET", path, headers=HEADERS)
                with connection.getresponse() as response:
                    if response.status not in (301, 302, 303, 307, 308):
                        return self._read(response)
                    location = response.headers.get("Location", "")
            finally:
                self._socket.close()
            url = urljoin(url, location.encode("latin-1").decode("utf-8", "replace"))
        raise RequestError(502, f"the URL redirects more than {REDIRECTS} times")

    def _connect(self, host: str, port: int) -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError:
            found = []
        if not all(is_public(address[0]) for *_, address in found):
            raise RequestError(403, f"{host} is not a public address; send the photo itself instead")
        for *_, address in found[:3]:
            with contextlib.suppress(OSError):
                self._socket = socket.create_connection(address[:2], CONNECT_SECONDS)
                self._socket.settimeout(SECONDS)  # a longer wait is ended by stop()
                return
        raise RequestError(502, f"the host {host} is not known, or doesn't answer")

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        if response.status != 200:
            raise RequestError(502, f"the URL answers with status {response.status}")
        chunks = []
        while chunk := response.read1(1 << 16):
            chunks.append(chunk)
            self.received += len(chunk)
            announced = self.received + (response.length or 0)
            if announced > MAX_BYTES or sum(fetch.received for fetch in self.fetches) > TOTAL_BYTES:
                raise RequestError(413, f"the URL's file is too large; at most {MAX_BYTES // 1_000_000} MB each and "
                                        f"{TOTAL_BYTES // 1_000_000} MB in all")
        if response.length:
            raise RequestError(502, "the URL's answer is cut short")
        return b"".join(chunks)


def split(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and path (with the query) of a URL, all in ASCII."""
    try:
        if len(url) > 8000:
            raise ValueError
        parts = urlsplit(url.strip())
        host = (parts.hostname or "").encode("idna").decode()
        port = parts.port or USUAL_PORT.get(parts.scheme)
        if parts.scheme not in USUAL_PORT or "@" in parts.netloc or not HOST.fullmatch(host):
            raise ValueError
    except ValueError:
        raise RequestError(400, "the URL is not valid; send one such as https://example.org/shirt.jpg") from None
    if port not in PORTS:
        raise RequestError(403, f"port {port} is not allowed; only 80 and 443 are")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.scheme, host, port, quote(target, "/?%:@!$&'()*+,;=~[]|")
