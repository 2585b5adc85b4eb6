"""Measure our models beside the reference's function and other inference engines; README.md describes the method.

    PYTHONPATH=scripts python -m bench --output artifacts/bench/bench.md
"""
import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from bench.tables import markdown
from common import ROOT, atomic

SIZES = {"small": (400, 533), "large": (3000, 4000)}  # width, height of the photos
ENGINES = {  # environment in .venv, package on PyPI, format of the network
    "litert": ("ai-edge-litert", "ai-edge-litert", ".tflite"),
    "tflite-runtime": ("tflite-runtime", "tflite-runtime", ".tflite"),
    "openvino": ("bench", "openvino", ".tflite"),
    "openvino-onnx": ("bench", "openvino", ".onnx"),
    "onnxruntime": ("bench", "onnxruntime", ".onnx"),
}
# Function, network and engine. "handler" is our Lambda function, "plain" an engine with only the preprocessing.
CONTENDERS = [("handler", "large", "litert"), ("handler", "small", "litert"),
              *[("plain", network, engine) for network in ("large", "small", "reference") for engine in ENGINES]]


def write_photos(folder: Path) -> None:
    """A photo in both sizes. The large one gets a camera's noise, without which it would be too easy to decode."""
    photo = Image.open(ROOT / "tests/photos/pants/jeans.jpg").convert("RGB")
    for name, size in SIZES.items():
        image = photo.resize(size, Image.Resampling.BICUBIC)
        if name == "large":
            image = Image.blend(image, Image.effect_noise(size, 32).convert("RGB"), 0.1)
        image.save(folder / f"{name}.jpg", quality=90)


def turn(contender: tuple[str, str, str], folder: Path) -> dict:
    """The figures of one process, see worker.py, or the error with which it ended."""
    function, network, engine = contender
    environment, package, suffix = ENGINES[engine]
    python = ROOT / ".venv" / environment / "bin" / "python"
    if not python.exists():
        return {"error": f"{environment} is not installed: it has no wheel for this Python"}
    command = [python, Path(__file__).with_name("worker.py"), function, folder / f"{network}{suffix}", package]
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


def machine() -> str:
    """What the figures depend on besides the code, and the commit of that."""
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else None
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, text=True, capture_output=True)
    return (f"{datetime.now(timezone.utc).isoformat(' ', 'minutes')}, commit {commit.stdout.strip()}: "
            f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores, {platform.platform()}, "
            f"Python {platform.python_version()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="file to write (.md); beside it, .json")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each contender [%(default)s]")
    args = parser.parse_args()
    found = {"machine": machine(), "rounds": args.rounds, "photos": SIZES}
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder))
        print("making the networks …", flush=True)
        # A network that can't be made becomes rows with an error. TensorFlow's memory ends with this process.
        subprocess.run([sys.executable, Path(__file__).with_name("networks.py"), folder])
        found["rows"] = take_turns(CONTENDERS, Path(folder), args.rounds)
    tables = markdown(found)
    with atomic(args.output) as temporary:
        args.output.with_suffix(".json").write_text(json.dumps(found, indent=1))
        temporary.write_text(tables, encoding="utf-8")
    print(f"{tables}\n{args.output}, with the figures beside it in JSON")


if __name__ == "__main__":
    main()
