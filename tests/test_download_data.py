"""Getting the photos: servers that cut, stall, lie and redirect, archives that attack, folders left half done."""
import csv
import hashlib
import http.server
import io
import subprocess
import sys
import tarfile
import threading

import pytest

import download_data
from training.index import SPLITS, Photo, data_digest, locked

PHOTOS = {f"{split}/{label}/{i}.jpg": f"{split} {label} {i}".encode() * 3000
          for split in SPLITS for label in ("hat", "shoes") for i in range(3)}


def archive(photos: dict[str, bytes] = PHOTOS, *extra: tarfile.TarInfo) -> bytes:
    """A .tar.gz like GitHub's: everything below one folder, with a README; then the `extra` members, of 3 bytes."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, data in {"README.md": b"clothes", **photos}.items():
            member = tarfile.TarInfo(f"clothes-1234/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for member in extra:
            tar.addfile(member, io.BytesIO(b"bad") if member.isreg() else None)
    return file.getvalue()


def member(name: str, **attributes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = 0 if "type" in attributes else 3
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


ARCHIVE = archive()
DIGEST = data_digest([Photo(None, name.split("/")[1], name.split("/")[0], hashlib.sha256(data).hexdigest())
                      for name, data in PHOTOS.items()])
HALF = len(ARCHIVE) // 2


@pytest.fixture
def serve():
    """serve(answer, …) starts a server whose n-th request gets the n-th answer, the last one again and again.

    Returns (URL, the Range headers that were sent).
    """
    servers = []

    def start(*answers):
        ranges = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                ranges.append(self.headers.get("Range"))
                answers[min(len(ranges), len(answers)) - 1](self)

            def log_message(self, *arguments):
                pass
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/photos.tar.gz", ranges
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def send(body: bytes, status: int = 200, length: int | None = None, **headers):
    def answer(handler):
        handler.send_response(status)
        for name, value in {"Content-Length": length or len(body), **headers}.items():
            handler.send_header(name.replace("_", "-"), str(value))
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = True
    return answer


def resume(body: bytes = ARCHIVE):
    """A server that knows ranges, as most do."""
    def answer(handler):
        start = int(handler.headers["Range"].removeprefix("bytes=").rstrip("-"))
        if start >= len(body):
            return send(b"", 416, Content_Range=f"bytes */{len(body)}")(handler)
        send(body[start:], 206, Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}")(handler)
    return answer


def chunked(body: bytes, whole: bool):
    """Without Content-Length, as GitHub answers."""
    def answer(handler):
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(body), body) + b"0\r\n\r\n" * whole)
        handler.close_connection = True
    return answer


def stall(handler):
    """Some bytes, then silence until the client hangs up."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(ARCHIVE)))
    handler.end_headers()
    handler.wfile.write(ARCHIVE[:HALF])
    handler.rfile.read(1)


def drip(handler):
    """A byte now and then: never silent, never done."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(ARCHIVE)))
    handler.end_headers()
    try:
        for byte in ARCHIVE:
            handler.wfile.write(bytes([byte]))
            if threading.Event().wait(0.02):
                break
    except OSError:
        pass


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """run(url, flag, …) runs the script; returns (its message or None, the rows of the index or None)."""
    monkeypatch.setattr(download_data, "FIRST_WAIT", 0.001)
    output = tmp_path / "clothing" / "index.csv"

    def script(url="http://127.0.0.1:9/", *flags):
        monkeypatch.setattr(sys, "argv", ["download_data.py", "--mirror", str(tmp_path / "mirror"), "--url", url,
                                          "--output", str(output), "--digest", DIGEST, *flags])
        try:
            download_data.main()
            message = None
        except SystemExit as error:
            message = error.code
        script.printed = capsys.readouterr().out
        return message, list(csv.DictReader(open(output))) if output.exists() else None
    script.folder, script.mirror = output.parent, tmp_path / "mirror" / download_data.ARCHIVE
    script.partial = output.parent / f".{download_data.ARCHIVE}.part"
    return script


def assert_complete(run, message, rows):
    assert message is None
    files = {str(path.relative_to(run.folder)): path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    assert files.pop("index.csv") and files.pop(".lock") == b""
    assert files == PHOTOS  # all of them, and neither a README nor anything temporary
    assert {row["path"]: (row["split"], row["label"], row["sha256"]) for row in rows} == {
        name: (*name.split("/")[:2], hashlib.sha256(data).hexdigest()) for name, data in PHOTOS.items()}


def assert_nothing(run, message, rows):
    """It failed, said what to do, and left neither photos nor index."""
    for way in ("DATA_MIRROR=", "DATA=folder", "DATASET=drawn", download_data.ARCHIVE):
        assert way in message
    assert rows is None
    assert {path.name for path in run.folder.rglob("*")} <= {".lock", run.partial.name}


def test_the_mirror_is_taken_first(run, serve):
    url, ranges = serve(send(b"", 500))
    run.mirror.parent.mkdir()
    run.mirror.write_bytes(ARCHIVE)
    assert_complete(run, *run(url))
    assert ranges == []
    assert run.mirror.read_bytes() == ARCHIVE


def test_a_table_of_labels_and_splits_is_printed(run, serve):
    run(serve(send(ARCHIVE))[0])
    assert [line.split() for line in run.printed.splitlines()[1:5]] == [
        ["label", "train", "validation", "test", "total"], ["hat", "3", "3", "3", "9"], ["shoes", "3", "3", "3", "9"],
        ["total", "6", "6", "6", "18"]]


@pytest.mark.parametrize("answers", [
    pytest.param([send(ARCHIVE)], id="well behaved"),
    pytest.param([chunked(ARCHIVE, whole=True)], id="no length"),
    pytest.param([send(b"", 302, Location="/elsewhere"), send(ARCHIVE)], id="redirected"),
    pytest.param([send(b"", 503), send(b"", 500), send(b"", 429), send(ARCHIVE)], id="busy at first"),
    pytest.param([send(ARCHIVE[:HALF], length=len(ARCHIVE)), resume()], id="cut, resumed"),
    pytest.param([send(ARCHIVE[:HALF], length=len(ARCHIVE)), send(ARCHIVE)], id="cut, ignores Range"),
    pytest.param([chunked(ARCHIVE[:HALF], whole=False), send(ARCHIVE)], id="no length, cut"),
    pytest.param([send(ARCHIVE[:HALF], length=len(ARCHIVE)), send(ARCHIVE[9:], 206, Content_Range="bytes 9-99/99"),
                  send(ARCHIVE)], id="cut, then another part"),
])
def test_the_photos_arrive(run, serve, answers):
    assert_complete(run, *run(serve(*answers)[0]))


def test_a_silent_server_is_left_and_asked_for_the_rest(run, serve, monkeypatch):
    monkeypatch.setattr(download_data, "TIMEOUT", 0.2)
    url, ranges = serve(stall, resume())
    assert_complete(run, *run(url))
    assert ranges == [None, f"bytes={HALF}-"]


def test_cuts_that_bring_something_do_not_count_as_failures(run, serve):
    step = len(ARCHIVE) // (3 * download_data.ATTEMPTS)
    cuts = [send(ARCHIVE[start:start + step], 206 if start else 200, length=len(ARCHIVE) - start,
                 Content_Range=f"bytes {start}-{len(ARCHIVE) - 1}/{len(ARCHIVE)}")
            for start in range(0, 2 * download_data.ATTEMPTS * step, step)]
    assert_complete(run, *run(serve(*cuts, resume())[0]))


@pytest.mark.parametrize("left", [ARCHIVE[:HALF], ARCHIVE, ARCHIVE + b"more"], ids=["half", "whole", "too much"])
def test_the_next_run_goes_on_from_what_is_there(run, serve, left):
    run.folder.mkdir()
    run.partial.write_bytes(left)
    url, ranges = serve(resume(), send(ARCHIVE))
    assert_complete(run, *run(url))
    assert ranges[0] == f"bytes={len(left)}-"


def test_a_partial_download_of_something_else_costs_one_run(run, serve):
    run.folder.mkdir()
    run.partial.write_bytes(b"x" * HALF)
    url, _ = serve(resume(), send(ARCHIVE))
    assert_nothing(run, *run(url))
    assert_complete(run, *run(url))


@pytest.mark.parametrize("answer, requests, words", [
    pytest.param(send(b"", 404), 1, "404", id="404"),
    pytest.param(send(b"", 500), download_data.ATTEMPTS, "500", id="500 for ever"),
    pytest.param(send(b"", 302, Location="/photos.tar.gz"), None, "redirect", id="redirect loop"),
    pytest.param(send(b"", 302, Location="file:///etc/passwd"), 1, "file", id="redirect to a file"),
    pytest.param(send(ARCHIVE[:HALF], length=len(ARCHIVE)), download_data.ATTEMPTS, "cut off after", id="cut for ever"),
    pytest.param(send(b"<html>Please log in</html>"), 1, "not a whole .tar.gz", id="page"),
    pytest.param(send(b""), 1, "not a whole .tar.gz", id="empty"),
    pytest.param(send(ARCHIVE[:HALF]), 1, "not a whole .tar.gz", id="half an archive"),
    pytest.param(send(ARCHIVE[:HALF] + bytes(9) + ARCHIVE[HALF + 9:]), 1, "can't get the photos", id="damaged"),
    pytest.param(send(archive(PHOTOS | {"test/hat/0.jpg": b"another"})), 1, "not the expected ones", id="another photo"),
    pytest.param(send(archive({})), 1, "0 photos", id="no photos"),
])
def test_a_download_that_fails_says_why(run, serve, answer, requests, words):
    url, ranges = serve(answer)
    message, rows = run(url)
    assert words in message
    assert url in message
    assert requests in (None, len(ranges))
    assert_nothing(run, message, rows)


def test_no_server_at_all(run):
    message, rows = run("http://127.0.0.1:9/photos.tar.gz")
    assert "Connection refused" in message
    assert_nothing(run, message, rows)


def test_a_drip_ends_at_the_time_limit_and_is_kept(run, serve):
    url, _ = serve(drip, resume())
    message, rows = run(url, "--time-limit", "0.3")
    assert "time limit" in message
    assert_nothing(run, message, rows)
    assert ARCHIVE.startswith(run.partial.read_bytes())
    assert_complete(run, *run(url))


@pytest.mark.parametrize("answer", [send(ARCHIVE), chunked(ARCHIVE, whole=True)], ids=["said", "not said"])
def test_a_download_over_the_limit_is_stopped(run, serve, monkeypatch, answer):
    monkeypatch.setattr(download_data, "MAX_BYTES", len(ARCHIVE) - 1)
    message, rows = run(serve(answer)[0])
    assert "larger than" in message
    assert_nothing(run, message, rows)


LINK, HARD_LINK, DEVICE, FIFO = (dict(type=kind) for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE,
                                                              tarfile.FIFOTYPE))


@pytest.mark.parametrize("bad", [
    member("clothes-1234/train/hat/../../../../outside.jpg"),
    member("../train/hat/outside.jpg"),
    member("clothes-1234/train/../outside.jpg"),
    member("/train/hat/outside.jpg"),
    member("clothes-1234/train/hat/link.jpg", linkname="/etc/passwd", **LINK),
    member("clothes-1234/train/boots", linkname="/tmp", **LINK),
    member("clothes-1234/train/hat/link.jpg", linkname="../../../../etc/passwd", **HARD_LINK),
    member("clothes-1234/train/hat/device.jpg", **DEVICE),
    member("clothes-1234/train/hat/fifo.jpg", **FIFO),
], ids=lambda info: f"{info.name} {info.type.decode()}")
def test_an_archive_that_reaches_outside_is_refused(run, serve, bad, tmp_path):
    message, rows = run(serve(send(archive(PHOTOS, bad)))[0])
    assert "a link, a device or a path outside" in message
    assert_nothing(run, message, rows)
    assert [path for path in tmp_path.rglob("*") if "outside" in path.name or path.is_symlink()] == []


def test_an_archive_that_unpacks_to_too_much_is_refused(run, serve, monkeypatch):
    monkeypatch.setattr(download_data, "MAX_BYTES", len(ARCHIVE) + 1)
    message, rows = run(serve(send(ARCHIVE))[0])
    assert "unpacks to more than" in message
    assert_nothing(run, message, rows)


def test_a_wrong_archive_in_the_mirror_is_named_and_left_there(run, serve):
    run.mirror.parent.mkdir()
    run.mirror.write_bytes(b"not an archive")
    url, ranges = serve(send(ARCHIVE))
    message, rows = run(url)
    assert str(run.mirror) in message
    assert_nothing(run, message, rows)
    assert run.mirror.exists()
    assert ranges == []  # the data are never swapped for others without a word


def test_a_folder_left_half_unpacked_is_made_whole(run, serve):
    for stale in ("train/hat/0.jpg", "train/gloves/9.jpg", ".new/test/hat/1.jpg"):
        (run.folder / stale).parent.mkdir(parents=True)
        (run.folder / stale).write_bytes(b"half")
    assert_complete(run, *run(serve(send(ARCHIVE))[0]))


def test_photos_that_are_there_are_not_downloaded_again_and_missing_ones_are(run, serve):
    url, ranges = serve(send(ARCHIVE))
    assert_complete(run, *run(url))
    (run.folder / "index.csv").unlink()
    assert_complete(run, *run(url))
    assert len(ranges) == 1
    (run.folder / "test/hat/0.jpg").unlink()
    assert_complete(run, *run(url))
    assert len(ranges) == 2


def test_a_failure_leaves_the_photos_of_an_earlier_run(run, serve):
    url, _ = serve(send(ARCHIVE))
    _, rows = run(url)
    message, _ = run(url, "--digest", "another")
    assert "not the expected ones" in message
    assert_complete(run, None, rows)


def test_two_processes_download_once_and_spoil_nothing(run, serve):
    url, ranges = serve(send(ARCHIVE))
    command = [sys.executable, download_data.__file__, "--url", url, "--digest", DIGEST,
               "--output", run.folder / "index.csv"]
    with locked(run.folder):
        processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        for process in processes:
            assert "waiting for another process" in process.stderr.readline()
        assert ranges == []
    for process in processes:
        assert process.wait(60) == 0, process.stderr.read()
    assert len(ranges) == 1
    assert_complete(run, None, list(csv.DictReader(open(run.folder / "index.csv"))))
