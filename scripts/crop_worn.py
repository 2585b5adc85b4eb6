"""Cut worn garments out of street photos: further photos to train on, of other people with other cameras.

    python scripts/crop_worn.py --mirror ../shared/data --output data/worn/index.csv

takes the archive of Clothing Co-Parsing (Liang et al. 2014, Apache-2.0) from the mirror folder, or downloads it
(130 MB). A crop is the box around a garment in one of the 1,004 photos that have masks, without the wearer's head.
"""
import io
import random
from collections import Counter
from collections.abc import Iterator

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
LABEL_WEIGHT = 100  # of each label's training photos together: there are eight times as many pants as shorts


def crops(mask: np.ndarray, kinds: list[str], draw: random.Random) -> Iterator[tuple[str, list[int]]]:
    """The label and the box of every garment that is large enough and not mostly covered by another one."""
    chin, hair = 0, mask == kinds.index("hair")
    if hair.any():  # a face is about 1.25 times as high as the hair is wide
        rows, columns = np.nonzero(hair)
        chin = np.percentile(rows, 1) + 1.25 * (np.percentile(columns, 98) - np.percentile(columns, 2))
    for label, names in LABELS.items():
        own = [kinds.index(name) for name in names]
        garment = np.isin(mask, own)
        margin = draw.uniform(0.05, 0.3)  # share of the longer side of the garment
        if garment.mean() < 0.004:  # share of the photo
            continue
        rows, columns = np.nonzero(garment)
        left, right = np.percentile(columns, (0.5, 99.5))  # a few stray pixels don't count
        top, bottom = np.percentile(rows, (0.5, 99.5))
        inside = np.bincount(mask[int(top):int(bottom), int(left):int(right)].ravel(), minlength=len(kinds))
        inside[[kinds.index(name) for name in ("null", "skin", "hair")]] = 0
        if np.delete(inside, own).max() > 0.5 * inside[own].sum():
            continue  # another garment is in front of it or around it
        margin *= max(right - left, bottom - top)
        box = [left - margin, top - margin, right + margin, bottom + margin]
        if label == "hat":
            box[3] = bottom
        elif label != "shoes":
            box[1] = max(box[1], min(chin, top))
        yield label, np.clip(box, 0, mask.shape[::-1] * 2).astype(int).tolist()


def cut_out(files: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield the crops as (split/label/number.jpg, bytes)."""
    kinds = [str(name[0]) for name in loadmat(io.BytesIO(files["label_list.mat"]))["label_list"][0]]
    masks = [name for name in files if name.startswith("annotations/pixel-level/")]
    for name in tqdm(masks, "cropping", disable=None):
        stem = name.split("/")[-1].removesuffix(".mat")
        number = int(stem)
        split = "train" if number % 5 else "validation"
        mask = loadmat(io.BytesIO(files[name]))["groundtruth"]
        photo = Image.open(io.BytesIO(files[f"photos/{stem}.jpg"])).convert("RGB")
        for label, box in crops(mask, kinds, random.Random(number)):
            if label == "shoes" and number % 3:
                continue  # nearly all photos show shoes
            file = io.BytesIO()
            photo.crop(box).save(file, "JPEG", quality=90)
            yield f"{split}/{label}/{stem}.jpg", file.getvalue()


def main() -> None:
    index, files = read_archive(__doc__.splitlines()[0], REPOSITORY, COMMIT, DIGEST)
    worn = dict(cut_out(files))
    counts = Counter(name.split("/")[1] for name in worn if name.startswith("train/"))
    write_photos(index, worn, {label: round(LABEL_WEIGHT / count, 3) for label, count in counts.items()})


if __name__ == "__main__":
    main()
