"""Measure our models and what one would use instead, side by side on this machine, and write a page about it.

    python scripts/bench.py --output artifacts/bench/bench.html [--models artifacts/release/model.tflite …]

Each contender runs in a process of its own; they take turns, but for throughput, and each figure is the median over the
rounds, with the quartiles beside it. One that is absent or fails is a row that says why. Writes bench.json, bench.md
and *.png beside the page, the page last. `--rounds 1 --requests 20` is a quick try.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

from bench_goals import LARGE, SMALL, goals
from bench_turns import Contender
from common import ROOT, atomic, cpu_name, fail

RELEASED = [ROOT / "artifacts" / "release" / name for name in ("model.tflite", "model-small.tflite")]
SIZES = (SMALL, "866 × 1155", "1500 × 2000", LARGE)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the page, bench.html")
    parser.add_argument("--models", type=Path, nargs="+", default=RELEASED, help="[the released ones]")
    parser.add_argument("--photo", type=Path, default=ROOT / "tests/photos/pants/jeans.jpg", help="[%(default)s]")
    parser.add_argument("--rounds", type=int, default=12, help="turns of each contender [%(default)s]")
    parser.add_argument("--requests", type=int, default=10_000, help="to watch the memory over [%(default)s]")
    return parser.parse_args()


def write_photos(photo: Path, folder: Path) -> dict[str, Path]:
    """The photo in several sizes; the large ones with a camera's noise, without which they'd be too easy to decode."""
    from PIL import Image
    image, photos = Image.open(photo).convert("RGB"), {}
    for name in SIZES:
        size = tuple(map(int, name.split(" × ")))
        scaled = image.resize(size, Image.Resampling.BICUBIC)
        if name != SMALL:
            scaled = Image.blend(scaled, Image.effect_noise(size, 32).convert("RGB"), 0.1)
        photos[name] = folder / f"{name.replace(' × ', 'x')}.jpg"
        scaled.save(photos[name], quality=90)
    return photos


def contenders(models: list[Path], networks: Path) -> tuple[list, list]:
    """Engines on the same networks, where the first of a group is what the others stand beside; and whole handlers."""
    engines, handlers = [], []
    for model in models:
        int8, onnx = f"{model.stem}, int8", networks / f"{model.stem}-int8.onnx"
        float32, floats = f"{model.stem}, float32", networks / f"{model.stem}-float32"
        handlers.append(Contender(f"ours, {model.stem}", "requests", "litert", model, "ours"))
        engines += [Contender(f"{name}, {int8}", int8, engine, file) for name, engine, file in (
            ("LiteRT", "litert", model), ("tflite-runtime", "tflite-runtime", model), ("OpenVINO", "openvino", model),
            ("OpenVINO of ONNX", "openvino", onnx), ("ONNX Runtime", "onnxruntime", onnx))]
        engines += [Contender(f"{name}, {float32}", float32, engine, floats.with_suffix(end)) for name, engine, end in (
            ("LiteRT", "litert", ".tflite"), ("tflite-runtime", "tflite-runtime", ".tflite"),
            ("OpenVINO", "openvino", ".tflite"), ("ONNX Runtime", "onnxruntime", ".onnx"),
            ("Keras", "keras", ".keras"))]
    for name, engine in (("tflite-runtime", "tflite-runtime"), ("LiteRT", "litert")):
        model = networks / "reference.tflite"
        handlers.append(Contender(f"the reference on {name}", "requests", engine, model, "reference"))
    engines += [Contender(f"{name}, reference, float32", "reference, float32", engine, model, "reference")
                for name, engine in (("LiteRT", "litert"), ("tflite-runtime", "tflite-runtime"),
                                     ("OpenVINO", "openvino"))]
    return engines, handlers


def machine(cores: int) -> dict:
    """What the figures depend on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    flags = next((line.split(":")[1].split() for line in lines if line.startswith("flags")), [])
    known = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8") if flag in flags]
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, text=True, capture_output=True)
    return {"cpu": cpu_name(), "cores": cores, "instructions": known, "system": platform.platform(),
            "python": platform.python_version(), "commit": commit.stdout.strip(),
            "date": datetime.now(timezone.utc).isoformat(" ", "minutes")}


def helper(script: str, *arguments) -> dict:
    """The JSON that another of these scripts ends with; its progress passes through."""
    ran = subprocess.run([sys.executable, Path(__file__).with_name(script), *map(str, arguments)],
                         stdout=subprocess.PIPE, text=True)
    if ran.returncode:
        fail(f"{script} failed, see above")
    return json.loads(ran.stdout.splitlines()[-1])


def measure(args: argparse.Namespace) -> dict:
    """What bench.json holds."""
    import bench_measures as measures
    from bench_container import container

    started, networks = time.monotonic(), args.output.parent / "networks"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts = helper("bench_networks.py", *args.models, "--output", networks)
    peaks = {threads: helper("bench_peak.py", "--threads", threads) for threads in sorted({1, min(2, cores), cores})}
    engines, handlers = contenders(args.models, networks)
    ours = [handler for handler in handlers if handler.function == "ours"]
    with tempfile.TemporaryDirectory() as folder:
        photos = write_photos(args.photo, Path(folder))
        settings = argparse.Namespace(
            rounds=args.rounds, requests=args.requests, cores=cores, networks=networks, models=args.models,
            photos=photos, photo=photos[SMALL], large_photo=photos[LARGE], errors=facts["errors"],
            multiply_adds=facts["multiply_adds"], peak={key: peak["giga_multiply_adds"] for key, peak in peaks.items()})
        times = [item for threads in sorted({1, min(2, cores)})
                 for item in measures.network_time(engines, settings, threads)]
        requests, lists = measures.requests(handlers, settings)
        others = [engine for engine in engines if engine.engine != "tflite-runtime"
                  and engine.group.startswith(f"{args.models[0].stem},")]
        floor = Contender("imports of ours, nothing else", "requests", "litert", args.models[0], "imports")
        starts = measures.cold_start([*handlers, floor, *others], settings)
        found = {
            "machine": {**machine(cores), "threads_peak": list(peaks.values())},
            "multiply_adds": {Path(path).name: count for path, count in facts["multiply_adds"].items()},
            "network": times, "throughput": measures.throughput(engines, settings),
            "requests": requests, "lists": lists, "cold_start": starts,
            "container": container(ROOT / "artifacts" / "image.iid", args.photo, min(5, args.rounds)),
            "training": measures.training(settings), "prices": measures.prices(),
            "cost": measures.cost([item for item in requests if item["photo"] in (SMALL, LARGE)], starts),
            "memory": measures.memory_growth(ours, settings)}
    found["goals"] = goals(found, args.models)
    found["machine"]["minutes"] = (time.monotonic() - started) / 60
    return found


def main() -> None:
    args = parse_args()
    if not any(model.is_file() for model in args.models):
        fail(f"there is none of the models {', '.join(map(str, args.models))}")
    if not args.photo.is_file():
        fail(f"there is no photo {args.photo}")
    from bench_charts import draw
    from bench_page import markdown, page

    args.output.parent.mkdir(parents=True, exist_ok=True)
    found = measure(args)
    with atomic(args.output.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(found, indent=1, ensure_ascii=False), encoding="utf-8")
    with atomic(args.output.with_suffix(".md")) as temporary:
        temporary.write_text(markdown(found), encoding="utf-8")
    charts = draw(found, args.output.parent)
    with atomic(args.output) as temporary:
        temporary.write_text(page(found, charts), encoding="utf-8")
    print(markdown(found))
    print(f"{args.output}, with bench.json, bench.md and the pictures beside it; "
          f"{found['machine']['minutes']:.0f} minutes")


if __name__ == "__main__":
    main()
