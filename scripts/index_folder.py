"""Index your own photos, which stay where they are: check them, split them if they aren't split, write index.csv.

    python scripts/index_folder.py --input ~/photos --output data/own/index.csv

reads ~/photos/<label>/ or ~/photos/{train,validation,test}/<label>/. Hidden files are skipped. Whatever else is left
out is listed, and so is every fault.
"""
import argparse
import hashlib
import sys
from pathlib import Path

from tqdm.contrib.concurrent import thread_map

from common import PHOTO_SUFFIXES, fail
from serving import preprocess
from training.index import SPLITS, Photo, write_index


def visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def find_files(root: Path) -> dict[tuple[str, str], list[Path]]:
    """{(split, label): its files}, all in "train" if the tree isn't split. Raises OSError if a folder can't be read."""
    splits = {path.name: path for path in visible(root) if path.is_dir()}
    if "train" not in splits or not any(path.is_dir() for path in visible(splits["train"])):
        splits = {"train": root}  # not split: a folder `train` that holds photos is a label, like `bus` and `car`
    return {(split, label.name): visible(label)
            for split, folder in splits.items() for label in visible(folder) if label.is_dir()}


def examine(file: Photo) -> Photo | str:
    """The photo with its SHA-256, or why the file is left out."""
    try:
        str(file.path).encode()  # index.csv is in UTF-8
        if file.path.suffix.lower() not in PHOTO_SUFFIXES or not file.path.is_file():  # a pipe could block for ever
            return f"{str(file.path)!r}: not a file that ends in {', '.join(PHOTO_SUFFIXES)}"
        preprocess(file.path, (64, 64))
        return file._replace(sha256=hashlib.sha256(file.path.read_bytes()).hexdigest())
    except (OSError, ValueError) as error:
        return f"{str(file.path)!r}: {error}"


def hold_out(photos: list[Photo], missing: list[str], seed: int) -> list[Photo]:
    """Move a tenth of each label's training photos, at least one, into each of the missing splits.

    Copies of a photo stay together. Photos are ordered by a hash, so that photos added later move few others.
    """
    moved = {}
    for label in {photo.label for photo in photos}:
        hashes = {photo.sha256 for photo in photos if (photo.split, photo.label) == ("train", label)}
        order = sorted(hashes, key=lambda sha256: hashlib.sha256(f"{seed} {sha256}".encode()).digest())
        share = max(1, round(len(order) / 10))
        for start, split in enumerate(missing):
            moved |= {("train", sha256): split for sha256 in order[start * share:(start + 1) * share]}
    return [photo._replace(split=moved.get((photo.split, photo.sha256), photo.split)) for photo in photos]


def find_faults(photos: list[Photo], tree: dict[tuple[str, str], list[Path]]) -> list[str]:
    """The reasons why a model can't be trained on these photos, each with what to do about it."""
    faults = [f"folder {split!r} is none of {', '.join(SPLITS)}: rename or move it"
              for split in sorted({split for split, _ in tree} - set(SPLITS))]
    labels = sorted({label for _, label in tree})
    faults += [f"label {label!r}: rename the folder, without line breaks or tabs" for label in labels
               if not label.isprintable()]
    if len(labels) < 2:
        faults.append(f"fewer than two labels: {', '.join(map(repr, labels)) or 'none'}; make a folder for each")
    present = {(photo.label, photo.split) for photo in photos}
    for label in labels:
        if lacking := [split for split in SPLITS if (label, split) not in present]:
            faults.append(f"label {label!r} has too few different photos, none for {', '.join(lacking)}: add some")
    firsts = {}
    for photo in photos:
        first = firsts.setdefault(photo.sha256, photo)
        if (first.label, first.split) != (photo.label, photo.split):
            faults.append("one photo under two labels or in two splits, keep one: "
                          f"{str(first.path)!r} = {str(photo.path)!r}")
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", type=Path, required=True, help="the folder of photos")
    parser.add_argument("--output", type=Path, required=True, help="index.csv")
    parser.add_argument("--seed", type=int, default=0, help="another seed moves other photos into missing splits")
    args = parser.parse_args()
    root = args.input.resolve()
    if root.is_relative_to(args.output.parent.resolve()):
        fail(f"{root} lies in {args.output.parent}, which `make distclean` removes: move your photos elsewhere")
    try:
        tree = find_files(root)
    except OSError as error:
        fail(f"can't read the folder of photos: {error}")

    files = [Photo(path, label, split, "") for (split, label), paths in tree.items() for path in paths]
    results = thread_map(examine, files, desc="checking photos", disable=None)
    for result in results:
        if isinstance(result, str):
            print(f"left out: {result}", file=sys.stderr)
    missing = [split for split in SPLITS if split not in {split for split, _ in tree}]
    photos = hold_out([result for result in results if isinstance(result, Photo)], missing, args.seed)
    if faults := find_faults(photos, tree):
        fail("\n  ".join([f"{root} can't be used for training as it is; nothing was written:", *faults,
                          "photos must lie in FOLDER/<label>/ or in FOLDER/{train,validation,test}/<label>/"]))
    write_index(args.output, photos)


if __name__ == "__main__":
    main()
