"""What `make bench` compares. Each contender runs in a process of its own, in the environment that has its engine."""
import json
import os
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from bench.engines import ENGINES
from common import ROOT

CONVERTED = ROOT / "artifacts" / "bench" / "networks"  # written by networks.py
NETWORKS = {"large": ROOT / "artifacts" / "release" / "model.tflite",
            "small": ROOT / "artifacts" / "release" / "model-small.tflite",
            "reference": CONVERTED / "reference.tflite"}


class Contender(NamedTuple):
    """function: "handler" or "plain", see worker.py; network: a key of NETWORKS; engine: a key of ENGINES."""
    function: str
    network: str
    engine: str

    def model(self) -> Path:
        converted = ENGINES[self.engine].suffix == ".onnx"
        return CONVERTED / f"{self.network}.onnx" if converted else NETWORKS[self.network]

    def environment(self) -> Path:
        return ROOT / ".venv" / ENGINES[self.engine].environment

    def turn(self, photos: dict[str, Path]) -> dict[str, float]:
        """The figures of one process, see worker.py; "start" is the time from its start to its first answer."""
        if not self.environment().exists():
            raise RuntimeError(f"{self.environment().name} is not installed: it has no wheel for this Python")
        spec = {**self._asdict(), "model": str(self.model()), "photos": {key: str(photos[key]) for key in photos}}
        command = [self.environment() / "bin" / "python", Path(__file__).with_name("worker.py"), json.dumps(spec)]
        started = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env={**os.environ, "PYTHONPATH": str(ROOT / "lambda")}) as process:
            first = process.stdout.readline()
            start = (time.perf_counter() - started) * 1e3
            second, errors = process.communicate()
        if process.returncode:
            messages = [line.strip() for line in errors.splitlines() if line.strip()]
            raise RuntimeError(messages[-1][:200] if messages else f"exit status {process.returncode}")
        return {"start": start, **json.loads(first), **json.loads(second)}

    def facts(self) -> dict:
        """The size of the model file in megabytes, and the engine's version."""
        folders = [str(folder) for folder in self.environment().glob("lib/python*/site-packages")]
        package = ENGINES[self.engine].package
        [found] = metadata.distributions(name=package, path=folders)
        return {"model_size": self.model().stat().st_size / 1e6, "version": f"{package} {found.version}"}


CONTENDERS = [Contender("handler", "large", "litert"), Contender("handler", "small", "litert")]
CONTENDERS += [Contender("plain", network, engine) for network in NETWORKS for engine in ENGINES]
