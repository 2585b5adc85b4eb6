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

NOT_FLAGS = ("index", "extra", "backbone", "output", "teacher")  # files are compared by content


def new_record(args: argparse.Namespace, photos: list[Photo], backbone: str) -> dict:
    """The record of a training run that starts now.

    Runs with equal fingerprints would train the same model: they agree in flags, photos, backbone, teacher and
    source code.
    """
    import keras
    import tensorflow as tf

    flags = {name: value for name, value in vars(args).items() if name not in NOT_FLAGS}
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, text=True, capture_output=True)
    files = [digest(path) for path in (args.index, args.extra, args.backbone, args.teacher) if path]
    sources = digest(ROOT / "scripts/train.py", *sorted((ROOT / "scripts/training").glob("*.py")),
                     ROOT / "lambda/preprocess.py")
    recipe = repr((flags, data_digest(photos), files, sources))
    return {
        "labels": sorted({photo.label for photo in photos}),
        "size": args.size,
        "dataset": args.index.parent.name,
        "backbone": backbone,
        "flags": flags,
        "data_digest": data_digest(photos),
        "extra_digest": data_digest(read_index(args.extra)) if args.extra else None,
        "commit": commit.stdout.strip(),
        "versions": {"python": platform.python_version(), "tensorflow": tf.__version__, "keras": keras.__version__},
        "fingerprint": hashlib.sha256(recipe.encode()).hexdigest(),
        "history": [],
    }


def digest(*paths: Path) -> str:
    """SHA-256 over the contents of files."""
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in paths)).hexdigest()


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
