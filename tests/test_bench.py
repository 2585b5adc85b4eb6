"""`make bench`: its workers on tiny networks, its figures, and that what is absent shows."""
import json

import pytest
from PIL import Image

import bench_measures
import colour_model
from bench_goals import LARGE, SMALL, goals
from bench_page import markdown, page
from bench_turns import ENVIRONMENTS, Contender, Worker, add_ratios, figures, row, take_turns
from common import ROOT


def solid(path, colour=(230, 20, 20), size=(40, 53)):
    Image.new("RGB", size, colour).save(path, quality=95)
    return path


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    return solid(tmp_path_factory.mktemp("photo") / "red.jpg")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return colour_model.write(tmp_path_factory.mktemp("model") / "model.tflite")


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A network as the reference's: float32 [1, 150, 150, 3] in 0..1 -> ten numbers, three of them the mean colour."""
    import keras
    import numpy as np
    import tensorflow as tf
    pixels = keras.Input((150, 150, 3), batch_size=1)
    dense = keras.layers.Dense(10, use_bias=False)
    network = keras.Model(pixels, dense(keras.layers.GlobalAveragePooling2D()(pixels)))
    dense.set_weights([np.eye(3, 10)])
    path = tmp_path_factory.mktemp("reference") / "reference.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert())
    return path


@pytest.fixture(params=ENVIRONMENTS)
def engine(request):
    """The name of an interpreter whose environment is there."""
    if not (ROOT / ".venv" / ENVIRONMENTS[request.param] / "bin" / "python").exists():
        pytest.skip(f"needs .venv/{ENVIRONMENTS[request.param]}, which Make makes where the interpreter has a wheel")
    return request.param


@pytest.mark.parametrize("samples, expected", [
    ([3.0, 1.0, 2.0], (2.0, 1.5, 2.5)), ([5.0], (5.0, 5.0, 5.0)), ([1.0, 2.0, 3.0, 100.0], (2.5, 1.75, 27.25))])
def test_a_figure_is_the_median_with_its_quartiles(samples, expected):
    found = figures(samples)
    assert (found["median"], found["q1"], found["q3"]) == expected
    assert found["rounds"] == len(samples)


def test_ratios_stand_beside_the_first_of_the_same_group_threads_and_photo():
    rows = [{"group": "a", "threads": 1, "median": 2.0}, {"group": "a", "threads": 1, "median": 3.0},
            {"group": "a", "threads": 2, "median": 1.0}, {"group": "b", "threads": 1, "error": "absent"},
            {"group": "b", "threads": 1, "median": 7.0}]
    assert [item.get("ratio") for item in add_ratios(rows)] == [1.0, 1.5, 1.0, None, None]


@pytest.mark.parametrize("function", ["ours", "plain"])
def test_a_worker_answers_and_measures(engine, function, model, photo):
    worker = Worker(Contender("it", "group", engine, model, function), 1, photo, {})
    assert worker.error is None
    assert ENVIRONMENTS[engine].replace("-", "_") in worker.start["version"]
    assert max(worker.start["answer"]) > 0.9 and sum(worker.start["answer"]) == pytest.approx(1, abs=1e-3)
    assert worker.started_ms > worker.start["load_ms"] > 0
    assert [len(worker.ask(do, runs=4, **({} if do == "network" else {"path": str(photo)})))
            for do in ("network", "ask", "decode")] == [4] * 3
    assert worker.ask("peak_mb") > 10
    packages = worker.ask("installed", names=[ENVIRONMENTS[engine], "numpy", "pillow"])
    assert {ENVIRONMENTS[engine], "numpy", "pillow"} <= set(packages["packages"]) and packages["megabytes"] > 20
    worker.close()


def test_imports_alone_load_no_model(engine, model, photo):
    worker = Worker(Contender("it", "group", engine, model, "imports"), 1, photo, {})
    assert worker.error is None and worker.start["answer"] == []
    assert worker.started_ms > worker.start["load_ms"] > 0
    worker.close()


def test_the_reference_s_handler_scales_to_0_to_1_and_gives_ten_numbers(engine, reference, tmp_path):
    worker = Worker(Contender("it", "group", engine, reference, "reference"), 1,
                    solid(tmp_path / "blue.jpg", (20, 40, 230)), {})
    assert worker.start["answer"] == pytest.approx([20 / 255, 40 / 255, 230 / 255, *[0] * 7], abs=0.02)
    worker.close()


def test_turns_give_each_contender_a_median_per_round(model, photo):
    workers = [Worker(Contender("it", "group", "litert", path), 1, photo, {}) for path in (model, model / "absent")]
    bar = type("Bar", (), {"count": 0, "update": lambda self: setattr(self, "count", self.count + 1)})()
    there, absent = take_turns(workers, 2, bar, do="network")
    assert len(there) == 2 and all(time > 0 for time in there) and absent == [] and bar.count == 4
    for worker in workers:
        worker.close()


@pytest.mark.parametrize("engine_name, content, errors, why", [
    ("litert", None, {}, "there is no model.tflite"),
    ("litert", None, {"model.tflite": "the converter failed"}, "the converter failed"),
    ("litert", b"not a model", {}, "Error"),
    ("another", b"not a model", {}, ".venv/bench is absent|KeyError")])
def test_what_is_absent_or_fails_is_a_row_that_says_why(engine_name, content, errors, why, tmp_path, photo):
    path = tmp_path / "model.tflite"
    if content:
        path.write_bytes(content)
    contender = Contender("it", "group", engine_name, path)
    worker = Worker(contender, 1, photo, {str(tmp_path / name): text for name, text in errors.items()})
    assert worker.ask("network", runs=3) is None
    found = row(contender, worker, [])
    worker.close()
    assert any(part in found["error"] for part in why.split("|")) and "median" not in found


def test_multiply_adds_are_counted_by_hand(tmp_path):
    import keras
    import tensorflow as tf
    from bench_networks import multiply_adds
    pixels = keras.Input((8, 6, 3), batch_size=1)
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same")(pixels)  # 4 x 3 positions of 4 x 3 x 3 x 3
    x = keras.layers.DepthwiseConv2D(3, padding="same")(x)  # 4 x 3 positions of 3 x 3 x 4
    x = keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x))  # 4 x 5
    path = tmp_path / "network.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(keras.Model(pixels, x)).convert())
    assert multiply_adds(path) == 12 * 108 + 12 * 36 + 20


def test_the_cheapest_memory_fits_the_model_and_ties_go_to_the_fastest():
    requests = [{"contender": name, "group": "", "photo": SMALL, "median": 19.7} for name in ("light", "heavy")]
    starts = [{"contender": "light", "large_memory_mb": 80}, {"contender": "heavy", "large_memory_mb": 900}]
    light, heavy = bench_measures.cost([*requests, {"contender": "x", "group": "", "photo": SMALL, "error": "no"}],
                                       starts)[:2]
    assert light["memory_mb"] == heavy["memory_mb"] == 1769 and light["milliseconds"] == 20
    assert light["dollars"] == pytest.approx(0.20 + 1769 / 1024 * 0.020 * 16.67)
    assert light["with_api"] == pytest.approx(light["dollars"] + 3.50)


def timed(contender, middle, **more):
    return {"contender": contender, "group": "requests", "median": middle, "q1": middle, "q3": middle, "rounds": 3,
            "ratio": 1.0, **more}


@pytest.fixture
def found():
    """What bench.json holds where little was there."""
    why = "there is no <model-small>.tflite"
    absent = {"contender": "ours, model-small", "group": "requests", "error": why}
    network = {"group": "model, int8", "threads": 1, "peak_share": 0.5, "difference": 0.004, "version": "litert 1"}
    return {
        "machine": {"cpu": "a CPU", "cores": 2, "instructions": ["avx2"], "system": "Linux", "python": "3.13",
                    "commit": "abc", "date": "2025", "minutes": 3.2,
                    "threads_peak": [{"threads": 1, "giga_multiply_adds": 75.0, "by": "NumPy"}]},
        "network": [timed("LiteRT, model, int8", 10.0, **network),
                    timed("OpenVINO, model, int8", 8.0, **network),
                    {**absent, "contender": "Keras, model, int8", "threads": 1}],
        "throughput": [timed("LiteRT, model, int8", 60.0), absent],
        "requests": [{**item, "photo": size, "kilobytes": 33.0, "decode_ms": 1.5} for size in (SMALL, LARGE)
                     for item in (timed("ours, model", 15.0), absent, timed("the reference on tflite-runtime", 45.0))],
        "lists": [timed("ours, model", 15.0, length=1), timed("ours, model", 29.0, length=2), {**absent, "length": 1}],
        "cold_start": [timed("ours, model", 200.0, model_mb=5.0), timed("the reference on tflite-runtime", 500.0,
                                                                        model_mb=190.0)],
        "container": {"error": "there is no docker command"},
        "training": {"record": {"backbone": "lite2", "history": []}, "error": "it broke"},
        "prices": {"DATE": "2025"}, "cost": [absent], "goals": [],
        "memory": [{"contender": "ours, model", "group": "", "megabytes": [[500, 66.0], [10000, 67.0]]}]}


def test_goals_are_met_missed_or_not_measured(found, model):
    small = model.with_name("model-small.tflite")
    rows = {(goal["goal"], goal["model"]): goal for goal in goals(found, [model, small])}
    assert rows[f"a request, {SMALL}", "model"]["measured"] == 3 and rows[f"a request, {SMALL}", "model"]["met"]
    assert rows[f"a request, {LARGE}", "model"]["met"] is False
    assert rows["file", "model"]["measured"] == 38
    assert rows["fastest other engine, int8", "model"]["measured"] == 0.8
    assert rows["cold start", "model-small"]["met"] is None


def test_page_and_markdown_show_the_medians_and_why_a_contender_is_absent(found, model):
    found["goals"] = goals(found, [model])
    json.dumps(found)
    text, html = markdown(found), page(found, {})
    assert "| ours, model | 15.0 | 15.0 – 15.0 | 1.00 × |" in text
    for why in ("there is no <model-small>.tflite", "there is no docker command", "it broke"):
        assert f"| {why} |" in text
        assert why.replace("<", "&lt;").replace(">", "&gt;") in html and "<model-small>" not in html
    assert "a CPU, 2 cores (avx2)" in html and "prefers-color-scheme: dark" in html
    # Every row of a table is as wide as its head.
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert tables and all(line.count("|") == block[0].count("|") for block in tables for line in block)


def test_every_table_has_its_chart_where_there_are_figures(found, tmp_path):
    from bench_charts import draw
    charts = draw(found, tmp_path)
    assert {"network-1", "requests", "start", "growth", "memory"} <= set(charts)
    assert all(Image.open(path).format == "PNG" for path in charts.values())
    assert page(found, charts).count("<picture>") == 5
