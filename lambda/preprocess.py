"""Image bytes to model input: the one preprocessing of training, calibration, evaluation and serving.

    >>> preprocess("shirt.jpg", (300, 228)).shape
    (300, 228, 3)

Needs NumPy and Pillow only.
"""
import io
import os

import numpy as np
from PIL import Image, WebPImagePlugin  # noqa: F401, registers WEBP; else Pillow imports all its plugins to find it

import image_checks
from image_checks import ImageError, ImageTooLarge, NotAnImage

FORMATS = tuple(image_checks.MAX_PIXELS)
MAGIC = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"RIFF", b"BM"
PAD = 127  # the grey that the backbones' normalisation maps to about zero
# EXIF tag 274 (orientation) -> the transposition that sets the picture upright, as in the EXIF 2.3 standard.
UPRIGHT = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
           5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
           8: Image.Transpose.ROTATE_90}
MAX_PROFILE = 1 << 16  # bytes of a colour profile that is converted; those of cameras and screens take 0.5 to 20 kB


def preprocess(source: bytes | str | os.PathLike, size: tuple[int, int]) -> np.ndarray:
    """Decode an image and fit it into `size` = (height, width), aspect ratio kept, centred on grey.

    Landscape photos (wider than high, and wider than `size`) are centre-cropped to a square: the rest is mostly room
    beside the garment, which would become very small with it.

    source: the bytes of a file in one of FORMATS, or its path.
    Returns RGB, uint8 [height, width, 3]: upright by EXIF, in sRGB, transparency over white, first frame of an
    animation.
    Raises NotAnImage, ImageTooLarge or ImageError; OSError if a path can't be opened.
    """
    if not isinstance(source, bytes):
        with open(source, "rb") as file:
            source = file.read()
    try:
        image_checks.check_file(source)
        return _fit(_open(source), size)
    except ImageError as error:
        refusal = type(error)(str(error))
    except Exception as error:  # Pillow's decoders raise many kinds; each means that these bytes are broken
        refusal = ImageError(f"the image can't be decoded ({error}); is the file complete?")
    # Raised outside of `except`: an exception holds on to the one before it, whose traceback holds the decoded image.
    raise refusal


def _open(source: bytes) -> Image.Image:
    """The image with its metadata read and checked, but none of its pixels."""
    file = image_checks.LimitedReads(source)
    try:
        image = Image.open(file, formats=FORMATS)
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageTooLarge("the image has over 104 million pixels; shrink it to at most 15 million") from None
    except Exception:
        if source.startswith(MAGIC):
            raise ImageError("the image can't be decoded (its header is broken); is the file complete?") from None
        raise NotAnImage(f"not an image that can be read; send one of {', '.join(FORMATS)}") from None
    image_checks.check_opened(image, source)
    file.left = image_checks.MAX_READS
    return image


def _fit(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    profile = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA", "P") else None
    frame = image.tile[0][1] if image.format == "GIF" and image.tile else None
    if image.format not in ("JPEG", "MPO"):
        image.load()  # before getexif(), which loads a PNG too, but hides that this fails
    orientation = _orientation(image)
    turned = 5 <= orientation <= 8  # the stored picture lies on its side
    box = (height, width) if turned else (width, height)
    image.draft("RGB", box)  # JPEGs are decoded at 1/2, 1/4 or 1/8 where that is still as large as what is needed
    image_checks.check_size(image.size, image_checks.MAX_DECODED)
    image.load()
    widest = max(1, width / height)
    left, top, right, bottom = _middle(image.size, turned, widest)
    scale = min(box[0] / (right - left), box[1] / (bottom - top))
    fitted = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    image = _rgb(image, fitted, frame)
    middle = _middle(image.size, turned, widest)  # again, as a transparent picture may be smaller now
    image = image.resize(fitted, Image.Resampling.BILINEAR, middle, reducing_gap=2.0)
    if profile:
        image = _srgb(image, profile)
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
    """EXIF's orientation; 1, which is upright, if there is none or if it can't be read."""
    image.info.pop("Raw profile type exif", None)  # EXIF as hexadecimal text, which only Pillow reads, unchecked
    image_checks.check_exif(image.info.get("exif", b""))
    try:
        return int(image.getexif().get(274, 1))
    except Exception:  # broken EXIF says nothing about the pixels
        return 1


def _rgb(image: Image.Image, fitted: tuple[int, int], frame: tuple[int, int, int, int] | None) -> Image.Image:
    """Any of Pillow's modes to RGB; 16-bit values scaled to 8, transparency and what `frame` leaves out over white."""
    transparent = image.info.get("transparency")
    if image.mode == "RGB" and transparent is None:
        return image
    opaque = None
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if transparent is not None:
            opaque = Image.fromarray((values != transparent).astype(np.uint8) * 255)
        image = Image.fromarray((values >> 8 if values.max() > 255 else values).astype(np.uint8))
        del values
    elif transparent is None and frame and frame != (0, 0, *image.size):
        opaque = Image.new("L", image.size)
        opaque.paste(255, frame)
    if opaque:
        image = image.convert("RGB")
        image.putalpha(opaque)
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image if image.mode == "RGBA" else image.convert("RGBA")
    # Shrunk first (by box, premultiplied), so that a large picture needs no further full-size copy.
    factor = max(1, min(image.width // (2 * fitted[0]), image.height // (2 * fitted[1])))
    image = image.reduce(factor)
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image)
    return white


def _srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert from the profile's colours, such as the Display P3 of phones, to sRGB; as it is if that can't be done.

    Only profiles of a matrix and curves are converted, which are all that cameras and phones write. Those with tables
    or programs (tags A2B, D2B, as in printers' profiles) can take any amount of time.
    """
    is_plain = profile[12:16] in (b"mntr", b"scnr", b"spac") and profile[16:20] == b"RGB " and not (
        b"A2B" in profile or b"D2B" in profile)
    if not is_plain or len(profile) > MAX_PROFILE or b"sRGB" in profile.replace(b"\0", b""):
        return image
    from PIL import ImageCms  # most photos have no profile, or sRGB's
    try:
        return ImageCms.profileToProfile(image, io.BytesIO(profile), ImageCms.createProfile("sRGB"))
    except Exception:  # a broken profile says nothing about the pixels
        return image
