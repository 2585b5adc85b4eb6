"""Find and read the photos that the user names: files, folders, globs and URLs, and lists of these."""
import glob
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from common import PHOTO_SUFFIXES
from serving import RequestError, fetch_all

MAX_BYTES = 100_000_000  # of a file on this computer; no camera's JPEG is larger


def read_lists(sources: list[str]) -> Iterator[str]:
    """Yield the sources; a text file (.txt, or - for standard input) that can be read is replaced by its lines."""
    for source in sources:
        if source == "-" or source.endswith(".txt") and os.path.isfile(source) and os.access(source, os.R_OK):
            with open(0 if source == "-" else source, encoding="utf-8-sig", errors="surrogateescape") as lines:
                yield from filter(None, (line.rstrip("\r\n") for line in lines))
        else:
            yield source


def expand(source: str) -> Iterator[str]:
    """Yield each photo of a source, in no particular order; the source itself if it is a URL or has none."""
    paths = [source] if os.path.lexists(source) else glob.iglob(source, recursive=True)
    photos = (photo for path in paths for photo in _walk(path))
    yield next(photos, source)
    yield from photos


def _walk(path: str) -> Iterator[str]:
    """Yield a file, or the photos in a folder and its subfolders. A folder that can't be read is yielded itself.

    Hidden names and special files in folders are left out.
    """
    if not os.path.isdir(path):
        yield path
        return
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    yield from _walk(entry.path)
                elif entry.name.lower().endswith(PHOTO_SUFFIXES) and os.path.isfile(entry.path):
                    yield entry.path
    except OSError:
        yield path


def read(photo: str) -> bytes:
    """The content of a file or URL. Raises OSError, RequestError, or ValueError for an impossible name."""
    if photo.lower().startswith(("http://", "https://")):
        [content] = fetch_all([photo])
        if isinstance(content, RequestError):
            raise content
        return content
    found = os.stat(photo)
    if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_BYTES:  # a pipe or a device may never end
        raise OSError(0, f"neither a file of at most {MAX_BYTES // 1_000_000} MB nor a readable folder with photos")
    return Path(photo).read_bytes()
