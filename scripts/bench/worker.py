"""One contender of `make bench` in a process of its own, so that its start, its imports and its memory are its own.

    python scripts/bench_worker.py '{"engine": "litert", "model": "model.tflite", "threads": 1, "photo": "photo.jpg"}'

answers about the photo, prints a line of JSON about its start, and another for each line of JSON on standard input,
which names one of the COMMANDS. It runs in any environment that holds the engine, NumPy and Pillow.
"""
import base64
import json
import os
import resource
import sys
import time
from pathlib import Path

from bench_engines import FUNCTIONS


def milliseconds(function, *arguments) -> float:
    started = time.perf_counter()
    function(*arguments)
    return (time.perf_counter() - started) * 1e3


def memory(key: str) -> float:
    """Megabytes of this process: VmRSS now, VmHWM at most so far, as Linux counts; elsewhere always the latter."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024 / 1e6


def installed(names: list[str]) -> dict:
    """Megabytes of installed packages, with all that they depend on and that is installed."""
    from importlib.metadata import PackageNotFoundError, distribution

    from pip._vendor.packaging.requirements import Requirement
    found, wanted = {}, list(names)
    while wanted:
        try:
            package = distribution(wanted.pop())
        except PackageNotFoundError:  # not needed to run it, so left out
            continue
        if package.name not in found:
            found[package.name] = sum(file.locate().stat().st_size for file in package.files or ()
                                      if file.locate().is_file() and "__pycache__" not in file.parts)
            needs = map(Requirement, package.requires or ())
            wanted += [need.name for need in needs if not need.marker or need.marker.evaluate({"extra": ""})]
    return {"megabytes": sum(found.values()) / 1e6, "packages": sorted(found)}


def main() -> None:
    spec = json.loads(sys.argv[1])
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what engines and handlers print goes to stderr
    if spec.get("cpu") and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    photo = Path(spec["photo"]).read_bytes()
    started = time.perf_counter()
    function = FUNCTIONS[spec.get("function", "plain")](spec)
    loaded = time.perf_counter()
    answer = json.loads(function.request(function.event(photo)))

    def network(runs: int) -> list[float]:
        pixels = function.prepare(photo)
        function.predict(pixels)  # what others did meanwhile has cooled the caches down
        return [milliseconds(function.predict, pixels) for _ in range(runs)]

    def busy(seconds: float) -> float:
        """Photos per second."""
        pixels, count, begun = function.prepare(photo), 0, time.perf_counter()
        while time.perf_counter() < begun + seconds:
            function.predict(pixels)
            count += 1
        return count / (time.perf_counter() - begun)

    def ask(path: str, runs: int) -> list[float]:
        event = function.event(Path(path).read_bytes())
        function.request(event)
        return [milliseconds(function.request, event) for _ in range(runs)]

    def decode(path: str, runs: int) -> list[float]:
        content = Path(path).read_bytes()
        return [milliseconds(function.prepare, content) for _ in range(runs)]

    def ask_list(path: str, length: int) -> float:
        import lambda_function
        event = {"images": [base64.b64encode(Path(path).read_bytes()).decode()] * length}
        lambda_function.lambda_handler(event)
        return milliseconds(lambda_function.lambda_handler, event)

    def many(count: int) -> float:
        """Megabytes held after so many requests more."""
        event = function.event(photo)
        for _ in range(count):
            function.request(event)
        return memory("VmRSS")

    commands = {"network": network, "busy": busy, "ask": ask, "decode": decode, "ask_list": ask_list, "many": many,
                "peak_mb": lambda: memory("VmHWM"), "installed": installed}
    reply = {"version": function.version, "load_ms": (loaded - started) * 1e3, "answer": list(answer.values())}
    while True:
        print(json.dumps(reply), file=replies, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        command = json.loads(line)
        reply = commands[command.pop("do")](**command)


if __name__ == "__main__":
    main()
