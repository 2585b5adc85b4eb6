"""Worn garments: what is cut out of street photos, what is left out, and wrong archives."""
import csv
import hashlib
import io
import random
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

import crop_worn

KINDS = ["null", "hair", "skin", "bag", *(name for names in crop_worn.LABELS.values() for name in names)]
SIZE = 120, 200  # of a drawn photo: width, height


def drawn(*parts: tuple[str, tuple[int, int, int, int]]) -> np.ndarray:
    """A mask with rectangles (left, top, right, bottom); later ones lie in front."""
    mask = np.zeros(SIZE[::-1], np.uint8)
    for kind, (left, top, right, bottom) in parts:
        mask[top:bottom, left:right] = KINDS.index(kind)
    return mask


HAIR = ("hair", (50, 10, 70, 30))
DRESSED = drawn(HAIR, ("t-shirt", (40, 40, 80, 90)), ("shorts", (42, 90, 78, 120)), ("shoes", (40, 180, 80, 195)))


def archive(masks: dict[int, np.ndarray]) -> bytes:
    """A .tar.gz like GitHub's, with a grey photo for each mask."""
    file, names = io.BytesIO(), np.array([KINDS], object)

    def matlab(**values):
        content = io.BytesIO()
        savemat(content, values)
        return content.getvalue()

    files = {"README.md": b"", "photos/2000.jpg": b"a photo without mask", "label_list.mat": matlab(label_list=names)}
    for number, mask in masks.items():
        photo = io.BytesIO()
        Image.new("RGB", SIZE, "grey").save(photo, "JPEG")
        files |= {f"photos/{number:04}.jpg": photo.getvalue(),
                  f"annotations/pixel-level/{number:04}.mat": matlab(groundtruth=mask)}
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"clothing-1234/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file.getvalue()


@pytest.fixture
def crop(tmp_path, monkeypatch):
    """crop(archive): run the script on an archive in the mirror folder; returns the rows of index.csv."""
    def run(content: bytes, digest: str | None = None):
        (tmp_path / crop_worn.ARCHIVE).write_bytes(content)
        monkeypatch.setattr(sys, "argv", ["crop_worn.py", "--mirror", str(tmp_path), "--output",
                                          str(tmp_path / "worn/index.csv")])
        monkeypatch.setattr(crop_worn, "DIGEST", digest or digest_of(content))
        crop_worn.main()
        with open(tmp_path / "worn/index.csv", newline="") as file:
            return list(csv.DictReader(file))
    return run


def digest_of(content: bytes) -> str:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        files = {member.name.partition("/")[2]: tar.extractfile(member).read() for member in tar}
    lines = [f"{name} {hashlib.sha256(data).hexdigest()}\n" for name, data in sorted(files.items())
             if name not in ("README.md", "photos/2000.jpg")]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def test_a_crop_holds_the_garment_and_no_head():
    boxes = dict(crop_worn.crops(DRESSED, KINDS, random.Random(1)))
    assert set(boxes) == {"t-shirt", "shorts", "shoes"}
    left, top, right, bottom = boxes["t-shirt"]
    assert left < 40 and right > 80 and bottom > 90 and 30 < top <= 40


@pytest.mark.parametrize("part, kept", [
    (("bag", (45, 45, 52, 60)), True),  # a small thing in front
    (("bag", (40, 48, 80, 85)), False),  # covers most of it
])
def test_a_covered_garment_is_left_out(part, kept):
    mask = drawn(HAIR, ("t-shirt", (40, 40, 80, 90)), part)
    assert [label for label, _ in crop_worn.crops(mask, KINDS, random.Random(1))] == ["t-shirt"] * kept


def test_a_tiny_garment_is_left_out():
    assert list(crop_worn.crops(drawn(HAIR, ("hat", (50, 5, 56, 9))), KINDS, random.Random(1))) == []


def test_the_index_holds_every_fifth_photo_for_validation_and_labels_of_equal_weight(crop):
    rows = crop(archive(dict.fromkeys(range(1, 11), DRESSED)))
    validation = {row["path"] for row in rows if row["split"] == "validation"}
    assert validation == {"validation/t-shirt/0005.jpg", "validation/shorts/0005.jpg", "validation/t-shirt/0010.jpg",
                          "validation/shorts/0010.jpg"}
    for label, photos in (("t-shirt", 8), ("shorts", 8), ("shoes", 3)):  # shoes of one photo in three
        weights = [float(row["weight"]) for row in rows if row["split"] == "train" and row["label"] == label]
        assert len(weights) == photos and sum(weights) == pytest.approx(crop_worn.LABEL_WEIGHT, rel=0.01)


@pytest.mark.parametrize("content, digest, words", [
    (archive({1: DRESSED}), "another digest", "not the expected ones"),
    (archive({1: DRESSED})[:500], None, "not a whole archive"),
    (b"<html>", None, "not a whole archive"),
])
def test_a_wrong_archive_is_an_error_and_nothing_is_written(crop, tmp_path, content, digest, words):
    with pytest.raises(SystemExit, match=words):
        crop(content, digest or "unknown")
    assert not (tmp_path / "worn/index.csv").exists()
