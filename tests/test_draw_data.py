"""Drawn garments: equal for equal seeds, different for each label, and complete."""
import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest
from conftest import ROOT

import draw_data
from training.index import SPLITS, locked, read_index, write_photos

SCRIPT = [sys.executable, ROOT / "scripts" / "draw_data.py", "--output"]
LABELS = ["dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt"]


def draw(folder, *flags):
    run = subprocess.run([*SCRIPT, folder / "index.csv", *flags], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return run.stdout, {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.[jc]*")}


def test_the_same_seed_draws_the_same_bytes_and_another_seed_others(tmp_path):
    (_, first), (_, again), (_, other) = (draw(tmp_path / name, "--per-label", "1", "--seed", seed)
                                          for name, seed in (("a", "1"), ("b", "1"), ("c", "2")))
    assert first == again and first.keys() == other.keys()
    assert all(first[path] != other[path] for path in first)


def test_every_label_is_in_every_split(tmp_path):
    output, files = draw(tmp_path, "--per-label", "4")
    photos = read_index(tmp_path / "index.csv")
    assert [line.split() for line in output.splitlines()[1:11]] == [[label, "4", "1", "2"] for label in LABELS]
    assert {photo.path for photo in photos} | {tmp_path / "index.csv"} == {tmp_path / path for path in files}
    assert sorted({photo.label for photo in photos}) == LABELS


def test_a_wrong_number_is_refused(tmp_path):
    run = subprocess.run([*SCRIPT, tmp_path / "index.csv", "--per-label", "0"], capture_output=True, text=True)
    assert run.returncode == 2 and "--per-label" in run.stderr and not [*tmp_path.iterdir()]


def test_a_picture_shows_the_garment_in_its_middle(monkeypatch):
    """Drawing a square in black or in white changes the middle of the picture, and nothing near its edges."""
    def pixels(brightness, seed):
        square = brightness, ((0, -0.6), (0.6, -0.6), (0.6, 0.6), (0, 0.6))
        monkeypatch.setitem(draw_data.GARMENTS, "square", [square])
        return np.asarray(draw_data.picture("square", Random(seed)), np.float32)
    for seed in range(8):
        differs = np.abs(pixels(1, seed) - pixels(0, seed)).max(axis=2) > 15
        height, width = differs.shape
        assert differs[height // 2 - 20:height // 2 + 20, width // 2 - 20:width // 2 + 20].mean() > 0.95
        assert not differs[:10].any() and not differs[-10:].any()


def test_drawing_waits_for_another_process(tmp_path):
    with locked(tmp_path):
        process = subprocess.Popen([*SCRIPT, tmp_path / "index.csv", "--per-label", "1"], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
        assert "waiting for another process" in process.stderr.readline()
        assert {path.name for path in tmp_path.iterdir()} == {".lock"}
    assert process.wait(60) == 0, process.stderr.read()
    assert len(read_index(tmp_path / "index.csv")) == 30


def test_a_missing_picture_is_drawn_again_and_others_are_left_alone(tmp_path):
    """Another process may be reading them."""
    draw(tmp_path, "--per-label", "1")
    before = {path: path.stat().st_ino for path in tmp_path.glob("*/*/*.jpg")}
    draw(tmp_path, "--per-label", "1")
    assert {path: path.stat().st_ino for path in tmp_path.glob("*/*/*.jpg")} == before
    (tmp_path / "train" / "hat" / "0000.jpg").unlink()
    draw(tmp_path, "--per-label", "1")
    assert {*tmp_path.glob("*/*/*.jpg")} == before.keys()


def test_an_interrupted_replacement_leaves_no_index_and_the_next_run_completes_it(tmp_path, monkeypatch):
    def replace_by(content):
        write_photos(tmp_path / "index.csv", {f"{split}/hat/0.jpg": content for split in SPLITS})

    def interrupt(path, data):
        if path.parts[-3] == "validation":
            raise KeyboardInterrupt
        return write_bytes(path, data)
    write_bytes = Path.write_bytes
    replace_by(b"old")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "write_bytes", interrupt)
        replace_by(b"new")
    assert not (tmp_path / "index.csv").exists()
    replace_by(b"new")
    assert [photo.path.read_bytes() for photo in read_index(tmp_path / "index.csv")] == [b"new"] * 3


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="can't write the photos: .*file"):
        write_photos(tmp_path / "file" / "index.csv", {})
