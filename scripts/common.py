"""What several scripts use: errors for the user, files written whole or not at all, bars."""
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp")


def fail(message: str) -> None:
    """End the script with a message on stderr and exit status 1."""
    sys.exit(f"{Path(sys.argv[0]).name}: error: {message}")


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`. Move it onto `path` if the block succeeds, otherwise delete it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")  # Keras chooses the format by the suffix
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def bars(ranked: list[tuple[str, float]]) -> str:
    """A line per label with its probability and a bar of up to 40 characters."""
    block = "█" if "utf" in (sys.stdout.encoding or "").lower() else "#"
    width = max(len(name) for name, _ in ranked)
    return "\n".join(f"  {printable(name):<{width}} {share:7.1%} {block * round(40 * share)}".rstrip()
                     for name, share in ranked)


def printable(text: str) -> str:
    """The text without control characters, which must not reach the terminal: names come from outside."""
    return "".join(character if character.isprintable() else "?" for character in text)
