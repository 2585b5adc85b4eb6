"""Contenders of `make bench` as processes that take turns, and the figures that come of it."""
import json
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

from common import ROOT

WORKER = Path(__file__).with_name("bench_worker.py")
PAUSE = 0.05  # seconds between turns: idle threads of the contender before stop spinning
TURN = 0.15  # seconds that a turn takes at least
ENVIRONMENTS = {"litert": "ai-edge-litert", "tflite-runtime": "tflite-runtime"}  # the other engines': bench


class Contender(NamedTuple):
    """What is measured. function: what is around the engine, see bench_engines.py; group: those it is compared with."""
    name: str
    group: str
    engine: str
    model: Path
    function: str = "plain"


class Worker:
    """A contender's process. Once it has failed, `error` says why and nothing more is asked."""

    def __init__(self, contender: Contender, threads: int, photo: Path, errors: dict, cpu: bool = False):
        self.error, self.threads, self.stderr = None, threads, tempfile.TemporaryFile("w+")
        environment = f".venv/{ENVIRONMENTS.get(contender.engine, 'bench')}"
        python = ROOT / environment / "bin" / "python"
        if not contender.model.exists():
            self.error = errors.get(str(contender.model), f"there is no {contender.model.name}")
        elif not python.exists():
            self.error = f"{environment} is absent: {contender.engine} has no wheel for this Python"
        if self.error:
            return
        spec = {"engine": contender.engine, "function": contender.function, "model": str(contender.model),
                "threads": threads, "photo": str(photo), "cpu": cpu}
        started = time.perf_counter()
        self.process = subprocess.Popen([python, WORKER, json.dumps(spec)], stdin=subprocess.PIPE, text=True,
                                        stdout=subprocess.PIPE, stderr=self.stderr)
        self.start = self.read()
        self.started_ms = (time.perf_counter() - started) * 1e3

    def send(self, do: str, **arguments) -> None:
        if not self.error:
            print(json.dumps({"do": do, **arguments}), file=self.process.stdin, flush=True)

    def read(self):
        """The reply; None from a worker that has failed."""
        if self.error:
            return None
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        self.stderr.seek(0)
        lines = self.stderr.read().split("\n")
        said = next((line.strip() for line in reversed(lines) if line.strip()), "")
        self.error = said[:200] or f"ended with status {self.process.wait()}"

    def ask(self, do: str, **arguments):
        self.send(do, **arguments)
        return self.read()

    def close(self) -> None:
        if hasattr(self, "process"):
            self.process.stdin.close()
            self.process.wait()
            self.process.stdout.close()
        self.stderr.close()


def figures(samples: list[float]) -> dict:
    """Median and quartiles."""
    low, _, high = quantiles(samples, n=4, method="inclusive") if len(samples) > 1 else samples * 3
    return {"median": median(samples), "q1": low, "q3": high, "rounds": len(samples)}


def row(contender: Contender, worker: Worker, samples: list[float], **more) -> dict:
    base = {"contender": contender.name, "group": contender.group, **more}
    if worker.error or not samples:
        return {**base, "error": worker.error or "nothing was measured"}
    return {**base, **figures(samples)}


def add_ratios(rows: list[dict]) -> list[dict]:
    """To each row its median over that of the first row of the same group, threads, photo and so on."""
    first = {}
    for item in rows:
        key = tuple(item.get(name) for name in ("group", "threads", "photo"))
        first.setdefault(key, item.get("median"))
        if first[key] and "median" in item:
            item["ratio"] = item["median"] / first[key]
    return rows


def take_turns(workers: list[Worker], rounds: int, bar, **command) -> list[list[float]]:
    """For each worker the median of each of its turns; a turn is as many runs as fit into TURN, at least three."""
    samples, runs = [[] for _ in workers], [3] * len(workers)
    for _ in range(rounds):
        for number, worker in enumerate(workers):
            time.sleep(PAUSE)
            times = worker.ask(runs=runs[number], **command)
            if times:
                samples[number].append(median(times))
                runs[number] = max(3, min(50, int(TURN * 1e3 / median(times))))
            bar.update()
    return samples
