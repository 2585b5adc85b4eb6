"""scripts/train.py: what a model file holds, where training may start, and bad input."""
import resource
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from train import first_of_each_label
from training.index import Photo, read_index, write_index
from training.photos import load_split
from training.record import load_model
from training_runs import record_of, script, successful, train_arguments


def test_a_model_carries_its_record(trained):
    record = record_of(trained)
    assert len(record["labels"]) == 10 and record["flags"]["epochs"] == 3 and record["flags"]["size"] == [64, 48]
    assert [row["epoch"] for row in record["history"]] == [1, 2, 3]
    assert set(record["history"][0]) == {"epoch", "loss", "accuracy", "val_loss", "val_accuracy"}
    assert all(suspect["label"] != suspect["suggested"] for suspect in record["suspects"])


def test_training_leaves_the_model_and_logs_for_tensorboard(trained):
    files = {path.name.split(".")[0] for path in trained.parent.rglob("*") if path.is_file()}
    assert files == {"model", "events"}


def test_the_test_split_is_never_read(photos, tmp_path):
    rows = [photo._replace(path=tmp_path / "absent.jpg") if photo.split == "test" else photo
            for photo in read_index(photos / "index.csv")]
    write_index(tmp_path / "index.csv", rows)
    output = tmp_path / "model.keras"
    successful(script("train.py", *train_arguments(photos, output, "--epochs", "0", "--index", tmp_path / "index.csv")))
    assert record_of(output)["history"] == []


def test_extra_photos_change_the_head_but_not_what_counts_as_familiar(photos, tmp_path):
    rows = [photo for photo in read_index(photos / "index.csv") if photo.split == "train"]
    others = [photo._replace(label="hue 1", sha256=f"{photo.sha256} too", weight=3) for photo in rows[:12]]
    write_index(tmp_path / "extra.csv", others)
    models = []
    for name, flags in (("plain", []), ("more", ["--extra", tmp_path / "extra.csv"])):
        output = tmp_path / f"{name}.keras"
        successful(script("train.py", *train_arguments(photos, output, "--epochs", "0", *flags)))
        models.append(load_model(output))
    plain, more = ([model.get_layer(name).get_weights()[0] for name in ("prototypes", "logits")] for model in models)
    np.testing.assert_allclose(plain[0], more[0], atol=1e-6)
    assert np.abs(plain[1] - more[1]).max() > 0.1


def test_limit_takes_the_photos_with_the_lowest_hashes_of_each_label():
    photos = [Photo(f"{number}.jpg", "ab"[number % 2], "train", f"{97 * number % 100:02}") for number in range(10)]
    few, more = first_of_each_label(photos, 2), first_of_each_label(photos, 3)
    assert set(few) < set(more) and more == [photo for photo in photos if photo in more]
    assert sorted(photo.label for photo in few) == ["a", "a", "b", "b"]
    assert len(first_of_each_label(photos, 9)) == len(first_of_each_label(photos, None)) == 10


@pytest.mark.parametrize("change", [{"label": "hue 1"}, {"split": "validation"}])
def test_a_label_without_training_photos_and_a_single_label_are_errors(photos, tmp_path, change):
    rows = [photo._replace(**change) if photo.label == "hue 0" else photo
            for photo in read_index(photos / "index.csv") if photo.label in ("hue 0", "hue 1")]
    write_index(tmp_path / "index.csv", rows)
    done = script("train.py", *train_arguments(photos, tmp_path / "m.keras", "--index", tmp_path / "index.csv"))
    assert done.returncode == 1 and "at least two labels" in done.stderr


def test_extra_photos_of_an_unknown_label_are_refused(photos, tmp_path):
    write_index(tmp_path / "extra.csv", [Photo(tmp_path / "a.jpg", "sock", "train", "")])
    done = script("train.py", *train_arguments(photos, tmp_path / "m.keras", "--extra", tmp_path / "extra.csv"))
    assert done.returncode == 1 and "lacks: sock" in done.stderr


def test_a_photo_that_cannot_be_read_is_named(photos, tmp_path):
    good, bad = read_index(photos / "index.csv")[:2]
    (tmp_path / "broken photo.jpg").write_bytes(bad.path.read_bytes()[:-99])
    with pytest.raises(SystemExit, match="broken photo.jpg"):
        load_split([good, bad._replace(path=tmp_path / "broken photo.jpg")], [good.label, bad.label], (64, 48))


@pytest.mark.parametrize("flags, message", [
    (["--lr", "1e30", "--epochs", "2"], "lower the learning rate"),
    (["--size", "300"], "invalid image_size value"),
    (["--index", "absent.csv"], "`make data` writes it"),
])
def test_bad_flags_are_errors_and_no_model_is_written(photos, tmp_path, flags, message):
    done = script("train.py", *train_arguments(photos, tmp_path / "model.keras", *flags))
    assert done.returncode != 0 and message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "model.keras").exists()


def test_a_full_disk_leaves_no_half_model(photos, tmp_path):
    # No file may grow past 8 KB: the same error in the same place as on a full disk.
    arguments = train_arguments(photos, tmp_path / "model.keras", "--epochs", "0")
    done = subprocess.run([sys.executable, ROOT / "scripts/train.py", *arguments], capture_output=True, text=True,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)))
    assert done.returncode == 1 and "room on the disk" in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
