"""Measure our models beside the reference's function and other inference engines on this machine.

    PYTHONPATH=scripts python -m bench --output artifacts/bench/bench.md

writes the tables, and the figures as bench.json beside them. The contenders take turns, each time in a new process on
one CPU. A figure is the median over the rounds, with its quartiles. A contender that is missing or fails becomes a row
that says why. `--rounds 2` is a quick try. README.md describes the method.
"""
import argparse
import json
import os
import platform
import re
import subprocess
import tempfile
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timezone
from multiprocessing import get_context
from pathlib import Path
from statistics import quantiles

from PIL import Image
from tqdm import tqdm

from bench.contenders import CONTENDERS, Contender
from bench.networks import make_networks
from bench.tables import markdown
from common import ROOT, atomic

PHOTO = ROOT / "tests" / "photos" / "pants" / "jeans.jpg"
SIZES = {"small": (400, 533), "large": (3000, 4000)}  # width, height of the photos


def write_photos(folder: Path) -> dict[str, Path]:
    """The photo in both sizes. The large one gets a camera's noise, without which it would be too easy to decode."""
    photos = {}
    for name, size in SIZES.items():
        image = Image.open(PHOTO).convert("RGB").resize(size, Image.Resampling.BICUBIC)
        if name == "large":
            image = Image.blend(image, Image.effect_noise(size, 32).convert("RGB"), 0.1)
        photos[name] = folder / f"{name}.jpg"
        image.save(photos[name], quality=90)
    return photos


def take_turns(contenders: list[Contender], photos: dict[str, Path], rounds: int) -> list[dict]:
    """A row per contender: quartiles of the figures of its turns and its facts, or the error."""
    turns, errors = {contender: [] for contender in contenders}, {}
    for _ in tqdm(range(rounds), unit="round"):
        for contender in [each for each in contenders if each not in errors]:
            try:
                turns[contender].append(contender.turn(photos))
            except RuntimeError as error:
                errors[contender] = {"error": str(error)}
    return [contender._asdict() | (errors.get(contender) or summary(turns[contender]) | contender.facts())
            for contender in contenders]


def summary(turns: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    columns = {key: [turn[key] for turn in turns] for key in turns[0]}
    return {key: dict(zip(("q1", "median", "q3"), quantiles(values, n=4, method="inclusive")))
            for key, values in columns.items()}


def cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def machine() -> dict:
    """What the figures depend on besides the code."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, text=True, capture_output=True)
    return {"cpu": cpu_name(), "cores": os.cpu_count(), "system": platform.platform(),
            "python": platform.python_version(), "commit": commit.stdout.strip() or "unknown",
            "date": datetime.now(timezone.utc).isoformat(" ", "minutes")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="file to write (.md)")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each contender, at least 2 [%(default)s]")
    args = parser.parse_args()
    if args.rounds < 2:
        parser.error("--rounds must be at least 2, as one turn has no quartiles")
    with ProcessPoolExecutor(1, get_context("spawn")) as apart:  # TensorFlow and its memory end with this process
        apart.submit(make_networks).result()
    found = {**machine(), "rounds": args.rounds, "photos": SIZES}
    with tempfile.TemporaryDirectory() as folder:
        found["rows"] = take_turns(CONTENDERS, write_photos(Path(folder)), args.rounds)
    contents = {args.output.with_suffix(".json"): json.dumps(found, indent=1), args.output: markdown(found)}
    for path, content in contents.items():
        with atomic(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
    print(f"{contents[args.output]}\n{args.output}, with the figures beside it in JSON")


if __name__ == "__main__":
    main()
