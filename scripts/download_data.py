"""Get the 3,781 clothes photos: unpacked and verified beside index.csv, which is written last.

    python scripts/download_data.py --mirror ../shared/data --output data/clothing/index.csv

takes the archive from the mirror folder when it lies there, else downloads it (105 MB; a cut download goes on where
it stopped, also in the next run), and ends with the table of labels and splits:

    label           train validation       test      total
    dress             241         32         15        288
    ...
    total           3,068        341        372      3,781
"""
import argparse
import functools
import gzip
import hashlib
import http.client
import ssl
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from pathlib import Path, PurePosixPath

from common import fail
from training.index import SPLITS, Photo, atomic_photos, data_digest, print_table, write_index

# Clothing dataset (small) by Alexey Grigorev, CC0, at one commit. GitHub doesn't promise that the bytes of its archives
# stay the same, so what is verified is the content: `data_digest` of the photos.
COMMIT = "11961516512414bf9f6c150a832cfd21b54a6b54"
URL = f"https://github.com/alexeygrigorev/clothing-dataset-small/archive/{COMMIT}.tar.gz"
ARCHIVE = f"clothing-dataset-small-{COMMIT}.tar.gz"
DIGEST = "20c01f484df1b97bf5d026049138a5aa03de9f23bbd926ba06837a7cca727f3e"

MAX_BYTES = 300_000_000  # of the archive, and of what it unpacks to: almost three times what is expected
MAX_MEMBERS = 10_000
TIMEOUT = 30.0  # seconds to connect, and without a byte
ATTEMPTS = 5  # in a row that bring nothing
FIRST_WAIT = 1.0  # seconds before the second attempt; doubles with each

# An error page asked for again stays what it is, but these may pass.
PASSING_STATUS = {408, 416, 429, 500, 502, 503, 504}
PASSING_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


class WrongArchive(Exception):
    """What came is not the archive of photos; the message says why."""


class Capped:
    """A stream that ends with WrongArchive once more than `limit` bytes were read: stops a bomb while it unpacks."""

    def __init__(self, stream, limit: int):
        self.stream, self.left = stream, limit

    def read(self, size: int) -> bytes:
        data = self.stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise WrongArchive("it unpacks to more bytes than the limit")
        return data


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Trust the system's certificates and certifi's: python.org's Python for macOS starts without any."""
    import certifi
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def fetch(url: str, path: Path, deadline: float) -> None:
    """Download `url` to `path` in one request, going on from the bytes that are there."""
    from tqdm import tqdm
    start = path.stat().st_size if path.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT, context=tls_context())
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing lies behind what is there: it is whole, or no part of this file
            path.unlink()
        raise
    with response:
        if response.status != 206:  # no range was asked for, or the server sends the whole file regardless
            start = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            path.unlink()
            raise http.client.HTTPException("the server sent another part than it was asked for")
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None  # GitHub often doesn't say
        received = start
        with open(path, "ab" if start else "wb") as file, \
                tqdm(total=total, initial=start, unit="B", unit_scale=True, disable=None) as bar:
            while chunk := response.read1(1 << 16):  # read() would wait for all of it, past the deadline
                received += len(chunk)
                if max(received, total or 0) > MAX_BYTES:
                    raise WrongArchive(f"the download is larger than {MAX_BYTES:,} bytes")
                file.write(chunk)
                bar.update(len(chunk))
                if time.monotonic() > deadline:
                    raise OSError("the time limit is over; the next run goes on from here")
    if total and received < total:
        raise ConnectionError(f"cut after {received:,} of {total:,} bytes")


def download(url: str, path: Path, time_limit: float) -> None:
    """Download `url` to `path`, trying again with growing waits; raises OSError or HTTPException at the end."""
    deadline = time.monotonic() + time_limit
    path.parent.mkdir(parents=True, exist_ok=True)
    most = path.stat().st_size if path.exists() else 0
    failures = 0
    while True:
        try:
            return fetch(url, path, deadline)
        except PASSING_ERRORS as error:
            size = path.stat().st_size if path.exists() else 0
            failures = failures + 1 if size <= most else 1
            most = max(size, most)
            wait = FIRST_WAIT * 2 ** (failures - 1)
            passing = getattr(error, "code", 503) in PASSING_STATUS
            if not passing or failures >= ATTEMPTS or time.monotonic() + wait > deadline:
                raise
            print(f"{error}; trying again in {wait:g} s", file=sys.stderr)
            time.sleep(wait)


def unpack(archive: Path, folder: Path) -> dict[Path, str]:
    """Write the photos <root>/<split>/<label>/<name>.jpg of a .tar.gz below `folder`.

    Returns path -> SHA-256. Other plain files are left out; links, devices and names that lead outside are an error.
    Every file is written here rather than by tarfile, whose safe filters not every Python 3.10 has.
    """
    photos = {}
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=Capped(stream, MAX_BYTES), mode="r|") as tar:
            for count, member in enumerate(tar, start=1):
                name = PurePosixPath(member.name)
                plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
                if not (plain or member.isdir()) or name.is_absolute() or ".." in name.parts:
                    raise WrongArchive(f"it holds {member.name!r}, which is a link, a device or a path outside")
                if count > MAX_MEMBERS:
                    raise WrongArchive(f"it holds more than {MAX_MEMBERS:,} files")
                if not plain or len(name.parts) != 4 or name.parts[1] not in SPLITS or name.suffix != ".jpg":
                    continue
                path = folder.joinpath(*name.parts[1:])
                data = tar.extractfile(member).read()
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                photos[path] = hashlib.sha256(data).hexdigest()
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise WrongArchive(f"it is no whole .tar.gz file ({error})") from None
    return photos


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="index.csv; the photos go into its folder")
    parser.add_argument("--mirror", type=Path, default=Path(), help=f"folder in which {ARCHIVE} may lie")
    parser.add_argument("--url", default=URL, help="where the archive is downloaded from [%(default)s]")
    parser.add_argument("--digest", default=DIGEST, help="data digest that the photos must have")
    parser.add_argument("--time-limit", type=float, default=3600, help="seconds for the download [%(default)s]")
    args = parser.parse_args()
    ways = (f"Run again, or go one of three ways:\n"
            f"  put {ARCHIVE}\n    into {args.mirror.absolute()} (DATA_MIRROR=folder names another folder),\n"
            f"  train on your own photos: make model.tflite DATA=folder,\n"
            f"  or train on drawn garments: make model.tflite DATASET=drawn")

    archive = source = args.mirror / ARCHIVE
    partial = args.output.parent / f".{ARCHIVE}.part"
    try:
        if not archive.is_file():
            archive, source = partial, args.url
            print(f"downloading {args.url} (about 105 MB)", flush=True)
            download(args.url, partial, args.time_limit)
        with atomic_photos(args.output) as new:
            shas = unpack(archive, new)
            photos = [Photo(args.output.parent / path.relative_to(new), path.parent.name, path.parts[-3], sha)
                      for path, sha in shas.items()]
            if data_digest(photos) != args.digest:
                raise WrongArchive(f"its {len(photos):,} photos are not those expected")
    except WrongArchive as error:
        partial.unlink(missing_ok=True)  # so that the next run starts afresh
        fail(f"{source} is not the archive of photos: {error}; nothing was unpacked.\n{ways}")
    except (OSError, http.client.HTTPException, ValueError) as error:
        fail(f"can't get the photos from {source}: {error}.\n{ways}")
    partial.unlink(missing_ok=True)
    write_index(args.output, photos)
    print_table(photos)
    print(f"photos from {source}, data digest {args.digest[:12]}, index {args.output}")


if __name__ == "__main__":
    main()
