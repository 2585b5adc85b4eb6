"""Index your own photos, which stay where they are: check them, split them where they aren't split, write index.csv.

    python scripts/index_folder.py --input ~/photos --output data/own/index.csv

reads FOLDER/<label>/<photo> or FOLDER/{train,validation,test}/<label>/<photo>. Where validation or test is missing, a
tenth of each label's training photos is taken for it. What is left out and what is wrong is listed by name; the end is
the table of labels and splits.
"""
import argparse
import hashlib
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common import PHOTO_SUFFIXES, fail
from training.index import SPLITS, Photo, data_digest, print_table, write_index

SPLIT_NAMES = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "test": "test"}
HELD_OUT = 0.1  # of a label's photos, for validation and for test
UNSUPPORTED = {".heic", ".heif", ".avif", ".tif", ".tiff"}
LAYOUT = "photos lie in FOLDER/<label>/ or in FOLDER/{train,validation,test}/<label>/"


def folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))


def find_files(root: Path) -> tuple[dict[tuple[str, str], list[Path]], list[Path]]:
    """{(split, label): files} below `root`, all of it "train" where the tree isn't split; and the folders left out.

    A label's own folder is read and no folder inside it, so that a loop of links can't trap it.
    """
    splits = {path: SPLIT_NAMES.get(path.name.lower()) for path in folders(root)}
    if not any(split == "train" and folders(path) for path, split in splits.items()):
        splits = {root: "train"}  # not split; a folder `train` with photos is a label then, beside `bus` and `car`
    left_out = [path for path, split in splits.items() if split is None]
    tree = defaultdict(list)
    for folder, split in splits.items():
        for label in folders(folder) if split else []:
            tree[split, label.name] += sorted(path for path in label.iterdir() if not path.is_dir())
            left_out += folders(label)
    return tree, left_out


def examine(path: Path) -> tuple[str, str]:
    """("photo", its SHA-256), ("unreadable", why) or ("other", "")."""
    from PIL import Image, UnidentifiedImageError
    from serving import FORMATS, preprocess
    suffix = path.suffix.lower()
    if path.name.startswith("."):
        return "other", ""
    if suffix in UNSUPPORTED:
        return "unreadable", f"{suffix[1:].upper()} is not supported, save it as JPEG or PNG"
    if not path.is_file():
        return "unreadable", "not a file, or a link to nothing"
    try:
        str(path).encode()
        Image.open(path, formats=FORMATS).close()  # the header alone: a film is not loaded to see that it is no photo
        data = path.read_bytes()
        preprocess(data, (64, 64))
        return "photo", hashlib.sha256(data).hexdigest()
    except UnicodeEncodeError:
        return "unreadable", "its name is not UTF-8, rename it"
    except UnidentifiedImageError:
        return ("unreadable", "not a photo, whatever its name says") if suffix in PHOTO_SUFFIXES else ("other", "")
    except Exception as error:  # any of Pillow's, or of the file system's
        return "unreadable", str(error)


def find_faults(photos: list[Photo], tree: dict[tuple[str, str], list[Path]], root: Path) -> list[str]:
    """What keeps these photos from being learnt from, each with what to do about it."""
    splits, labels = {split for split, _ in tree}, sorted({label for _, label in tree})
    copies, distinct = defaultdict(list), defaultdict(set)
    for photo in photos:
        copies[photo.sha256].append(photo)
        distinct[photo.split, photo.label].add(photo.sha256)
    faults = [f"label {label!r}: rename the folder, without line breaks, tabs or spaces around the name"
              for label in labels if not label.isprintable() or label != label.strip()]
    if len(labels) < 2:
        faults.append(f"fewer than two labels: {', '.join(map(repr, labels)) or 'none'}; make a folder for each")
    for label in labels:
        for split in [split for split in SPLITS if split in splits and not distinct[split, label]]:
            where = f" in {split}" if len(splits) > 1 else ""
            faults.append(f"label {label!r} has no readable photo{where}: add some or remove the label")
        count, needed = len(distinct["train", label]), 1 + len(SPLITS) - len(splits)
        if 0 < count < needed:
            faults.append(f"label {label!r} has too few different photos to split: {count}, and {needed} are needed")
    for group in copies.values():
        names = " = ".join(repr(str(photo.path.relative_to(root))) for photo in group)
        if len({photo.label for photo in group}) > 1:
            faults.append(f"one photo under two labels, keep the right one: {names}")
        elif len({photo.split for photo in group}) > 1:
            faults.append(f"one photo in two splits, which makes measures too good, keep one: {names}")
    return faults


def hold_out(photos: list[Photo], missing: list[str], seed: int) -> list[Photo]:
    """Move a share of each label's training photos, at least one, into each of the missing splits.

    Copies of a photo stay together. The order is that of a hash, so that photos added later move few others.
    """
    moved = {}
    for label in {photo.label for photo in photos}:
        shas = {photo.sha256 for photo in photos if (photo.split, photo.label) == ("train", label)}
        order = sorted(shas, key=lambda sha: hashlib.sha256(f"{seed} {sha}".encode()).digest())
        share = max(1, round(HELD_OUT * len(order)))
        for start, split in enumerate(missing):
            moved |= dict.fromkeys(order[start * share:(start + 1) * share], split)
    return [photo._replace(split=moved.get(photo.sha256, photo.split)) for photo in photos]


def listing(items: list[str], most: int = 20) -> str:
    more = [f"and {len(items) - most:,} more"] if len(items) > most else []
    return "".join(f"\n  {item}" for item in items[:most] + more)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", type=Path, required=True, help="the folder of photos")
    parser.add_argument("--output", type=Path, required=True, help="index.csv")
    parser.add_argument("--seed", type=int, default=0, help="another seed takes other photos for the missing splits")
    args = parser.parse_args()
    from tqdm import tqdm
    root = args.input.expanduser().resolve()
    if root.is_relative_to(args.output.parent.resolve()):
        fail(f"{root} lies in {args.output.parent}, which `make distclean` removes: move your photos elsewhere")
    try:
        tree, left_out = find_files(root)
    except OSError as error:
        fail(f"can't read the folder of photos: {error}; {LAYOUT}")

    files = [(split, label, path) for (split, label), paths in sorted(tree.items()) for path in paths]
    with ThreadPoolExecutor() as pool:
        results = pool.map(examine, [path for _, _, path in files])
        found = list(zip(files, tqdm(results, "checking photos", len(files), disable=None)))
    photos = [Photo(path, label, split, detail) for (split, label, path), (kind, detail) in found if kind == "photo"]
    unreadable = [f"{str(path.relative_to(root))!r}: {detail}" for (*_, path), (kind, detail) in found
                  if kind == "unreadable"]
    if left_out:
        print(f"left out, folders that are no label's or lie inside a label's ({len(left_out):,}):"
              f"{listing([repr(str(path.relative_to(root))) for path in left_out])}", file=sys.stderr)
    if unreadable:
        print(f"left out, files that can't be read ({len(unreadable):,}):{listing(unreadable)}", file=sys.stderr)
    if others := len(files) - len(photos) - len(unreadable):
        print(f"left out, hidden files and files that are no photos ({others:,})", file=sys.stderr)
    if faults := find_faults(photos, tree, root):
        fail(f"{root} can't be trained on as it is; nothing was written:{listing(faults)}\n{LAYOUT}")

    missing = [split for split in SPLITS if split not in {split for split, _ in tree}]
    photos = hold_out(photos, missing, args.seed)
    write_index(args.output, photos)
    print_table(photos)
    if missing:
        print(f"taken out of the training photos: {' and '.join(missing)}")
    print(f"photos from {root}, data digest {data_digest(photos)[:12]}, index {args.output}")


if __name__ == "__main__":
    main()
