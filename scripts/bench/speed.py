"""How long a request takes beside its floor, in one run; not a test, as times depend on the machine.

    .venv/ai-edge-litert/bin/python tests/speed.py --model artifacts/release/model.tflite [--photo photo.jpg …]

Prints for 400 x 533 and 12-megapixel JPEGs the medians, over interleaved rounds on one core, of Pillow's plain decoding
with a bicubic resize to 260 x 260, of our preprocessing, and of what the handler adds to decoding and the model (for
the large photo mostly the base64 of the event).
"""
import argparse
import base64
import contextlib
import io
import json
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lambda"))


def plain(content: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(content)).convert("RGB")
    return np.asarray(image.resize((260, 260), Image.Resampling.BICUBIC))


def jpeg(image: Image.Image, size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    image.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def milliseconds(function, *arguments) -> float:
    started = time.perf_counter()
    function(*arguments)
    return (time.perf_counter() - started) * 1e3


def overhead(handler, event: dict) -> float:
    """Milliseconds of a request outside decoding and the model, by its own log line."""
    line = io.StringIO()
    with contextlib.redirect_stdout(line):
        elapsed = milliseconds(handler, event)
    record = json.loads(line.getvalue())
    return elapsed - record["decode_ms"] - record["model_ms"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--photo", type=Path, nargs="+", help="photos to scale to both sizes (default: noise)")
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    os.environ["MODEL_PATH"] = arguments.model
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    import lambda_function
    from serving import preprocess

    noise = Image.effect_noise((50, 66), 80).convert("RGB").resize((400, 533), Image.Resampling.BICUBIC)
    photos = [Image.open(path) for path in arguments.photo or ()] or [noise]
    for name, size in (("400 x 533", (400, 533)), ("12 megapixels", (3000, 4000))):
        contents = [jpeg(photo, size) for photo in photos]
        floor, ours, rest = [], [], []
        for _ in range(arguments.rounds):
            for content in contents:
                floor.append(milliseconds(plain, content))
                ours.append(milliseconds(preprocess, content, lambda_function.MODEL.size))
                event = {"httpMethod": "POST", "path": "/predict", "headers": {"content-type": "image/jpeg"},
                         "body": base64.b64encode(content).decode(), "isBase64Encoded": True}
                rest.append(overhead(lambda_function.lambda_handler, event))
        floor, ours, rest = map(statistics.median, (floor, ours, rest))
        print(f"{name}: plain {floor:.2f} ms, ours {ours:.2f} ms ({ours / floor:.2f}x), the handler adds {rest:.2f} ms")


if __name__ == "__main__":
    main()
