"""The client of a running function, against the API as `make serve` runs it and servers that answer otherwise."""
import json
import os
import re
import socket
import subprocess
import sys
import threading

import pytest

import api
import colour_model
import serve
from api import picture
from conftest import ROOT
from loopback import http_server, reply

SCRIPT = ROOT / "scripts" / "test_lambda.py"
# No proxy may come between the client and this computer.
ENVIRONMENT = {**os.environ, "http_proxy": "http://127.0.0.1:9", "API_KEY": ""}


def ask(*arguments, **environment):
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, timeout=60,
                          env=ENVIRONMENT | environment)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """<label>/*.jpg in the folder 'good', where one of the four reds is a blue picture; and photos with faults."""
    folder = tmp_path_factory.mktemp("photos")
    files = {f"good/{label}/{number}.jpg": picture(label) for label in colour_model.LABELS for number in range(4)}
    files["good/red/3.jpg"] = picture("blue")
    files |= {"good/notes.txt": b"no photo", "stranger/sock/0.jpg": picture(), "empty/notes.txt": b"no photo"}
    files["broken/green/0.jpg"] = picture()[:300]
    files["index.csv"] = b"path,label,split,sha256\ngood/red/0.jpg,red,test,\ngood/blue/0.jpg,blue,train,\n"
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The address of the real API, with the tiny model of colours."""
    class Gateway(serve.Gateway):
        lambda_handler = staticmethod(api.load(tmp_path_factory.mktemp("served")).lambda_handler)
    with serve.Server(("127.0.0.1", 0), Gateway) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield "http://{}:{}".format(*server.server_address)
        server.shutdown()


@pytest.fixture
def server():
    """server(status, text) starts a server that always gives this answer; server.requests lists what it received."""
    def server(status, text):
        def answer(handler, body):
            server.requests.append((handler.path, handler.headers, body))
            reply(handler, text.encode(), status)
        return http_server(answer)
    server.requests = []
    return server


def test_a_photo_gets_a_table_with_bars(served, photos):
    ran = ask("--url", served, photos / "good" / "green" / "0.jpg")
    assert ran.returncode == 0, ran.stderr
    labels = re.findall(r"^  (\w+) +([0-9.]+)% (█*)", ran.stdout, re.MULTILINE)
    assert labels[0][0] == "green" and len(labels) == 3
    assert len(labels[0][2]) > 30 and len(labels[1][2]) < 5
    assert re.search(r"0.jpg, answered in \d+ ms", ran.stdout)


def test_a_folder_gets_accuracy_and_latency(served, photos):
    ran = ask("--url", f"{served}/predict/", photos / "good")
    assert ran.returncode == 0, ran.stderr
    assert "accuracy 0.9167 (11 of 12 right)" in ran.stdout
    p50, p90, p99 = map(float, re.search(r"p50 ([0-9.]+) ms, p90 ([0-9.]+) ms, p99 ([0-9.]+) ms", ran.stdout).groups())
    assert 0 < p50 <= p90 <= p99


def test_only_the_test_photos_of_an_index_are_sent(served, photos):
    ran = ask("--url", served, photos / "index.csv")
    assert ran.returncode == 0 and "1 of 1 right" in ran.stdout, ran


@pytest.mark.parametrize("photo, words", [
    ("broken/green/0.jpg", "green/0.jpg got no labels but: "), ("nothing.jpg", "can't read"),
    ("empty", "holds no photo"), ("stranger", "labelled sock, but the function knows blue, green, red"),
])
def test_a_photo_that_gets_no_proper_answer_is_named(served, photos, photo, words):
    ran = ask("--url", served, photos / photo)
    assert ran.returncode == 1 and words in ran.stdout + ran.stderr, ran
    assert "Traceback" not in ran.stderr


def test_a_url_is_sent_as_a_url(server):
    address = server(200, '{"red": 0.75, "blue": 0.25}')
    assert ask("--url", address, "https://example.org/photo.jpg").returncode == 0
    assert json.loads(server.requests[0][2]) == {"url": "https://example.org/photo.jpg"}
    assert server.requests[0][0] == "/predict"


def test_the_emulator_is_sent_bare_events(server, photos):
    address = server(200, '{"red": 1.0}') + "/2015-03-31/functions/function/invocations"
    assert ask("--url", address, photos / "good" / "red" / "0.jpg").returncode == 0
    [(path, _, body)] = server.requests
    assert path == "/2015-03-31/functions/function/invocations" and list(json.loads(body)) == ["image"]


def test_the_api_key_comes_from_the_flag_or_the_environment(server, photos):
    address = server(200, '{"red": 1.0}')
    assert ask("--url", address, "--api-key", "secret", photos / "good" / "red" / "0.jpg").returncode == 0
    assert ask("--url", address, photos / "good" / "red" / "0.jpg", API_KEY="other").returncode == 0
    assert [headers["x-api-key"] for _, headers, _ in server.requests] == ["secret", "other"]


@pytest.mark.parametrize("status, text, words", [
    (404, "404 page not found", "404 page not found"), (200, "[1]", "[1]"), (200, "{}", "{}"),
    (200, '{"red": 1.5}', '{"red": 1.5}'), (200, '{"red": true}', '{"red": true}'),
    (403, '{"message": "Forbidden"}', "Forbidden"), (413, '{"error": "too large"}', "too large"),
])
def test_an_answer_without_labels_fails(server, photos, status, text, words):
    ran = ask("--url", server(status, text), photos / "good" / "red" / "0.jpg")
    assert ran.returncode == 1 and "got no labels but: " in ran.stderr and words in ran.stderr, ran


@pytest.mark.parametrize("behaviour, reason", [
    (None, "timed out"), (socket.socket.close, "refused"),
    (lambda listener: listener.accept()[0].close(), "reset|closed|pipe"),  # as Docker's proxy before it is ready
])
def test_where_nothing_answers_the_script_fails(photos, behaviour, reason):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        if behaviour:
            threading.Thread(target=behaviour, args=(listener,), daemon=True).start()
        ran = ask("--url", address, "--timeout", "0.5", photos / "good" / "red" / "0.jpg")
    assert ran.returncode == 1 and re.search(f"{address}/predict can't be reached .*({reason})", ran.stderr), ran
    assert "make docker-run" in ran.stderr


def test_the_standard_library_is_enough():
    no_packages = [sys.executable, "-S"]
    assert subprocess.run([*no_packages, "-c", "import PIL"], capture_output=True).returncode == 1
    assert subprocess.run([*no_packages, SCRIPT, "--help"], capture_output=True).returncode == 0
