"""What several scripts use: errors for the user, files written whole or not at all, bars."""
import contextlib
import os
import shutil
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
    """Yield a temporary path beside `path`. Move it onto `path` if the block succeeds, otherwise delete it.

    The temporary name keeps the suffix, because Keras chooses the file format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def bars(ranked: list[tuple[str, float]]) -> str:
    """A line per label with its probability and a bar, as wide as the terminal, but at most 100 characters."""
    block = "█" if "utf" in (sys.stdout.encoding or "").lower() else "#"
    names = [printable(name) for name, _ in ranked]
    room = min(shutil.get_terminal_size().columns, 100) - 12
    width = min(max(map(len, names)), max(8, room // 2))
    return "\n".join(f"  {name[:width]:<{width}} {share:7.1%} {block * round(share * max(5, room - width))}".rstrip()
                     for name, (_, share) in zip(names, ranked))


def printable(text: str) -> str:
    """The text without control characters, which must not reach the terminal: names come from outside."""
    return "".join(character if character.isprintable() else "?" for character in text)
