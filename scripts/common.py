"""What several scripts share: the index of photos, and files that are written whole or not at all."""
import contextlib
import csv
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "lambda"))  # preprocess.py and model.py are shared with the serving side

SPLITS = ("train", "validation", "test")


class Photo(NamedTuple):
    """A row of index.csv: where the photo lies, what it shows, in which split it is, and the SHA-256 of its bytes."""
    path: Path
    label: str
    split: str
    sha256: str


def fail(message: str) -> None:
    """End the script with a message on stderr and exit status 1."""
    sys.exit(f"{Path(sys.argv[0]).name}: error: {message}")


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, moved onto it at the end of a block that succeeds, else deleted.

    The temporary name keeps the suffix, as Keras chooses its format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_index(path: Path, photos: list[Photo]) -> None:
    """Write index.csv, sorted; paths below its folder become relative to it, others stay absolute."""
    with atomic(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Photo._fields)
        for photo in sorted(photos, key=lambda photo: str(photo.path)):
            inside = photo.path.is_relative_to(path.parent)
            writer.writerow([photo.path.relative_to(path.parent) if inside else photo.path, *photo[1:]])


def read_index(path: Path) -> list[Photo]:
    """The rows of an index.csv, paths made absolute or relative to the working folder."""
    try:
        with open(path, newline="") as file:
            return [Photo(path.parent / row["path"], row["label"], row["split"], row["sha256"])
                    for row in csv.DictReader(file)]
    except (OSError, KeyError) as error:
        fail(f"can't read the index of photos {path} ({error}); `make data` writes it")


def data_digest(photos: list[Photo]) -> str:
    """SHA-256 over the sorted lines 'split/label sha256' of the photos: the same photos give the same digest."""
    lines = sorted(f"{photo.split}/{photo.label} {photo.sha256}\n" for photo in photos)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
