"""`make bench`: its processes on tiny networks, its figures, its tables, and the rule that starts it."""
import subprocess
import sys

import pytest

import colour_model
from api import picture
from bench import __main__ as bench
from bench.__main__ import CONTENDERS, ENGINES, SIZES, take_turns, turn
from bench.tables import markdown, number
from conftest import ROOT, clean_environment

PARTS = {"decode", "network", "request"}


@pytest.fixture
def folder(tmp_path):
    """A tiny model in the place of the large one, and small photos in the places of both."""
    colour_model.write(tmp_path / "large.tflite")
    for name in SIZES:
        (tmp_path / f"{name}.jpg").write_bytes(picture("red"))
    return tmp_path


@pytest.mark.parametrize("engine", ["litert", "tflite-runtime"])
@pytest.mark.parametrize("function", ["handler", "plain"])
def test_a_turn_measures_start_parts_and_memory(function, engine, folder):
    environment, package, _ = ENGINES[engine]
    if not (ROOT / ".venv" / environment).exists():
        pytest.skip(f"needs .venv/{environment}, which Make installs where the interpreter has a wheel")
    found = turn((function, "large", engine), folder)
    assert found.pop("version").startswith(package)
    assert found["probability"] > 0.9
    assert found["model_size"] == (folder / "large.tflite").stat().st_size / 1e6
    assert found.keys() - {"probability", "model_size"} == {"start", "start_memory", "memory"} | {
        f"{photo}_{part}" for photo in SIZES for part in PARTS}
    assert min(found.values()) > 0 and found["memory"] >= found["start_memory"] > 10


def test_the_reference_gets_pixels_between_0_and_1(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts" / "bench")
    from worker import reference_pixels
    pixels = reference_pixels(picture("red"), (150, 150))
    assert pixels.shape == (150, 150, 3) and pixels.max() == pytest.approx(230 / 255, abs=0.02)


@pytest.mark.parametrize("function, engine, why", [
    ("plain", "litert", "small.tflite"), ("handler", "litert", "not an image"), ("plain", "absent", "not installed")])
def test_a_contender_that_is_missing_or_fails_says_why(function, engine, why, folder, monkeypatch):
    monkeypatch.setitem(ENGINES, "absent", ("nowhere", "ai-edge-litert", ".tflite"))
    (folder / "small.jpg").write_text("no photo")
    found = turn((function, "large" if function == "handler" else "small", engine), folder)
    assert found.keys() == {"error"} and why in found["error"]


def test_contenders_take_turns_and_one_that_fails_gets_its_error(folder, monkeypatch):
    first, broken, last = CONTENDERS[:3]
    order = []

    def turn(contender, folder):
        order.append(contender)
        return {"error": "it broke"} if contender == broken else {"version": "x 1", "start": float(len(order))}
    monkeypatch.setattr(bench, "turn", turn)
    rows = take_turns([first, broken, last], folder, rounds=3)
    assert order == [first, broken, last] * 3
    assert rows[0] == {"function": "handler", "network": "large", "engine": "litert", "version": "x 1",
                       "start": {"q1": 2.5, "median": 4, "q3": 5.5}}
    assert rows[1] == {"function": "handler", "network": "small", "engine": "litert", "error": "it broke"}


@pytest.mark.parametrize("value, text", [(0.99609, "0.996"), (1.239, "1.24"), (27.25, "27.2"), (1234.5, "1,234")])
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def timed(row):
    keys = ("probability", "start", "start_memory", "memory", "model_size",
            *(f"{photo}_{part}" for photo in SIZES for part in PARTS))
    return row | dict.fromkeys(keys, {"q1": 11.0, "median": 12.0, "q3": 13.0}) | {"version": "x 1"}


def test_the_tables_show_medians_and_why_a_contender_is_missing():
    failed, *others = [dict(zip(("function", "network", "engine"), contender)) for contender in CONTENDERS]
    text = markdown({"machine": "a CPU, 2 cores", "rounds": 3, "photos": SIZES,
                     "rows": [failed | {"error": "this | that"}, *map(timed, others)]})
    assert "a CPU, 2 cores, x 1; 3 rounds" in text
    assert "| our function, large model | LiteRT | this \\| that |" in text
    assert "| our function, small model | LiteRT | 12.0 | 11.0 – 13.0 | 1.00 × | 12.0 |" in text
    assert "| our small network, int8 | OpenVINO | 12.0 | 11.0 – 13.0 | 1.00 × | 12.0 |" in text
    for block in text.replace("\\|", "").split("\n\n"):
        assert len({line.count("|") for line in block.splitlines()}) == 1, block


def test_the_readme_shows_the_kept_run():
    tables = (ROOT / "artifacts/release/bench/bench.md").read_text()
    assert (ROOT / "scripts/bench/README.md").read_text().endswith(tables)


def test_the_rule_depends_on_every_file_that_the_benchmark_reads():
    listing = ("import sys, bench.__main__, training.tflite\n"  # the latter is imported late, for one of the networks
               "print(*(getattr(module, '__file__', None) for module in sys.modules.values()))")
    imported = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True,
                              env=clean_environment(PYTHONPATH=str(ROOT / "scripts"))).stdout.split()
    read = {path.removeprefix(f"{ROOT}/") for path in imported if path.startswith(str(ROOT / "scripts"))}
    folders = "lambda/*.py", "scripts/bench/*.py", "scripts/training/*.py", "artifacts/release/*.tflite"
    read |= {str(path.relative_to(ROOT)) for pattern in folders for path in ROOT.glob(pattern)}
    rules = subprocess.run(["make", "-pn", "artifacts/bench/bench.md"], cwd=ROOT, capture_output=True, text=True,
                           env=clean_environment()).stdout
    rule = next(line for line in rules.splitlines() if line.startswith("artifacts/bench/bench.md:"))
    assert {"scripts/common.py"} <= read <= set(rule.partition(" | ")[0].split())
