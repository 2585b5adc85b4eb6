"""Cold starts inside the container, as AWS's emulator reports them, and the sizes of the image's layers."""
import base64
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from bench_turns import figures

NAME = "bench-clothes-classifier"
HELD = ("--read-only", "--tmpfs", "/tmp", "--user", "1000:1000", "--cap-drop", "ALL", "--cpus", "1",
        "--memory", "1769m", "--env", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=1769")  # as scripts/docker.sh does


def docker(*arguments: str, stderr: int = subprocess.PIPE) -> str:
    """What docker prints on stdout; RuntimeError with its error where it fails."""
    ran = subprocess.run(["docker", *arguments], stdout=subprocess.PIPE, stderr=stderr, text=True)
    if ran.returncode:
        said = (ran.stderr or ran.stdout).strip().splitlines()
        raise RuntimeError([line for line in said if line and "--help" not in line][-1])
    return ran.stdout.strip()


def container(iid: Path, photo: Path, rounds: int) -> dict:
    """Medians over `rounds` containers, or {"error": why there is none}."""
    try:
        if not shutil.which("docker"):
            raise RuntimeError("there is no docker command")
        docker("version", "--format", "{{.Server.Version}}")
        if not iid.exists():
            raise RuntimeError(f"there is no {iid.name}; `make artifacts/image.iid` builds the image")
        starts = [start(iid.read_text(), photo) for _ in range(rounds)]
        layers = docker("history", "--no-trunc", "--human=false", "--format", "{{.Size}}", iid.read_text())
    except (RuntimeError, OSError) as error:
        return {"error": str(error)}
    return {name: figures([found[name] for found in starts]) for name in starts[0]} | {
        "layers_mb": [int(size) / 1e6 for size in layers.splitlines() if int(size)]}


def start(image: str, photo: Path) -> dict[str, float]:
    """Milliseconds that the emulator reports for the initialisation and the first request, and those of all."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    event = json.dumps({"image": base64.b64encode(photo.read_bytes()).decode()}).encode()
    url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
    begun = time.perf_counter()
    docker("run", "--detach", "--name", NAME, "--publish", f"127.0.0.1:{port}:8080", *HELD, image)
    try:
        for _ in range(100):
            try:
                answer = json.load(urllib.request.urlopen(url, event, timeout=60))
                break
            except OSError:  # nothing listens yet
                time.sleep(0.05)
        else:
            raise RuntimeError("the container does not answer")
        elapsed = (time.perf_counter() - begun) * 1e3
        if "error" in answer:
            raise RuntimeError(answer["error"])
        log = docker("logs", NAME, stderr=subprocess.STDOUT)  # the emulator reports there
    finally:
        docker("rm", "--force", NAME)
    init = re.search(r"INIT REPORT.durationMs: ([0-9.]+)", log)
    first = re.search(r"REPORT RequestId.*?\tDuration: ([0-9.]+)", log)
    return {"run_ms": elapsed, "init_ms": float(init[1]), "first_ms": float(first[1])}
