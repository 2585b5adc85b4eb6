"""Label photos with a model, in the terminal or as JSON lines.

    python scripts/predict.py --model artifacts/model.tflite shirt.jpg
    python scripts/predict.py --model artifacts/model.tflite --json photos/ https://example.org/shoe.jpg

Takes photos, folders (with all below them) and URLs. One photo gets a bar per label, several get a line each and a
count per label. What can't be read is named on stderr, the rest is still labelled, and the exit status is 1.
"""
import argparse
import contextlib
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from common import PHOTO_SUFFIXES, fail
from serving import Model, RequestError, fetch_all, preprocess

EIGHTHS = " ▏▎▍▌▋▊▉"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="+", help="a photo, a folder of photos, or a URL")
    parser.add_argument("--model", type=Path, required=True, help="model.tflite")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for programs")
    parser.add_argument("--top", type=int, default=5, help="bars for so many labels [%(default)s]")
    return parser.parse_args()


def expand(sources: list[str]) -> Iterator[tuple[str, str]]:
    """Each photo as (name, error): files and URLs as they are, folders as what they hold."""
    for source in sources:
        if is_url(source) or not Path(source).is_dir():
            yield source, ""
            continue
        inside = [str(path) for path in sorted(Path(source).rglob("*")) if path.suffix.lower() in PHOTO_SUFFIXES
                  and not any(part.startswith(".") for part in path.relative_to(source).parts)]
        yield from ((name, "") for name in inside)
        if not inside:
            yield source, f"the folder holds no photo ({', '.join(PHOTO_SUFFIXES)})"


def is_url(source: str) -> bool:
    return source.lower().startswith(("http://", "https://"))


def read(source: str) -> bytes:
    if is_url(source):
        [content] = fetch_all([source])
        if isinstance(content, Exception):
            raise content
        return content
    return Path(source).read_bytes()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the interpreter's greeting off stderr: C++ writes it, so the file descriptor itself is turned away."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def load(path: Path):
    if not path.is_file():
        fail(f"there is no model {path}; `make model.tflite` trains one, MODEL=file.tflite names another")
    try:
        with quiet():
            return Model(path, threads=os.cpu_count())
    except (OSError, ValueError, RuntimeError) as error:
        fail(f"can't load the model ({error}); `make model.tflite` trains one, MODEL=file.tflite names another")


def printable(text: str) -> str:
    """Names come from outside: control characters must not reach the terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def bars(ranked: list[tuple[str, float]], unicode: bool) -> str:
    """A line per label: its name, a bar on the scale 0..1, its probability; as wide as the terminal, at most 100."""
    names = [printable(label) for label, _ in ranked]
    room = min(shutil.get_terminal_size().columns, 100) - 12
    width = min(max(map(len, names)), max(8, room // 2))
    lines = []
    for name, (_, probability) in zip(names, ranked):
        eighths = round(probability * max(5, room - width) * 8)
        bar = "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip() if unicode else "#" * round(eighths / 8)
        lines.append(f"  {name[:width]:<{width}} {probability:7.1%} {bar}".rstrip())
    return "\n".join(lines)


class Progress:
    """How far a long run is, on stderr: in place in a terminal, else a line every few seconds."""

    def __init__(self, total: int):
        self.total, self.terminal, self.shown = total, sys.stderr.isatty(), time.monotonic()

    def show(self, done: int) -> None:
        if self.total == 1:
            return
        if self.terminal:
            print(f"\r\x1b[K{done} of {self.total}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self.shown > 2:
            print(f"{done} of {self.total}", file=sys.stderr, flush=True)
            self.shown = time.monotonic()

    def clear(self) -> None:
        if self.terminal and self.total > 1:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def run(args: argparse.Namespace) -> int:
    """Label and print everything; returns how many photos could not be read."""
    model = load(args.model)
    threshold = model.record.get("confidence_threshold", 0)
    photos = list(expand(args.image))
    progress, counts, errors = Progress(len(photos)), Counter(), 0
    sys.stdout.reconfigure(errors="replace")
    unicode, longest = "utf" in sys.stdout.encoding.lower(), max(map(len, model.labels))
    for done, (name, error) in enumerate(photos):
        progress.show(done)
        try:
            if error:
                raise ValueError(error)
            probabilities = model.predict(preprocess(read(name), model.size))
        except (ValueError, OSError, RequestError) as reason:  # ImageError is a ValueError
            progress.clear()
            errors += 1
            message = getattr(reason, "strerror", None) or str(reason)
            if args.json:
                print(json.dumps({"image": name, "error": message}), flush=True)
            print(f"{printable(name)}: {printable(message)}", file=sys.stderr, flush=True)
            continue
        ranked = sorted(zip(model.labels, probabilities.tolist()), key=lambda pair: -pair[1])
        label, best = ranked[0]
        counts[label] += 1
        progress.clear()
        doubt = "" if best >= threshold else "low confidence"
        if args.json:
            print(json.dumps({"image": name, "label": label, "confident": best >= threshold,
                              "probabilities": dict(ranked)}), flush=True)
        elif len(photos) == 1:
            note = f" ({doubt}: under {threshold:.0%})" if doubt else ""
            print(f"{printable(name)}: {printable(label)}{note}\n{bars(ranked[:max(1, args.top)], unicode)}")
        else:
            print(f"{printable(label):<{longest}} {best:7.1%}  {doubt:<14}  {printable(name)}", flush=True)
    if not args.json and len(photos) > 1:
        found = ", ".join(f"{count} {printable(label)}" for label, count in counts.most_common())
        print(f"{len(photos) - errors} of {len(photos)} photos labelled{': ' * bool(found)}{found}")
    return errors


def main() -> None:
    args = parse_args()
    try:
        sys.exit(1 if run(args) else 0)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
