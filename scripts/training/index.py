"""The index of photos, index.csv: reading, writing and loading the photos that it lists."""
import contextlib
import csv
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from common import atomic, fail

SPLITS = ("train", "validation", "test")


class Photo(NamedTuple):
    """A row of index.csv: where the photo lies, what it shows, in which split it is, and the SHA-256 of its bytes."""
    path: Path
    label: str
    split: str
    sha256: str


@contextlib.contextmanager
def atomic_photos(index: Path) -> Iterator[Path]:
    """Give an empty folder; at the end of a block that succeeds its splits replace those beside `index`.

    The old index goes before the old photos do, so that an index always stands for whole splits.
    """
    new = index.parent / ".new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        index.unlink(missing_ok=True)
        for split in SPLITS:
            if (index.parent / split).exists():
                shutil.rmtree(index.parent / split)
            os.replace(new / split, index.parent / split)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def write_index(path: Path, photos: list[Photo]) -> None:
    """Write index.csv, sorted; paths below its folder become relative to it, others stay absolute."""
    with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Photo._fields)
        for photo in sorted(photos, key=lambda photo: str(photo.path)):
            inside = photo.path.is_relative_to(path.parent)
            writer.writerow([photo.path.relative_to(path.parent) if inside else photo.path, *photo[1:]])


def read_index(path: Path) -> list[Photo]:
    """The rows of an index.csv, paths made absolute or relative to the working folder."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [Photo(path.parent / row["path"], row["label"], row["split"], row["sha256"])
                    for row in csv.DictReader(file)]
    except (OSError, KeyError) as error:
        fail(f"can't read the index of photos {path} ({error}); `make data` writes it")


def data_digest(photos: list[Photo]) -> str:
    """SHA-256 over the sorted lines 'split/label sha256' of the photos: the same photos give the same digest."""
    lines = sorted(f"{photo.split}/{photo.label} {photo.sha256}\n" for photo in photos)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def load_photos(photos: list[Photo], size: tuple[int, int]):
    """The photos as the model sees them, uint8 [N, height, width, 3]; ends the script if any can't be read."""
    import numpy as np
    from tqdm import tqdm

    from serving import ImageError, preprocess

    unreadable = []

    def load(photo):
        try:
            return preprocess(photo.path, size)
        except (ImageError, OSError) as error:
            unreadable.append(f"{photo.path}: {error}")
    with ThreadPoolExecutor(4) as pool:
        images = list(tqdm(pool.map(load, photos), "decoding photos", len(photos), mininterval=1))
    if unreadable:
        fail("these photos can't be read, so run `make data` again without them:\n  " + "\n  ".join(unreadable[:20]))
    return np.stack(images)


def print_table(photos: list[Photo]) -> None:
    """Print how many photos each label has in each split."""
    counts = Counter((photo.label, photo.split) for photo in photos)
    labels = sorted({photo.label for photo in photos})
    width = max(map(len, [*labels, "label"]))
    print(f"{'label':<{width}}", *(f"{head:>10}" for head in (*SPLITS, "total")))
    for label in labels:
        row = [counts[label, split] for split in SPLITS]
        print(f"{label:<{width}}", *(f"{count:>10,}" for count in (*row, sum(row))))
    row = [sum(photo.split == split for photo in photos) for split in SPLITS]
    print(f"{'total':<{width}}", *(f"{count:>10,}" for count in (*row, sum(row))))
