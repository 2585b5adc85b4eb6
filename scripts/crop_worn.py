"""Cut worn garments out of street photos: further photos to train on, of other people with other cameras.

    python scripts/crop_worn.py --mirror ../shared/data --output data/worn/index.csv

takes the archive of Clothing Co-Parsing (Liang et al. 2014, Apache-2.0) from the mirror folder, or downloads it
(130 MB). A crop is the box around a garment in one of the 1,004 photos that have masks, with a random margin, without
the wearer's head. Crops of every fifth photo are for validation. Ends with a table of labels and splits.
"""
import argparse
import io
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import loadmat
from tqdm import tqdm

from download_data import read_archive
from training.index import write_photos

REPOSITORY = "bearpaw/clothing-co-parsing"
COMMIT = "fe34fb77721a9973fbae92c05f7f12b664d10110"
DIGEST = "1b953e3a17f5d8012fab1aa5c0546a86249bdc30fc5ace1c160ecf4dcb876b64"

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
        box = [left - margin, top - margin, right + margin, bottom + margin]
        if label == "hat":
            box[3] = bottom
        elif label != "shoes":
            box[1] = max(box[1], min(chin_row, top))
        yield label, np.clip(box, 0, mask.shape[::-1] * 2).astype(int).tolist()


def cut_out(files: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield the crops as (split/label/number.jpg, bytes)."""
    kinds = [str(name[0]) for name in loadmat(io.BytesIO(files["label_list.mat"]))["label_list"][0]]
    masks = [name for name in files if name.startswith("annotations/pixel-level/")]
    for name in tqdm(masks, "cropping", mininterval=1):
        stem = Path(name).stem
        number = int(stem)
        split = "train" if number % HELD_OUT else "validation"
        mask = loadmat(io.BytesIO(files[name]))["groundtruth"]
        photo = Image.open(io.BytesIO(files[f"photos/{stem}.jpg"])).convert("RGB")
        for label, box in crops(mask, kinds, random.Random(number)):
            if label == "shoes" and number % 3:
                continue  # nearly all photos show shoes
            file = io.BytesIO()
            photo.crop(box).save(file, "JPEG", quality=90)
            yield f"{split}/{label}/{stem}.jpg", file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="index.csv; the crops go into its folder")
    parser.add_argument("--mirror", type=Path, default=Path(), help="folder that may hold the archive")
    args = parser.parse_args()
    files = read_archive(REPOSITORY, COMMIT, DIGEST, args.mirror, args.output.parent)
    worn = dict(cut_out(files))
    # All labels count the same: there are eight times as many pants as shorts.
    counts = Counter(name.split("/")[1] for name in worn if name.startswith("train/"))
    write_photos(args.output, worn, {label: round(LABEL_WEIGHT / count, 3) for label, count in counts.items()})


if __name__ == "__main__":
    main()
