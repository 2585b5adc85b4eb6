"""Send photos to a running function: the local container, `make serve`, or the deployed API.

    python scripts/test_lambda.py shirt.jpg                                  the container of `make docker-run`
    python scripts/test_lambda.py --url https://abc.execute-api.eu-west-1.amazonaws.com photos/test

A photo or URL gets bars; a folder or an index gets accuracy and latency. Needs only the standard library.
"""
import argparse
import base64
import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from common import PHOTO_SUFFIXES, bars, fail
from training.index import read_index


def expand(source: str) -> list[tuple[str, str | None]]:
    """(photo, label) for each photo in a folder and each test photo of an index.csv; a photo or URL has no label."""
    if source.endswith(".csv"):
        return [(str(photo.path), photo.label) for photo in read_index(Path(source)) if photo.split == "test"]
    if Path(source).is_dir():
        return [(str(path), path.parent.name) for path in sorted(Path(source).rglob("*"))
                if path.suffix.lower() in PHOTO_SUFFIXES]
    return [(source, None)]


def predict(args: argparse.Namespace, photo: str) -> dict[str, float]:
    """The probability of each label for a file or a URL. Ends the script with an error if there is none."""
    is_url = photo.startswith(("http://", "https://"))
    body = {"url": photo} if is_url else {"image": base64.b64encode(Path(photo).read_bytes()).decode()}
    headers = {"Content-Type": "application/json", **({"x-api-key": args.api_key} if args.api_key else {})}
    url = args.url.rstrip("/")
    if not url.endswith(("/predict", "/invocations")):  # Lambda's emulator has the latter, and takes bare events
        url += "/predict"
    try:
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=args.timeout) as response:
            text = response.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
    except (OSError, ValueError, http.client.HTTPException) as error:
        fail(f"{url} can't be reached ({getattr(error, 'reason', error)}). "
             "Is it running? `make docker-run` and `make serve` start it on this computer.")
    try:
        answer = dict(json.loads(text))
    except (ValueError, TypeError):
        answer = {}
    if not answer or not all(isinstance(score, float) and 0 <= score <= 1 for score in answer.values()):
        fail(f"{photo} got no labels but: {text[:500]!r}")
    return answer


def predict_all(args: argparse.Namespace, photos: list[tuple[str, str | None]]) -> None:
    """Print the labels of photos, or the accuracy of those that have one already."""
    right, times = [], []
    for photo, label in photos:
        start = time.perf_counter()
        answer = predict(args, photo)
        times.append(1000 * (time.perf_counter() - start))
        if not label:
            print(f"{photo}, answered in {times[-1]:.0f} ms\n{bars(list(answer.items()))}")
        elif label not in answer:
            fail(f"{photo} is labelled {label}, but the function knows {', '.join(sorted(answer))}")
        else:
            right.append(label == max(answer, key=answer.get))
        if len(times) % 20 == 0:
            print(f"{len(times)} of {len(photos)} photos", file=sys.stderr)
    if right:
        p50, p90, p99 = (sorted(times)[round(share * (len(times) - 1))] for share in (0.5, 0.9, 0.99))
        print(f"accuracy {sum(right) / len(right):.4f} ({sum(right)} of {len(right)} right)")
        print(f"latency  p50 {p50:.1f} ms, p90 {p90:.1f} ms, p99 {p99:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", nargs="+", help="a photo, a URL, a folder <label>/*.jpg, or an index.csv")
    parser.add_argument("--url", default="http://127.0.0.1:8080/2015-03-31/functions/function/invocations",
                        help="address of the emulator or of the API [%(default)s]")
    parser.add_argument("--api-key", default=os.environ.get("API_KEY"), help="sent as x-api-key [$API_KEY]")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds to wait for one answer [%(default)s]")
    args = parser.parse_args()
    os.environ.setdefault("no_proxy", os.environ.get("NO_PROXY", "localhost,127.0.0.1"))
    try:
        photos = [photo for source in args.photo for photo in expand(source)]
        if not photos:
            fail(f"{', '.join(args.photo)} holds no photo ({', '.join(PHOTO_SUFFIXES)})")
        predict_all(args, photos)
    except OSError as error:
        fail(f"can't read {error.filename}: {error.strerror}")


if __name__ == "__main__":
    main()
