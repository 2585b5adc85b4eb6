"""Distillation: a student learns the features of a teacher instead of the labels.

Its head is fitted to these features afterwards ("Knowledge distillation with the reused teacher classifier", Chen et
al. 2022). Features say more than labels, or than probabilities, which are all close to 0 or 1 for photos that the teacher
was trained on.
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
    """network: from pixels, float32 [N, H, W, 3], to features, float32 [N, channels]. head: its kernel and bias.

    images: uint8 [N, H, W, 3], the training photos at the teacher's size.
    """
    network: keras.Model
    head: tuple[np.ndarray, np.ndarray]
    images: np.ndarray


def load_teacher(path: Path, record: dict, photos: list[Photo], channels: int) -> Teacher:
    """Load a model by scripts/train.py to teach a student with as many channels; names it in the student's record."""
    about = read_training_record(path)
    if (about["labels"], about["data_digest"]) != (record["labels"], record["data_digest"]):
        fail(f"{path} was trained on other photos; train it again")
    model = load_model(path)
    features = model.get_layer("features").output
    if features.shape[1] != channels:
        fail(f"{path} has {features.shape[1]:,} features and the student's backbone has {channels:,}; give the student "
             "a pruned backbone of this teacher (scripts/prune.py)")
    record["teacher"] = {key: about[key] for key in ("fingerprint", "backbone", "size", "flags")}
    images = load_split(photos, about["labels"], tuple(about["size"])).images
    return Teacher(keras.Model(model.input, features), tuple(model.get_layer("logits").get_weights()), images)


@keras.saving.register_keras_serializable("training")
def unexplained_variance(features, predictions):
    """The squared error of features [N, channels], relative to their variance in the batch: float32 [N]."""
    errors = keras.ops.mean(keras.ops.square(features - predictions), axis=1)
    return errors / keras.ops.mean(keras.ops.var(features, axis=0))
