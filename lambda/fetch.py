"""Fetch images from URLs that strangers send, without reaching any address inside the network.

Only http and https, on their usual ports. All addresses of a host must be public, for each redirect too. The connection
goes to the very address that was checked, so a host that changes its DNS answer in between gains nothing. Bytes, wall
time and processor time are limited; proxies from the environment are not used; compressed answers are refused.
"""
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
PROCESSOR_SECONDS = 4.0  # of processor time for the same: a server may send its answer in millions of tiny pieces
CONNECT_SECONDS = 3.0  # for each address of a host
TOTAL_BYTES = 4 * MAX_BYTES  # of all URLs of a request together
REDIRECTS = 5
MAX_URL = 8000
USUAL_PORT = {"http": 80, "https": 443}
PORTS = {80, 443}
HEADERS = {"User-Agent": "image-classifier/1.0", "Accept": "image/*", "Accept-Encoding": "identity",
           "Connection": "close"}
UNICAST = ipaddress.ip_network("2000::/3")  # the only public part of IPv6; mapped and NAT64 addresses lie outside
# Networks that is_global accepts in some versions of Python: special assignments, and tunnels to any IPv4 address.
SPECIAL = tuple(map(ipaddress.ip_network, (
    "192.0.0.0/24",  # IETF protocol assignments
    "192.88.99.0/24",  # 6to4 relays
    "2001::/23",  # IETF protocol assignments, Teredo among them
    "2002::/16",  # 6to4
    "3fff::/20",  # documentation
)))


def is_public(address: str) -> bool:
    """Whether an address, as the resolver gives it, is a global unicast one."""
    ip = ipaddress.ip_address(address)
    return (ip.is_global and not ip.is_multicast and not any(ip in network for network in SPECIAL)
            and (ip.version == 4 or ip in UNICAST))


def fetch_all(urls: list[str]) -> list[bytes | RequestError]:
    """The contents of the URLs, fetched at the same time; a RequestError in place of each that fails."""
    fetches = [Fetch(url) for url in urls]
    deadline = time.monotonic() + SECONDS
    busy_until = time.process_time() + PROCESSOR_SECONDS
    for fetch in fetches:
        fetch.deadline, fetch.all = deadline, fetches
        fetch.start()
    for fetch in fetches:
        while fetch.is_alive() and time.monotonic() < deadline and time.process_time() < busy_until:
            fetch.join(0.1)
        if fetch.is_alive():
            fetch.stop()
            fetch.result = RequestError(504, f"the URL was too slow; it must answer within {SECONDS:.0f} seconds")
    return [fetch.result for fetch in fetches]


class Fetch(threading.Thread):
    """Fetches a URL in a thread of its own, so that nothing can delay the request, not even a slow name server."""

    def __init__(self, url: str):
        super().__init__(daemon=True)
        self.url, self.result, self.received, self._socket = url, None, 0, None

    def run(self) -> None:
        try:
            if self.url.startswith("s3://"):
                import s3
                bucket, _, key = self.url.removeprefix("s3://").partition("/")
                result = s3.read_object(bucket, key)
            else:
                result = self._get(self.url)
        except RequestError as error:
            result = error
        except TimeoutError:
            result = RequestError(504, f"the URL was too slow; it must answer within {SECONDS:.0f} seconds")
        except ssl.SSLCertVerificationError:
            result = RequestError(502, "the URL's certificate is not valid")
        except Exception as error:  # a stranger's server can cause any kind of error
            result = RequestError(502, f"the URL can't be read ({type(error).__name__}); can a browser open it?")
        if self.result is None:
            self.result = result

    def stop(self) -> None:
        try:  # by the base class's method, as TLS would wait for the other side to close
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except (OSError, TypeError):
            pass  # not connected (yet): the next step sees the deadline

    def _get(self, url: str) -> bytes:
        for _ in range(REDIRECTS + 1):
            scheme, host, port, path = split(url)
            self._connect(host, port)
            try:
                if scheme == "https":
                    self._socket = _tls().wrap_socket(self._socket, server_hostname=host.rstrip("."))
                connection = http.client.HTTPConnection(host, port)
                connection.sock = self._socket
                name = f"[{host}]" if ":" in host else host
                name += "" if port == USUAL_PORT[scheme] else f":{port}"
                connection.request("GET", path, headers={"Host": name, **HEADERS})
                with connection.getresponse() as response:
                    if response.status not in (301, 302, 303, 307, 308):
                        return self._read(response)
                    location = response.headers["Location"]
            finally:
                self._socket.close()
            if not location:
                raise RequestError(502, "the URL redirects to nowhere")
            url = urljoin(url, location.encode("latin-1").decode("utf-8", "replace"))
        raise RequestError(502, f"the URL redirects more than {REDIRECTS} times")

    def _connect(self, host: str, port: int) -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError:
            raise RequestError(400, "the URL's host is not valid") from None
        except OSError:
            raise RequestError(502, f"the host {host} is not known") from None
        if not all(is_public(address[0]) for *_, address in found):
            raise RequestError(403, f"{host} is not a public address; send the photo itself instead")
        for family, kind, protocol, _, address in found:
            left = self.deadline - time.monotonic()
            if left <= 0:
                break
            self._socket = socket.socket(family, kind, protocol)
            self._socket.settimeout(min(left, CONNECT_SECONDS))
            try:
                self._socket.connect(address)
                self._socket.settimeout(SECONDS)  # a longer wait is ended by stop()
                return
            except OSError as error:
                self._socket.close()
                failure = error
        raise TimeoutError if left <= 0 else failure

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        if response.status != 200:
            raise RequestError(502, f"the URL answers with status {response.status}")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise RequestError(502, "the URL answers with a compressed body, though not asked to")
        self._count(response.length or 0)
        chunks, self.received = [], 0
        while chunk := response.read1(1 << 16):
            chunks.append(chunk)
            self._count(len(chunk))
            if time.monotonic() > self.deadline:
                raise TimeoutError
        if response.length:
            raise RequestError(502, "the URL's answer is cut short")
        return b"".join(chunks)

    def _count(self, received: int) -> None:
        self.received += received
        if self.received > MAX_BYTES or sum(fetch.received for fetch in self.all) > TOTAL_BYTES:
            raise RequestError(413, f"the URL's file is too large; at most {MAX_BYTES // 1_000_000} MB "
                                    f"each and {TOTAL_BYTES // 1_000_000} MB in all")


def split(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and path (with the query) of a URL, all in ASCII."""
    url = url.strip()
    if len(url) > MAX_URL:
        raise RequestError(400, f"the URL is longer than {MAX_URL} characters")
    if re.search(r"[\x00-\x1f\x7f\\]", url):
        raise RequestError(400, "the URL has characters that a URL can't have")
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname or "", parts.port
        host = host if host.isascii() else host.encode("idna").decode()
        path = quote(parts.path or "/", "/%:@!$&'()*+,;=~") + (
            "?" + quote(parts.query, "/?%:@!$&'()*+,;=~[]|") if parts.query else "")
        if ":" in host:
            ipaddress.IPv6Address(host)
    except ValueError:
        raise RequestError(400, "the URL is not valid") from None
    if scheme not in ("http", "https"):
        raise RequestError(400, "the URL must begin with https:// or http://")
    if "@" in parts.netloc:
        raise RequestError(400, "the URL must not hold a user name or password")
    if not re.fullmatch(r"[a-z0-9._-]{1,253}|[0-9a-f:.]{2,45}", host):
        raise RequestError(400, "the URL's host is not valid")
    port = USUAL_PORT[scheme] if port is None else port
    if port not in PORTS:
        raise RequestError(403, f"port {port} is not allowed; only 80 and 443 are")
    return scheme, host, port, path


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
