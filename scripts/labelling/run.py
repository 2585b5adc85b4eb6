"""Run the model on photos, in this process or in one per core."""
import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common import fail
from labelling.photos import read
from serving import Model, RequestError, preprocess

TASK = 4  # photos per task; URLs of a task are fetched together
AHEAD = 4  # queued tasks per process, so that none is idle


class Result(NamedTuple):
    """The answer of the model for a photo, see `Model.predict`, or the error, which is otherwise empty."""
    image: str
    probabilities: np.ndarray | None = None
    familiarity: float | None = None
    error: str = ""


def load_model(path: Path, threads: int) -> Model:
    """Load the model; if that fails, end the script with a message."""
    if not path.is_file():
        fail(f"there is no model {path}; `make model.tflite` trains one, MODEL=file.tflite names another")
    try:
        with quiet():
            return Model(path, threads)
    except (OSError, ValueError, RuntimeError) as error:
        fail(f"can't load the model ({error}); `make model.tflite` trains one, MODEL=file.tflite names another")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Discard the interpreter's messages. C++ code writes them, so file descriptor 2 itself is redirected."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def label(model: Model, photos: list[tuple[str, str]]) -> list[Result]:
    """The result of each photo. photos: (name, error) by `expand`; one with an error is not read."""
    contents = iter(read([name for name, error in photos if not error]))
    return [Result(name, error=error) if error else _result(model, name, next(contents)) for name, error in photos]


def _result(model: Model, name: str, content: bytes | Exception) -> Result:
    try:
        if isinstance(content, Exception):
            raise content
        return Result(name, *model.predict(preprocess(content, model.size)))
    except (ValueError, OSError, RequestError) as reason:  # ImageError is a ValueError
        return Result(name, error=getattr(reason, "strerror", None) or str(reason))


def label_on_all_cores(path: Path, photos: Iterable[tuple[str, str]], processes: int) -> Iterator[Result]:
    """Yield the results in the order of the photos. Only a few tasks are in memory at a time."""
    photos, tasks = iter(photos), deque()
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _start_worker, (path,)) as pool:
        try:
            while (task := list(islice(photos, TASK))) or tasks:
                if task:
                    tasks.append(pool.submit(_work, task))
                if not task or len(tasks) == AHEAD * processes:
                    yield from tasks.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker(path: Path) -> None:
    global _model
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends the workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _model = load_model(path, threads=1)


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()  # a parent that is killed can't stop its workers
    os._exit(1)


def _work(task: list[tuple[str, str]]) -> list[Result]:
    return label(_model, task)
