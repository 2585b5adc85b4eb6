"""Downloading the photos: interrupted and wrong answers, hostile archives, incomplete folders, two processes."""
import contextlib
import csv
import hashlib
import io
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from random import Random

import pytest

import download_data
from loopback import http_server, reply
from training.index import SPLITS, locked

PHOTOS = {f"{split}/{label}/{i}.jpg": Random(f"{split}{label}{i}").randbytes(6000) + bytes(6000)
          for split in SPLITS for label in ("hat", "shoes") for i in range(3)}
FILES = {"README.md": b"clothes"} | PHOTOS
ATTEMPTS = len(download_data.WAITS) + 1


def archive(files: dict[str, bytes], *links: tarfile.TarInfo) -> bytes:
    """A .tar.gz like GitHub's: everything below one folder; then the `links`."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"clothes-1234/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for link in links:
            tar.addfile(link)
    return file.getvalue()


def digest_of(files: dict[str, bytes]) -> str:
    lines = "".join(f"{name} {hashlib.sha256(data).hexdigest()}\n" for name, data in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


ARCHIVE, DIGEST = archive(FILES), digest_of(FILES)
HALF = len(ARCHIVE) // 2


def serve(*answers):
    """Start a server whose n-th request gets the n-th answer, the last one again and again.

    Returns (URL, the Range headers that were sent).
    """
    ranges = []

    def answer(handler, _):
        ranges.append(handler.headers.get("Range"))
        answers[min(len(ranges), len(answers)) - 1](handler)
    return http_server(answer), ranges


def send(body: bytes, status: int = 200, **headers):
    return lambda handler: reply(handler, body, status, **headers)


CUT = send(ARCHIVE[:HALF], Content_Length=len(ARCHIVE))


def resume(handler):
    start = int(handler.headers["Range"].removeprefix("bytes=").rstrip("-"))
    if start >= len(ARCHIVE):
        return reply(handler, b"", 416)
    reply(handler, ARCHIVE[start:], 206)


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
    """Half of the archive, then silence until the client hangs up."""
    CUT(handler)
    handler.rfile.read(1)


def drip(handler):
    """A hundred bytes every 20 ms, without a pause."""
    reply(handler, b"", Content_Length=len(ARCHIVE))
    with contextlib.suppress(OSError):
        for start in range(0, len(ARCHIVE), 100):
            handler.wfile.write(ARCHIVE[start:start + 100])
            time.sleep(0.02)


class Script:
    """download_data.py, with its folder and its mirror below `folder`."""

    def __init__(self, folder: Path):
        self.folder, self.index = folder / "clothing", folder / "clothing" / "index.csv"
        name = f"clothing-dataset-small-{download_data.COMMIT}.tar.gz"
        self.mirror = folder / "mirror" / name
        self.kept, self.partial = self.folder / name, self.folder / f".{name}.part"
        self.flags = ["--mirror", str(self.mirror.parent), "--output", str(self.index)]

    def __call__(self, github: str, digest: str = DIGEST) -> str | None:
        """Run the script; returns its error message."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (("GITHUB", github), ("DIGEST", digest), ("WAITS", [0.001] * (ATTEMPTS - 1))):
                patch.setattr(download_data, name, value)
            patch.setattr(sys, "argv", ["download_data.py", *self.flags])
            try:
                return download_data.main()
            except SystemExit as error:
                return error.code

    def assert_complete(self) -> None:
        files = {str(path.relative_to(self.folder)): path.read_bytes() for path in self.folder.rglob("*")
                 if path.is_file() and path not in (self.index, self.kept, self.folder / ".lock")}
        assert files == PHOTOS  # all of them, and neither a README nor anything temporary
        rows = csv.DictReader(open(self.index))
        assert [(row["path"], row["split"], row["label"], row["sha256"]) for row in rows] == [
            (name, *name.split("/")[:2], hashlib.sha256(data).hexdigest()) for name, data in sorted(PHOTOS.items())]

    def succeed(self, github: str) -> None:
        assert self(github) is None
        self.assert_complete()

    def fail(self, github: str) -> str:
        """Check that the message names three ways out, and that neither photos nor index are left."""
        message = self(github)
        for way in (f"save {github}/alexeygrigorev/clothing-dataset-small/archive/{download_data.COMMIT}.tar.gz",
                    f"as {self.mirror}", "DATA_MIRROR=", "DATA=folder", "DATASET=drawn"):
            assert way in message
        assert {path.name for path in self.folder.rglob("*")} <= {".lock", self.partial.name}
        return message


@pytest.fixture
def run(tmp_path):
    return Script(tmp_path)


def test_the_archive_in_the_mirror_is_used_first(run):
    url, ranges = serve(send(b"", 500))
    run.mirror.parent.mkdir()
    run.mirror.write_bytes(ARCHIVE)
    run.succeed(url)
    assert ranges == [] and run.mirror.read_bytes() == ARCHIVE


def test_a_wrong_archive_in_the_mirror_is_named_and_never_replaced_by_a_download(run):
    run.mirror.parent.mkdir()
    run.mirror.write_bytes(b"not an archive")
    url, ranges = serve(send(ARCHIVE))
    assert str(run.mirror) in run.fail(url)
    assert run.mirror.exists() and ranges == []


@pytest.mark.parametrize("answers", [
    pytest.param([chunked(ARCHIVE, whole=True)], id="no length"),
    pytest.param([send(b"", 302, Location="/elsewhere"), send(ARCHIVE)], id="redirected"),
    pytest.param([send(b"", 503), send(b"", 429), send(ARCHIVE)], id="busy at first"),
    pytest.param([CUT, resume], id="cut, resumed"),
    pytest.param([CUT, send(ARCHIVE)], id="cut, ignores Range"),
    pytest.param([chunked(ARCHIVE[:HALF], whole=False), send(ARCHIVE)], id="no length, cut"),
])
def test_the_photos_arrive_despite_interruptions(run, answers):
    run.succeed(serve(*answers)[0])


def test_after_silence_the_rest_is_requested(run, monkeypatch):
    monkeypatch.setattr(download_data, "TIMEOUT", 0.2)
    url, ranges = serve(stall, resume)
    run.succeed(url)
    assert ranges[0] == "bytes=0-" and HALF - (1 << 14) < int(ranges[1][6:-1]) <= HALF


@pytest.mark.parametrize("left", [ARCHIVE[:HALF], ARCHIVE + b"more"], ids=["half", "too much"])
def test_the_next_run_resumes_the_download(run, left):
    run.folder.mkdir()
    run.partial.write_bytes(left)
    url, ranges = serve(resume, send(ARCHIVE))
    run.succeed(url)
    assert ranges[0] == f"bytes={len(left)}-"


def test_a_wrong_partial_download_is_dropped_by_the_run_that_finds_it(run):
    run.folder.mkdir()
    run.partial.write_bytes(b"x" * HALF)
    url, _ = serve(resume, send(ARCHIVE))
    run.fail(url)
    run.succeed(url)


@pytest.mark.parametrize("answer, requests, words", [
    pytest.param(send(b"", 404), 1, "there is nothing at", id="404"),
    pytest.param(send(b"", 302, Location="file:///etc/passwd"), ATTEMPTS, "file:///", id="redirect to a file"),
    pytest.param(CUT, ATTEMPTS, "IncompleteRead", id="cut for ever"),
    pytest.param(send(b"<html>Please log in</html>"), 1, "not a whole .tar.gz", id="page"),
    pytest.param(send(ARCHIVE[:HALF]), 1, "not a whole .tar.gz", id="half an archive"),
    pytest.param(send(ARCHIVE[:HALF] + bytes(9) + ARCHIVE[HALF + 9:]), 1, "can't get the photos", id="damaged"),
    pytest.param(send(archive(FILES | {"test/hat/0.jpg": b"other"})), 1, "not the expected ones", id="another photo"),
    pytest.param(send(archive(FILES | {"test/../../x.jpg": b""})), 1, "not the expected ones", id="path outside"),
])
def test_a_download_that_fails_says_why(run, answer, requests, words):
    url, ranges = serve(answer)
    assert words in run.fail(url) and len(ranges) == requests


def test_a_slow_download_ends_at_the_time_limit_and_is_resumed_by_the_next_run(run, monkeypatch):
    url, _ = serve(drip, resume)
    with monkeypatch.context() as patch:
        patch.setattr(download_data, "TIME_LIMIT", 0.3)
        assert "time limit" in run.fail(url)
    assert ARCHIVE.startswith(run.partial.read_bytes()) and run.partial.stat().st_size < 5000
    run.succeed(url)


@pytest.mark.parametrize("more, words", [(-1, "larger than"), (1, "unpacks to more than")])
def test_an_archive_that_is_too_large_is_refused(run, monkeypatch, more, words):
    monkeypatch.setattr(download_data, "MAX_BYTES", len(ARCHIVE) + more)
    assert words in run.fail(serve(send(ARCHIVE))[0])


def test_links_in_an_archive_are_not_unpacked(run):
    file, folder = tarfile.TarInfo("clothes-1234/train/hat/link.jpg"), tarfile.TarInfo("clothes-1234/train/boots")
    file.type = folder.type = tarfile.SYMTYPE
    file.linkname, folder.linkname = "/etc/passwd", "/tmp"
    run.succeed(serve(send(archive(FILES, file, folder)))[0])


def test_a_half_unpacked_folder_is_completed_without_another_download(run):
    url, ranges = serve(send(ARCHIVE))
    run.succeed(url)
    run.index.unlink()
    (run.folder / "test/hat/1.jpg").unlink()
    for stale in ("train/hat/0.jpg", "train/gloves/9.jpg"):
        (run.folder / stale).parent.mkdir(exist_ok=True)
        (run.folder / stale).write_bytes(b"half")
    run.succeed(url)
    assert len(ranges) == 1


def test_a_failure_leaves_the_photos_of_an_earlier_run(run):
    url, _ = serve(send(ARCHIVE))
    run.succeed(url)
    assert "not the expected ones" in run(url, digest="another")
    run.assert_complete()


def test_two_processes_download_once_and_leave_one_whole_folder(run):
    url, ranges = serve(send(ARCHIVE))
    code = f"import download_data as it; it.GITHUB, it.DIGEST = {url!r}, {DIGEST!r}; it.main()"
    with locked(run.folder):
        processes = [subprocess.Popen([sys.executable, "-c", code, *run.flags], cwd=Path(download_data.__file__).parent,
                                      stderr=subprocess.PIPE, text=True) for _ in range(2)]
        for process in processes:
            assert "waiting for another process" in process.stderr.readline()
        assert ranges == []
    for process in processes:
        assert process.wait(60) == 0, process.stderr.read()
    assert len(ranges) == 1
    run.assert_complete()
