"""The budget of a request, whatever is sent: 512 MB of memory, 10 seconds of processor time, no server error.

Measured in a process of its own, in the serving environment, with the released model.
"""
import json
import subprocess

import pytest

import loopback
from conftest import ROOT
from hostile import CASES, jpeg, png

SERVING = ROOT / ".venv" / "ai-edge-litert" / "bin" / "python"
MODEL = ROOT / "artifacts" / "release" / "model.tflite"
MEGABYTES, SECONDS = 512, 10
# Asks the handler about the requests in a file, each a list of files and a transport, and prints for each the answer,
# the peak of the process's memory in MB, its memory afterwards, and the processor time in seconds.
ASK = """
import base64, contextlib, io, json, os, pathlib, sys, time
import classifier, fetch, lambda_function

folder, port, classifier.SECONDS = pathlib.Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
fetch.is_public = lambda address: True
fetch.PORTS = {port}

def event(names, transport):
    contents = [] if transport == "url" else [(folder / name).read_bytes() for name in names]
    if transport == "raw":
        kind, body = "image/jpeg", contents[0]
    elif transport == "form":
        head = b'\\r\\n--b\\r\\nContent-Disposition: form-data; name="image"; filename="x"\\r\\n\\r\\n'
        body = b"".join(head + content for content in contents) + b"\\r\\n--b--"
        kind = "multipart/form-data; boundary=b"
    elif transport == "body":
        kind, body = "application/json", contents[0]
    else:
        items = [f"http://127.0.0.77:{port}/{name}" for name in names] if transport == "url" else [
            base64.b64encode(content).decode() for content in contents]
        key = {"url": "url", "base64": "image"}[transport]
        kind, body = "application/json", json.dumps({key: items[0]} if len(items) == 1 else {key + "s": items}).encode()
    return {"httpMethod": "POST", "path": "/predict", "headers": {"content-type": kind},
            "body": base64.b64encode(body).decode(), "isBase64Encoded": True}

def memory(name):
    return int(open("/proc/self/status").read().split(name + ":")[1].split()[0]) / 1000

results = []
for names, transport in json.loads((folder / "requests.json").read_text()):
    sent = event(names, transport)
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    started = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        response = lambda_function.lambda_handler(sent)
    seconds = time.process_time() - started
    body = json.loads(response["body"])
    statuses = [item.get("status", 200) for item in body] if isinstance(body, list) else [response["statusCode"]]
    results.append([statuses, memory("VmHWM"), memory("VmRSS"), seconds])
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with each case in a file named by its number, and a server of these files: its port."""
    folder = tmp_path_factory.mktemp("hostile")
    for number, (make, _) in enumerate(CASES.values()):
        (folder / str(number)).write_bytes(make())

    def answer(connection, request):
        name = request.split()[1].decode().strip("/")
        connection.sendall(loopback.http((folder / name).read_bytes()))
    with loopback.serving(answer) as server:
        yield folder, server.port


def ask(files, requests: list, decoding_seconds=8.0) -> list[tuple[list[int], float, float, float]]:
    folder, port = files
    (folder / "requests.json").write_text(json.dumps(requests))
    command = [SERVING, "-c", ASK, folder, str(port), str(decoding_seconds)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=500,
                            env={"PYTHONPATH": str(ROOT / "lambda"), "MODEL_PATH": str(MODEL)})
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def check_budget(results: list, names: list[str], capsys) -> None:
    worst = max(zip(results, names), key=lambda pair: pair[0][1])
    slowest = max(zip(results, names), key=lambda pair: pair[0][3])
    with capsys.disabled():
        print(f"\npeak {worst[0][1]:.0f} MB ({worst[1]}), {slowest[0][3]:.2f} s ({slowest[1]})")
    assert worst[0][1] <= MEGABYTES, worst
    assert slowest[0][3] <= SECONDS, slowest


@pytest.mark.parametrize("transport", ["raw", "base64", "form", "url"])
def test_each_file_alone_keeps_the_budget(transport, files, capsys):
    results = ask(files, [([str(number)], transport) for number in range(len(CASES))])
    check_budget(results, [*CASES], capsys)
    assert {name: result[0] for name, result in zip(CASES, results)} == {
        name: [status] for name, (_, status) in CASES.items()}


@pytest.mark.parametrize("transport", ["base64", "form", "url"])
def test_lists_of_16_keep_the_budget(transport, files, capsys):
    lists, room = [[]], 0
    for number, (_, status) in enumerate(CASES.values()):
        size = (files[0] / str(number)).stat().st_size
        room -= size
        if room < 0 or len(lists[-1]) == 16:
            lists.append([])
            room = (35_000_000 if transport == "url" else 4_400_000) - size
        lists[-1].append(str(number))
    results = ask(files, [(numbers, transport) for numbers in lists[1:]])
    check_budget(results, [f"{len(numbers)} files from {numbers[0]}" for numbers in lists[1:]], capsys)
    answers = zip(sum((result[0] for result in results), []), CASES.values(), strict=True)
    assert all(status in (expected, 413) for status, (_, expected) in answers)  # 413 when the list took too long


@pytest.mark.parametrize("decoding_seconds", [8.0, 1.0])
def test_a_list_that_takes_too_long_gets_errors_for_the_rest(decoding_seconds, files, capsys):
    number = str([*CASES].index("PNG with alpha, interlaced"))
    results = ask(files, [([number] * 16, "url")], decoding_seconds)
    check_budget(results, ["16 PNGs"], capsys)
    statuses = results[0][0]
    assert statuses == [200] * statuses.count(200) + [413] * statuses.count(413) and 200 in statuses
    assert 413 in statuses or decoding_seconds == 8.0  # which a fast computer keeps


BODIES = {
    "JSON of many objects": b"[" + b'{"":[]},' * 785_000 + b"0]", "JSON, deep": b"[" * 6_000_000,
    "JSON of one long text": b'{"image": "' + b"!" * 6_000_000 + b'"}',
    "base64 of blanks": b'{"image": "' + b"A " * 3_000_000 + b'"}',
    "URLs of dots": json.dumps({"urls": ["http://" + "." * 7_900 + "/"] * 16}).encode()}


def test_bodies_of_any_shape_keep_the_budget(files, capsys):
    for number, body in enumerate(BODIES.values()):
        (files[0] / f"body-{number}").write_bytes(body)
    results = ask(files, [([f"body-{number}"], "body") for number in range(len(BODIES))])
    check_budget(results, [*BODIES], capsys)
    assert {status for result in results for status in result[0]} <= {400, 413, 415, 422}


def test_a_thousand_good_and_bad_requests_leave_the_memory_as_ten_do(files):
    """The largest broken picture takes 1 MB once decoded, so ten that stay in memory would show."""
    made = {"bad-0": png(500, 500, 8, 6)[:-30], "bad-1": jpeg(640, 480, real=True)[:-9], "good": jpeg(64, 64)}
    for name, content in made.items():
        (files[0] / name).write_bytes(content)
    cheap = [number for number, (make, status) in enumerate(CASES.values())
             if status > 200 and (files[0] / str(number)).stat().st_size < 5_000]
    names = [*made, *map(str, cheap)]
    requests = [([names[turn % len(names)]], "raw") for turn in range(1_000)] + [(["bad-0"] * 16, "form")] * 10
    results = ask(files, requests)
    assert {status for result in results for status in result[0]} == {200, 413, 415, 422}
    assert results[-1][2] - results[9][2] < 10
