"""Index your own photos, which stay where they are: check them, split them if they aren't split, write index.csv.

    python scripts/index_folder.py --input ~/photos --output data/own/index.csv

reads FOLDER/<label>/<photo> or FOLDER/{train,validation,test}/<label>/<photo>. If the validation or the test split is
missing, a tenth of each label's training photos is moved there. Hidden files are skipped; everything else that is left
out is listed, and so is every fault. The output ends with the table of labels and splits.
"""
import argparse
import hashlib
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from common import fail
from serving import FORMATS, preprocess
from training.index import SPLITS, Photo, hold_out, print_table, write_index

SPLIT_NAMES = {**dict(zip(SPLITS, SPLITS)), "valid": "validation", "val": "validation"}
UNSUPPORTED = {".heic", ".heif", ".avif", ".tif", ".tiff"}
LAYOUT = "photos must lie in FOLDER/<label>/ or in FOLDER/{train,validation,test}/<label>/"


def subfolders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))


def find_files(root: Path) -> tuple[dict[tuple[str, str], list[Path]], list[Path]]:
    """{(split, label): files} below `root`, all in "train" if the tree isn't split, and the folders left out.

    Folders inside a label's folder are not entered, so loops of links do no harm. OSError: a folder can't be read.
    """
    splits = {path: SPLIT_NAMES.get(path.name.lower()) for path in subfolders(root)}
    if not any(split == "train" and subfolders(path) for path, split in splits.items()):
        splits = {root: "train"}  # not split: a folder `train` that holds photos is a label, like `bus` and `car`
    left_out = [path for path, split in splits.items() if split is None]
    tree = defaultdict(list)
    for folder, split in splits.items():
        for label in subfolders(folder) if split else []:
            tree[split, label.name] += sorted(path for path in label.iterdir()
                                              if not path.is_dir() and not path.name.startswith("."))
            left_out += subfolders(label)
    return tree, left_out


def examine(path: Path) -> tuple[str, str]:
    """(SHA-256, "") for a photo, ("", the reason) for a file that is left out."""
    suffix = path.suffix.lower()
    if suffix in UNSUPPORTED:
        return "", f"{suffix[1:].upper()} is not supported, save it as JPEG or PNG"
    if not path.is_file():  # opening a named pipe or a device could block for ever
        return "", "not a file, or a broken link"
    try:
        str(path).encode()
        Image.open(path, formats=FORMATS).close()  # reads the header only, so a long video is not loaded
        data = path.read_bytes()
        preprocess(data, (64, 64))
        return hashlib.sha256(data).hexdigest(), ""
    except UnicodeEncodeError:
        return "", "its name is not UTF-8, rename it"
    except UnidentifiedImageError:
        return "", "not a photo"
    except Exception as error:  # Pillow raises many kinds
        return "", str(error) or type(error).__name__


def find_faults(photos: list[Photo], tree: dict[tuple[str, str], list[Path]], root: Path) -> list[str]:
    """The reasons why a model can't be trained on these photos, each with what to do about it."""
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
            faults.append(f"one photo in two splits, which makes the measured accuracy too high, keep one: {names}")
    return faults


def listing(items: list[str], most: int = 20) -> str:
    more = [f"and {len(items) - most:,} more"] if len(items) > most else []
    return "".join(f"\n  {item}" for item in items[:most] + more)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", type=Path, required=True, help="the folder of photos")
    parser.add_argument("--output", type=Path, required=True, help="index.csv")
    parser.add_argument("--seed", type=int, default=0, help="another seed moves other photos into missing splits")
    args = parser.parse_args()
    root = args.input.expanduser().resolve()
    if root.is_relative_to(args.output.parent.resolve()):
        fail(f"{root} lies in {args.output.parent}, which `make distclean` removes: move your photos elsewhere")
    try:
        tree, folders = find_files(root)
    except OSError as error:
        fail(f"can't read the folder of photos: {error}; {LAYOUT}")

    files = [Photo(path, label, split, "") for (split, label), paths in sorted(tree.items()) for path in paths]
    with ThreadPoolExecutor() as pool:
        results = pool.map(examine, [file.path for file in files])
        found = list(zip(files, tqdm(results, "checking photos", len(files), disable=None)))
    photos = [file._replace(sha256=sha256) for file, (sha256, _) in found if sha256]
    left_out = [(path, "a folder beside the splits or inside a label's folder") for path in folders]
    left_out += [(file.path, reason) for file, (_, reason) in found if reason]
    if left_out:
        lines = [f"{str(path.relative_to(root))!r}: {reason}" for path, reason in left_out]
        print(f"left out ({len(lines):,}):{listing(lines)}", file=sys.stderr)
    if faults := find_faults(photos, tree, root):
        fail(f"{root} can't be used for training as it is; nothing was written:{listing(faults)}\n{LAYOUT}")

    missing = [split for split in SPLITS if split not in {split for split, _ in tree}]
    photos = hold_out(photos, missing, args.seed)
    write_index(args.output, photos)
    print_table(photos, args.output)
    if missing:
        print(f"moved from the training photos: {' and '.join(missing)}")


if __name__ == "__main__":
    main()
