"""openapi.json describes what scripts/serve.py answers, and serve.py behaves like API Gateway."""
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

import api
import colour_model
from conftest import ROOT

SPECIFICATION = ROOT / "lambda" / "openapi.json"
SERVING = ROOT / ".venv" / "ai-edge-litert" / "bin" / "python"
JPEG = {"Content_Type": "image/jpeg"}
# scripts/serve.py without name resolution, so that no generated URL is fetched.
OFFLINE = """
import runpy, socket, sys, unittest.mock
socket.getaddrinfo = unittest.mock.Mock(side_effect=socket.gaierror)
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return colour_model.write(tmp_path_factory.mktemp("serve") / "model.tflite", confidence_threshold=0.6,
                              familiarity_threshold=0.9, dataset="drawn")


@pytest.fixture(scope="module")
def server(model, tmp_path_factory):
    """The address of a running serve.py, and the lines that it printed when it started."""
    if not SERVING.exists():
        pytest.skip(f"{SERVING} is not there; `make .venv/ai-edge-litert/.installed` makes it")
    log = tmp_path_factory.mktemp("log") / "log"
    with open(log, "w") as errors:
        process = subprocess.Popen([SERVING, "-c", OFFLINE, ROOT / "scripts" / "serve.py", "--model", model, "--port",
                                    "0"], stdout=subprocess.PIPE, stderr=errors, text=True)
    hello = [process.stdout.readline() for _ in range(4)]
    assert process.poll() is None, log.read_text()
    drain = subprocess.Popen(["cat"], stdin=process.stdout, stdout=subprocess.DEVNULL)
    yield re.search(r"http://[\d.:]+", hello[0])[0], hello
    process.terminate()
    process.wait(20)
    drain.wait(20)


def ask(url: str, method="GET", body=None, **headers) -> tuple[int, dict, bytes]:
    request = urllib.request.Request(url, body, {name.replace("_", "-"): value for name, value in headers.items()},
                                     method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_the_description_has_the_paths_and_methods_of_the_handler(tmp_path):
    described = json.loads(SPECIFICATION.read_text())["paths"]
    assert {path: [*methods] for path, methods in described.items()} == {
        **dict.fromkeys(api.load(tmp_path).PAGES, ["get"]), "/predict": ["post"]}


def test_the_description_and_the_readme_name_the_limits_of_the_code(tmp_path):
    import fetch
    import image_checks
    import request
    classifier = api.load(tmp_path).classifier
    description = json.loads(SPECIFICATION.read_text())["info"]["description"]
    guide = (ROOT / "lambda" / "README.md").read_text().replace("\n", " ")
    millions = {kind: limit // 1_000_000 for kind, limit in image_checks.MAX_PIXELS.items()}
    pixels = f"A JPEG may have {millions['JPEG']} megapixels, a WEBP {millions['WEBP']}, others {millions['PNG']}."
    megabytes, seconds = request.MAX_BYTES // 1_000_000, f"{fetch.SECONDS:.0f} seconds"
    for limit in (f"{megabytes} MB", seconds, pixels, f"{classifier.SECONDS:.0f} seconds"):
        assert limit in description and limit in guide
    assert f"a list {request.MAX_IMAGES} photos" in description and f"at most {request.MAX_IMAGES}" in guide


def test_answers_to_generated_requests_fit_the_description(server, tmp_path):
    """Schemathesis generates valid and invalid requests. Not every valid one is accepted, as a schema can't describe
    photos. 502 and 504 are errors of the servers that URLs lead to."""
    config = tmp_path / "schemathesis.toml"
    config.write_text('[checks.not_a_server_error]\nexpected-statuses = ["2xx", "4xx", "502", "504"]\n')
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", config, "run", SPECIFICATION,
               "--url", server[0], "--max-examples", "30", "--seed", "1", "--phases", "examples,coverage,fuzzing",
               "--exclude-checks", "positive_data_acceptance", "--suppress-health-check", "all", "--no-color"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    assert int(re.search(r"(\d+) generated", result.stdout)[1]) > 100


def test_the_server_sends_the_description(server):
    status, headers, body = ask(server[0] + "/openapi.json")
    assert status == 200 and headers["Content-Type"] == "application/json"
    assert json.loads(body) == json.loads(SPECIFICATION.read_text())


CLIENT = """
import io, sys
from client import Client
from client.api.default import health, predict
from client.models import Image, Images, PredictFilesBody, Url, Urls
from client.types import File

url, red, green, no_photo = sys.argv[1], *(open(name, "rb").read() for name in sys.argv[2:])
client = Client(url)
def file(content, name=None): return File(io.BytesIO(content), name, "image/jpeg")
def encoded(content): import base64; return base64.b64encode(content).decode()
def best(scores): return next(iter(scores.additional_properties))
def labels(answer): return [best(item.predictions) if hasattr(item, "predictions") else item.status for item in answer]
def ask(body): return predict.sync(client=client, body=body)

assert health.sync(client=client).labels == ["blue", "green", "red"]
assert best(ask(Image(encoded(red)))) == "red"
assert labels(ask(Images([encoded(red), encoded(no_photo), encoded(green)]))) == ["red", 415, "green"]
assert "is not known" in ask(Url("https://shop.example/a.jpg")).error
assert labels(ask(Urls(["https://shop.example/a.jpg", "ftp://b"]))) == [502, 400]
assert best(ask(file(red))) == "red"
assert best(ask(PredictFilesBody([file(red)]))) == "red"
assert labels(ask(PredictFilesBody([file(red, "red.jpg"), file(green, "green.jpg")]))) == ["red", "green"]
assert ask(file(no_photo)).error.startswith("not an image")
"""


def test_a_generated_client_can_send_every_kind_of_request(server, tmp_path):
    generator = "from openapi_python_client.cli import app; app()"
    subprocess.run([sys.executable, "-c", generator, "generate", "--path", SPECIFICATION, "--meta", "none",
                    "--output-path", "client"], cwd=tmp_path, check=True, capture_output=True)
    for name, content in [("red", api.picture("red")), ("green", api.picture("green")), ("none", b"no photo")]:
        (tmp_path / name).write_bytes(content)
    result = subprocess.run([sys.executable, "-c", CLIENT, server[0], "red", "green", "none"], cwd=tmp_path,
                            capture_output=True, text=True, env={**os.environ, "NO_PROXY": "*"})
    assert result.returncode == 0, result.stderr


def test_the_server_prints_curl_commands_that_work(server, model, tmp_path):
    url, (title, *curls) = server
    assert title.startswith(str(model)) and f"{url}/" in title
    assert len(curls) == 3
    (tmp_path / "photo.jpg").write_bytes(api.picture("red"))
    health, photo, by_url = [
        subprocess.run(line.strip().replace("curl ", "curl -s --noproxy '*' "), shell=True, check=True, cwd=tmp_path,
                       capture_output=True, text=True).stdout for line in curls]
    assert json.loads(health)["labels"] == ["blue", "green", "red"]
    assert next(iter(json.loads(photo))) == "red"
    assert "raw.githubusercontent.com is not known" in json.loads(by_url)["error"]  # see OFFLINE


def test_the_page_head_requests_and_preflight_requests_work_over_http(server):
    url, _ = server
    status, headers, body = ask(url + "/")
    assert status == 200 and b"<!doctype html>" in body and "sha256-" in headers["Content-Security-Policy"]
    assert ask(url + "/", "HEAD")[0::2] == (200, b"")
    status, headers, body = ask(url + "/predict", "OPTIONS", Origin="https://shop.example")
    assert (status, body, headers["Access-Control-Allow-Origin"]) == (204, b"", "*")


@pytest.mark.parametrize("path, method, body, headers, status", [
    ("/predict", "POST", bytes(7_000_000), JPEG, 413),
    ("/predict", "POST", bytes(5_000_000), JPEG, 413),  # over 6 MB as base64
    ("/predict", "POST", bytes(4_000_000), JPEG, 415),
    ("/predict", "POST", b"x", {"Content_Length": "9" * 5_000}, 413),
    ("/predict", "POST", b"x", {"Transfer_Encoding": "chunked"}, 413),
    ("/predict", "TRACE", None, {}, 405), ("/predict", "BREW", None, {}, 400),
    ("/%70redict?top=1", "POST", api.picture(), JPEG, 200), ("/predict?top=1&top=x", "POST", api.picture(), JPEG, 400)])
def test_unusual_requests_get_the_right_status(server, path, method, body, headers, status):
    try:
        found, _, content = ask(server[0] + path, method, body, **headers)
        assert found == status and ("error" in json.loads(content)) == (status >= 400)
    except urllib.error.URLError as error:  # it may close before a body that is too large is sent
        assert status == 413 and isinstance(error.reason, (ConnectionError, socket.error))


def serve(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([SERVING, ROOT / "scripts" / "serve.py", *arguments], capture_output=True, text=True,
                          timeout=60)


def test_a_taken_port_and_a_broken_model_are_reported(model, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = serve("--model", model, "--port", str(taken.getsockname()[1]))
    assert result.returncode == 1 and "choose another: make serve PORT=" in result.stderr
    (tmp_path / "broken.tflite").write_bytes(b"no model")
    for path in ("none.tflite", "broken.tflite"):
        result = serve("--model", tmp_path / path)
        assert result.returncode == 1 and "make model.tflite" in result.stderr and "Traceback" not in result.stderr


def test_make_serve_passes_model_and_port(model):
    dry = subprocess.run(["make", "-n", "serve", f"MODEL={model}", "PORT=8123"], cwd=ROOT, capture_output=True,
                         text=True, env={**os.environ, "MAKEFLAGS": ""})
    assert f"scripts/serve.py --model '{model}' --port '8123'" in dry.stdout


# Clients that misbehave, with serve.py in this process.

@pytest.fixture
def gateway(monkeypatch):
    """A server that answers "ok", and closes connections whose request takes over half a second to arrive."""
    import serve
    monkeypatch.setattr(serve, "REQUEST_SECONDS", 0.5)
    monkeypatch.setattr(serve.Gateway, "lambda_handler", staticmethod(
        lambda event: {"statusCode": 200, "headers": {}, "body": "ok"}), raising=False)
    with serve.Server(("127.0.0.1", 0), serve.Gateway) as server:
        yield server
        server.shutdown()


def start(server) -> None:
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()


def test_a_client_that_sends_slowly_is_disconnected(gateway):
    start(gateway)
    with socket.create_connection(gateway.server_address) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nContent-Length: 99999\r\n\r\n")
        with pytest.raises(ConnectionError):
            while True:
                client.sendall(b"x")
                time.sleep(0.01)


def test_a_client_that_leaves_causes_no_traceback(gateway, capsys):
    start(gateway)
    for sent in (b"", b"GET", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nx", b"GET / HTTP/1.1\r\n\r\n"):
        with socket.create_connection(gateway.server_address) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # leave by a reset
            client.sendall(sent)
    assert ask("http://{}:{}/".format(*gateway.server_address))[2] == b"ok"
    assert capsys.readouterr().err == ""


def test_a_target_that_is_not_a_url_is_not_found(server):
    host, port = server[0].removeprefix("http://").split(":")
    with socket.create_connection((host, port), timeout=20) as client:
        client.sendall(b"GET http://[ HTTP/1.0\r\n\r\n")
        assert client.recv(99).startswith(b"HTTP/1.1 404")


def test_a_hundred_clients_can_connect_at_once(gateway):
    clients = [socket.create_connection(gateway.server_address, timeout=20) for _ in range(100)]
    start(gateway)
    for client in clients:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    for client in clients:
        with client:
            assert client.recv(99).startswith(b"HTTP/1.1 200")
