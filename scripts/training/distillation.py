"""Distillation: a student learns the probabilities of a teacher instead of the labels.

The teacher sees the very views that the student is trained on ("a good teacher is patient and consistent", Beyer et al.
2022), at its own size.
"""
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from common import fail
from training.index import Photo
from training.photos import load_split
from training.record import load_model, read_training_record


class Teacher(NamedTuple):
    """network: a model by scripts/train.py. images: uint8 [N, H, W, 3], the training photos at its size."""
    network: keras.Model
    images: np.ndarray


def load_teacher(path: Path, record: dict, photos: list[Photo]) -> Teacher:
    """Load a model to teach the student whose record is given, and name it in that record."""
    about = read_training_record(path)
    if (about["labels"], about["data_digest"]) != (record["labels"], record["data_digest"]):
        fail(f"{path} was trained on other photos; train it again")
    record["teacher"] = {key: about[key] for key in ("fingerprint", "backbone", "size", "flags")}
    return Teacher(load_model(path), load_split(photos, about["labels"], tuple(about["size"])).images)
