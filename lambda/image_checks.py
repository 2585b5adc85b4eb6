"""Checks that an image must pass before its pixels are decoded, so that no file costs too much memory or time.

Pillow trusts metadata more than a public API can: a file of some kilobytes can make it allocate gigabytes or compute
for minutes before the size of the picture is even known. Each limit below says which file it is for; all of them are
far above what cameras and editors write. tests/hostile.py builds such files.
"""
import io
import re
import struct
import warnings
from collections import Counter

from PIL import Image, PngImagePlugin

# Pixels that each format may have. With these limits an image takes at most about 400 MB: progressive JPEGs hold 6
# bytes per pixel while they are decoded, WEBP holds up to 20, and 16 bits or transparency in the others take 12.
MAX_PIXELS = {"JPEG": 52_000_000, "PNG": 25_000_000, "GIF": 25_000_000, "WEBP": 15_000_000, "BMP": 25_000_000}
MAX_DECODED = 25_000_000  # pixels of a JPEG after it was shrunk while decoding: a panorama may be too low for that
MAX_SCANS = 100  # of a JPEG: progressive ones usually have ten, and each is a pass over the whole picture
MAX_SCANNED = 600_000_000  # scans times pixels
MAX_SEGMENTS = 500  # of a JPEG before its first scan: Pillow joins EXIF segments in quadratic time
MAX_DIRECTORY = 1 << 18  # bytes that the entries of an EXIF directory may name: Pillow copies them, entry by entry
MAX_CHUNKS = 20_000  # of a PNG
MAX_COMPRESSED = 64  # compressed texts and colour profiles in a PNG; each may inflate to 1 MB
MAX_HEADER_READS = 10_000  # Pillow reads headers in Python, a few bytes at a time; it joins GIF comments quadratically
MAX_READS = 100_000  # the same, with the pixels

# Pillow's own limits. GIF and APNG plugins allocate a frame while they open a file, before our check can see its size.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS["JPEG"]  # Pillow warns above this number and refuses above twice as many
warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # check_size refuses these
PngImagePlugin.MAX_TEXT_MEMORY = 1 << 23  # characters of text in all, up to 4 bytes each

JPEG_MARKER = re.compile(rb"\xff([^\x00\xff])")
JPEG_SCAN, JPEG_EXIF, JPEG_MULTI_PICTURE = 0xDA, 0xE1, 0xE2
JPEG_ARITHMETIC = {0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
JPEG_WITHOUT_CONTENT = {0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)}
TIFF_SIZES = 0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8  # bytes of a value by its type, as in TIFF 6.0


class ImageError(ValueError):
    """The bytes are an image that can't be read; the message says why and is fit to show a user."""


class NotAnImage(ImageError):
    """The bytes are in none of the formats of MAX_PIXELS."""


class ImageTooLarge(ImageError):
    """The image has more than the MAX_PIXELS of its format."""


class LimitedReads(io.BytesIO):
    """A file that may be read a limited number of times, so that no loop of Pillow over its parts takes long."""

    left = MAX_HEADER_READS

    def read(self, size: int | None = -1) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise ImageError("the image's metadata has too many parts; save it again with another program")
        return super().read(size)


def check_file(source: bytes) -> None:
    """Refuse what would cost Pillow too much while it opens the file."""
    if source.startswith(b"\xff\xd8\xff"):
        _check_jpeg(source)
    elif source.startswith(b"\x89PNG\r\n\x1a\n"):
        _check_png(source)
    elif source.startswith(b"BM") and source[30:31] in (b"\1", b"\2") and source[14:15] != b"\x0c":
        raise ImageError("run-length encoded BMP files are not supported; save it as PNG or JPEG")


def check_opened(image: Image.Image, source: bytes) -> None:
    """Refuse an opened image, of which no pixel is decoded yet, for its size or its scans."""
    is_jpeg = image.format in ("JPEG", "MPO")  # MPO is a JPEG with further pictures behind it
    limit = MAX_PIXELS["JPEG" if is_jpeg else image.format]
    check_size(image.size, limit // 2 if image.mode == "CMYK" else limit)
    if is_jpeg:
        scans = source.count(b"\xff\xda")
        if scans > MAX_SCANS or scans * image.width * image.height > MAX_SCANNED:
            raise ImageError(f"the JPEG has too many scans ({scans}); save it as a plain (baseline) one")


def check_size(size: tuple[int, int], limit: int) -> None:
    width, height = size
    if width * height > limit:
        raise ImageTooLarge(f"the image has {width} x {height} pixels; "
                            f"shrink it to at most {limit / 1e6:.3g} million")


def check_exif(data: bytes) -> None:
    """Refuse a TIFF directory whose entries share their data so often that copying it for each takes gigabytes."""
    while data.startswith(b"Exif\0\0"):
        data = data[6:]
    order = "<" if data.startswith(b"II") else ">"
    total = 0
    try:
        start, = struct.unpack_from(order + "L", data, 4)
        entries, = struct.unpack_from(order + "H", data, start)
        for entry in range(entries):
            kind, count, offset = struct.unpack_from(order + "2xHLL", data, start + 2 + 12 * entry)
            size = count * TIFF_SIZES[kind] if kind < len(TIFF_SIZES) else 0
            if size > 4 and offset + size > len(data):
                break  # Pillow stops here too
            total += size
    except struct.error:
        pass  # the directory is cut short, which Pillow ignores
    if total > max(MAX_DIRECTORY, len(data)):
        raise ImageError("the image's EXIF data are broken; save it again without them")


def _check_jpeg(source: bytes) -> None:
    """Walk the segments up to the first scan, in the way of Pillow and libjpeg, which skip bytes between them."""
    exif = b""
    position = 2
    for _ in range(MAX_SEGMENTS):
        found = JPEG_MARKER.search(source, position)
        if not found:
            return  # Pillow says what is wrong
        marker, position = found[1][0], found.end()
        if marker in JPEG_WITHOUT_CONTENT:
            continue
        if marker in JPEG_ARITHMETIC:
            raise ImageError("JPEG files with arithmetic coding are not supported; save it as a plain (baseline) one")
        if marker == JPEG_SCAN:
            return check_exif(exif)
        length = max(2, int.from_bytes(source[position:position + 2], "big"))
        content = source[position + 2:position + length]
        if marker == JPEG_EXIF and content.startswith(b"Exif\0\0"):
            exif += content[6:]
        elif marker == JPEG_MULTI_PICTURE and content.startswith(b"MPF\0"):
            check_exif(content[4:])
        position += length
    raise ImageError("the JPEG has too many segments; save it again with another program")


def _check_png(source: bytes) -> None:
    counts = Counter()
    position = 8
    for _ in range(MAX_CHUNKS):
        if position + 8 > len(source):
            break  # Pillow says what is wrong
        length, name = struct.unpack_from(">I4s", source, position)
        counts[name] += 1
        if name == b"IHDR" and length >= 13 and position + 18 <= len(source):
            width, height, depth, colour = struct.unpack_from(">IIBB", source, position + 8)
            wide = depth == 16 and colour & 2  # 6 or 8 bytes per pixel, which take twice as long
            check_size((width, height), MAX_PIXELS["PNG"] // (2 if wide else 1))
        elif name == b"IEND":
            break
        position += 12 + length
    else:
        raise ImageError("the PNG has too many chunks; save it again with another program")
    if counts[b"iCCP"] > 1 or counts[b"iCCP"] + counts[b"zTXt"] + counts[b"iTXt"] > MAX_COMPRESSED:
        raise ImageError("the PNG has too many compressed texts or colour profiles; save it again without them")
