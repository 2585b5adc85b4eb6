"""Worn garments: what is cut out of street photos, what is left out, and a wrong archive."""
import io
import random

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

import crop_worn
from test_download_data import archive, digest_of
from training.index import read_index
from training_runs import script, successful

KINDS = ["null", "hair", "skin", "bag", *(name for names in crop_worn.LABELS.values() for name in names)]
SIZE = 120, 200  # of a drawn photo: width, height


def drawn(*parts: tuple[str, tuple[int, int, int, int]]) -> np.ndarray:
    """A mask with rectangles (left, top, right, bottom); later ones lie in front."""
    mask = np.zeros(SIZE[::-1], np.uint8)
    for kind, (left, top, right, bottom) in parts:
        mask[top:bottom, left:right] = KINDS.index(kind)
    return mask


HAIR, SHIRT = ("hair", (50, 10, 70, 30)), ("t-shirt", (40, 40, 80, 90))
DRESSED = drawn(HAIR, SHIRT, ("shorts", (42, 90, 78, 120)), ("shoes", (40, 180, 80, 195)))


def repository(masks: dict[int, np.ndarray]) -> dict[str, bytes]:
    """The files of the archive, with a grey photo for each mask."""
    def matlab(**values):
        content = io.BytesIO()
        savemat(content, values)
        return content.getvalue()

    files = {"label_list.mat": matlab(label_list=np.array([KINDS], object)), "photos/2000.jpg": b"without mask"}
    for number, mask in masks.items():
        photo = io.BytesIO()
        Image.new("RGB", SIZE, "grey").save(photo, "JPEG")
        files |= {f"photos/{number:04}.jpg": photo.getvalue(),
                  f"annotations/pixel-level/{number:04}.mat": matlab(groundtruth=mask)}
    return files


def test_a_crop_holds_the_garment_and_no_head():
    boxes = dict(crop_worn.crops(DRESSED, KINDS, random.Random(1)))
    assert set(boxes) == {"t-shirt", "shorts", "shoes"}
    left, top, right, bottom = boxes["t-shirt"]
    assert left < 40 and right > 80 and bottom > 90 and 30 < top <= 40


@pytest.mark.parametrize("parts, labels", [
    ([SHIRT, ("bag", (45, 45, 52, 60))], ["t-shirt"]),  # a small thing in front
    ([SHIRT, ("bag", (40, 48, 80, 85))], []),  # covers most of it
    ([("hat", (50, 5, 56, 9))], []),
])
def test_a_covered_or_tiny_garment_is_left_out(parts, labels):
    assert [label for label, _ in crop_worn.crops(drawn(HAIR, *parts), KINDS, random.Random(1))] == labels


def test_the_expected_archive_gives_every_fifth_photo_for_validation_and_labels_of_equal_weight(tmp_path, monkeypatch):
    files = repository(dict.fromkeys(range(1, 11), DRESSED))
    (tmp_path / f"clothing-co-parsing-{crop_worn.COMMIT}.tar.gz").write_bytes(archive(files))
    flags = ["--mirror", tmp_path, "--output", tmp_path / "worn/index.csv"]
    assert "not the expected ones" in script("crop_worn.py", *flags).stderr
    assert not (tmp_path / "worn/index.csv").exists()
    monkeypatch.setattr(crop_worn, "DIGEST", digest_of(files))
    successful(script("crop_worn.py", *flags))
    rows = read_index(tmp_path / "worn/index.csv")
    assert {row.path for row in rows if row.split == "validation"} == {
        tmp_path / "worn/validation" / name
        for name in ("t-shirt/0005.jpg", "shorts/0005.jpg", "t-shirt/0010.jpg", "shorts/0010.jpg")}
    for label, photos in (("t-shirt", 8), ("shorts", 8), ("shoes", 3)):  # shoes of one photo in three
        weights = [row.weight for row in rows if (row.split, row.label) == ("train", label)]
        assert len(weights) == photos and sum(weights) == pytest.approx(crop_worn.LABEL_WEIGHT, rel=0.01)
