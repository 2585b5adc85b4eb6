"""The record inside a Keras model file: how the model was made, and the fingerprint of its recipe."""
import argparse
import hashlib
import json
import platform
import subprocess
import zipfile
from importlib.metadata import version
from pathlib import Path

from common import ROOT, atomic
from training.index import Photo, data_digest, read_index


def new_record(args: argparse.Namespace, photos: list[Photo]) -> dict:
    """The record of a run that starts now. Equal fingerprints stand for equal flags, input files and source code."""
    files = "index", "extra", "backbone", "output", "teacher"  # compared by content, except for the output
    flags = {name: value for name, value in vars(args).items() if name not in files}
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, text=True, capture_output=True)
    recipe = hashlib.sha256(repr(flags).encode())
    sources = [*sorted(ROOT.glob("scripts/training/*.py")), ROOT / "scripts/train.py", ROOT / "lambda/preprocess.py"]
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
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("tensorflow", "keras")}},
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
