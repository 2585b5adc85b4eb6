"""Image bytes to model input: the one preprocessing of training, calibration, evaluation and serving."""
import io
import os
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from image_checks import MAX_DECODED, MAX_PIXELS, ImageError, check_size, open_image

FORMATS = tuple(MAX_PIXELS)
PAD = 127  # the grey that the backbones' normalisation maps to about zero
# EXIF tag 274 (orientation) -> the transposition that sets the picture upright, as in the EXIF 2.3 standard.
UPRIGHT = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
           5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
           8: Image.Transpose.ROTATE_90}


def preprocess(source: bytes | str | os.PathLike, size: tuple[int, int]) -> np.ndarray:
    """Decode an image and fit it into `size` = (height, width), aspect ratio kept, centred on grey.

    Landscape photos (wider than high, and wider than `size`) are centre-cropped to a square: garments stay large.

    source: the bytes of a file in one of FORMATS, or its path.
    Returns RGB, uint8 [height, width, 3]: upright, in sRGB, over white, the first frame of an animation.
    Raises ImageError; OSError if a path can't be opened.
    """
    if not isinstance(source, bytes):
        source = Path(source).read_bytes()
    try:
        return _fit(open_image(source), size)
    except ImageError:
        raise
    except Image.DecompressionBombError:  # a GIF's frame, which Pillow allocates while it opens the file
        refusal = ImageError("the image has too many pixels; shrink it to at most 25 million", 413)
    except Exception as error:  # Pillow's decoders raise many kinds; each means that these bytes are broken
        refusal = ImageError(f"the image can't be decoded ({error}); is the file complete?")
    # Raised outside of `except`, or it would hold the other error, whose traceback holds the image.
    raise refusal


def _fit(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    profile = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA", "P") else None
    frame = image.tile[0][1] if image.format == "GIF" and image.tile else None
    if image.format != "JPEG":
        image.load()  # EXIF may follow the pixels of a PNG
    orientation = _orientation(image.info.get("exif", b""))
    turned = 5 <= orientation <= 8  # the stored picture lies on its side
    box = (height, width) if turned else (width, height)
    image.draft("RGB", box)  # JPEGs are decoded at 1/2, 1/4 or 1/8 where that is still large enough
    check_size(image.size, MAX_DECODED)
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
    """Left, top, right, bottom of what is kept of a stored picture: upright, up to `widest` times its height."""
    width, height = reversed(size) if turned else size
    spare = max(0, width - widest * height) / 2
    return (0, spare, height, width - spare) if turned else (spare, 0, width - spare, height)


def _orientation(exif: bytes) -> int:
    """The orientation in EXIF's first directory (tag 274 of TIFF 6.0); 1, which is upright, if there is none."""
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    order = "<" if exif.startswith(b"II") else ">"
    try:
        directory, = struct.unpack_from(order + "L", exif, 4)
        entries, = struct.unpack_from(order + "H", exif, directory)
        for entry in range(entries):
            tag, kind, value = struct.unpack_from(order + "HH4xH", exif, directory + 2 + 12 * entry)
            if (tag, kind) == (274, 3):  # a SHORT
                return value
    except struct.error:  # broken EXIF says nothing about the pixels
        pass
    return 1


def _rgb(image: Image.Image, fitted: tuple[int, int], frame: tuple[int, int, int, int] | None) -> Image.Image:
    """Any mode to RGB: 16-bit values scaled to 8, transparency and what `frame` leaves out over white."""
    transparent = image.info.get("transparency")
    if image.mode == "RGB" and transparent is None:
        return image
    opaque = None
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if transparent is not None:
            opaque = Image.fromarray(values != transparent)
        image = Image.fromarray((values >> 8 if values.max() > 255 else values).astype(np.uint8))
        del values
    elif transparent is None and frame and frame != (0, 0, *image.size):
        opaque = Image.new("1", image.size)
        opaque.paste(1, frame)
    if opaque:
        image = image.convert("RGB")
        image.putalpha(opaque)
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image if image.mode == "RGBA" else image.convert("RGBA")
    # Shrunk first (by box, premultiplied), to need no further full-size copy.
    factor = max(1, min(image.width // (2 * fitted[0]), image.height // (2 * fitted[1])))
    image = image.reduce(factor)
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image)
    return white


def _srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert from the profile's colours, such as the Display P3 of phones, to sRGB, if that can be done.

    Cameras and phones write a matrix and curves, in 0.5 to 20 kB. Tables and programs, as printers have (tags A2B,
    D2B), can take any amount of time.
    """
    is_plain = profile[12:16] in (b"mntr", b"scnr", b"spac") and profile[16:20] == b"RGB "
    has_tables = b"A2B" in profile or b"D2B" in profile
    if not is_plain or has_tables or len(profile) > 65_536 or b"sRGB" in profile.replace(b"\0", b""):
        return image
    from PIL import ImageCms  # most photos have no profile, or sRGB's
    try:
        return ImageCms.profileToProfile(image, io.BytesIO(profile), ImageCms.createProfile("sRGB"))
    except Exception:  # a broken profile says nothing about the pixels
        return image
