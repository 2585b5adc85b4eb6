"""Get the 3,781 clothes photos: verified, in their folders beside index.csv, which is written last.

    python scripts/download_data.py --mirror ../shared/data --output data/clothing/index.csv

uses the archive in the mirror folder if it is there, otherwise downloads it (105 MB). An interrupted download resumes
where it stopped, also in the next run. If the right photos are there already, only the index is written. The output is
a table of labels and splits, whose last row is "total           3,068        341        372      3,781".
"""
import argparse
import contextlib
import http.client
import ssl
import sys
import tarfile
import time
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from common import fail
from training.index import SPLITS, data_digest, find_photos, locked, print_table, write_index, write_photos

# Clothing dataset (small) by Alexey Grigorev, CC0, at one commit. GitHub doesn't promise that the bytes of its archives
# stay the same, so the photos are verified instead, by their data digest.
COMMIT = "11961516512414bf9f6c150a832cfd21b54a6b54"
URL = f"https://github.com/alexeygrigorev/clothing-dataset-small/archive/{COMMIT}.tar.gz"
ARCHIVE = f"clothing-dataset-small-{COMMIT}.tar.gz"
DIGEST = "20c01f484df1b97bf5d026049138a5aa03de9f23bbd926ba06837a7cca727f3e"

MAX_BYTES = 300_000_000  # of the archive, packed and unpacked: almost three times its size
TIMEOUT = 30.0  # seconds to connect, and without a byte
TIME_LIMIT = 3600.0  # seconds for the whole download
ATTEMPTS = 5
FIRST_WAIT = 0.5  # seconds; each wait is twice the one before


def fetch(url: str, path: Path, deadline: float) -> None:
    """Download `url` in one request that asks only for what `path`, which exists, doesn't hold yet."""
    import certifi
    from tqdm import tqdm
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())  # python.org's Python for macOS comes without certificates
    start = path.stat().st_size
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT, context=context) as response:
        if response.status != 206:  # the server sends the whole file
            start = 0
        total = start + response.length if response.length else None  # GitHub often doesn't say
        with open(path, "ab" if start else "wb") as file, \
                tqdm(total=total, initial=start, unit="B", unit_scale=True, disable=None) as bar:
            while chunk := response.read1(1 << 16):  # read() would wait past the deadline
                file.write(chunk)
                bar.update(len(chunk))
                if file.tell() > MAX_BYTES:
                    raise ValueError(f"the download is larger than {MAX_BYTES:,} bytes")
                if time.monotonic() > deadline:
                    raise TimeoutError("the time limit is over; the next run resumes the download")
            if response.length:  # bytes that are missing
                raise ConnectionError(f"cut off after {file.tell():,} of {total:,} bytes")


def download(url: str, path: Path) -> None:
    """Download `url` to `path`, retrying with growing waits. Raises OSError or HTTPException in the end."""
    deadline = time.monotonic() + TIME_LIMIT
    path.touch()
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return fetch(url, path, deadline)
        except (OSError, http.client.HTTPException) as error:
            status = getattr(error, "code", 503)  # an error below HTTP, like a 503, may pass
            if status == 416:  # the file holds too much: start again
                path.write_bytes(b"")
            permanent = status < 500 and status not in (408, 416, 429)
            if permanent or attempt == ATTEMPTS or time.monotonic() > deadline:
                raise
            wait = FIRST_WAIT * 2 ** attempt
            print(f"{error}; retrying in {wait:g} s", file=sys.stderr)
            time.sleep(wait)


@contextlib.contextmanager
def found_or_downloaded(archive: Path, url: str, folder: Path) -> Iterator[Path]:
    """Yield the archive if it is there, otherwise its download in `folder`, which is deleted in the end."""
    if archive.is_file():
        yield archive
        return
    partial = folder / f".{archive.name}.part"
    print(f"downloading {url} (over 100 MB)", flush=True)
    download(url, partial)
    try:
        yield partial
    finally:
        partial.unlink()  # also a wrong one: the next run must start again


def unpack(archive: Path) -> Iterator[tuple[Path, bytes]]:
    """Yield the photos of a .tar.gz, <root>/<split>/<label>/<name>.jpg, as (split/label/name.jpg, bytes).

    Everything else in it is skipped, links included. Raises ValueError if the archive is damaged or too large.
    """
    size = 0
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                size += member.size
                if size > MAX_BYTES:
                    raise ValueError(f"it unpacks to more than {MAX_BYTES:,} bytes")
                name = PurePosixPath(member.name)
                if member.isfile() and len(name.parts) == 4 and name.parts[1] in SPLITS and name.suffix == ".jpg":
                    yield Path(*name.parts[1:]), tar.extractfile(member).read()
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ValueError(f"it is not a whole .tar.gz file ({error})") from None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="index.csv; the photos go into its folder")
    parser.add_argument("--mirror", type=Path, default=Path(), help=f"folder that may hold {ARCHIVE}")
    parser.add_argument("--url", default=URL, help="where the archive is downloaded from [%(default)s]")
    parser.add_argument("--digest", default=DIGEST, help="data digest that the photos must have")
    args = parser.parse_args()
    folder, archive = args.output.parent, args.mirror / ARCHIVE
    try:
        with locked(folder):
            photos = find_photos(folder)
            if data_digest(photos) == args.digest:
                write_index(args.output, photos)
            else:
                with found_or_downloaded(archive, args.url, folder) as found:
                    photos = write_photos(args.output, unpack(found), args.digest)
    except (OSError, http.client.HTTPException, ValueError) as error:
        source = archive if archive.is_file() else args.url
        fail(f"can't get the photos from {source}: {error}; nothing was unpacked. Run again, or\n"
             f"  put {ARCHIVE}\n    into {args.mirror.absolute()} (DATA_MIRROR=folder names another folder),\n"
             "  train on your own photos: make model.tflite DATA=folder,\n"
             "  or train on drawn garments: make model.tflite DATASET=drawn")
    print_table(photos, args.output)


if __name__ == "__main__":
    main()
