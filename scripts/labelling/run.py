"""Run the model on photos, in this process or in one per core."""
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path

from common import fail
from labelling.photos import read
from serving import Model, RequestError, preprocess

BLOCK = 1000  # photos per process that are in memory at a time
TASK = 8  # photos that a process gets at once; single ones would keep the small model waiting


def load_model(path: Path, threads: int) -> Model:
    """Load the model; if that fails, end the script with a message. The interpreter's own messages are discarded."""
    stderr = os.dup(2)
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 2)  # C++ code writes them, past sys.stderr
    try:
        return Model(path, threads)
    except (OSError, ValueError, RuntimeError) as error:
        fail(f"can't load the model ({error}); `make model.tflite` trains one, MODEL=file.tflite names another")
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def label(model: Model, photo: str) -> dict:
    """The answer for a photo: image, model, confident, familiarity, familiar and scores, or image, model and error.

    These are as in lambda/batch.py, but not rounded, and the scores (label to probability) are in the model's order.
    """
    answer = {"image": photo, "model": model.digest}
    try:
        probabilities, familiarity = model.predict(preprocess(read(photo), model.size))
    except (ValueError, OSError, RequestError) as reason:  # ImageError is a ValueError
        return answer | {"error": getattr(reason, "strerror", None) or str(reason)}
    return answer | {
        "confident": model.is_confident(probabilities.max(), familiarity),
        "familiarity": familiarity,
        "familiar": model.is_familiar(familiarity),
        "scores": dict(zip(model.labels, probabilities.tolist())),
    }


def label_on_all_cores(path: Path, photos: Iterable[str], processes: int) -> Iterator[dict]:
    """Yield the answers in the order of the photos."""
    photos = iter(photos)
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _start_worker, (path,))
    try:
        while block := list(islice(photos, BLOCK * processes)):
            yield from pool.map(_label, block, chunksize=TASK)
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


def _label(photo: str) -> dict:
    return label(_model, photo)
