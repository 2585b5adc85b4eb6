"""Get the 3,781 clothes photos: verified, in their folders beside index.csv, which is written last.

    python scripts/download_data.py --mirror ../shared/data --output data/clothing/index.csv

takes the archive from the mirror folder, or downloads it (105 MB). The next run resumes an interrupted download.
"""
import argparse
import hashlib
import os
import sys
import tarfile
import time
import zlib
from pathlib import Path

import requests
from tqdm import tqdm

from common import atomic, fail
from training.index import locked, write_photos

GITHUB = "https://github.com"
# Clothing dataset (small) by Alexey Grigorev, CC0. DIGEST is that of the files, as GitHub may pack them anew.
REPOSITORY = "alexeygrigorev/clothing-dataset-small"
COMMIT = "11961516512414bf9f6c150a832cfd21b54a6b54"
DIGEST = "faaba0be061fdf9b12ea1ed7098f5887abfba28e0e76c2e2a6ec51911fea28d5"

MAX_BYTES = 300_000_000  # of an archive, packed and unpacked: more than twice the size of the largest
TIMEOUT = 30.0  # seconds to connect, and without a byte
TIME_LIMIT = 3600.0  # seconds for the whole download
WAITS = 1, 2, 4, 8  # seconds before the second, third, ... attempt


def fetch(url: str, path: Path, deadline: float) -> None:
    """Download `url` in one request that asks only for what `path`, which exists, doesn't hold yet."""
    headers = {"Range": f"bytes={path.stat().st_size}-", "Accept-Encoding": "identity"}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416:  # the file holds too much: the next attempt starts again
            path.write_bytes(b"")
        if response.status_code == 404:
            raise ValueError(f"there is nothing at {url}")
        response.raise_for_status()
        mode = "ab" if response.status_code == 206 else "wb"  # 200: the server sends the whole file
        with open(path, mode) as file, tqdm.wrapattr(file, "write", initial=file.tell(), disable=None) as output:
            for chunk in response.iter_content(1 << 10):  # small, or a slow server would outlast the time limit
                output.write(chunk)
                if file.tell() > MAX_BYTES:
                    raise ValueError(f"the download is larger than {MAX_BYTES:,} bytes")
                if time.monotonic() > deadline:
                    raise TimeoutError("the time limit is over; the next run resumes the download")


def download(url: str, path: Path) -> None:
    """Download `url` to `path`, retrying with growing waits. Raises OSError, or ValueError if it is too large."""
    deadline = time.monotonic() + TIME_LIMIT
    path.touch()
    for wait in (*WAITS, None):
        try:
            return fetch(url, path, deadline)
        except OSError as error:
            if wait is None or time.monotonic() > deadline:
                raise
            print(f"{error}; retrying in {wait:g} s", file=sys.stderr)
            time.sleep(wait)


def unpack(archive: Path, digest: str) -> dict[str, bytes]:
    """The files of a .tar.gz by GitHub, path below its one folder -> bytes, without links.

    Raises ValueError if it is damaged or too large, or if the SHA-256 of the sorted lines "path sha256" isn't `digest`.
    """
    files, size = {}, 0
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                size += member.size
                if size > MAX_BYTES:
                    raise ValueError(f"{archive} unpacks to more than {MAX_BYTES:,} bytes")
                if member.isfile():
                    files[member.name.partition("/")[2]] = tar.extractfile(member).read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{archive} is not a whole .tar.gz file ({error})") from None
    lines = "".join(f"{name} {hashlib.sha256(files[name]).hexdigest()}\n" for name in sorted(files))
    if hashlib.sha256(lines.encode()).hexdigest() != digest:
        raise ValueError(f"the files in {archive} are not the expected ones")
    return files


def read_archive(description: str, repository: str, commit: str, digest: str) -> tuple[Path, dict[str, bytes]]:
    """Read the script's flags. Returns the index to write and the files of a GitHub repository, as unpack() gives them.

    The archive is taken from --mirror, or downloaded and kept beside the index. Ends the script if it can't be had.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--output", type=Path, required=True, help="index.csv; the photos go into its folder")
    parser.add_argument("--mirror", type=Path, default=Path(), help="folder that may hold the archive")
    args = parser.parse_args()
    url, name = f"{GITHUB}/{repository}/archive/{commit}.tar.gz", f"{repository.split('/')[1]}-{commit}.tar.gz"
    mirrored, folder = args.mirror / name, args.output.parent
    archive = mirrored if mirrored.is_file() else folder / name
    try:
        with locked(folder):
            if not archive.is_file():
                print(f"downloading {url} (over 100 MB)", flush=True)
                download(url, folder / f".{name}.part")
                with atomic(archive) as temporary:  # a wrong archive is deleted, so that the next run starts again
                    os.replace(folder / f".{name}.part", temporary)
                    unpack(temporary, digest)
            return args.output, unpack(archive, digest)
    except (OSError, ValueError) as error:
        fail(f"can't get the photos: {error}. Run again, or\n"
             f"  save {url}\n    as {mirrored.absolute()} (DATA_MIRROR=folder names another folder),\n"
             "  train on others: make model.tflite DATA=folder (your own) or DATASET=drawn (drawn garments)")


def main() -> None:
    index, files = read_archive(__doc__.splitlines()[0], REPOSITORY, COMMIT, DIGEST)
    write_photos(index, {name: data for name, data in files.items() if name.endswith(".jpg")})


if __name__ == "__main__":
    main()
