"""API keys: who may call POST /predict, and the answer to a wrong key."""
import hashlib
import importlib
import json
import subprocess
import sys

import pytest

import api
from conftest import ROOT

ADD = ROOT / "scripts" / "aws" / "api_keys.py"


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture(scope="module")
def function(tmp_path_factory):
    return api.load(tmp_path_factory.mktemp("model"))


@pytest.fixture
def keys(function, monkeypatch):
    """Ann's key is 'a', Bob's 'b'."""
    monkeypatch.setenv("API_KEYS", f"ann:{digest('a')},bob:{digest('b')}")
    yield importlib.reload(function.api_keys)
    monkeypatch.undo()
    importlib.reload(function.api_keys)


def ask(function, capsys, **headers) -> tuple[dict, dict]:
    """The answer to a photo of red, and the line in the log."""
    answer = function.lambda_handler(api.event(body=api.picture(), content_type="image/jpeg", kind="v2", **headers))
    return answer, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("key, name", [("a", "ann"), ("b", "bob")])
def test_each_key_is_let_in_and_logged_by_its_name(function, keys, capsys, key, name):
    answer, line = ask(function, capsys, x_api_key=key)
    assert answer["statusCode"] == 200 and line["key"] == name


@pytest.mark.parametrize("headers", [
    {}, {"x_api_key": ""}, {"x_api_key": "c"}, {"x_api_key": digest("a")}, {"x_api_key": "\udcff"}])
def test_anything_else_is_refused_with_401(function, keys, capsys, headers):
    answer, line = ask(function, capsys, **headers)
    assert answer["statusCode"] == 401 and answer["headers"]["WWW-Authenticate"] == "ApiKey"
    assert json.loads(answer["body"])["error"] == line["error"] and "x-api-key" in line["error"]


def test_the_page_the_health_check_and_direct_calls_need_no_key(function, keys):
    for target in ("/", "/health"):
        assert function.lambda_handler(api.event("GET", target, kind="v2"))["statusCode"] == 200
    assert next(iter(function.lambda_handler({"image": api.encoded(api.picture())}))) == "red"


def test_without_keys_everybody_is_let_in(function, capsys):
    answer, line = ask(function, capsys)
    assert answer["statusCode"] == 200 and line["key"] == "anyone"


def manage(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, ADD, *arguments], capture_output=True, text=True, timeout=20)


def test_a_key_is_added_replaced_and_withdrawn():
    keys, key = manage("", "ann", "").stdout.split()
    assert keys == f"ann:{digest(key)}" and len(key) == 32
    both, bobs = manage(keys, "bob", "").stdout.split()
    assert both == f"{keys},bob:{digest(bobs)}"
    replaced, new = manage(both, "ann", "").stdout.split()
    assert new != key and replaced == f"ann:{digest(new)},bob:{digest(bobs)}"
    assert manage(both, "", "ann").stdout.split() == [f"bob:{digest(bobs)}"]


@pytest.mark.parametrize("name, words", [
    ("bob", "there is no key bob; there is ann"), ("ann", "ann is the last key")])
def test_a_key_that_cannot_be_withdrawn_is_explained(name, words):
    result = manage("ann:" + digest("a"), "", name)
    assert result.returncode != 0 and words in result.stderr and not result.stdout
