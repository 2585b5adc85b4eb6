"""Open an image so that no file costs too much memory or time.

A few kilobytes can make Pillow allocate gigabytes or compute for minutes. The limits are far above what cameras and
editors write. tests/hostile.py builds the files that they are for.
"""
import io
import struct
from collections import Counter

from PIL import Image, JpegImagePlugin
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

# With these limits an image takes at most about 400 MB: while they are decoded, progressive JPEGs hold 6 bytes per
# pixel, WEBP up to 20, and 16 bits or transparency in the others 12.
MAX_PIXELS = {"JPEG": 52_000_000, "PNG": 25_000_000, "GIF": 25_000_000, "WEBP": 15_000_000, "BMP": 25_000_000}
MAX_DECODED = 25_000_000  # pixels of a JPEG as it is decoded: a panorama may be too low to be shrunk
MAX_SCANS = 100  # of a JPEG: progressive ones have about ten; each is a pass over all pixels
MAX_SCANNED = 600_000_000  # scans times pixels
MAX_COMPRESSED = 16  # texts and colour profiles in a PNG: each may inflate to 1 MB, and then take 4
MAX_HEADER_READS = 2_000  # Pillow reads headers a few bytes at a time; it joins EXIF segments quadratically
MAX_READS = 100_000  # the same, with the pixels


class ImageError(ValueError):
    """An image that is refused: a message that users may see, and the HTTP status, 413, 415 or 422."""

    def __init__(self, message: str, status: int = 422):
        super().__init__(message)
        self.status = status


class LimitedReads(io.BytesIO):
    """A file that can be read so many times only, so that no loop of Pillow over its parts takes long."""

    left = MAX_HEADER_READS

    def read(self, size: int | None = -1) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise ImageError("the image's metadata has too many parts; save it again with another program")
        return super().read(size)


class JpegImageFile(JpegImagePlugin.JpegImageFile):
    """A JPEG whose EXIF is not parsed: entries that share their data would take gigabytes."""

    def _read_dpi_from_exif(self) -> None:
        pass


def _refuse_arithmetic_coding(image: JpegImageFile, marker: int) -> None:
    raise ImageError("JPEG files with arithmetic coding are not supported; save it as a plain (baseline) one")


for _marker in (0xFFC9, 0xFFCA, 0xFFCB, 0xFFCD, 0xFFCE, 0xFFCF):
    JpegImagePlugin.MARKER[_marker] = "SOF", "arithmetic coding", _refuse_arithmetic_coding

# By the first bytes of a file. Image.open() would parse the index of a multi-picture JPEG, as costly as EXIF.
PLUGINS = {b"\xff\xd8\xff": JpegImageFile, b"\x89PNG\r\n\x1a\n": PngImageFile, b"GIF8": GifImageFile,
           b"RIFF": WebPImageFile, b"BM": BmpImageFile}


def open_image(source: bytes) -> Image.Image:
    """The image with its header read, but none of its pixels. Raises ImageError or any error of Pillow."""
    plugin = next((plugin for magic, plugin in PLUGINS.items() if source.startswith(magic)), None)
    if not plugin:
        raise ImageError(f"not an image that can be read; send one of {', '.join(MAX_PIXELS)}", 415)
    if plugin is PngImageFile:
        _check_png(source)
    file = LimitedReads(source)
    image = plugin(file)
    check_size(image.size, MAX_PIXELS[image.format] // (2 if image.mode == "CMYK" else 1))
    if image.format == "JPEG":
        scans = source.count(b"\xff\xda")
        if scans > MAX_SCANS or scans * image.width * image.height > MAX_SCANNED:
            raise ImageError(f"the JPEG has too many scans ({scans}); save it as a plain (baseline) one")
    if image.format == "BMP" and image.tile[0][0] == "bmp_rle":
        raise ImageError("run-length encoded BMP files are not supported; save it as PNG or JPEG")
    file.left = MAX_READS
    return image


def check_size(size: tuple[int, int], limit: int) -> None:
    width, height = size
    if width * height > limit:
        raise ImageError(f"the image has {width} x {height} pixels; "
                         f"shrink it to at most {limit / 1e6:.3g} million", 413)


def _check_png(source: bytes) -> None:
    """Refuse the chunks of a PNG that cost Pillow too much while it opens or loads the file."""
    counts = Counter()
    position = 8
    while position + 16 <= len(source):
        length, name, width, height = struct.unpack_from(">I4sII", source, position)
        if name == b"IHDR":
            check_size((width, height), MAX_PIXELS["PNG"])
        counts[name] += 1
        position += 12 + length
    if counts[b"iCCP"] > 1 or counts[b"iCCP"] + counts[b"zTXt"] + counts[b"iTXt"] > MAX_COMPRESSED:
        raise ImageError("the PNG has too many compressed texts or colour profiles; save it again without them")
