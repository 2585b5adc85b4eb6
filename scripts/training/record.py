"""The record inside a Keras model file: how the model was made, and the fingerprint of its recipe."""
import argparse
import hashlib
import json
import platform
import subprocess
import zipfile
from pathlib import Path

from common import ROOT, atomic
from training.index import Photo, data_digest, read_index

FILES = ("index", "extra", "backbone", "output", "teacher")  # compared by content, except for the output


def new_record(args: argparse.Namespace, photos: list[Photo]) -> dict:
    """The record of a training run that starts now.

    Runs with equal fingerprints would train the same model: they agree in flags, photos, backbone, teacher and
    source code.
    """
    import keras
    import tensorflow as tf

    flags = {name: value for name, value in vars(args).items() if name not in FILES}
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, text=True, capture_output=True)
    recipe = hashlib.sha256(repr(flags).encode())
    sources = sorted((ROOT / "scripts/training").glob("*.py"))
    sources += [ROOT / "scripts/train.py", ROOT / "lambda/preprocess.py"]
    for path in (args.index, args.extra, args.backbone, args.teacher, *sources):
        recipe.update(hashlib.sha256(path.read_bytes() if path else b"").digest())
    return {
        "labels": sorted({photo.label for photo in photos}),
        "dataset": args.index.parent.name,
        "backbone": args.backbone.stem,
        "flags": flags,
        "data_digest": data_digest(photos),
        "extra_digest": data_digest(read_index(args.extra)) if args.extra else None,
        "commit": commit.stdout.strip(),
        "versions": {"python": platform.python_version(), "tensorflow": tf.__version__, "keras": keras.__version__},
        "fingerprint": recipe.hexdigest(),
        "history": [],
    }


def save_model(model, record: dict, path: Path) -> None:
    """Write a Keras model with its record inside, or nothing at all."""
    with atomic(path) as temporary:
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr("record.json", json.dumps(record))


def load_model(path: Path):
    """Load a Keras model; a checkpoint comes with the state of its optimizer."""
    import keras

    import training.efficientnet_lite  # noqa: F401, registers its layer with Keras

    return keras.models.load_model(path)


def read_training_record(path: Path) -> dict:
    """The record inside a Keras model written by `save_model`."""
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("record.json"))
