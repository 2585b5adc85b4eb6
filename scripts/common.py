"""What several scripts use: errors for the user, files written whole or not at all, bars, the CPU's name."""
import contextlib
import os
import platform
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


def cpu_name() -> str:
    with contextlib.suppress(OSError):  # not Linux
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def bar(share: float, width: int) -> str:
    """A bar for a share from 0 to 1, `width` characters long at 1; of # signs where the terminal's encoding isn't UTF."""
    if "utf" not in (sys.stdout.encoding or "").lower():
        return "#" * round(share * width)
    eighths = round(share * width * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def printable(text: str) -> str:
    """The text without control characters, which must not reach the terminal: names come from outside."""
    return "".join(character if character.isprintable() else "?" for character in text)
