"""The measurements of `make bench`: each function gives the rows of one table, as bench.json holds them."""
import json
import subprocess
import sys
import time
from math import ceil
from pathlib import Path
from statistics import median

from tqdm import tqdm

from bench_turns import Contender, Worker, add_ratios, figures, row, take_turns
from common import ROOT

LENGTHS = (1, 2, 4, 8, 16)  # of lists
SETTLE = 0.2  # seconds between starts, for what the process before left to the system to do
PACKAGES = {"litert": "ai-edge-litert", "tflite-runtime": "tflite-runtime", "onnxruntime": "onnxruntime",
            "openvino": "openvino", "keras": "tensorflow"}
VCPU_MB = 1769  # memory at which Lambda gives one whole processor, and more from there on in proportion
PRICES = ROOT / "scripts" / "aws" / "prices.env"


def network_time(contenders: list[Contender], settings, threads: int) -> list[dict]:
    """Milliseconds of the network alone, one photo at a time; groups take turns among themselves."""
    rows = []
    for group in dict.fromkeys(contender.group for contender in contenders):
        chosen = [contender for contender in contenders if contender.group == group]
        with tqdm(total=len(chosen) * settings.rounds, desc=f"network, {group}, {threads} threads", unit="turn") as bar:
            workers = [Worker(contender, threads, settings.photo, settings.errors) for contender in chosen]
            samples = take_turns(workers, settings.rounds, bar, do="network")
        for contender, worker, times in zip(chosen, workers, samples):
            found = row(contender, worker, times, threads=threads)
            if "median" in found:
                found["version"] = worker.start["version"]
                count = settings.multiply_adds.get(str(chosen[0].model))
                found["peak_share"] = count and count / found["median"] / 1e6 / settings.peak[threads]
                found["difference"] = difference(worker, workers[0])
            rows.append(found)
            worker.close()
    return add_ratios(rows)


def difference(worker: Worker, first: Worker) -> float | None:
    """The largest difference between two contenders' probabilities for the same photo."""
    if first.error:
        return None
    return max(abs(a - b) for a, b in zip(sorted(worker.start["answer"]), sorted(first.start["answer"])))


def throughput(contenders: list[Contender], settings) -> list[dict]:
    """Photos per second with a process of one thread on every core."""
    rows = []
    for contender in tqdm(contenders, f"throughput, {settings.cores} processes"):
        workers = [Worker(contender, 1, settings.photo, settings.errors) for _ in range(settings.cores)]
        samples = []
        for _ in range(min(3, settings.rounds)):
            for worker in workers:
                worker.send("busy", seconds=1)
            rates = [worker.read() for worker in workers]
            if all(rates):
                samples.append(sum(rates))
        rows.append(row(contender, workers[0], samples))
        for worker in workers:
            worker.close()
    return add_ratios(rows)


def requests(handlers: list[Contender], settings) -> tuple[list[dict], list[dict]]:
    """Milliseconds of whole requests by the photo's size, then of lists by their length; one processor each."""
    workers = [Worker(handler, 1, settings.photo, settings.errors, cpu=True) for handler in handlers]
    rows, lists = [], []
    for name, photo in settings.photos.items():
        with tqdm(total=2 * len(workers) * settings.rounds, desc=f"requests, {name}", unit="turn") as bar:
            samples, decoding = (take_turns(workers, settings.rounds, bar, do=do, path=str(photo))
                                 for do in ("ask", "decode"))
        rows += [row(handler, worker, times, photo=name, kilobytes=photo.stat().st_size / 1e3,
                     decode_ms=median(part) if part else None)
                 for handler, worker, times, part in zip(handlers, workers, samples, decoding)]
    for handler, worker in zip(handlers, workers):
        if handler.function == "ours":
            for length in tqdm(LENGTHS, f"lists, {handler.name}"):
                found = [worker.ask("ask_list", path=str(settings.photo), length=length)
                         for _ in range(settings.rounds)]
                lists.append(row(handler, worker, [taken for taken in found if taken], length=length))
        worker.close()
    return add_ratios(rows), lists


def cold_start(contenders: list[Contender], settings) -> list[dict]:
    """Milliseconds from the start of a process to its first answer; megabytes on disk, and of memory at most."""
    samples, loads = ([[] for _ in contenders] for _ in range(2))
    last, facts, once = {}, [{} for _ in contenders], [{} for _ in contenders]
    for _ in tqdm(range(min(5, settings.rounds)), "cold starts"):
        for number, contender in enumerate(contenders):
            time.sleep(SETTLE)
            last[number] = worker = Worker(contender, 1, settings.photo, settings.errors, cpu=True)
            if not worker.error:
                samples[number].append(worker.started_ms)
                loads[number].append(worker.start["load_ms"])
                facts[number] = {"load_ms": median(loads[number]), "memory_mb": worker.ask("peak_mb"),
                                 "model_mb": None if contender.function == "imports" else
                                 contender.model.stat().st_size / 1e6}
            if not worker.error and len(samples[number]) == 1:
                packages = worker.ask("installed", names=[PACKAGES[contender.engine], "numpy", "pillow"])
                worker.ask("ask", path=str(settings.large_photo), runs=1)
                once[number] = {"packages_mb": (packages or {}).get("megabytes"),
                                "large_memory_mb": worker.ask("peak_mb")}
            worker.close()
    return add_ratios([row(contender._replace(group="all"), last[number], samples[number],
                           **facts[number], **once[number]) for number, contender in enumerate(contenders)])


def memory_growth(handlers: list[Contender], settings) -> list[dict]:
    """Megabytes held after so many requests; the handlers run at the same time, as time does not matter here."""
    workers = [Worker(handler, 1, settings.photo, settings.errors) for handler in handlers]
    curves = [[] for _ in handlers]
    step = max(1, settings.requests // 20)
    for done in tqdm(range(step, settings.requests + 1, step), "memory over many requests", unit_scale=step):
        for worker in workers:
            worker.send("many", count=step)
        for worker, curve in zip(workers, curves):
            held = worker.read()
            if held:
                curve.append([done, held])
    for worker in workers:
        worker.close()
    return [{"contender": handler.name, "group": handler.group,
             **({"error": worker.error} if worker.error else {"megabytes": curve})}
            for handler, worker, curve in zip(handlers, workers, curves)]


def training(settings) -> dict:
    """Seconds per photo of training steps beside their limit, and what the model's record says of a whole training."""
    from training.fine_tuning import read_record as keras_record
    from serving import read_record
    trained = ROOT / "artifacts" / "model.keras"
    model = next(model for model in settings.models if model.exists())
    record = keras_record(trained) if trained.exists() else read_record(model)
    backbone = settings.networks / f"{model.stem}-float32.keras"
    ran = subprocess.run([sys.executable, Path(__file__).with_name("bench_training.py"), "--backbone", backbone,
                          "--freeze", str(record.get("flags", {}).get("freeze", 0.4)),
                          "--peak", str(settings.peak[settings.cores])], capture_output=True, text=True)
    steps = json.loads(ran.stdout.splitlines()[-1]) if ran.returncode == 0 else {}
    found = {"record": {key: record.get(key) for key in ("backbone", "size", "flags", "seconds", "metrics", "history")},
             "steps": [{"contender": name, **figures(step["seconds"]), "limit": step["limit"]}
                       for name, step in steps.items()]}
    return found if steps else {**found, "error": (ran.stderr.strip().splitlines() or ["it printed nothing"])[-1][:200]}


def prices() -> dict[str, str]:
    return dict(line.split("=", 1) for line in PRICES.read_text().splitlines() if "=" in line and line[0] != "#")


def cost(request_rows: list[dict], start_rows: list[dict]) -> list[dict]:
    """Dollars per million predictions at the cheapest memory, were Lambda's processor this one.

    Below a whole processor time grows as memory shrinks, so several cost the same but for rounding: of those within 5 %
    of the cheapest it is the largest, which answers soonest.
    """
    dollars = {name: float(value) for name, value in prices().items() if name.isupper() and name != "DATE"}
    memory = {item["contender"]: item.get("large_memory_mb") or 0 for item in start_rows}
    rows = []
    for item in request_rows:
        base = {"contender": item["contender"], "group": item["group"], "photo": item["photo"]}
        if "median" not in item:
            rows.append({**base, "error": item["error"]})
            continue
        options = []
        for megabytes in (128, 256, 512, 1024, VCPU_MB):
            if megabytes >= 1.25 * memory.get(item["contender"], 0):  # room for Lambda's own processes
                billed = ceil(item["median"] * VCPU_MB / megabytes)
                seconds_gb = megabytes / 1024 * billed / 1e3
                options.append((megabytes, billed,
                                dollars["LAMBDA_REQUEST"] + seconds_gb * dollars["GB_SECOND_X86"]))
        lowest = min(price for *_, price in options)
        megabytes, billed, price = max(option for option in options if option[-1] <= 1.05 * lowest)
        rows.append({**base, "dollars": price, "with_api": price + dollars["API_REQUEST"], "memory_mb": megabytes,
                     "milliseconds": billed})
    return rows
