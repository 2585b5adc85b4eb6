"""Measure our models beside the reference's function and other inference engines on this machine.

    PYTHONPATH=scripts python -m bench --output artifacts/bench/bench.md

writes the tables, and the figures as bench.json beside them. README.md describes the method.
"""
import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from bench.engines import ENGINES
from bench.tables import markdown
from common import ROOT, atomic

PHOTO = ROOT / "tests" / "photos" / "pants" / "jeans.jpg"
SIZES = {"small": (400, 533), "large": (3000, 4000)}  # width, height of the photos
RELEASED = {"large": "model.tflite", "small": "model-small.tflite"}
# Function, network and engine. "handler" is our Lambda function, "plain" an engine with only the preprocessing.
CONTENDERS = [("handler", "large", "litert"), ("handler", "small", "litert"),
              *[("plain", network, engine) for network in ("large", "small", "reference") for engine in ENGINES]]


def write_photos(folder: Path) -> None:
    """The photo in both sizes. The large one gets a camera's noise, without which it would be too easy to decode."""
    for name, size in SIZES.items():
        image = Image.open(PHOTO).convert("RGB").resize(size, Image.Resampling.BICUBIC)
        if name == "large":
            image = Image.blend(image, Image.effect_noise(size, 32).convert("RGB"), 0.1)
        image.save(folder / f"{name}.jpg", quality=90)


def write_networks(folder: Path) -> None:
    """The networks as .tflite and .onnx. TensorFlow and its memory end with the processes that make them."""
    for name, file in RELEASED.items():
        shutil.copy(ROOT / "artifacts" / "release" / file, folder / f"{name}.tflite")
    commands = {"reference.tflite": [Path(__file__).with_name("reference.py")]}
    for name in (*RELEASED, "reference"):
        commands[f"{name}.onnx"] = ["-m", "tf2onnx.convert", "--opset", "18", "--tflite", folder / f"{name}.tflite",
                                    "--output"]
    for file, command in commands.items():
        print(f"making {file} …", flush=True)
        made = subprocess.run([sys.executable, *command, folder / file], capture_output=True, text=True)
        if made.returncode:
            print(f"{file} can't be made:\n{made.stderr}", file=sys.stderr)


def turn(contender: tuple[str, str, str], folder: Path) -> dict:
    """The figures of one process, see worker.py, or the error with which it ended."""
    environment = ROOT / ".venv" / ENGINES[contender[2]].environment
    if not environment.exists():
        return {"error": f"{environment.name} is not installed: it has no wheel for this Python"}
    command = [environment / "bin" / "python", Path(__file__).with_name("worker.py"), *contender, folder]
    ran = subprocess.run([*command, str(time.time())], capture_output=True, text=True,
                         env={**os.environ, "PYTHONPATH": str(ROOT / "lambda")})
    if ran.returncode:
        return {"error": (ran.stderr.strip() or f"exit status {ran.returncode}").splitlines()[-1][:200]}
    return json.loads(ran.stdout.splitlines()[-1])


def take_turns(contenders: list[tuple[str, str, str]], folder: Path, rounds: int) -> list[dict]:
    """A row per contender: the quartiles of the figures of its turns, or its error."""
    turns = {contender: [] for contender in contenders}
    for _ in tqdm(range(rounds), unit="round"):
        for contender in contenders:
            turns[contender].append(turn(contender, folder))
    return [dict(zip(("function", "network", "engine"), contender)) | summary(turns[contender])
            for contender in contenders]


def summary(turns: list[dict]) -> dict:
    for failed in (each for each in turns if "error" in each):
        return failed
    columns = {key: [each[key] for each in turns] for key in turns[0]}
    version = columns.pop("version")[0]
    return {"version": version} | {key: dict(zip(("q1", "median", "q3"), np.quantile(values, (0.25, 0.5, 0.75))))
                                   for key, values in columns.items()}


def machine() -> dict:
    """What the figures depend on besides the code."""
    cpuinfo = Path("/proc/cpuinfo")
    models = re.findall(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else []
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, text=True, capture_output=True)
    return {"cpu": models[0] if models else platform.machine(), "cores": os.cpu_count(), "system": platform.platform(),
            "python": platform.python_version(), "commit": commit.stdout.strip(),
            "date": datetime.now(timezone.utc).isoformat(" ", "minutes")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="file to write (.md)")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each contender [%(default)s]")
    args = parser.parse_args()
    found = {**machine(), "rounds": args.rounds, "photos": SIZES}
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder))
        write_networks(Path(folder))
        found["rows"] = take_turns(CONTENDERS, Path(folder), args.rounds)
    tables = markdown(found)
    with atomic(args.output) as temporary:
        args.output.with_suffix(".json").write_text(json.dumps(found, indent=1))
        temporary.write_text(tables, encoding="utf-8")
    print(f"{tables}\n{args.output}, with the figures beside it in JSON")


if __name__ == "__main__":
    main()
