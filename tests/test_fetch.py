"""Fetching strangers' URLs: no internal addresses, no more bytes or seconds than allowed, errors in plain words."""
import socket
import ssl
import sys
import threading
import time

import pytest
import trustme

import fetch
import loopback
from loopback import http, replying, serving
from request import RequestError

PUBLIC = "93.184.216.34"  # where no test may ever connect: connections are watched


def get(url: str) -> bytes | RequestError:
    return fetch.fetch_all([url])[0]


def refused(url: str) -> int:
    """The status of a URL that fails."""
    result = get(url)
    assert isinstance(result, RequestError), f"{url} gave {result!r}"
    return result.status


@pytest.fixture
def connects(monkeypatch) -> list:
    """A list of the addresses that sockets should connect to. Each connection is refused."""
    made = []

    def connect(self, address):
        made.append(address[0])
        raise ConnectionRefusedError
    monkeypatch.setattr(socket.socket, "connect", connect)
    return made


@pytest.fixture
def allowed(monkeypatch):
    """Let the one address 127.0.0.77 pass the check, and the servers' ports."""
    real = fetch.is_public
    monkeypatch.setattr(fetch, "is_public", lambda address: address == "127.0.0.77" or real(address))
    monkeypatch.setattr(fetch, "PORTS", {80, 443})

    def allow(*servers) -> str:
        fetch.PORTS.update(server.port for server in servers)
        return f"http://127.0.0.77:{servers[0].port}"
    return allow


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(fetch, "SECONDS", 0.4)


# Each leads inside in some resolver, parser or network; {port} is where a sentinel listens on every local address.
LOOPBACK = [
    "http://127.0.0.1:{port}/a.jpg?x=1#y", "http://127.1:{port}/", "http://2130706433:{port}/",
    "http://0x7F.0.0.0x1:{port}/", "http://0177.0.0.01:{port}/", "http://127.255.255.254:{port}/",
    "http://LOCALHOST:{port}/", "http://0:{port}/", "http://0.0.0.0:{port}/", "http://[::1]:{port}/",
    "http://[::]:{port}/", "http://[0:0:0:0:0:0:0:1]:{port}/", "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/", "http://１２７。０。0。1:{port}/", "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:{port}/",
    "https://127.0.0.1:{port}/", "  HTTP://127.0.0.1:{port}/  ", "http://inside.example:{port}/",
    "http://inside6.example:{port}/"]
ELSEWHERE = [
    # names and spellings
    "http://both.example:{port}/", "http://metadata.example/", "http://localhost.:{port}/", "http:127.0.0.1:{port}/",
    # IPv6 that holds IPv4, link-local, unique local, multicast, documentation
    "http://[::127.0.0.1]:{port}/", "http://[64:ff9b::7f00:1]:{port}/", "http://[64:ff9b:1::7f00:1]:{port}/",
    "http://[2002:7f00:1::1]:{port}/", "http://[2001:0:7f00:1::80ff:fffe]:{port}/", "http://[fe80::1%25lo]:{port}/",
    "http://[fd00:ec2::254]/", "http://[ff02::1]/", "http://[2001:db8::1]/", "http://[100::1]/", "http://[fec0::1]/",
    "http://[3fff::1]/",
    # private, shared, link-local, test, multicast and reserved IPv4
    "http://10.0.0.1/", "http://172.16.0.1/", "http://172.31.255.255/", "http://192.168.1.1/", "http://100.64.0.1/",
    "http://169.254.169.254/latest/meta-data/iam/security-credentials/", "http://[::ffff:169.254.169.254]/",
    "http://2852039166/", "http://192.0.0.1/", "http://192.0.2.1/", "http://192.88.99.1/", "http://198.18.0.1/",
    "http://224.0.0.1/", "http://240.0.0.1/", "http://255.255.255.255/",
    # the runtime's own API, other ports
    "http://169.254.100.1:9001/2018-06-01/runtime/invocation/next", "http://127.0.0.1:22/",
    "http://public.example:8080/", "http://public.example:{port}{port}/", "http://public.example:-1/",
    # users, and what different parsers take for the host
    "http://user:password@127.0.0.1:{port}/", "http://127.0.0.1:{port}@public.example/",
    "http://127.0.0.1:{port}\\@public.example/", "http://127.0.0.1:{port}#@public.example/",
    "http://[127.0.0.1]:{port}/", "http://[::1:{port}/", "http://%31%32%37.0.0.1:{port}/",
    "http://127.0.0.1%00.example/", "http://127.0.0.1\r\nHost: a:{port}/", "http://127.0.0.1\t:{port}/",
    "http:///127.0.0.1:{port}/", "//127.0.0.1:{port}/", "127.0.0.1:{port}",
    # other schemes
    "file:///etc/passwd", "gopher://127.0.0.1:{port}/_GET", "ftp://127.0.0.1:{port}/", "ftp://public.example:80/",
    "data:image/png;base64,AAAA", "jar:http://127.0.0.1:{port}/", "unix:///var/run/docker.sock",
    "s3://", "s3://bucket/key",
    # no host, or none that a resolver may be asked for
    "http://", "", "http://" + "." * 7900 + "/", "http://" + "a" * 64 + ".example/", "http://a..example/",
    "http://\ud800.example/", "http://\u2024.example/"]
INSIDE = {"inside.example": ["127.0.0.1"], "both.example": [f"{PUBLIC} 127.0.0.1"], "inside6.example": ["::1"],
          "metadata.example": ["169.254.169.254"], "public.example": [PUBLIC]}


@pytest.fixture
def sentinel(monkeypatch):
    """A server on every address of this machine, on a port that is allowed; the table's names resolve."""
    monkeypatch.setattr(socket, "getaddrinfo", loopback.resolver(INSIDE))
    with serving(address="::") as server:
        monkeypatch.setattr(fetch, "PORTS", {80, 443, server.port})
        yield server


@pytest.mark.parametrize("form", LOOPBACK + ELSEWHERE)
def test_no_url_reaches_an_internal_address(form, sentinel, connects):
    assert refused(form.replace("{port}", str(sentinel.port))) in (400, 403, 502)
    assert connects == []


@pytest.mark.parametrize("form", LOOPBACK)
def test_without_the_check_these_urls_would_reach_this_machine(form, sentinel, monkeypatch):
    monkeypatch.setattr(fetch, "is_public", lambda address: True)
    refused(form.replace("{port}", str(sentinel.port)))
    assert sentinel.connections > 0


@pytest.mark.parametrize("form", [form for form in LOOPBACK + ELSEWHERE if "\r" not in form])
def test_no_redirect_reaches_an_internal_address(form, sentinel, allowed):
    target = form.replace("{port}", str(sentinel.port)).encode("utf-8", "replace")
    with serving(replying(b"HTTP/1.1 302 Found\r\nLocation: " + target + b"\r\n\r\n")) as server:
        refused(allowed(server, sentinel))
        assert server.connections > 0
    assert sentinel.connections == 0


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111",
                                     "2a00:1450:4001::200e", "2400:cb00::1"])
def test_public_addresses_are_public(address):
    assert fetch.is_public(address)


def test_all_addresses_of_a_name_are_tried_as_they_were_when_they_were_checked(monkeypatch, connects):
    answers = [f"{PUBLIC} 8.8.8.8 2606:4700::1111", "127.0.0.1"]
    monkeypatch.setattr(socket, "getaddrinfo", loopback.resolver({"turning.example": answers}))
    assert refused("http://turning.example/a.jpg") == 502
    assert connects == [PUBLIC, "8.8.8.8", "2606:4700::1111"]


def test_proxies_in_the_environment_are_not_used(sentinel, allowed, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{sentinel.port}")
    with serving(replying(http(b"photo"))) as server:
        assert get(allowed(server)) == b"photo"
    assert sentinel.connections == 0


# Well-behaved servers.

def test_a_photo_is_requested_with_its_address_percent_encoded(allowed):
    with serving(replying(http(b"photo", Content_Type="image/jpeg"))) as server:
        assert get(allowed(server) + "/a b/ü%20.jpg?q=1&r=ß x#part") == b"photo"
    line, *headers = server.requests[0].decode().strip().split("\r\n")
    assert line == "GET /a%20b/%C3%BC%20.jpg?q=1&r=%C3%9F%20x HTTP/1.1"
    assert f"Host: 127.0.0.77:{server.port}" in headers and "Accept-Encoding: identity" in headers


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 200 OK\r\n\r\nphoto", b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nphoto and more",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nph\r\n3\r\noto\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Encoding: identity\r\n\r\nphoto"])
def test_a_body_is_read_however_it_is_sent(answer, allowed):
    with serving(replying(answer)) as server:
        assert get(allowed(server)) == b"photo"


@pytest.mark.parametrize("status, location", [
    ("301 Moved", "/b.jpg"), ("302 Found", "b.jpg"), ("303 See Other", "?b"), ("307 Temporary", "//{host}/b.jpg"),
    ("308 Permanent", "http://{host}/ü.jpg")])
def test_redirects_are_followed(status, location, allowed):
    def answer(connection, request):
        first = request.startswith(b"GET /a.jpg ")
        target = location.replace("{host}", f"127.0.0.77:{server.port}")
        connection.sendall(f"HTTP/1.1 {status}\r\nLocation: {target}\r\n\r\n".encode() if first else http(b"photo"))
    with serving(answer) as server:
        assert get(allowed(server) + "/a.jpg") == b"photo"


def test_several_urls_are_fetched_at_once_and_keep_their_order(allowed):
    together = threading.Barrier(3)

    def answer(connection, request):
        together.wait(20)  # none is answered before all have asked
        connection.sendall(http(request.split()[1]))
    with serving(answer) as server:
        host = allowed(server)
        results = fetch.fetch_all([f"{host}/1", f"{host}/2", "http://127.0.0.1/", f"{host}/3"])
    assert results[:2] + results[3:] == [b"/1", b"/2", b"/3"]
    assert results[2].status == 403


@pytest.fixture
def tls(monkeypatch, tmp_path, allowed):
    """Start https://photos.example with a certificate for a name; returns its URL and the names asked for (SNI)."""
    def start(certified):
        authority, seen = trustme.CA(), []
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        monkeypatch.setattr(fetch, "_tls", fetch._tls.__wrapped__)  # which reads SSL_CERT_FILE again
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(certified).configure_cert(context)
        context.sni_callback = lambda _, name, __: seen.append(name)
        server = loopback.Server(replying(http(b"photo")), tls=context)
        monkeypatch.setattr(socket, "getaddrinfo", loopback.resolver({"photos.example": ["127.0.0.77"]}))
        allowed(server)
        return f"https://photos.example:{server.port}/", seen
    return start


def test_tls_checks_the_name_and_not_the_address(tls):
    url, seen = tls("photos.example")
    assert get(url) == b"photo" and seen == ["photos.example"]


@pytest.mark.parametrize("certified, trusted", [("127.0.0.77", True), ("photos.example", False)])
def test_a_certificate_for_another_name_or_by_an_unknown_authority_is_refused(certified, trusted, tls, monkeypatch):
    url, _ = tls(certified)
    if not trusted:
        monkeypatch.delenv("SSL_CERT_FILE")
    result = get(url)
    assert result.status == 502 and "SSLCertVerificationError" in str(result)


# Slow and broken servers.

def endless(start: bytes, part: bytes = b"x" * 65536, pause: float = 0):
    """A behaviour: send the start, then the part again and again."""
    def behaviour(connection, request):
        connection.sendall(start)
        while True:
            connection.sendall(part)
            time.sleep(pause)
    return behaviour


SLOW = {
    "body": endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x", 0.02),
    "header": endless(b"HTTP/1.1 200 OK\r\nX: ", b"x", 0.02),
    "header lines": endless(b"HTTP/1.1 ", b"100 C\r\n\r\nHTTP/1.1 ", 0.02),
    "TLS handshake": endless(b"\x16\x03\x03\x40\x00", b"\0", 0.02),
    "silence": lambda connection, request: connection.recv(1)}


@pytest.mark.parametrize("kind", SLOW)
def test_a_slow_server_is_given_up_in_time(kind, allowed, hurried):
    with serving(SLOW[kind]) as server:
        assert refused(allowed(server).replace("http:", "https:" if kind == "TLS handshake" else "http:")) == 504
        assert server.ended.wait(20), "the connection was left open"
    for thread in threading.enumerate():
        if isinstance(thread, fetch.Fetch):
            thread.join(20)
            assert not thread.is_alive()


def test_a_flood_of_tiny_pieces_is_stopped_by_its_processor_time(allowed, monkeypatch):
    monkeypatch.setattr(fetch, "SECONDS", 300)
    monkeypatch.setattr(fetch, "PROCESSOR_SECONDS", 0.2)
    with serving(endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)) as server:
        assert refused(allowed(server)) == 504


def test_a_slow_name_server_is_given_up_in_time(monkeypatch, hurried):
    answer = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer.wait(20) or [])
    assert refused("http://slow.example/") == 504
    answer.set()


def test_one_slow_url_does_not_fail_the_others(allowed, hurried):
    with serving(SLOW["body"]) as slow, serving(replying(http(b"photo"))) as quick:
        results = fetch.fetch_all([allowed(slow), allowed(quick)])
    assert results[0].status == 504 and results[1] == b"photo"


BAD = {
    "endless body": (endless(b"HTTP/1.1 200 OK\r\n\r\n"), 413),
    "endless chunk": (endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n"), 413),
    "endless header": (endless(b"HTTP/1.1 200 OK\r\nX: "), 502),
    "endless headers": (endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 9999), 502),
    "too long, and says so": (replying(http(b"x", Content_Length=10_000_001)), 413),
    "too long, but says less": (endless(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), b"xxxxx"),
    "shorter than it says": (replying(http(b"short", Content_Length=9)), 502),
    "chunks cut short": (replying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"), 502),
    "negative length": (replying(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"), b""),
    "gzip, which is not unpacked": (replying(http(b"\x1f\x8b\x08", Content_Encoding="gzip")), b"\x1f\x8b\x08"),
    "206": (replying(http(b"x", "206 Partial")), 502),
    "a redirect to nowhere": (replying(http(b"", "302 Found")), 502),
    "a redirect to itself": (replying(http(b"", "302 Found", Location="/")), 502),
    "a redirect to nonsense": (replying(http(b"", "302 Found", Location="http://[")), 502),
    "a redirect to S3": (replying(http(b"", "302 Found", Location="s3://photos/a.jpg")), 400),
    "not HTTP": (replying(b"SSH-2.0-OpenSSH_9.2\r\n"), 502), "nothing": (replying(b""), 502)}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_server_costs_a_bounded_amount_and_gets_an_error(kind, allowed):
    behaviour, expected = BAD[kind]
    with serving(behaviour) as server:
        result = get(allowed(server))
        assert (result.status if isinstance(result, RequestError) else result) == expected
        assert server.ended.wait(20)
        assert server.connections <= 1 + fetch.REDIRECTS


def test_large_files_share_one_limit(allowed):
    with serving(replying(http(bytes(9_000_000)))) as server:
        results = fetch.fetch_all([allowed(server)] * 6)
    assert {result.status for result in results if isinstance(result, RequestError)} == {413}
    assert sum(len(result) for result in results if isinstance(result, bytes)) <= fetch.TOTAL_BYTES


def test_messages_never_hold_the_query(allowed):
    with serving(replying(http(b"", "302 Found", Location="http://[?secret"))) as server:
        for url in (allowed(server) + "/?secret", "http://127.0.0.1/?secret", "http://nowhere.invalid/?secret",
                    "x?secret", "http://[?secret"):
            assert "secret" not in str(get(url))


# s3://bucket/key

@pytest.fixture
def buckets(monkeypatch):
    """The buckets `photos`, which is enabled, and `private`, which is not."""
    import boto3
    import moto

    import s3
    monkeypatch.setenv("S3_BUCKETS", "other, photos")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(s3, "_client", s3._client.__wrapped__)
    with moto.mock_aws():
        client = boto3.client("s3")
        for name in ("photos", "private"):
            client.create_bucket(Bucket=name)
            client.put_object(Bucket=name, Key="a b/ü.jpg", Body=b"photo")
        client.put_object(Bucket="photos", Key="large", Body=bytes(10_000_001))
        yield


def test_an_object_in_an_enabled_bucket_is_read(buckets):
    assert get("s3://photos/a b/ü.jpg") == b"photo"


@pytest.mark.parametrize("url, status, words", [
    ("s3://private/a b/ü.jpg", 403, "S3_BUCKETS"), ("s3://photos.evil/a", 403, "S3_BUCKETS"),
    ("s3://photos/none.jpg", 502, "NoSuchKey"), ("s3://other/a", 502, "NoSuchBucket"),
    ("s3://photos/large", 413, "10 MB"), ("s3://photos/", 403, "s3://bucket/key")])
def test_an_object_that_may_not_or_can_not_be_read_is_refused(buckets, url, status, words):
    result = get(url)
    assert result.status == status and words in str(result)


def test_s3_is_off_unless_buckets_are_named(monkeypatch):
    monkeypatch.delenv("S3_BUCKETS", raising=False)
    assert refused("s3://photos/a.jpg") == 403


def test_a_missing_boto3_is_explained(buckets, monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    assert "boto3" in str(get("s3://photos/a.jpg"))
