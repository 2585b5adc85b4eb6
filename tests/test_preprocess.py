"""Preprocessing: every kind of image becomes upright, in true colours and centred on grey, or gets a clear error."""
import contextlib
import io
import random
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

import hostile
from conftest import ROOT
from hostile import CASES, encoded
from image_checks import MAX_SCANS
from preprocess import FORMATS, PAD, ImageError, preprocess

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
CORNERS = [[RED, GREEN], [BLUE, WHITE]]


def quarters(width=80, height=120) -> Image.Image:
    """Red and green above, blue and white below."""
    pixels = np.repeat(np.repeat(np.array(CORNERS, np.uint8), height // 2, 0), width // 2, 1)
    return Image.fromarray(pixels)


def exact(image: Image.Image, kind: str, **options) -> bytes:
    """Encode an image almost without loss."""
    lossless = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}
    return encoded(image, kind, **lossless.get(kind, {}), **options)


def with_orientation(stored: Image.Image, kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return exact(stored, kind, exif=exif)


def corners(array: np.ndarray) -> np.ndarray:
    """The colours in the middle of each quarter."""
    height, width, _ = array.shape
    return array[[[height // 4], [3 * height // 4]], [[width // 4, 3 * width // 4]]]


def close(actual, expected, tolerance=3) -> None:
    np.testing.assert_allclose(np.asarray(actual, float), np.asarray(expected, float), atol=tolerance)


def test_the_resampling_is_pinned():
    """The exact output for images shrunk to a third and to a tenth: training and serving must never drift apart."""
    ramp = np.stack([np.arange(0, 256, 16).reshape(1, 16).repeat(8, 0),
                     np.arange(0, 256, 32).reshape(8, 1).repeat(16, 1),
                     np.indices((8, 16)).sum(0) % 2 * 255], -1).astype(np.uint8)
    array = preprocess(encoded(Image.fromarray(ramp.swapaxes(0, 1)), "PNG"), (6, 5)).swapaxes(0, 1)
    assert (array[[0, 4]] == PAD).all()
    assert array[1:4].tolist() == [
        [[18, 35, 127], [56, 35, 128], [98, 35, 127], [142, 35, 128], [184, 35, 128], [222, 35, 128]],
        [[18, 112, 128], [56, 112, 128], [98, 112, 128], [142, 112, 128], [184, 112, 128], [222, 112, 128]],
        [[18, 189, 128], [56, 189, 128], [98, 189, 128], [142, 189, 127], [184, 189, 128], [222, 189, 127]]]
    large = Image.fromarray(np.arange(0, 256, 4, np.uint8).reshape(64, 1).repeat(32, 1)).convert("RGB")
    assert preprocess(encoded(large, "PNG"), (6, 3))[:, 1, 0].tolist() == [24, 62, 104, 147, 191, 230]


def test_an_image_of_the_right_size_is_unchanged_whether_given_as_bytes_or_as_a_path(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (30, 20, 3), np.uint8)
    content = encoded(Image.fromarray(pixels), "PNG")
    (tmp_path / "photo.png").write_bytes(content)
    for source in (content, tmp_path / "photo.png", str(tmp_path / "photo.png")):
        np.testing.assert_array_equal(preprocess(source, (30, 20)), pixels)


@pytest.mark.parametrize("width, height, filled", [
    (80, 120, (0, 60, 0, 40)), (120, 80, (10, 50, 0, 40)), (40, 120, (0, 60, 10, 30)), (30000, 2, (10, 50, 0, 40)),
    (2, 30000, (0, 60, 19, 20)), (1, 1, (10, 50, 0, 40))])
def test_an_image_is_scaled_to_fit_and_centred_on_grey(width, height, filled):
    array = preprocess(encoded(Image.new("RGB", (width, height), RED), "PNG"), (60, 40))
    top, bottom, left, right = filled
    expected = np.full((60, 40, 3), PAD)
    expected[top:bottom, left:right] = RED
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("mode, orientation, angle, scale", [("RGB", 1, 0, 1), ("RGB", 6, 90, 8), ("RGBA", 6, 90, 8)])
def test_landscape_photos_are_centre_cropped_to_a_square(mode, orientation, angle, scale):
    """Upright 160 x 80: 40 columns of red, four quarters of 40 x 40, 40 columns of red."""
    image = Image.new(mode, (160, 80), RED)
    image.paste(quarters(80, 80), (40, 0))
    large = image.resize((160 * scale, 80 * scale), Image.Resampling.NEAREST)
    content = with_orientation(large.rotate(angle, expand=True), "PNG", orientation)
    array = preprocess(content, (60, 40))
    assert (array[:10] == PAD).all()
    assert (array[50:] == PAD).all()
    close(corners(array[10:50]), CORNERS)
    wide = preprocess(content, (40, 80))  # a model with a landscape input gets all of it
    close(wide[:, [0, -1]], np.broadcast_to(RED, (40, 2, 3)))


@pytest.mark.parametrize("kind, orientation", [*(("JPEG", number) for number in range(10)), ("PNG", 6), ("WEBP", 6)])
def test_exif_orientation_is_applied_and_an_unknown_one_ignored(kind, orientation):
    content = with_orientation(quarters(120, 80), kind, orientation)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    close(corners(preprocess(content, (60, 40))), corners(preprocess(exact(upright, "PNG"), (60, 40))))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_is_ignored():
    content = exact(quarters(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + b"\xff" * 40)
    close(corners(preprocess(content, (60, 40))), CORNERS)


def test_large_jpegs_are_shrunk_while_decoding_to_nearly_the_same():
    photo = quarters(1600, 2400)
    close(preprocess(exact(photo, "JPEG"), (60, 40)), preprocess(encoded(photo, "PNG"), (60, 40)), 12)


@pytest.mark.parametrize("kind, mode, options", [
    ("JPEG", "RGB", {"progressive": True}), ("JPEG", "CMYK", {}), ("PNG", "RGB", {}), ("WEBP", "RGB", {}),
    ("BMP", "RGB", {}), ("GIF", "RGB", {}),
    ("MPO", "RGB", {"save_all": True, "append_images": [Image.new("RGB", (80, 120))]})])  # phones append depth maps
def test_each_format_is_decoded_and_trailing_bytes_are_ignored(kind, mode, options):
    array = preprocess(exact(quarters().convert(mode), kind, **options) + bytes(99), (60, 40))
    assert array.shape == (60, 40, 3) and array.dtype == np.uint8
    close(corners(array), CORNERS, 12)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_is_taken(kind):
    frames = [Image.new("RGB", (40, 40), colour) for colour in (RED, GREEN, BLUE)]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    close(preprocess(content, (40, 40)), np.full((40, 40, 3), RED), 4)


LEVELS = np.array([[0, 85], [170, 255]], np.uint16).repeat(20, 0).repeat(20, 1)
GREY = Image.fromarray(LEVELS.astype(np.uint8))


@pytest.mark.parametrize("image, kind", [
    (GREY, "JPEG"), (GREY.convert("LA"), "PNG"), (GREY.convert("P"), "PNG"), (GREY.convert("CMYK"), "JPEG"),
    (Image.fromarray(LEVELS << 8 | 7), "PNG"), (Image.fromarray(LEVELS), "PNG"),  # 16 bits, the second up to 255 only
])
def test_grey_levels_are_kept_in_every_mode(image, kind):
    close(corners(preprocess(encoded(image, kind), (40, 40))), np.array([[0, 85], [170, 255]])[..., None].repeat(3, 2))


def test_one_bit_per_pixel_is_black_and_white():
    image = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8).repeat(20, 0).repeat(20, 1)).convert("1")
    close(corners(preprocess(encoded(image, "PNG"), (40, 40))), [[BLACK, WHITE], [WHITE, BLACK]])


@pytest.mark.parametrize("colour, pixel", [(2, b"\xff\xff\0\0\0\0"), (6, b"\xff\xff\0\0\0\0\xff\xff")])
def test_sixteen_bits_per_channel_become_eight(colour, pixel):
    content = hostile.png(8, 8, 16, colour, data=zlib.compress((b"\0" + pixel * 8) * 8))
    close(preprocess(content, (8, 8)), np.full((8, 8, 3), RED))


@pytest.mark.parametrize("kind, size", [("PNG", (40, 40)), ("PNG", (800, 800)), ("WEBP", (40, 40))])
def test_transparency_is_laid_over_white(kind, size):
    image = Image.new("RGBA", size, (255, 0, 0, 0))  # transparent red: must not shine through
    image.paste((0, 0, 255, 128), (0, size[1] // 2, *size))
    close(corners(preprocess(exact(image, kind), (40, 40))), [[WHITE, WHITE], [(127, 127, 255)] * 2])


def test_the_colour_of_transparent_pixels_does_not_bleed():
    checkers = (np.indices((800, 800)).sum(0) % 2)[..., None]
    pixels = np.where(checkers, (255, 0, 0, 0), (0, 0, 255, 255)).astype(np.uint8)
    array = preprocess(encoded(Image.fromarray(pixels), "PNG"), (40, 40))
    close(array, np.full((40, 40, 3), (127, 127, 255)))


def halves(above, below, kind=np.uint8) -> Image.Image:
    return Image.fromarray(np.array([[above], [below]], kind).repeat(20, 0).repeat(40, 1))


PALETTE = halves(0, 1)
PALETTE.putpalette([*RED, *BLUE])


@pytest.mark.parametrize("image, kind, transparent, opaque", [
    (PALETTE, "PNG", 0, BLUE), (PALETTE, "GIF", 0, BLUE), (halves(0, 100), "PNG", 0, (100, 100, 100)),
    (halves(BLACK, BLUE), "PNG", BLACK, BLUE), (halves(300, 25_600, np.uint16), "PNG", 300, (100, 100, 100))])
def test_a_transparent_colour_is_white(image, kind, transparent, opaque):
    close(corners(preprocess(encoded(image, kind, transparency=transparent), (40, 40))), [[WHITE] * 2, [opaque] * 2])


def test_a_gif_is_white_where_its_first_frame_does_not_cover_it():
    content = bytearray(encoded(Image.new("P", (40, 20), 0).convert("RGB"), "GIF"))
    content[8:10] = struct.pack("<H", 40)  # the height of the screen
    close(corners(preprocess(bytes(content), (40, 40))), [[BLACK] * 2, [WHITE] * 2])


def display_p3(name="test") -> bytes:
    """The ICC profile of Display P3: sRGB's with other colours, as XYZ under D50, and with any name of four letters."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    content = bytearray(srgb.replace("sRGB".encode("utf-16-be"), name.encode("utf-16-be")))
    for tag, colour in {b"rXYZ": (0.5151, 0.2412, -0.0011), b"gXYZ": (0.2920, 0.6922, 0.0419),
                        b"bXYZ": (0.1571, 0.0666, 0.7841)}.items():
        place, = struct.unpack_from(">I", content, content.index(tag) + 4)
        struct.pack_into(">3i", content, place + 8, *(round(value * 65536) for value in colour))
    return bytes(content)


P3 = display_p3()
P3_RED = 234, 49, 31  # sRGB's red in Display P3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_photo_in_display_p3_is_converted_to_srgb(kind):
    content = exact(Image.new("RGB", (40, 40), P3_RED), kind, icc_profile=P3)
    close(preprocess(content, (40, 40))[20, 20], RED, 10)


@pytest.mark.parametrize("icc", [
    b"x" * 200, P3[:150], P3.replace(b"mntr", b"prtr"), P3 + b"A2B0", P3 + bytes(1 << 16), display_p3("sRGB")],
    ids=["noise", "cut", "a printer's", "tables", "too large", "sRGB"])
def test_other_colour_profiles_are_ignored(icc):
    content = encoded(Image.new("RGB", (40, 40), P3_RED), "PNG", icc_profile=icc)
    close(preprocess(content, (40, 40))[20, 20], P3_RED, 0)


# What is refused; tests/test_budget.py measures what hostile files cost.

@pytest.mark.parametrize("content", [
    b"", b"hello", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), encoded(quarters(), "TIFF")],
    ids=["nothing", "text", "HEIC", "TIFF"])
def test_other_kinds_of_files_are_refused(content):
    with pytest.raises(ImageError, match="send one of JPEG, PNG, GIF, WEBP, BMP") as raised:
        preprocess(content, (60, 40))
    assert raised.value.status == 415


@pytest.mark.parametrize("name", [name for name, (_, status) in CASES.items() if status == 413])
def test_an_image_with_too_many_pixels_is_refused_by_its_header(name):
    with pytest.raises(ImageError, match=r"pixels; shrink it to at most [\d.]+ million"):
        preprocess(CASES[name][0](), (300, 228))


def test_a_jpeg_with_too_many_scans_is_refused():
    with pytest.raises(ImageError, match=r"too many scans \(110\)"):
        preprocess(hostile.jpeg(64, 64, progressive=True, more_scans=MAX_SCANS), (60, 40))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("part", [0.05, 0.66], ids=["header", "middle"])
def test_a_cut_image_is_refused_in_words(kind, part):
    content = encoded(quarters(), kind)
    with pytest.raises(ImageError, match="can't be decoded .*is the file complete") as raised:
        preprocess(content[:max(20, int(len(content) * part))], (60, 40))
    assert raised.value.status == 422


def noise(mode="RGB", size=(120, 160)) -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    return Image.frombytes(mode, size, random.Random(1).randbytes(size[0] * size[1] * bands))


def mutants():
    """Images of every kind, cut, with flipped bits, with lost and doubled bytes, and with another format's header."""
    chance, animation = random.Random(7), {"save_all": True, "append_images": [noise().rotate(90)]}
    for content in (
            encoded(noise(), "JPEG"), encoded(noise(), "JPEG", progressive=True), encoded(noise("CMYK"), "JPEG"),
            encoded(noise(), "MPO", **animation), encoded(quarters(), "PNG"), encoded(noise("RGBA"), "PNG"),
            encoded(noise("P"), "PNG", transparency=b"\0\1\2"), encoded(noise(), "PNG", **animation),
            encoded(noise("P"), "GIF"), encoded(noise(), "GIF", **animation), encoded(noise(), "WEBP"),
            encoded(noise("RGBA"), "WEBP", lossless=True), encoded(noise(), "WEBP", **animation),
            encoded(noise(), "BMP"), encoded(noise("P"), "BMP")):
        for part in range(1, 9):
            yield content[:len(content) * part // 9]
        for turn in range(8):
            flipped = bytearray(content)
            reach = len(content) if turn % 2 else min(200, len(content))  # also in the header
            for _ in range(1 << turn % 4):
                flipped[chance.randrange(reach)] ^= 1 << chance.randrange(8)
            yield bytes(flipped)
            start = chance.randrange(len(content))
            yield content[:start] + content[start + chance.randrange(1, 50):]
            yield content[:start] + content[start // 2:]
        yield encoded(quarters(), "PNG")[:60] + content[60:]


@pytest.mark.filterwarnings("ignore")
def test_hundreds_of_broken_images_are_decoded_or_refused_and_never_accepted_where_pillow_refuses_them():
    broken = [*mutants()]
    refused = 0
    for content in broken:
        try:
            Image.open(io.BytesIO(content), formats=FORMATS).load()
        except Exception:
            refused += 1
            with pytest.raises(ImageError):
                preprocess(content, (40, 30))
        else:
            with contextlib.suppress(ImageError):
                assert preprocess(content, (40, 30)).shape == (40, 30, 3)
    assert len(broken) > 300 and refused > 150


def test_only_the_plugins_of_the_accepted_formats_are_imported():
    """Pillow would otherwise import some forty of them at the first image that is not a JPEG."""
    probe = ("import sys, preprocess\ntry: preprocess.preprocess(b'RIFF', (9, 9))\nexcept ValueError: pass\n"
             "print(*[name for name in sys.modules if name.endswith('ImagePlugin')])")
    plugins = subprocess.run([sys.executable, "-c", probe], cwd=ROOT / "lambda", check=True, capture_output=True,
                             text=True).stdout.split()
    assert "PIL.WebPImagePlugin" in plugins and "PIL.PsdImagePlugin" not in plugins
