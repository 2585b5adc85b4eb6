"""The API as a specification: every kind of request, every refusal, the answers and the log."""
import base64
import hashlib
import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import api
import hostile
import loopback
from api import KINDS, encoded, event, form, picture
from conftest import ROOT

SERVING = ROOT / ".venv" / "ai-edge-litert" / "bin" / "python"
RED = picture("red")
JPEG = {"content_type": "image/jpeg"}
JSON = {"content_type": "application/json"}
FORM = {"content_type": "multipart/form-data; boundary=----form"}


@pytest.fixture(scope="module")
def function(tmp_path_factory):
    return api.load(tmp_path_factory.mktemp("model"), confidence_threshold=0.6, familiarity_threshold=0.9,
                    dataset="drawn", created="2026-01-01", metrics={"test": {"accuracy": 0.9}},
                    history=[{"epoch": 1}], suspects=[{"path": "x"}])


@pytest.fixture(params=KINDS)
def ask(function, request):
    """Ask the handler by each kind of event; returns the response with its JSON parsed."""
    def ask(*arguments, **options):
        response = function.lambda_handler(event(*arguments, kind=request.param, **options), None)
        body = response["body"]
        is_json = response["headers"]["Content-Type"] == "application/json"
        return SimpleNamespace(status=response["statusCode"], headers=response["headers"],
                               body=json.loads(body) if is_json and body else body)
    return ask


@pytest.fixture
def photo_url(monkeypatch):
    """The URL of the red picture."""
    import fetch
    with loopback.serving(loopback.replying(loopback.http(RED))) as server:
        monkeypatch.setattr(fetch, "is_public", lambda address: address == "127.0.0.77")
        monkeypatch.setattr(fetch, "PORTS", {server.port})
        yield f"http://127.0.0.77:{server.port}/red.jpg"


# Ways to send the red picture: body and headers.
GOOD = {
    "JPEG": (RED, JPEG),
    "wrong type": (picture(kind="PNG"), JPEG),
    "type in capitals": (RED, {"CONTENT_TYPE": "IMAGE/JPEG"}),
    "binary": (RED, {"content_type": "application/octet-stream"}),
    "curl's own type": (RED, {"content_type": "application/x-www-form-urlencoded"}),
    "base64": ({"image": encoded(RED)}, JSON),
    "base64 in lines": ({"image": base64.encodebytes(RED).decode()}, JSON),
    "base64 for URLs": ({"image": base64.urlsafe_b64encode(RED).decode()}, JSON),
    "base64 without padding": ({"image": encoded(RED).rstrip("=")}, JSON),
    "data URL": ({"image": "data:image/jpeg;base64," + encoded(RED)}, JSON),
    "JSON with charset": ({"image": encoded(RED)}, {"content_type": "application/json; charset=utf-8"}),
    "JSON of a vendor": ({"image": encoded(RED)}, {"content_type": "application/vnd.photo+json"}),
    "JSON, other keys too": ({"image": encoded(RED), "id": 7}, JSON),
    "JSON by curl -d": ({"image": encoded(RED)}, {"content_type": "application/x-www-form-urlencoded"}),
    "JSON in UTF-16": (json.dumps({"image": encoded(RED)}).encode("utf-16"), JSON),
    "form, quoted boundary": (form(RED, boundary="a b"), {"content_type": 'multipart/form-data; boundary="a b"'}),
    "form, any name": (form(RED, name="x", filename="ü"), {"content_type": "Multipart/Form-Data; Boundary=----form"}),
    "form with text in it": (
        b'------form\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n' + form(RED),
        {"content_type": "multipart/form-data; charset=utf-8; boundary=----form"}),
    "form with only a type": (form(RED, name="x").replace(b'; filename="photo.jpg"', b""), FORM),
    "form with only a field name": (
        b'------form\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + RED + b"\r\n------form--", FORM),
    "form with an empty field": (form(b"", filename="").removesuffix(b"------form--\r\n") + form(RED), FORM)}


@pytest.mark.parametrize("way", GOOD)
def test_every_kind_of_request_gets_the_same_answer(way, ask):
    body, headers = GOOD[way]
    response = ask(body=body, **headers)
    assert response.status == 200
    assert [*response.body] == ["red", "blue", "green"]
    assert response.body == pytest.approx({"red": 0.97, "blue": 0.015, "green": 0.015}, abs=0.02)


def test_a_url_gets_the_labels_of_its_photo(ask, photo_url):
    assert [*ask(body={"url": photo_url}).body][0] == "red"


def test_the_direct_event_gets_the_plain_mapping(function, photo_url):
    """The reference's client sends this event, and prints the answer as it is."""
    by_url = function.lambda_handler({"url": photo_url}, None)
    assert by_url == function.lambda_handler({"image": encoded(RED)}, None)
    assert [*by_url] == ["red", "blue", "green"] and all(type(score) is float for score in by_url.values())


@pytest.mark.parametrize("sent, words", [
    ({"url": "http://127.0.0.1/"}, "not a public"), ({"image": "!"}, "base64"), ({}, '"url"'), ([], '"url"')])
def test_a_bad_direct_event_gets_an_error(function, sent, words):
    answer = function.lambda_handler(sent, None)
    assert [*answer] == ["error"] and words in answer["error"]


REST = event(body=RED, **JPEG)
# As AWS documents it, shortened.
HTTP = {"version": "2.0", "rawPath": "/pre/predict", "rawQueryString": "", "headers": {"content-type": "image/jpeg"},
        "requestContext": {"http": {"method": "POST", "path": "/pre/predict"}, "requestId": "id-1", "stage": "pre"},
        "body": encoded(RED), "isBase64Encoded": True}


@pytest.mark.parametrize("variant", [
    {**REST, "resource": "/predict", "path": "/shop/predict"}, {**REST, "path": "/predict/"},
    HTTP, {**HTTP, "rawPath": "/predict"}, {**HTTP, "rawPath": "/shop/predict"}],
    ids=["base path of a domain", "proxy with a slash", "stage", "no stage, as under a domain", "base path, HTTP API"])
def test_events_are_understood_as_aws_sends_them(variant, function, capsys):
    response = function.lambda_handler(variant, None)
    assert response["statusCode"] == 200 and next(iter(json.loads(response["body"]))) == "red"
    assert json.loads(capsys.readouterr().out)["request_id"] == variant["requestContext"]["requestId"]


# As an Application Load Balancer sends them: its target group may have multi-value headers, or not.
BALANCER = {"requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:"}}, "httpMethod": "POST",
            "path": "/predict", "body": encoded(RED), "isBase64Encoded": True}


def test_a_load_balancer_gets_an_answer_unless_it_sends_multi_value_headers(function):
    plain = function.lambda_handler({**BALANCER, "headers": {"content-type": "image/jpeg"},
                                     "queryStringParameters": {"top": "1"}})
    lists = function.lambda_handler({**BALANCER, "multiValueHeaders": {"content-type": ["image/jpeg"]}})
    assert [*json.loads(plain["body"])] == ["red"]
    assert lists["statusCode"] == 400 and "multi-value headers" in lists["body"]


@pytest.mark.parametrize("body, headers", [
    ({"images": [encoded(RED), encoded(picture("blue")), "?", encoded(b"text"), encoded(RED[:300])]}, JSON),
    (form(RED, picture("blue"), b"", b"text", RED[:300]), FORM)])
def test_several_photos_get_a_list_with_errors_in_their_places(body, headers, ask):
    response = ask(target="/predict?top=1", body=body, **headers)
    assert response.status == 200
    red, blue, *errors = response.body
    assert red == {"predictions": {"red": pytest.approx(0.97, abs=0.02)}, "confident": True, "familiar": True}
    assert [*blue["predictions"]] == ["blue"]
    assert [(error.keys(), error["status"]) for error in errors] == [
        ({"error", "status"}, status) for status in ((400 if headers is JSON else 415), 415, 422)]


def test_a_list_of_urls_gets_a_list(ask, photo_url):
    response = ask(body={"urls": [photo_url, "http://127.0.0.1/", photo_url, "nonsense"]})
    assert [item.get("status", 200) for item in response.body] == [200, 403, 200, 400]


# Body, headers, status and words.
BAD = {
    "nothing": (b"", {}, 400, "the body is empty"),
    "text": (b"hello", {"content_type": "text/plain"}, 415, "JPEG"),
    "html": (b"<html>", {"content_type": "text/html"}, 415, "send one of JPEG"),
    "no JSON": (b"{", JSON, 400, "not valid JSON"),
    "deep": (b"[" * 100_000, JSON, 400, "not valid JSON"),
    "digits": (b"9" * 9999, JSON, 400, "not valid JSON"),
    "no UTF-8": (b'{"url": "\xff"}', JSON, 400, "not valid JSON"),
    "list": (b"[1]", JSON, 400, '"url"'),
    "other keys": ({"link": "x"}, JSON, 400, '"url"'),
    "two keys": ({"url": "x", "image": "y"}, JSON, 400, "one of"),
    "url of no text": ({"url": 7}, JSON, 400, "one of"),
    "empty url": ({"url": ""}, JSON, 400, "is text"),
    "urls of no list": ({"urls": "x"}, JSON, 400, "list of 1 to 16"),
    "no urls": ({"urls": []}, JSON, 400, "list of 1 to 16"),
    "many urls": ({"urls": ["x"] * 17}, JSON, 400, "list of 1 to 16"),
    "mixed": ({"images": ["", 1]}, JSON, 400, "list of 1 to 16"),
    "a bad url": ({"url": "shirt.jpg"}, JSON, 400, "https://"),
    "inner url": ({"url": "http://169.254.169.254/"}, JSON, 403, "not a public address"),
    "port": ({"url": "http://example.com:8080/"}, JSON, 403, "port 8080"),
    "unknown host": ({"url": "http://nowhere.invalid/"}, JSON, 502, "nowhere.invalid is not known"),
    "host of dots": ({"url": "http://" + "." * 7900 + "/"}, JSON, 400, "URL is not valid"),
    "host of long names": ({"url": "http://" + "a" * 99 + ".example/"}, JSON, 400, "URL is not valid"),
    "long url": ({"url": "http://" + "é" * 200_000 + ".example/"}, JSON, 400, "URL is not valid"),
    "base64, odd": ({"image": "A"}, JSON, 400, "base64"),
    "surrogate": (b'{"image": "\\ud800"}', JSON, 400, "base64"),
    "cut": (RED[:300], JPEG, 422, "is the file complete"),
    "bomb": (hostile.jpeg(65000, 65000), JPEG, 413, "65000 x 65000 pixels"),
    "large": (bytes(10_000_001), JPEG, 413, "10 MB"),
    "form, no boundary": (form(RED), {"content_type": "multipart/form-data"}, 400, "boundary"),
    "form, other boundary": (form(RED, boundary="x"), FORM, 400, "cut short"),
    "form cut": (form(RED)[:-20], FORM, 400, "cut short"),
    "form without files": (form(), FORM, 400, "0 files"),
    "form of many": (form(*[b"x"] * 17), FORM, 400, "17 files"),
    "form of very many": (form(*[b"x"] * 9999), FORM, 400, "over 100 parts")}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_is_refused_with_the_reason(case, ask):
    body, headers, status, words = BAD[case]
    response = ask(body=body, **headers)
    assert response.status == status
    assert [*response.body] == ["error"] and words in response.body["error"]
    assert response.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("broken", [{"body": "?", "isBase64Encoded": True}, {"body": ["x"]}])
def test_an_event_with_a_broken_body_is_refused(broken, function):
    assert function.lambda_handler({**REST, **broken}, None)["statusCode"] == 400


@pytest.mark.parametrize("top, count", [("1", 1), ("2", 2), ("3", 3), ("99", 3), ("999999999", 3), ("01", 1)])
def test_top_limits_the_number_of_labels(top, count, ask):
    whole = ask(body=RED).body
    assert ask(target=f"/predict?top={top}", body=RED).body == dict([*whole.items()][:count])


@pytest.mark.parametrize("top", ["0", "-1", "1.5", "x", "", "²", "٣", "1e3", "9999999999", "1,2"])
def test_top_must_be_a_whole_number(top, ask):
    response = ask(target=f"/predict?top={top}", body=RED)
    assert response.status == 400 and "top must be" in response.body["error"]


@pytest.mark.parametrize("method, target, status, allow", [
    ("GET", "/predict", 405, "POST, OPTIONS"), ("HEAD", "/predict", 405, "POST, OPTIONS"),
    ("BREW", "/", 405, "GET, HEAD, OPTIONS"), ("POST", "/health", 405, "GET, HEAD, OPTIONS"),
    ("POST", "/predict/x", 404, None), ("GET", "/model.tflite", 404, None), ("GET", "/../etc/passwd", 404, None)])
def test_unknown_paths_get_404_and_other_methods_405(method, target, status, allow, ask):
    response = ask(method, target)
    assert (response.status, response.headers.get("Allow")) == (status, allow)
    assert method == "HEAD" or "error" in response.body


@pytest.mark.parametrize("target, allow", [("/health", "GET, HEAD, OPTIONS"), ("/predict", "POST, OPTIONS")])
def test_a_preflight_request_is_answered_with_the_methods(target, allow, ask):
    response = ask("OPTIONS", target, origin="https://shop.example")
    assert (response.status, response.body) == (204, "")
    assert response.headers["Access-Control-Allow-Methods"] == allow
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "Content-Type" in response.headers["Access-Control-Allow-Headers"]


def test_health_is_the_model_card_without_history_and_suspects(ask):
    card = ask("GET", "/health").body
    assert card["versions"].keys() == {"python", "numpy", "pillow", "ai_edge_litert"}
    del card["versions"], card["model"]
    assert card == {"status": "ok", "labels": ["blue", "green", "red"], "size": [40, 30], "confidence_threshold": 0.6,
                    "familiarity_threshold": 0.9, "dataset": "drawn", "created": "2026-01-01",
                    "metrics": {"test": {"accuracy": 0.9}}}


@pytest.mark.parametrize("path", ["/pre", "/pre/", "/"])
def test_the_root_of_a_stage_is_the_page(path, function):
    http = {**HTTP["requestContext"]["http"], "method": "GET"}
    sent = {**HTTP, "rawPath": path, "requestContext": {**HTTP["requestContext"], "http": http}}
    assert function.lambda_handler(sent)["headers"]["Content-Type"] == "text/html; charset=utf-8"


def test_head_gets_the_headers_of_get_without_a_body(ask):
    get, head = ask("GET", "/health"), ask("HEAD", "/health")
    assert (head.status, head.headers, head.body) == (200, get.headers, "")


def test_the_policy_of_the_page_allows_only_its_own_script_and_style(ask):
    response = ask("GET", "/")
    assert response.status == 200 and response.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in response.headers["Content-Security-Policy"].split("; "))
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", response.body, re.DOTALL)
        assert policy[f"{tag}-src"] == f"'sha256-{encoded(hashlib.sha256(text.encode()).digest())}'"
    assert not re.search(r"\s(style|on\w+)=", response.body.partition("<script>")[0].partition("-->")[2])
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in str(policy)


def test_probabilities_are_sorted_and_sum_to_one(ask):
    for colour in ("red", "grey", "orange", (90, 91, 92)):
        scores = [*ask(body=picture(colour)).body.values()]
        assert scores == sorted(scores, reverse=True) and abs(sum(scores) - 1) < 1e-6


@pytest.mark.parametrize("colour, familiarity, familiar, confident", [
    ("red", 0.992, True, True), ("grey", 0.577, False, False),
    ((30, 0, 0), 1, True, False),  # the probability is low
    ((250, 120, 120), 0.827, False, False)])  # the probability is high
def test_an_answer_says_whether_the_photo_is_familiar_and_the_answer_confident(
        colour, familiarity, familiar, confident, ask, capsys):
    response = ask(body=picture(colour))
    line = json.loads(capsys.readouterr().out)
    assert response.headers.get("X-Confidence") == (None if confident else "low")
    assert float(response.headers["X-Familiarity"]) == line["familiarity"] == pytest.approx(familiarity, abs=0.005)
    assert (line["familiar"], line["confident"]) == (familiar, confident)
    item, = ask(body={"images": [encoded(picture(colour))]}).body
    assert (item["familiar"], item["confident"]) == (familiar, confident)
    assert response.headers["Access-Control-Expose-Headers"] == "X-Confidence, X-Familiarity, X-Model"


@pytest.mark.parametrize("request_", [{"body": picture("red")}, {"body": b"no photo"}, {"method": "GET", "target": "/"},
                                      {"target": "/nothing"}])
def test_every_answer_and_log_line_names_the_model(request_, ask, function, capsys):
    digest = hashlib.sha256(Path(function.model_path).read_bytes()).hexdigest()[:12]
    assert ask(**request_).headers["X-Model"] == digest
    assert json.loads(capsys.readouterr().out)["model"] == digest
    assert ask("GET", "/health").body["model"] == digest


def test_answers_of_a_model_without_thresholds_are_confident(tmp_path):
    response = api.load(tmp_path).lambda_handler(event(body=picture("grey")))
    assert response["statusCode"] == 200 and "X-Confidence" not in response["headers"]


@pytest.mark.parametrize("memory, threads", [("128", 1), ("1769", 1), ("3008", 2), ("3538", 2), ("10240", 6)])
def test_the_model_uses_as_many_threads_as_lambda_grants_cpus(memory, threads, function, monkeypatch):
    given = []
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory)
    monkeypatch.setattr(function.classifier, "Model", lambda path, threads: given.append(threads) or function.MODEL)
    function.classifier.load()
    assert given == [threads]


# The log.

@pytest.fixture
def log(function, capsys, monkeypatch):
    """Ask as on Lambda, and return the line that is printed."""
    monkeypatch.setattr(function.telemetry, "FUNCTION", "classifier")

    def log(*arguments, **options):
        function.lambda_handler(event(*arguments, **options), None)
        (line,) = capsys.readouterr().out.splitlines()
        return json.loads(line)
    return log


def test_a_request_is_logged_as_one_line(log):
    line = log(body=RED)
    assert {key: line[key] for key in ("route", "kind", "images", "bytes", "status", "label")} == {
        "route": "POST /predict", "kind": "raw", "images": 1, "bytes": len(RED), "status": 200, "label": "red"}
    assert 0 < line["decode_ms"] + line["model_ms"] < line["total_ms"] and line["request_id"]


def test_the_answers_and_errors_of_a_list_are_logged(log):
    line = log(body={"images": [encoded(RED), "?", encoded(picture("grey"))]})
    assert (line["labels"][0], line["errors"]) == ("red", ["the image is not valid base64"])
    assert line["familiarity"] == pytest.approx([0.992, 0.577], abs=0.005)
    assert line["confident"] == line["familiar"] == [1, 0]


def test_a_refusal_is_logged_with_its_reason(log):
    line = log(body={"image": "?"})
    assert (line["status"], line["error"]) == (400, "the image is not valid base64")
    assert line["server_errors"] == 0


@pytest.mark.parametrize("options", [
    {"body": RED}, {"body": {"images": [encoded(RED), "?"]}}, {"body": {"images": ["?"]}}, {"body": b""},
    {"method": "GET", "target": "/"}])
def test_metrics_follow_the_embedded_metric_format(log, options):
    """CloudWatch requires each named metric and dimension to be a field of the line, with the right type."""
    line = log(**options)
    assert isinstance(line["_aws"]["Timestamp"], int)
    for directive in line["_aws"]["CloudWatchMetrics"]:
        assert directive["Namespace"] == "ImageClassifier" and directive["Metrics"]
        assert all(isinstance(line[name], str) for names in directive["Dimensions"] for name in names)
        for metric in directive["Metrics"]:
            values = line[metric["Name"]] if isinstance(line[metric["Name"]], list) else [line[metric["Name"]]]
            assert 1 <= len(values) <= 100 and all(type(value) in (int, float) for value in values)


def test_queries_and_photos_are_not_logged(function, capsys, photo_url):
    secrets = ["s3cret", encoded(RED)[100:140], "hunter2"]
    function.lambda_handler(event(target="/predict?token=s3cret", body={"url": photo_url + "?key=s3cret"}))
    function.lambda_handler(event(body={"url": "https://user:hunter2@example.com/?s3cret"}))
    function.lambda_handler(event(body={"url": "http://127.0.0.1/?s3cret"}))
    function.lambda_handler(event(body={"image": encoded(RED)}))
    function.lambda_handler(event(body={"image": encoded(RED)[:-9]}))
    output = "".join(capsys.readouterr())
    assert output.count("\n") == 5 and not any(secret in output for secret in secrets)


def test_the_traceback_of_a_failure_is_logged_and_not_sent(function, ask, monkeypatch, capsys):
    def fail(image):
        raise RuntimeError("inner detail")
    monkeypatch.setattr(function.MODEL, "predict", fail)
    response = ask(body=RED)
    assert (response.status, response.body) == (500, {"error": "the server failed; its log says why"})
    assert "inner detail" in json.loads(capsys.readouterr().out)["exception"]


# Any event at all.

anything = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
                        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
                        max_leaves=8)
TYPES = st.sampled_from(["application/json", "image/jpeg", "multipart/form-data; boundary=b", "text/plain", "", "x/y"])
BODIES = st.one_of(
    st.text(), st.binary().map(encoded), st.just(encoded(RED)), st.just(form(RED, boundary="b").decode("latin-1")),
    st.dictionaries(st.sampled_from(["url", "urls", "image", "images", "x"]), anything, max_size=2).map(json.dumps),
    st.text().map(lambda text: json.dumps({"url": text})),
    st.text().map(lambda text: f"--b\r\n{text}\r\n\r\nx\r\n--b--"))
METHODS = st.sampled_from(["POST", "GET", "OPTIONS", "HEAD"])
proxy_events = st.fixed_dictionaries({"httpMethod": METHODS | anything}, optional={
    "path": st.sampled_from(["/predict", "/health", "/"]) | anything, "resource": anything,
    "headers": st.fixed_dictionaries({}, optional={"Content-Type": TYPES, "content-type": TYPES | anything}) | anything,
    "multiValueHeaders": anything, "queryStringParameters": st.fixed_dictionaries({"top": st.text()}) | anything,
    "body": BODIES | anything, "isBase64Encoded": st.booleans() | anything,
    "requestContext": st.fixed_dictionaries({"http": anything, "stage": anything, "requestId": anything}) | anything,
    "rawPath": anything})


@pytest.fixture(scope="module")
def offline():
    """No host name resolves, so that no generated URL is fetched."""
    with mock.patch("socket.getaddrinfo", side_effect=socket.gaierror):
        yield


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
@given(proxy_events)
def test_any_proxy_event_gets_a_well_formed_response(function, offline, sent):
    response = function.lambda_handler(sent, None)
    assert response.keys() == {"statusCode", "headers", "body", "isBase64Encoded"}
    assert response["statusCode"] in (200, 204, 400, 403, 404, 405, 413, 415, 422, 502, 504)
    assert all(isinstance(text, str) for item in response["headers"].items() for text in item)
    assert isinstance(response["body"], str) and response["isBase64Encoded"] is False
    json.dumps(response).encode()
    if response["statusCode"] >= 400 and sent["httpMethod"] != "HEAD":
        assert json.loads(response["body"])["error"]


@settings(max_examples=200, deadline=None)
@given(anything | st.dictionaries(st.sampled_from(["url", "image", "urls", "images"]), anything, max_size=2))
def test_any_other_event_gets_an_answer(function, offline, sent):
    json.dumps(function.lambda_handler(sent, None))


# Settings and imports.

def test_cors_can_be_limited_to_one_origin(tmp_path, monkeypatch):
    monkeypatch.setenv("CORS_ORIGIN", "https://shop.example")
    response = api.load(tmp_path).lambda_handler(event("GET", "/x"))
    assert response["headers"]["Access-Control-Allow-Origin"] == "https://shop.example"


IMPORTED = """
import json, sys, lambda_function
lambda_function.lambda_handler({"image": sys.argv[1]})
print(json.dumps(sorted(sys.modules)))
"""


@pytest.mark.skipif(not SERVING.exists(), reason=f"needs {SERVING}; `make .venv/ai-edge-litert/.installed` makes it")
def test_serving_imports_no_tensorflow_and_network_code_only_for_urls(function):
    output = subprocess.run([SERVING, "-c", IMPORTED, encoded(RED)], check=True, capture_output=True, text=True,
                            env={"PYTHONPATH": str(ROOT / "lambda"), "MODEL_PATH": function.model_path}).stdout
    loaded = json.loads(output.splitlines()[-1])
    top_level = {name.partition(".")[0] for name in loaded}
    others = top_level - set(sys.stdlib_module_names) - {"__main__", "__mp_main__"}
    own = {path.stem for path in (ROOT / "lambda").glob("*.py")}
    assert {name for name in others - own if not name.startswith("_")} == {"numpy", "PIL", "ai_edge_litert"}
    assert not {"ssl", "http.client", "email", "urllib.request", "boto3", "fetch"} & set(loaded)
