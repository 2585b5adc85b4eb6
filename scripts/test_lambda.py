"""Ask a running function about photos: the local container, `make serve`, or what is deployed.

    python scripts/test_lambda.py shirt.jpg                                  the container of `make docker-run`
    python scripts/test_lambda.py --url https://abc.execute-api.eu-west-1.amazonaws.com/prod photos/test

Takes photos, URLs, folders of labelled photos (<label>/*.jpg) and an index.csv (its test photos). A photo gets a table
with bars; folders get the accuracy per label and the latency's quantiles, as seen from here. Without any photo it only
asks whether the function is well. The exit status is not 0 where the function can't be reached, answers in another
shape, refuses a photo, or is right less often than --min-accuracy. Needs the standard library only.
"""
import argparse
import base64
import csv
import json
import math
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from pathlib import Path

CONTAINER = "http://127.0.0.1:8080/2015-03-31/functions/function/invocations"
SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp")
BAR = 40  # characters for 100 %


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", nargs="*", help="a photo, a URL, a folder <label>/*.jpg, or an index.csv")
    parser.add_argument("--url", default=CONTAINER, help="the emulator's invoke address, or the API's [%(default)s]")
    parser.add_argument("--api-key", default=os.environ.get("API_KEY"), help="sent as x-api-key [$API_KEY]")
    parser.add_argument("--min-accuracy", type=float, default=0.0, help="fail if fewer are right, such as 0.9")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds for one answer [%(default)s]")
    return parser.parse_args()


def fail(message: str) -> None:
    sys.exit(f"test_lambda.py: error: {message}")


class Function:
    """The function behind an address; `invoke` talks to Lambda's emulator, `request` to an API."""

    def __init__(self, url: str, api_key: str | None, timeout: float):
        self.url, self.timeout = url.rstrip("/").removesuffix("/predict"), timeout
        self.emulator = self.url.endswith("/invocations")
        self.headers = {"Content-Type": "application/json", **({"x-api-key": api_key} if api_key else {})}
        local = urllib.parse.urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
        self._opener = urllib.request.build_opener(*[urllib.request.ProxyHandler({})] if local else [])

    def health(self) -> dict:
        if not self.emulator:
            return self._send("/health", None)
        answer = self._send("", {"httpMethod": "GET", "path": "/health"})
        if answer.get("statusCode") != 200:
            fail(f"the function is not well: {json.dumps(answer)[:500]}")
        return json.loads(answer["body"])

    def predict(self, question: dict) -> dict[str, float] | str:
        """The scores by label for {"url": …} or {"image": …}, or the words by which the function refused it."""
        answer = self._send("" if self.emulator else "/predict", question)
        if list(answer) == ["error"] and isinstance(answer["error"], str):
            return answer["error"]
        if not answer or not all(type(score) in (int, float) and 0 <= score <= 1 for score in answer.values()):
            fail(f"the answer is not {{label: score, …}}: {json.dumps(answer)[:500]}")
        return answer

    def _send(self, path: str, data: dict | None) -> dict:
        body = None if data is None else json.dumps(data).encode()
        try:
            request = urllib.request.Request(self.url + path, body, self.headers)
            with self._opener.open(request, timeout=self.timeout) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            text = error.read()
        except (OSError, ValueError) as error:
            fail(f"{self.url} can't be reached ({getattr(error, 'reason', error)})"
                 + ("; start it with `make docker-run`" if self.emulator else ""))
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            fail(f"{self.url} does not answer with a JSON object but: {text[:200].decode(errors='replace')}")
        return answer


def read_index(path: Path) -> list[tuple[str, str]]:
    with open(path, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    return [(str(path.parent / row["path"]), row["label"]) for row in rows]


def labelled_photos(source: str) -> list[tuple[str, str]]:
    """(photo, label) of all photos below a folder, or of the test photos of an index.csv."""
    if source.endswith(".csv"):
        photos = read_index(Path(source))
    else:
        photos = [(str(path), path.parent.name) for path in sorted(Path(source).rglob("*"))
                  if path.suffix.lower() in SUFFIXES]
    return photos or fail(f"{source} holds no photo ({', '.join(SUFFIXES)})")


def question(photo: str) -> dict:
    if photo.lower().startswith(("http://", "https://")):
        return {"url": photo}
    try:
        return {"image": base64.b64encode(Path(photo).read_bytes()).decode()}
    except OSError as error:
        fail(f"can't read {photo}: {error.strerror}")


def bars(rows: list[tuple[str, float, str]]) -> str:
    """A line per (name, share, note): the name, the share in percent, a bar."""
    width = max(len(name) for name, _, _ in rows)
    return "\n".join(f"  {name:{width}} {share:8.2%} {note}{'█' * round(share * BAR)}" for name, share, note in rows)


def ask_one(function: Function, photo: str) -> bool:
    start = time.perf_counter()
    answer = function.predict(question(photo))
    print(f"{photo}, answered in {1000 * (time.perf_counter() - start):.0f} ms")
    print(f"  refused: {answer}" if isinstance(answer, str) else bars([(*item, "") for item in answer.items()]))
    return not isinstance(answer, str)


def ask_all(function: Function, photos: list[tuple[str, str]], min_accuracy: float) -> bool:
    right, total, times, refused = Counter(), Counter(), [], 0
    step = 1 if sys.stderr.isatty() else max(1, len(photos) // 10)
    for number, (photo, label) in enumerate(photos, 1):
        body = question(photo)
        start = time.perf_counter()
        answer = function.predict(body)
        times.append(1000 * (time.perf_counter() - start))
        total[label] += 1
        if isinstance(answer, str):
            refused += 1
            print(f"{photo} was refused: {answer}", file=sys.stderr)
        elif label not in answer:
            fail(f"{photo} is labelled {label}, but the function knows {', '.join(sorted(answer))}")
        else:
            right[label] += max(answer, key=answer.get) == label
        if number % step == 0:
            print(f"\r{number} of {len(photos)} photos", end="" if step == 1 else "\n", file=sys.stderr)
    accuracy = right.total() / len(photos)
    rows = [(label, right[label] / total[label], f"{right[label]:4} of {total[label]:<4} ") for label in sorted(total)]
    p50, p90, p99 = (sorted(times)[math.ceil(share * len(times)) - 1] for share in (0.5, 0.9, 0.99))
    print("\n" + bars(rows))
    print(f"accuracy {accuracy:.4f} ({right.total()} of {len(photos)} right, {refused} refused)")
    print(f"latency  p50 {p50:.1f} ms, p90 {p90:.1f} ms, p99 {p99:.1f} ms")
    if accuracy < min_accuracy:
        print(f"test_lambda.py: error: the accuracy is under {min_accuracy}", file=sys.stderr)
    return not refused and accuracy >= min_accuracy


def main() -> None:
    args = parse_args()
    function = Function(args.url, args.api_key, args.timeout)
    good = True
    labelled = []
    for photo in args.photo:
        if Path(photo).is_dir() or photo.endswith(".csv"):
            labelled += labelled_photos(photo)
        else:
            good &= ask_one(function, photo)
    if labelled:
        good &= ask_all(function, labelled, args.min_accuracy)
    if not args.photo:
        print(json.dumps(function.health(), indent=2))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
