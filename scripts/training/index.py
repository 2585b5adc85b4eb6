"""The index of photos, index.csv, and the folder of photos beside it: writing and reading both."""
import csv
import fcntl
import hashlib
import shutil
import sys
from pathlib import Path
from typing import NamedTuple, TextIO

from common import atomic, fail

SPLITS = ("train", "validation", "test")


class Photo(NamedTuple):
    """A row of index.csv."""
    path: Path
    label: str
    split: str
    sha256: str  # of the file's bytes
    weight: float = 1.0  # in the training loss


def locked(folder: Path) -> TextIO:
    """A file in `folder` that is open in one process at a time; the other processes wait here until it is closed."""
    folder.mkdir(parents=True, exist_ok=True)
    file = open(folder / ".lock", "w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"waiting for another process that writes to {folder}", file=sys.stderr)
        fcntl.flock(file, fcntl.LOCK_EX)
    return file


def write_photos(index: Path, files: dict[str, bytes], weights: dict[str, float] | None = None) -> None:
    """Write files, split/label/name.jpg -> bytes, beside `index`, then `index`. weights: by label, else 1.

    Earlier photos are deleted, and the index before them, so an index always stands for whole splits. If the photos are
    there already, they stay, as another process may be reading them. Ends the script if the folder can't be written.
    """
    folder, photos = index.parent, []
    for name, data in files.items():
        split, label, _ = name.split("/")
        sha256, weight = hashlib.sha256(data).hexdigest(), (weights or {}).get(label, 1.0)
        photos.append(Photo(folder / name, label, split, sha256, weight))
    try:
        with locked(folder):
            if {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("*/*/*.jpg")} != files:
                index.unlink(missing_ok=True)
                for split in SPLITS:
                    shutil.rmtree(folder / split, ignore_errors=True)
                for name, data in files.items():
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name).write_bytes(data)
            write_index(index, photos)
    except OSError as error:
        fail(f"can't write the photos: {error}")


def write_index(path: Path, photos: list[Photo]) -> None:
    """Write index.csv, sorted by path, and print its data digest and how many photos each label has in each split.

    Paths below its folder are written relative to it, others as they are.
    """
    with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Photo._fields)
        for photo in sorted(photos, key=lambda photo: str(photo.path)):
            inside = photo.path.is_relative_to(path.parent)
            writer.writerow([photo.path.relative_to(path.parent) if inside else photo.path, *photo[1:]])
    rows = [(label, [photo.split for photo in photos if photo.label == label])
            for label in sorted({photo.label for photo in photos})]
    print(f"{'label':<20}", *(f"{split:>10}" for split in SPLITS))
    for name, splits in [*rows, ("total", [photo.split for photo in photos])]:
        print(f"{name:<20}", *(f"{splits.count(split):>10,}" for split in SPLITS))
    print(f"data digest {data_digest(photos)[:12]}, index {path}")


def read_index(path: Path) -> list[Photo]:
    """Read index.csv. Ends the script if that is not possible."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [Photo(path.parent / row["path"], row["label"], row["split"], row["sha256"],
                          float(row.get("weight") or 1)) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError) as error:
        fail(f"can't read the index of photos {path} ({error}); `make data` writes it")


def read_training_photos(index: Path, extra: Path | None) -> tuple[list[Photo], list[Photo]]:
    """The photos of an index, and the training photos of a further one. Ends the script if their labels don't fit."""
    photos = read_index(index)
    labels = {photo.label for photo in photos}
    if len(labels) < 2 or labels != {photo.label for photo in photos if photo.split == "train"}:
        fail(f"{index} must list at least two labels, and training photos of each")
    more = [photo for photo in read_index(extra) if photo.split == "train"] if extra else []
    if others := {photo.label for photo in more} - labels:
        fail(f"{extra} has labels that {index} lacks: {', '.join(sorted(others))}")
    return photos, more


def data_digest(photos: list[Photo]) -> str:
    """SHA-256 of the sorted lines "split/label sha256": equal for the same photos, wherever they lie."""
    lines = sorted(f"{photo.split}/{photo.label} {photo.sha256}\n" for photo in photos)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
