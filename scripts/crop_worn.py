"""Cut worn garments out of street photos: further photos to train on, of other people with other cameras.

    python scripts/crop_worn.py --mirror ../shared/data --output data/worn/index.csv

takes the archive of Clothing Co-Parsing (Liang et al. 2014, Apache-2.0) from the mirror folder, or downloads it
(130 MB), and verifies the 1,004 photos that have masks. A crop is the box around a garment, with a random margin,
without the wearer's head. Crops of every fifth photo are for validation. Ends with a table of labels and splits.
"""
import argparse
import hashlib
import http.client
import io
import random
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import loadmat
from tqdm import tqdm

from common import fail
from download_data import found_or_downloaded
from training.index import Photo, locked, print_table, write_photos

COMMIT = "fe34fb77721a9973fbae92c05f7f12b664d10110"
URL = f"https://github.com/bearpaw/clothing-co-parsing/archive/{COMMIT}.tar.gz"
ARCHIVE = f"clothing-co-parsing-{COMMIT}.tar.gz"
DIGEST = "a316a3f0047d10829d5cd2d647d1e638fdd4795bb34d8627aa57146f975bb2c2"  # see read_archive

LABELS = {
    "dress": ["dress"],
    "hat": ["hat"],
    "longsleeve": ["sweater", "jumper", "sweatshirt"],
    "outwear": ["coat", "jacket"],
    "pants": ["jeans", "pants"],
    "shirt": ["shirt"],
    "shoes": ["boots", "clogs", "flats", "heels", "loafers", "pumps", "sandals", "shoes", "sneakers", "wedges"],
    "shorts": ["shorts"],
    "skirt": ["skirt"],
    "t-shirt": ["t-shirt"],
}
MIN_AREA = 0.004  # share of the photo
MAX_COVERED = 0.5  # pixels of another garment in front of it or around it, relative to its own
MARGIN = (0.05, 0.3)  # share of the longer side of the garment
HELD_OUT = 5  # one photo in five is for validation
LABEL_WEIGHT = 100  # the weights of a label's training photos add up to those of as many ordinary photos


def read_archive(path: Path) -> dict[str, bytes]:
    """The photos that have masks, the masks and the names of their kinds: path below the archive's folder -> bytes.

    Raises ValueError if the archive is damaged or if the SHA-256 of the sorted lines "path sha256" is not DIGEST.
    """
    try:
        with tarfile.open(path) as tar:
            members = {member.name.partition("/")[2]: member for member in tar if member.isreg()}
            masks = [name for name in members if name.startswith("annotations/pixel-level/")]
            names = ["label_list.mat", *masks, *(f"photos/{Path(name).stem}.jpg" for name in masks)]
            files = {name: tar.extractfile(members[name]).read() for name in sorted(names)}
    except (tarfile.TarError, EOFError, zlib.error, KeyError) as error:
        raise ValueError(f"it is not a whole archive ({error})") from None
    lines = "".join(f"{name} {hashlib.sha256(data).hexdigest()}\n" for name, data in files.items())
    if hashlib.sha256(lines.encode()).hexdigest() != DIGEST:
        raise ValueError("its photos and masks are not the expected ones")
    return files


def chin(hair: np.ndarray) -> float:
    """The row of the chin, estimated from the hair: a face is about 1.25 times as high as the hair is wide."""
    if not hair.any():
        return 0
    rows, columns = np.nonzero(hair)
    return np.percentile(rows, 1) + 1.25 * (np.percentile(columns, 98) - np.percentile(columns, 2))


def crops(mask: np.ndarray, kinds: list[str], draw: random.Random) -> Iterator[tuple[str, list[int]]]:
    """The label and the box of every garment that is large enough and not mostly covered by another one."""
    chin_row = chin(mask == kinds.index("hair"))
    for label, names in LABELS.items():
        own = [kinds.index(name) for name in names]
        garment = np.isin(mask, own)
        margin = draw.uniform(*MARGIN)
        if garment.mean() < MIN_AREA:
            continue
        rows, columns = np.nonzero(garment)
        left, right = np.percentile(columns, (0.5, 99.5))  # a few stray pixels don't count
        top, bottom = np.percentile(rows, (0.5, 99.5))
        inside = np.bincount(mask[int(top):int(bottom), int(left):int(right)].ravel(), minlength=len(kinds))
        inside[[kinds.index(name) for name in ("null", "skin", "hair")]] = 0
        if np.delete(inside, own).max() > MAX_COVERED * inside[own].sum():
            continue
        margin *= max(right - left, bottom - top)
        above, below = top - margin, bottom + margin
        if label == "hat":
            below = bottom
        elif label != "shoes":
            above = max(above, min(chin_row, top))
        limits = mask.shape[::-1] * 2
        yield label, np.clip([left - margin, above, right + margin, below], 0, limits).astype(int).tolist()


def cut_out(files: dict[str, bytes]) -> Iterator[tuple[Path, bytes]]:
    """Yield the crops as (split/label/number.jpg, bytes)."""
    names = loadmat(io.BytesIO(files["label_list.mat"]))["label_list"][0]
    kinds = [str(name[0]) for name in names]
    for stem in tqdm([Path(name).stem for name in files if name.startswith("photos/")], "cropping", mininterval=1):
        number = int(stem)
        split = "train" if number % HELD_OUT else "validation"
        mask = loadmat(io.BytesIO(files[f"annotations/pixel-level/{stem}.mat"]))["groundtruth"]
        photo = Image.open(io.BytesIO(files[f"photos/{stem}.jpg"])).convert("RGB")
        for label, box in crops(mask, kinds, random.Random(number)):
            if label == "shoes" and number % 3:
                continue  # nearly all photos show shoes
            file = io.BytesIO()
            photo.crop(box).save(file, "JPEG", quality=90)
            yield Path(split, label, f"{stem}.jpg"), file.getvalue()


def equal_weights(photos: list[Photo]) -> list[Photo]:
    """Weigh the photos so that all labels count the same: there are eight times as many pants as shorts."""
    counts = Counter(photo.label for photo in photos if photo.split == "train")
    return [photo._replace(weight=round(LABEL_WEIGHT / counts[photo.label], 3)) for photo in photos]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="index.csv; the crops go into its folder")
    parser.add_argument("--mirror", type=Path, default=Path(), help=f"folder that may hold {ARCHIVE}")
    args = parser.parse_args()
    folder, archive = args.output.parent, args.mirror / ARCHIVE
    try:
        with locked(folder), found_or_downloaded(archive, URL, folder) as found:
            photos = write_photos(args.output, cut_out(read_archive(found)), weigh=equal_weights)
    except (OSError, http.client.HTTPException, ValueError) as error:
        fail(f"can't get the photos: {error}; run again, or put {ARCHIVE}\n"
             f"  into {args.mirror.absolute()} (DATA_MIRROR=folder names another folder)")
    print_table(photos, args.output)
    print(f"train on it by: make model.tflite EXTRA={args.output}")


if __name__ == "__main__":
    main()
