"""Find and read the photos that the user names: files, folders, globs and URLs, and lists of these."""
import glob
import os
import stat
from collections.abc import Iterator

from common import PHOTO_SUFFIXES, fail
from serving import fetch_all

MAX_BYTES = 100_000_000  # of a file on this computer; no camera's JPEG is larger


def read_lists(sources: list[str]) -> Iterator[str]:
    """Yield the sources; a text file (.txt, or - for standard input) is replaced by its lines."""
    for source in sources:
        if is_url(source) or not (source == "-" or source.endswith(".txt")):
            yield source
            continue
        try:
            with open(0 if source == "-" else source, encoding="utf-8-sig", errors="surrogateescape") as lines:
                yield from filter(None, (line.rstrip("\r\n") for line in lines))
        except OSError as error:
            fail(f"can't read the list of photos {source}: {error.strerror}")


def expand(source: str) -> Iterator[tuple[str, str]]:
    """Yield (name, error) for each photo of a source, in no particular order; usually the error is empty."""
    if is_url(source):
        yield source, ""
        return
    found = False
    for path in [source] if os.path.lexists(source) else glob.iglob(source, recursive=True):
        for photo in _walk(path) if os.path.isdir(path) else [(path, "")]:
            found = True
            yield photo
    if not found:
        suffixes = ", ".join(PHOTO_SUFFIXES)
        yield source, f"the folder holds no photo ({suffixes})" if os.path.isdir(source) else os.strerror(2)


def _walk(folder: str) -> Iterator[tuple[str, str]]:
    """Yield the photos in a folder and its subfolders. Hidden names and special files are left out."""
    folders = [folder]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif entry.name.lower().endswith(PHOTO_SUFFIXES) and os.path.isfile(entry.path):
                        yield entry.path, ""
        except OSError as error:
            yield folder, error.strerror


def is_url(source: str) -> bool:
    return source.lower().startswith(("http://", "https://"))


def read(names: list[str]) -> list[bytes | Exception]:
    """The contents of photos, with errors in place of those that failed. URLs are fetched concurrently."""
    urls = [name for name in names if is_url(name)]
    fetched = iter(fetch_all(urls) if urls else [])
    return [next(fetched) if is_url(name) else _read_file(name) for name in names]


def _read_file(path: str) -> bytes | OSError:
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):  # a pipe or a device may never end
            return OSError(0, "not a file")
        if found.st_size > MAX_BYTES:
            return OSError(0, f"the file is larger than {MAX_BYTES // 1_000_000} MB")
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        return error
    except ValueError as error:  # a name with a zero byte, which a list may hold
        return OSError(0, str(error))
