"""`make bench`: its processes on tiny networks, its figures, its tables, and the rule that starts it."""
import subprocess
import sys

import pytest

import colour_model
from api import picture
from bench import contenders, networks
from bench.__main__ import SIZES, take_turns
from bench.contenders import CONTENDERS, Contender
from bench.engines import ENGINES
from bench.tables import markdown, number
from conftest import ROOT, clean_environment

PARTS = {"decode", "network", "request"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    photo = tmp_path_factory.mktemp("photo") / "red.jpg"
    photo.write_bytes(picture("red"))
    return {"small": photo, "large": photo}


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A tiny model in the place of the large one."""
    monkeypatch.setitem(contenders.NETWORKS, "large", colour_model.write(tmp_path / "model.tflite"))
    return tmp_path / "model.tflite"


@pytest.mark.parametrize("engine", ["litert", "tflite-runtime"])
@pytest.mark.parametrize("function", ["handler", "plain"])
def test_a_turn_measures_start_parts_and_memory(function, engine, large, photos):
    contender = Contender(function, "large", engine)
    if not contender.environment().exists():
        pytest.skip(f"needs .venv/{engine}, which Make installs where the interpreter has a wheel")
    found = contender.turn(photos)
    assert found["probability"] > 0.9
    assert found.keys() - {"probability"} == {"start", "start_memory", "memory"} | {
        f"{photo}_{part}" for photo in photos for part in PARTS}
    assert min(found.values()) > 0 and found["memory"] >= found["start_memory"] > 10
    facts = contender.facts()
    assert facts["model_size"] == large.stat().st_size / 1e6 and facts["version"].startswith(ENGINES[engine].package)


def test_the_reference_gets_pixels_between_0_and_1(photos, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts" / "bench")
    from worker import reference_pixels
    pixels = reference_pixels(photos["small"].read_bytes(), (150, 150))
    assert pixels.shape == (150, 150, 3) and pixels.max() == pytest.approx(230 / 255, abs=0.02)


@pytest.mark.parametrize("engine, why", [("litert", "model.tflite"), ("absent", "nowhere is not installed")])
def test_a_contender_that_is_missing_or_fails_says_why(engine, why, large, photos, monkeypatch):
    monkeypatch.setitem(ENGINES, "absent", ENGINES["litert"]._replace(environment="nowhere"))
    large.unlink()
    with pytest.raises(RuntimeError, match=why):
        Contender("plain", "large", engine).turn(photos)


def test_contenders_take_turns_and_one_that_failed_is_left_out(monkeypatch):
    first, broken, last = CONTENDERS[:3]
    order = []

    def turn(contender, photos):
        order.append(contender)
        if contender == broken:
            raise RuntimeError("it broke")
        return {"start": float(len(order))}
    monkeypatch.setattr(Contender, "turn", turn)
    monkeypatch.setattr(Contender, "facts", lambda contender: {"model_size": 5})
    rows = take_turns([first, broken, last], {}, rounds=3)
    assert order == [first, broken, last, first, last, first, last]
    assert rows[0] == {**first._asdict(), "start": {"q1": 2.5, "median": 4, "q3": 5}, "model_size": 5}
    assert rows[1] == {**broken._asdict(), "error": "it broke"}


@pytest.mark.parametrize("value, text", [(0.99609, "0.996"), (1.239, "1.24"), (27.25, "27.2"), (1234.5, "1,234")])
def test_numbers_have_three_digits(value, text):
    assert number(value) == number({"median": value}) == text


def timed(contender):
    figure = {"q1": 11.0, "median": 12.0, "q3": 13.0}
    keys = "probability", "start", "start_memory", "memory", *(f"{photo}_{part}" for photo in SIZES for part in PARTS)
    return contender._asdict() | dict.fromkeys(keys, figure) | {"model_size": 5.0, "version": "x 1"}


def test_the_tables_show_medians_and_why_a_contender_is_missing():
    text = markdown({"cpu": "a CPU", "cores": 2, "system": "Linux", "python": "3.13",
                     "commit": "abc", "date": "2026", "rounds": 3, "photos": SIZES,
                     "rows": [CONTENDERS[0]._asdict() | {"error": "this | that"}, *map(timed, CONTENDERS[1:])]})
    assert "a CPU, 2 cores, Linux, Python 3.13, x 1; 3 rounds" in text
    assert "| our function, large model | LiteRT | this \\| that |" in text
    assert "| our function, small model | LiteRT | 12.0 | 11.0 – 13.0 | – | 12.0 |" in text  # no ratio to a failure
    assert "| our small network, int8 | OpenVINO | 12.0 | 11.0 – 13.0 | 1.00 × | 12.0 |" in text
    for block in text.replace("\\|", "").split("\n\n"):
        assert len({line.count("|") for line in block.splitlines()}) == 1, block


def test_the_readme_shows_the_kept_run():
    tables = (ROOT / "artifacts/release/bench/bench.md").read_text()
    assert (ROOT / "scripts/bench/README.md").read_text().endswith(tables)


def test_a_network_that_cannot_be_converted_is_reported_and_the_others_are_made(tmp_path, monkeypatch, capsys):
    def make(path, source):
        if source.name == "broken.tflite":
            raise ValueError("unknown operator")
        path.write_text("made")
    monkeypatch.setattr(networks, "CONVERTED", tmp_path)
    monkeypatch.setattr(networks, "NETWORKS", {name: tmp_path / f"{name}.tflite" for name in ("reference", "broken")})
    monkeypatch.setattr(networks, "make_reference", make)
    monkeypatch.setattr(networks, "make_onnx", make)
    networks.make_networks()
    assert "broken.onnx can't be made: ValueError: unknown operator" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"reference.tflite", "reference.onnx"}
    networks.make_networks()
    assert "making reference" not in capsys.readouterr().out


def test_the_rule_depends_on_every_file_that_the_benchmark_reads():
    listing = ("import sys, bench.__main__, training.tflite\n"  # the latter is imported late, for one of the networks
               "print(*(getattr(module, '__file__', None) for module in sys.modules.values()))")
    imported = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True,
                              env=clean_environment(PYTHONPATH=str(ROOT / "scripts"))).stdout.split()
    read = {path.removeprefix(f"{ROOT}/") for path in imported if path.startswith(str(ROOT / "scripts"))}
    folders = "lambda/*.py", "scripts/bench/*.py", "artifacts/release/*.tflite"
    read |= {str(path.relative_to(ROOT)) for pattern in folders for path in ROOT.glob(pattern)}
    rules = subprocess.run(["make", "-pn", "artifacts/bench/bench.md"], cwd=ROOT, capture_output=True, text=True,
                           env=clean_environment()).stdout
    rule = next(line for line in rules.splitlines() if line.startswith("artifacts/bench/bench.md:"))
    assert {"scripts/common.py", "scripts/training/tflite.py"} <= read <= set(rule.partition(" | ")[0].split())
