"""Your own photos: which files are taken, how they are split, and which message each fault of a folder gets."""
import csv
import io
import os
import socket
import sys
import tempfile
from collections import Counter
from itertools import count
from pathlib import Path
from random import Random

import pytest
from PIL import Image

import index_folder
from training.index import SPLITS


def photo(number: int, form: str = "JPEG") -> bytes:
    """A small picture, different for each number."""
    file = io.BytesIO()
    Image.frombytes("RGB", (12, 16), Random(number).randbytes(12 * 16 * 3)).save(file, form)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    """folder({"hat": 3, "train/shoes/a.jpg": bytes}) writes that many different photos, or a file with these bytes."""
    numbers, root = count(), tmp_path / "photos"

    def fill(layout: dict[str, int | bytes]):
        for name, content in layout.items():
            if content == 0:
                (root / name).mkdir(parents=True)
            files = {name: content} if isinstance(content, bytes) else {
                f"{name}/{i}.jpg": photo(next(numbers)) for i in range(content)}
            for path, data in files.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes(data)
        return root
    return fill


@pytest.fixture
def index(monkeypatch, capsys):
    """index(folder, flag, …) runs the script; returns (its output, its errors, the rows of the index or None)."""
    def run(folder, *flags, output=None):
        output = output or folder.parent / "own" / "index.csv"
        monkeypatch.setattr(sys, "argv", ["index_folder.py", "--input", str(folder), "--output", str(output), *flags])
        try:
            index_folder.main()
            message = ""
        except SystemExit as error:
            message = error.code
        printed = capsys.readouterr()
        assert output.exists() == (message == "")
        rows = list(csv.DictReader(open(output, encoding="utf-8"))) if output.exists() else None
        return printed.out, printed.err + message, rows
    return run


def table(rows) -> dict[tuple[str, str], int]:
    return Counter((row["label"], row["split"]) for row in rows)


SPLIT_TREE = {f"{split}/{label}": 3 for split in SPLITS for label in ("hat", "shoes")}


@pytest.mark.parametrize("layout, expected", [
    pytest.param({"hat": 30, "shoes": 3}, [24, 3, 3, 1, 1, 1], id="unsplit"),
    pytest.param(SPLIT_TREE, [3, 3, 3, 3, 3, 3], id="split"),
    pytest.param({"train/hat": 20, "train/shoes": 10, "validation/hat": 1, "validation/shoes": 4}, [18, 1, 2, 9, 4, 1],
                 id="no test"),
    pytest.param({"train/hat": 10, "train/shoes": 10}, [8, 1, 1, 8, 1, 1], id="train alone"),
])
def test_photos_are_split(index, folder, layout, expected):
    root = folder(layout)
    output, _, rows = index(root)
    assert [table(rows)[label, split] for label in ("hat", "shoes") for split in SPLITS] == expected
    printed = [line.split()[1:4] for line in output.splitlines()[1:3]]
    assert [int(number) for line in printed for number in line] == expected
    assert {row["path"] for row in rows} == {str(path) for path in root.rglob("*.jpg")}  # absolute, in place


def test_a_label_may_be_called_train(index, folder):
    assert set(table(index(folder({"train": 3, "bus": 3}))[2])) == {
        (label, split) for label in ("train", "bus") for split in SPLITS}


def test_the_split_depends_on_the_seed_and_the_photos_alone(index, folder, tmp_path):
    layout = folder({"hat": 40, "shoes": 40})
    first, again, other = (index(layout, "--seed", seed, output=tmp_path / name / "index.csv")[2]
                           for name, seed in (("a", "1"), ("b", "1"), ("c", "2")))
    assert first == again
    assert table(first) == table(other)
    assert first != other
    moved = layout.rename(tmp_path / "moved")
    elsewhere = index(moved, "--seed", "1", output=tmp_path / "d" / "index.csv")[2]
    assert {row["sha256"]: row["split"] for row in elsewhere} == {row["sha256"]: row["split"] for row in first}


def test_copies_stay_in_one_split(index, folder):
    copies = {f"hat/{i} copy {j}.jpg": photo(1000 + i) for i in range(6) for j in range(3)}
    _, _, rows = index(folder(copies | {"shoes": 9}))
    assert len(rows) == 18 + 9
    splits = {sha: {row["split"] for row in rows if row["sha256"] == sha} for sha in {row["sha256"] for row in rows}}
    assert {len(names) for names in splits.values()} == {1}
    assert len({*table(rows)}) == 6


@pytest.mark.parametrize("name, data, said", [
    ("photo.WEBP", photo(900, "WEBP"), None),
    ("with\nline break, \"quotes\" and é.jpg", photo(900), None),
    ("cut.jpg", photo(900)[:-60], "hat/cut.jpg': the image can't be decoded"),
    ("page.jpg", b"<html>404</html>", "hat/page.jpg': not an image that can be read"),
    ("phone.heic", b"\0\0\0\x18ftypheic", "hat/phone.heic': not a file that ends in .jpg, .jpeg, .png"),
    ("._photo.jpg", b"\0\5\x16\7", ""),
    ("older.jpg/photo.jpg", photo(900), "hat/older.jpg': not a file"),
    ("../photo.jpg", photo(900), ""),
    (b"caf\xe9.jpg", photo(900), "'utf-8' codec can't encode"),
])
def test_which_files_are_taken(index, folder, name, data, said):
    root = folder({"hat": 5, "shoes": 5})
    path = root / "hat" / os.fsdecode(name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    _, errors, rows = index(root)
    assert len(rows) == 10 + (said is None)
    assert f"left out: '{root}" in errors and said in errors if said else errors == ""
    assert all(os.path.exists(row["path"]) for row in rows)


SAME = photo(999)


@pytest.mark.parametrize("layout, said", [
    pytest.param({}, ["can't read"], id="no folder"),
    pytest.param({"photo.jpg": SAME}, ["fewer than two labels: none"], id="no label"),
    pytest.param({"hat": 9}, ["fewer than two labels: 'hat'"], id="one label"),
    pytest.param({"pictures/hat": 9, "pictures/shoes": 9}, ["fewer than two labels: 'pictures'", "pictures/hat'"],
                 id="a folder too many"),
    pytest.param({"hat": 9, "sho\nes": 9}, ["label 'sho\\nes': rename the folder"], id="line break"),
    pytest.param({"hat": 9, "shoes/a.jpg": b"", "shoes/b.heic": b""},
                 ["shoes/a.jpg'", "shoes/b.heic'", "label 'shoes' has too few different photos"], id="none readable"),
    pytest.param(SPLIT_TREE | {"train/gloves": 9}, ["'gloves' has too few different photos, none for validation, test"],
                 id="missing from splits"),
    pytest.param({"hat": 9, "shoes": 2}, ["label 'shoes' has too few different photos, none for train: add"],
                 id="too few"),
    pytest.param({"hat": 9, "shoes/1.jpg": SAME, "shoes/2.jpg": SAME, "shoes/3.jpg": SAME},
                 ["too few different photos, none for train, test"], id="one photo three times"),
    pytest.param({"train/hat": 9, "train/shoes": 1, "test/hat": 9, "test/shoes": 1},
                 ["label 'shoes' has too few different photos, none for train"], id="too few for validation"),
    pytest.param(SPLIT_TREE | {"val/hat": 3}, ["folder 'val' is none of train, validation, test"], id="other split"),
    pytest.param(SPLIT_TREE | {"train/hat/x.jpg": SAME, "test/hat/y.jpg": SAME},
                 ["one photo under two labels or in two splits", "test/hat/y.jpg' = ", "train/hat/x.jpg'"],
                 id="in two splits"),
    pytest.param({"hat": 5, "shoes": 5, "hat/x.jpg": SAME, "shoes/y.jpg": SAME},
                 ["one photo under two labels or in two splits", "hat/x.jpg' = ", "shoes/y.jpg'"],
                 id="under two labels"),
    pytest.param({"hat": 5, "shoes": 1, "gloves": 0, "hat/x.jpg": SAME, "shoes/y.jpg": SAME},
                 ["'shoes' has too few", "'gloves' has too few", "under two labels"], id="all at once"),
])
def test_faults_are_named_and_nothing_is_written(index, folder, layout, said):
    root = folder(layout)
    before = sorted(root.rglob("*"))
    _, errors, rows = index(root)
    assert rows is None
    for words in said:
        assert words in errors
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("label", ["long sleeve", "T-Shirt (new)", "été", "雨靴", "a,b;c", "'\"<b>"])
def test_labels_may_have_spaces_and_signs(index, folder, label):
    assert {row["label"] for row in index(folder({"hat": 3, label: 3}))[2]} == {"hat", label}


def test_links_are_followed_and_what_is_no_file_is_left_out_without_blocking(index, folder, tmp_path):
    root = folder({"hat": 5, "../elsewhere": 5})
    (root / "shoes").symlink_to(tmp_path / "elsewhere")
    (root / "hat" / "loop").symlink_to(root)
    for name, target in (("itself.jpg", "itself.jpg"), ("nothing.jpg", "gone.jpg"), ("endless.jpg", "/dev/zero")):
        (root / "hat" / name).symlink_to(target)
    os.mkfifo(root / "hat" / "pipe.jpg")
    socket.socket(socket.AF_UNIX).bind(os.path.relpath(root / "hat" / "socket.jpg"))  # short enough for a socket
    _, errors, rows = index(root)
    assert Counter(row["label"] for row in rows) == {"hat": 5, "shoes": 5}
    for name in ("loop", "itself.jpg", "nothing.jpg", "endless.jpg", "pipe.jpg", "socket.jpg"):
        assert f"{root}/hat/{name}'" in errors


@pytest.mark.parametrize("locked", ["", "train", "test/hat"])
def test_a_folder_without_permission_is_an_error_that_names_it(index, locked):
    with tempfile.TemporaryDirectory() as root:  # pytest's own are closed to other users
        os.chmod(root, 0o755)
        for label in ("train/hat", "train/shoes", "test/hat"):
            Path(root, label).mkdir(parents=True)
        os.chmod(Path(root, locked), 0)
        user = os.geteuid()
        try:
            if user == 0:  # root may read everything
                os.seteuid(65534)
            _, errors, rows = index(root, output=Path("/own/index.csv"))
        finally:
            os.seteuid(user)
            os.chmod(Path(root, locked), 0o755)
    assert rows is None and f"Permission denied: '{Path(root, locked)}'" in errors


def test_photos_in_a_folder_that_distclean_removes_are_refused(index, folder):
    root = folder({"hat": 5, "shoes": 5})
    _, errors, rows = index(root, output=root.parent / "index.csv")
    assert rows is None and "distclean" in errors


def test_a_photo_in_train_and_test_stays_a_fault_when_validation_is_taken_from_train(index, folder):
    one = {"train/hat/x.jpg": SAME, "test/hat/y.jpg": SAME}
    more = {"train/hat": 1, "test/hat": 1, "train/shoes": 3, "test/shoes": 3}
    for seed in "0123":  # some move the photo to validation, others don't
        _, errors, rows = index(folder(one | more), "--seed", seed)
        assert rows is None and "in two splits" in errors
