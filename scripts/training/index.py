"""The index of photos, index.csv, and the folder of photos beside it: writing and reading both."""
import contextlib
import csv
import hashlib
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from common import atomic, fail

SPLITS = ("train", "validation", "test")
HELD_OUT = 0.1  # the share of a label's photos that goes into a missing split


class Photo(NamedTuple):
    """A row of index.csv."""
    path: Path
    label: str
    split: str
    sha256: str  # of the file's bytes
    weight: float = 1.0  # in the training loss


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the block run in one process at a time for each folder; the other processes wait here."""
    import fcntl  # late, as Windows lacks it and reading an index needs no lock
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that writes to {folder}", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def find_photos(folder: Path) -> list[Photo]:
    """The photos <split>/<label>/*.jpg below a folder."""
    return [Photo(path, path.parent.name, path.parts[-3], hashlib.sha256(path.read_bytes()).hexdigest())
            for split in SPLITS for path in sorted((folder / split).glob("*/*.jpg"))]


def write_photos(index: Path, files: Iterable[tuple[Path, bytes]], digest: str | None = None,
                 weigh: Callable[[list[Photo]], list[Photo]] = list) -> list[Photo]:
    """Write files, given as (split/label/name.jpg, bytes), beside `index`, and then `index`. The folder must be locked.

    The earlier photos are replaced only after all new ones are written. Until then there is no index, so an index
    always stands for whole splits. Photos that are the same already stay, as another process may be reading them.
    `weigh` sets the weights of the photos. Raises ValueError if `digest` is given and is not the data digest of the new
    photos.
    """
    folder, new = index.parent, index.parent / ".new"
    shutil.rmtree(new, ignore_errors=True)
    try:
        for name, data in files:
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).write_bytes(data)
        photos = find_photos(new)
        if digest not in (None, data_digest(photos)):
            raise ValueError(f"its {len(photos):,} photos are not the expected ones")
        if data_digest(find_photos(folder)) != data_digest(photos):
            index.unlink(missing_ok=True)
            for split in SPLITS:
                shutil.rmtree(folder / split, ignore_errors=True)
                if (new / split).exists():
                    os.replace(new / split, folder / split)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    photos = weigh(find_photos(folder))
    write_index(index, photos)
    return photos


def hold_out(photos: list[Photo], missing: list[str], seed: int) -> list[Photo]:
    """Move a share of each label's training photos, at least one, into each of the missing splits.

    Copies of a photo stay together. Photos are ordered by a hash, so that photos added later move few others.
    """
    moved = {}
    for label in {photo.label for photo in photos}:
        hashes = {photo.sha256 for photo in photos if (photo.split, photo.label) == ("train", label)}
        order = sorted(hashes, key=lambda sha256: hashlib.sha256(f"{seed} {sha256}".encode()).digest())
        share = max(1, round(HELD_OUT * len(order)))
        for start, split in enumerate(missing):
            moved |= dict.fromkeys(order[start * share:(start + 1) * share], split)
    return [photo._replace(split=moved.get(photo.sha256, photo.split)) for photo in photos]


def write_index(path: Path, photos: list[Photo]) -> None:
    """Write index.csv, sorted by path. Paths below its folder are written relative to it, others as they are."""
    with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Photo._fields)
        for photo in sorted(photos, key=lambda photo: str(photo.path)):
            inside = photo.path.is_relative_to(path.parent)
            writer.writerow([photo.path.relative_to(path.parent) if inside else photo.path, *photo[1:]])


def read_index(path: Path) -> list[Photo]:
    """Read index.csv. Ends the script if that is not possible."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [Photo(path.parent / row["path"], row["label"], row["split"], row["sha256"],
                          float(row.get("weight") or 1)) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError) as error:
        fail(f"can't read the index of photos {path} ({error}); `make data` writes it")


def read_training_photos(index: Path, extra: Path | None) -> tuple[list[Photo], list[Photo]]:
    """The photos of an index, and the training photos of a further one.

    Ends the script if a label has no training photos or the further index has other labels.
    """
    photos = read_index(index)
    trained = {photo.label for photo in photos if photo.split == "train"}
    if len(trained) < 2 or trained != {photo.label for photo in photos}:
        fail(f"{index} must list at least two labels, and training photos of each")
    more = [photo for photo in read_index(extra) if photo.split == "train"] if extra else []
    if others := {photo.label for photo in more} - {photo.label for photo in photos}:
        fail(f"{extra} has labels that {index} lacks: {', '.join(sorted(others))}")
    return photos, more


def data_digest(photos: list[Photo]) -> str:
    """SHA-256 of the sorted lines "split/label sha256": equal for the same photos, wherever they lie."""
    lines = sorted(f"{photo.split}/{photo.label} {photo.sha256}\n" for photo in photos)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def print_table(photos: list[Photo], index: Path) -> None:
    """Print how many photos each label has in each split, the data digest, and where the index is."""
    rows = [(label, Counter(photo.split for photo in photos if photo.label == label))
            for label in sorted({photo.label for photo in photos})]
    rows.append(("total", Counter(photo.split for photo in photos)))
    width = max(len(label) for label, _ in rows)
    print(f"{'label':<{width}}", *(f"{head:>10}" for head in (*SPLITS, "total")))
    for label, counts in rows:
        numbers = [*(counts[split] for split in SPLITS), counts.total()]
        print(f"{label:<{width}}", *(f"{number:>10,}" for number in numbers))
    print(f"data digest {data_digest(photos)[:12]}, index {index}")
