"""The photos of a split as arrays, preprocessed as in serving."""
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm.contrib.concurrent import thread_map

from common import fail
from serving import ImageError, preprocess
from training.index import Photo


class Split(NamedTuple):
    """images: uint8 [N, height, width, 3]; targets: int [N], the indices of the labels; weights: float32 [N]."""
    photos: list[Photo]
    images: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


def check_same_labels(model: Path, labels: list[str], photos: list[Photo]) -> None:
    """End the script if a model and the photos have different labels."""
    in_photos = sorted({photo.label for photo in photos})
    if in_photos != sorted(labels):
        fail(f"{model} has the labels {', '.join(labels)}, but the photos have {', '.join(in_photos)}; choose a model "
             "and photos that belong together: set MODEL, DATASET or DATA")


def load_split(photos: list[Photo], labels: list[str], size: tuple[int, int]) -> Split:
    """Load photos at size = (height, width) in pixels; end the script if any can't be read."""
    def load(photo):
        try:
            return preprocess(photo.path, size)
        except (ImageError, OSError) as error:
            fail(f"can't read the photo {photo.path} ({error}); delete the index, then `make data` builds it again")

    images = thread_map(load, photos, max_workers=4, desc="decoding photos", mininterval=1)
    return Split(photos, np.stack(images), np.array([labels.index(photo.label) for photo in photos]),
                 np.array([photo.weight for photo in photos], np.float32))
