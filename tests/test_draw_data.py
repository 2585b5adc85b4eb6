"""Drawn garments: the same seed, the same bytes; ten labels that can be told apart; people who keep to their split."""
import csv
import subprocess
import sys
from random import Random

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

import draw_data
from drawing.cloth import CANVAS, Garment
from drawing.garments import GARMENTS

LABELS = ["dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt"]


def draw(folder, *flags):
    run = subprocess.run([sys.executable, ROOT / "scripts" / "draw_data.py", "--output", folder / "index.csv", *flags],
                         capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return run.stdout, {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}


def test_the_same_seed_draws_the_same_bytes_and_another_seed_others(tmp_path):
    (_, first), (_, again), (_, other) = (draw(tmp_path / name, "--per-label", "1", "--seed", seed)
                                          for name, seed in (("a", "1"), ("b", "1"), ("c", "2")))
    assert first == again
    assert first.keys() == other.keys()
    assert all(first[path] != other[path] for path in first)


def test_every_label_is_in_every_split_and_what_lay_there_is_replaced(tmp_path):
    (tmp_path / "train" / "gloves").mkdir(parents=True)
    (tmp_path / "train" / "gloves" / "old.jpg").touch()
    output, files = draw(tmp_path, "--per-label", "4")
    rows = list(csv.DictReader(open(tmp_path / "index.csv")))
    assert [line.split() for line in output.splitlines()[1:11]] == [[label, "4", "1", "2", "7"] for label in LABELS]
    assert {row["path"] for row in rows} | {"index.csv"} == {str(path) for path in files}
    assert sorted({row["label"] for row in rows}) == LABELS


@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_a_wrong_number_is_refused(tmp_path, number):
    run = subprocess.run([sys.executable, ROOT / "scripts" / "draw_data.py", "--output", tmp_path / "index.csv",
                          "--per-label", number], capture_output=True, text=True, timeout=60)
    assert run.returncode == 2 and "--per-label" in run.stderr
    assert list(tmp_path.iterdir()) == []


def outline(label: str, seed: int) -> np.ndarray:
    """Where the garment is on its canvas, on a coarse grid."""
    garment = Garment(Random(seed), Image.new("RGB", (CANVAS, CANVAS), "red"), (255, 0, 0), (0, 0, 255))
    GARMENTS[label](garment, garment.rng)
    return np.asarray(garment.image.getchannel("A").resize((20, 20))) / 255


@pytest.mark.parametrize("label", LABELS)
def test_garments_lie_on_their_canvas_and_vary(label):
    outlines = np.stack([outline(label, seed) for seed in range(8)])
    assert (outlines.mean(axis=(1, 2)) > 0.08).all()  # never nothing
    assert (outlines.mean(axis=(1, 2)) < 0.8).all()
    assert len({shape.tobytes() for shape in outlines}) == 8


def test_pictures_show_the_garment(monkeypatch):
    """Two pictures alike but for the colour of a square: all of the square differs, and nothing beside it."""
    def pixels(colour):
        square = [(-0.6, -0.6), (0.6, -0.6), (0.6, 0.6), (-0.6, 0.6)]
        monkeypatch.setitem(GARMENTS, "square", lambda garment, rng: garment.panel(square, colour))
        return np.asarray(draw_data.picture("square", Random("owner"), Random("picture")), np.float32)
    differs = np.abs(pixels((255, 255, 255)) - pixels((0, 0, 0))).max(axis=2) > 40
    height, width = differs.shape
    assert differs[height // 2 - 20:height // 2 + 20, width // 2 - 20:width // 2 + 20].all()
    assert not differs[:20].any() and not differs[-20:].any()


def test_most_pictures_are_upright_and_some_lie():
    sizes = {draw_data.picture("hat", Random(seed), Random(seed)).size for seed in range(30)}
    assert sizes == {(240, 320), (320, 240)}


def test_owners_in_the_test_split_own_no_training_picture():
    assert not set(draw_data.PEOPLE["test"]) & {*draw_data.PEOPLE["train"], *draw_data.PEOPLE["validation"]}
