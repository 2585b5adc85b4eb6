"""Image bytes to model input: the one preprocessing of training, calibration, evaluation and serving.

    >>> preprocess("shirt.jpg", (300, 228)).shape
    (300, 228, 3)

Needs NumPy and Pillow only.
"""
import io
import os

import numpy as np
from PIL import Image, WebPImagePlugin  # noqa: F401, registers WEBP; else Pillow imports all its plugins to find it

# Each format with the pixels that it may have, read from the header before anything is decoded. With them no image
# takes more than 350 MB here: JPEGs are shrunk while decoding (progressive ones hold 6 bytes per pixel), Pillow's
# decoder of WEBP holds up to 20 bytes per pixel, and 16 bits or transparency in the others 12.
MAX_PIXELS = {"JPEG": 52_000_000, "PNG": 25_000_000, "GIF": 25_000_000, "WEBP": 15_000_000, "BMP": 25_000_000}
FORMATS = tuple(MAX_PIXELS)
MAGIC = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"RIFF", b"BM"
MAX_SCANS = 100  # of a JPEG: progressive ones usually have ten; each is a pass over the whole picture
PAD = 127  # the grey that the backbones' normalisation maps to about zero
# EXIF tag 274 (orientation) -> the transposition that sets the picture upright, as in the EXIF 2.3 standard.
UPRIGHT = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
           5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
           8: Image.Transpose.ROTATE_90}
Image.MAX_IMAGE_PIXELS = None  # our own cap, below, stands instead


class ImageError(ValueError):
    """The bytes are an image that can't be read; the message says why and is fit to show a user."""


class NotAnImage(ImageError):
    """The bytes are in none of the FORMATS."""


class ImageTooLarge(ImageError):
    """The image has more than the MAX_PIXELS of its format."""


def preprocess(source: bytes | str | os.PathLike, size: tuple[int, int]) -> np.ndarray:
    """Decode an image and fit it into `size` = (height, width), aspect ratio kept, centred on grey.

    Of a picture wider than high (and than `size`) only the square in its middle is taken: the rest is mostly room
    beside the garment, which would become very small with it.

    source: the bytes of a file in one of FORMATS, or its path.
    Returns RGB, uint8 [height, width, 3]: upright by EXIF, transparency over white, first frame of an animation.
    Raises NotAnImage, ImageTooLarge or ImageError; OSError where a path can't be opened.
    """
    if not isinstance(source, bytes):
        with open(source, "rb") as file:
            source = file.read()
    try:
        image = Image.open(io.BytesIO(source), formats=FORMATS)
    except Exception:
        if source.startswith(MAGIC):
            raise ImageError("the image can't be decoded (its header is broken); is the file complete?") from None
        raise NotAnImage(f"not an image that can be read; send one of {', '.join(FORMATS)}") from None
    limit = MAX_PIXELS.get(image.format, MAX_PIXELS["JPEG"])  # the other one is MPO, a JPEG with more behind it
    if image.mode == "CMYK":
        limit //= 2
    if image.width * image.height > limit:
        raise ImageTooLarge(f"the image has {image.width} x {image.height} pixels; "
                            f"shrink it to at most {limit // 1_000_000} million")
    if image.format in ("JPEG", "MPO") and source.count(b"\xff\xda") > MAX_SCANS:
        raise ImageError(f"the JPEG has more than {MAX_SCANS} scans; save it as a plain (baseline) one")
    try:
        return _fit(image, size)
    except Exception as error:  # Pillow's decoders raise many kinds; each means that these bytes are broken
        raise ImageError(f"the image can't be decoded ({error}); is the file complete?") from None


def _fit(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    orientation = _orientation(image)
    turned = 5 <= orientation <= 8  # the stored picture lies on its side
    box = (height, width) if turned else (width, height)
    image.draft("RGB", box)  # JPEGs are decoded at 1/2, 1/4 or 1/8 where that is still as large as what is needed
    image.load()
    widest = max(1, width / height)
    left, top, right, bottom = _middle(image.size, turned, widest)
    scale = min(box[0] / (right - left), box[1] / (bottom - top))
    fitted = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    image = _rgb(image, fitted)
    middle = _middle(image.size, turned, widest)  # again, as a transparent picture may be smaller now
    image = image.resize(fitted, Image.Resampling.BILINEAR, middle, reducing_gap=2.0)
    if orientation in UPRIGHT:
        image = image.transpose(UPRIGHT[orientation])
    canvas = np.full((height, width, 3), PAD, np.uint8)
    top, left = (height - image.height) // 2, (width - image.width) // 2
    canvas[top:top + image.height, left:left + image.width] = np.asarray(image)
    return canvas


def _middle(size: tuple[int, int], turned: bool, widest: float) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what is kept of a stored picture: upright, at most `widest` times its height."""
    width, height = size
    if turned:
        spare = max(0, height - widest * width) / 2
        return 0, spare, width, height - spare
    spare = max(0, width - widest * height) / 2
    return spare, 0, width - spare, height


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(274, 1))
    except Exception:  # broken EXIF says nothing about the pixels
        return 1


def _rgb(image: Image.Image, fitted: tuple[int, int]) -> Image.Image:
    """Any of Pillow's modes to RGB; 16-bit values scaled to 8, transparency laid over white."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        values = np.asarray(image)
        image = Image.fromarray((values >> 8 if values.max() > 255 else values).astype(np.uint8))
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        # Shrunk first (by box, premultiplied), so that a large picture needs no further full-size copy.
        factor = max(1, min(image.width // (2 * fitted[0]), image.height // (2 * fitted[1])))
        image = image.reduce(factor)
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
