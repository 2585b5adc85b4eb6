"""Photos to probabilities, here or in a process per core."""
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

TASK = 4  # photos given to a process at a time; those with URLs are fetched together
AHEAD = 4  # tasks per process that wait, so that none is idle


class Result(NamedTuple):
    """What became of a photo. probabilities: float32 [labels], or None with the error."""
    image: str
    probabilities: np.ndarray | None
    error: str


def load_model(path: Path, threads: int) -> Model:
    """The model, or the end of the script with a message."""
    if not path.is_file():
        fail(f"there is no model {path}; `make model.tflite` trains one, MODEL=file.tflite names another")
    try:
        with quiet():
            return Model(path, threads)
    except (OSError, ValueError, RuntimeError) as error:
        fail(f"can't load the model ({error}); `make model.tflite` trains one, MODEL=file.tflite names another")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Discard what the interpreter logs when it loads; C++ writes it, so file descriptor 2 itself is redirected."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def label(model: Model, photos: list[tuple[str, str]]) -> list[Result]:
    """The result of each photo, (name, error) by `expand`; one that has an error already keeps it."""
    contents = iter(read([name for name, error in photos if not error]))
    results = []
    for name, error in photos:
        probabilities = None
        if not error:
            try:
                content = next(contents)
                if isinstance(content, Exception):
                    raise content
                probabilities = model.predict(preprocess(content, model.size))
            except (ValueError, OSError, RequestError) as reason:  # ImageError is a ValueError
                error = getattr(reason, "strerror", None) or str(reason)
        results.append(Result(name, probabilities, error))
    return results


def label_on_all_cores(path: Path, photos: Iterable[tuple[str, str]], processes: int) -> Iterator[Result]:
    """The results in the order of the photos, by a process per core; holds a few tasks in memory, never all photos."""
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
    multiprocessing.parent_process().join()  # a parent that is killed can't tell its workers
    os._exit(1)


def _work(task: list[tuple[str, str]]) -> list[Result]:
    return label(_model, task)
