"""Preprocessing: every kind of image comes out upright, in its colours, centred on grey, or is refused in words."""
import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from image_checks import MAX_SCANS
from preprocess import FORMATS, PAD, ImageError, ImageTooLarge, NotAnImage, preprocess

RED, GREEN, BLUE, WHITE, BLACK, GREY = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (PAD,) * 3)
CORNERS = [[RED, GREEN], [BLUE, WHITE]]


def quarters(width=80, height=120) -> Image.Image:
    """Red and green above, blue and white below."""
    pixels = np.repeat(np.repeat(np.array(CORNERS, np.uint8), height // 2, 0), width // 2, 1)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def jpeg(image: Image.Image, **options) -> bytes:
    return encoded(image, "JPEG", **{"quality": 95, "subsampling": 0, **options})


def corners(array: np.ndarray) -> np.ndarray:
    """The colours in the middle of each quarter."""
    height, width, _ = array.shape
    return array[[[height // 4], [3 * height // 4]], [[width // 4, 3 * width // 4]]]


def close(actual, expected, tolerance=3) -> None:
    np.testing.assert_allclose(np.asarray(actual, float), np.asarray(expected, float), atol=tolerance)


def png(width: int, height: int, depth: int = 8, colour: int = 0, data: bytes = b"") -> bytes:
    """A PNG by hand: any size in the header, whatever in the body."""
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b""))


def test_the_resampling_is_pinned():
    """The very numbers, of a picture shrunk to a third and one shrunk to a tenth: training and serving hang on them."""
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


def test_an_image_of_the_right_size_passes_unchanged():
    pixels = np.random.default_rng(1).integers(0, 256, (30, 20, 3), np.uint8)
    np.testing.assert_array_equal(preprocess(encoded(Image.fromarray(pixels), "PNG"), (30, 20)), pixels)


def test_path_and_bytes_give_the_same(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(jpeg(quarters()))
    for source in (path, str(path)):
        np.testing.assert_array_equal(preprocess(source, (60, 40)), preprocess(path.read_bytes(), (60, 40)))


@pytest.mark.parametrize("width, height, filled", [
    (80, 120, (0, 60, 0, 40)), (120, 80, (10, 50, 0, 40)), (40, 120, (0, 60, 10, 30)), (4, 6, (0, 60, 0, 40)),
    (30000, 2, (10, 50, 0, 40)), (2, 30000, (0, 60, 19, 20)), (1, 1, (10, 50, 0, 40))])
def test_the_picture_is_fitted_and_centred_on_grey(width, height, filled):
    array = preprocess(encoded(Image.new("RGB", (width, height), RED), "PNG"), (60, 40))
    top, bottom, left, right = filled
    expected = np.full((60, 40, 3), PAD)
    expected[top:bottom, left:right] = RED
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("scale", [1, 8])
def test_of_a_wide_picture_the_square_in_the_middle_is_taken(mode, orientation, scale):
    """Upright 160 x 80: 40 columns of red, four quarters of 40 x 40, 40 columns of red."""
    picture = Image.new(mode, (160, 80), RED)
    picture.paste(quarters(80, 80), (40, 0))
    picture = picture.resize((160 * scale, 80 * scale), Image.Resampling.NEAREST)
    exif = Image.Exif()
    exif[274] = orientation
    stored = picture if orientation == 1 else picture.transpose(TURNED[orientation])
    array = preprocess(encoded(stored, "PNG", exif=exif), (60, 40))
    assert (array[:10] == PAD).all() and (array[50:] == PAD).all()
    close(corners(array[10:50]), CORNERS)
    wide = preprocess(encoded(stored, "PNG", exif=exif), (40, 80))  # a model of wide pictures gets all of it
    close(wide[:, [0, -1]], np.broadcast_to(RED, (40, 2, 3)))


@pytest.mark.parametrize("kind, options", [
    ("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {}),
    ("GIF", {})])
def test_formats(kind, options):
    array = preprocess(encoded(quarters(), kind, **options), (60, 40))
    assert array.shape == (60, 40, 3) and array.dtype == np.uint8
    close(corners(array), CORNERS)


TURNED = {1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
          4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
          7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [0, *TURNED, 9])
def test_exif_orientation(orientation, kind):
    turn = TURNED.get(orientation)
    stored = quarters() if turn is None else quarters().transpose(turn)  # so turned that the orientation sets it right
    exif = Image.Exif()
    exif[274] = orientation
    array = preprocess(encoded(stored, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {})), (60, 40))
    close(corners(array), CORNERS, 12)


def test_an_orientation_that_does_not_exist_is_ignored():
    exif = Image.Exif()
    exif[274] = 9
    content = encoded(quarters(120, 80), "PNG", exif=exif)
    np.testing.assert_array_equal(preprocess(content, (60, 40)),
                                  preprocess(encoded(quarters(120, 80), "PNG"), (60, 40)))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_is_ignored():
    content = jpeg(quarters(), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + b"\xff" * 40)
    close(corners(preprocess(content, (60, 40))), CORNERS)


def grey_levels(mode: str) -> Image.Image:
    levels = np.array([[0, 85], [170, 255]], np.uint16).repeat(20, 0).repeat(20, 1)
    if mode == "I;16":
        return Image.fromarray(levels << 8 | 7)
    return Image.fromarray(levels.astype(np.uint8)).convert(mode)


@pytest.mark.parametrize("mode, kind, expected", [
    ("L", "JPEG", [[0, 85], [170, 255]]), ("L", "PNG", [[0, 85], [170, 255]]), ("I;16", "PNG", [[0, 85], [170, 255]]),
    ("LA", "PNG", [[0, 85], [170, 255]]), ("P", "PNG", [[0, 85], [170, 255]]), ("CMYK", "JPEG", [[0, 85], [170, 255]])])
def test_grey_in_every_mode(mode, kind, expected):
    array = preprocess(encoded(grey_levels(mode), kind), (40, 40))
    close(corners(array), np.array(expected)[..., None].repeat(3, 2))


def test_one_bit_per_pixel():
    image = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8).repeat(20, 0).repeat(20, 1)).convert("1")
    close(corners(preprocess(encoded(image, "PNG"), (40, 40))), [[BLACK, WHITE], [WHITE, BLACK]])


def test_sixteen_bit_values_of_an_eight_bit_picture_stay():
    levels = np.array([[0, 85], [170, 255]], np.uint16).repeat(20, 0).repeat(20, 1)
    array = preprocess(encoded(Image.fromarray(levels), "PNG"), (40, 40))
    close(corners(array)[..., 0], [[0, 85], [170, 255]])


@pytest.mark.parametrize("depth, colour, pixel", [(16, 2, b"\xff\xff\x00\x00\x00\x00"),
                                                  (16, 6, b"\xff\xff\x00\x00\x00\x00\xff\xff")])
def test_sixteen_bits_per_channel(depth, colour, pixel):
    content = png(8, 8, depth, colour, (b"\0" + pixel * 8) * 8)
    close(preprocess(content, (8, 8)), np.full((8, 8, 3), RED))


def test_cmyk_colours():
    array = preprocess(jpeg(quarters().convert("CMYK")), (60, 40))
    close(corners(array), CORNERS, 6)


@pytest.mark.parametrize("size", [(40, 40), (800, 800)])  # large ones are shrunk before they are laid over white
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_lies_over_white(kind, size):
    image = Image.new("RGBA", size, (255, 0, 0, 0))  # transparent red: must not shine through
    image.paste((0, 0, 255, 128), (0, size[1] // 2, *size))
    array = preprocess(encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {})), (40, 40))
    close(corners(array), [[WHITE, WHITE], [(127, 127, 255)] * 2])


def test_the_colour_under_transparent_pixels_does_not_bleed():
    checkers = (np.indices((800, 800)).sum(0) % 2)[..., None]
    pixels = np.where(checkers, (255, 0, 0, 0), (0, 0, 255, 255)).astype(np.uint8)
    array = preprocess(encoded(Image.fromarray(pixels), "PNG"), (40, 40))
    close(array, np.full((40, 40, 3), (127, 127, 255)))


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_transparent_colour_of_a_palette(kind):
    image = Image.new("P", (40, 40), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(1, (0, 20, 40, 40))
    close(corners(preprocess(encoded(image, kind, transparency=0), (40, 40))), [[WHITE] * 2, [BLUE] * 2])


@pytest.mark.parametrize("mode, transparent", [("L", 0), ("RGB", (0, 0, 0)), ("I;16", 0), ("I;16", 300)])
def test_a_transparent_colour_without_a_palette_lies_over_white(mode, transparent):
    image = Image.new(mode, (40, 40), transparent)
    if mode == "I;16":
        image = Image.fromarray(np.array([transparent, 25_600], np.uint16).repeat(20)[:, None].repeat(40, 1))
    else:
        image.paste({"L": 100, "RGB": BLUE}[mode], (0, 20, 40, 40))
    array = preprocess(encoded(image, "PNG", transparency=transparent), (40, 40))
    close(corners(array), [[WHITE] * 2, [BLUE if mode == "RGB" else (100,) * 3] * 2])


def test_what_the_first_frame_of_a_gif_leaves_out_is_white():
    content = bytearray(encoded(Image.new("P", (40, 20), 0).convert("RGB"), "GIF"))
    content[8:10] = struct.pack("<H", 40)  # the height of the screen
    close(corners(preprocess(bytes(content), (40, 40))), [[BLACK] * 2, [WHITE] * 2])


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation(kind):
    frames = [Image.new("RGB", (40, 40), colour) for colour in (RED, GREEN, BLUE)]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    close(preprocess(content, (40, 40)), np.full((40, 40, 3), RED), 4)


def test_a_photo_with_more_behind_it():
    """MPO: what phones write for depth maps and 3D."""
    content = encoded(quarters(), "MPO", save_all=True, append_images=[Image.new("RGB", (80, 120))])
    close(corners(preprocess(content, (60, 40))), CORNERS, 12)


def profile(*colourants: tuple[float, float, float], kind=b"mntr", more=()) -> bytes:
    """An ICC profile (version 2) of these colours of red, green and blue, as XYZ under D50, with gamma 2.2."""
    def numbers(values) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78), b"cprt": b"text" + bytes(8),
            b"wtpt": b"XYZ " + bytes(4) + numbers((0.9642, 1, 0.8249)), **dict.fromkeys(more, bytes(8)),
            **{name: b"XYZ " + bytes(4) + numbers(values)
               for name, values in zip((b"rXYZ", b"gXYZ", b"bXYZ"), colourants)},
            **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), b"curv" + bytes(4) + struct.pack(">IH", 1, 563))}
    table, data = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    head = bytes(8) + struct.pack(">I", 0x02100000) + kind + b"RGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    head += numbers((0.9642, 1, 0.8249)) + bytes(48)
    return struct.pack(">I", len(head) + 4 + len(table) + len(data))[:4] + head[4:] + table + data


P3 = (0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)  # as in Apple's profile


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_photo_in_display_p3_is_converted_to_srgb(kind):
    """sRGB's red is (0.917, 0.200, 0.139) in Display P3."""
    image = Image.new("RGB", (40, 40), (234, 49, 31))
    options = {"quality": 95} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    close(preprocess(encoded(image, kind, icc_profile=profile(*P3), **options), (40, 40))[20, 20], RED, 10)


@pytest.mark.parametrize("content", [
    b"", b"x" * 200, profile(*P3)[:150], profile(*P3, kind=b"prtr"), profile(*P3, more=[b"A2B0"]),
    profile(*P3) + bytes(1 << 16), profile(*P3).replace(b"test", b"sRGB")])
def test_other_profiles_are_ignored(content):
    image = Image.new("RGB", (40, 40), (234, 49, 31))
    close(preprocess(encoded(image, "PNG", icc_profile=content), (40, 40))[20, 20], (234, 49, 31), 0)


def test_large_jpegs_are_shrunk_while_decoding_to_nearly_the_same():
    photo = quarters(1600, 2400)
    draft, plain = preprocess(jpeg(photo), (60, 40)), preprocess(encoded(photo, "PNG"), (60, 40))
    close(draft, plain, 12)


NOT_IMAGES = {"nothing": b"", "text": b"hello", "html": b"<!doctype html><img src=x>", "svg": b"<svg xmlns='x'/>",
              "pdf": b"%PDF-1.7\n", "zip": b"PK\3\4" + bytes(30),
              "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99),
              "tiff": encoded(quarters(), "TIFF"), "ico": encoded(quarters(), "ICO"), "ppm": encoded(quarters(), "PPM"),
              "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "avif": b"\0\0\0\x1cftypavif" + bytes(99)}


@pytest.mark.parametrize("name", NOT_IMAGES)
def test_what_is_not_an_image_of_the_formats_is_refused(name):
    with pytest.raises(NotAnImage, match="send one of JPEG, PNG, GIF, WEBP, BMP"):
        preprocess(NOT_IMAGES[name], (60, 40))


BROKEN = {f"{kind} cut at {part}": encoded(quarters(), kind)[:cut] for kind in FORMATS
          for part, cut in (("the header", 20), ("the middle", len(encoded(quarters(), kind)) * 2 // 3))} | {
    "PNG without pixels": png(40, 40), "PNG of no width": png(0, 40),
    "WEBP of noise": b"RIFF\0\1\0\0WEBPVP8 " + bytes(99),
    "JPEG of noise": b"\xff\xd8\xff" + bytes(range(256)) * 8}


def test_a_png_photo_with_a_flipped_bit_is_refused():
    """Its checksum tells, but only if the pixels are loaded before EXIF is asked for."""
    content = encoded(Image.effect_noise((60, 80), 50), "PNG")
    first, last = content.index(b"IDAT") + 4, content.index(b"IEND") - 8
    for number in range(100):
        flipped = bytearray(content)
        flipped[first + number * (last - first) // 100] ^= 1 << number % 8
        with pytest.raises(ImageError):
            preprocess(bytes(flipped), (60, 40))


@pytest.mark.parametrize("name", BROKEN)
def test_broken_images_are_refused_in_words(name):
    with pytest.raises(ImageError, match="can't be decoded .*is the file complete") as raised:
        preprocess(BROKEN[name], (60, 40))
    assert type(raised.value) is ImageError


def webp(width: int, height: int) -> bytes:
    head = b"VP8L" + struct.pack("<I", 12) + b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(7)
    return b"RIFF" + struct.pack("<I", 4 + len(head)) + b"WEBP" + head


def resized(content: bytes, width: int, height: int) -> bytes:
    """A JPEG or GIF with another size in its header."""
    if content[:3] == b"GIF":
        return content[:6] + struct.pack("<HH", width, height) + content[10:]
    at = next(content.index(b"\xff" + frame) for frame in (b"\xc0", b"\xc2") if b"\xff" + frame + b"\0" in content)
    return content[:at + 5] + struct.pack(">HH", height, width) + content[at + 9:]


BOMBS = {"JPEG": resized(jpeg(quarters()), 65000, 65000), "PNG": png(100_000, 100_000),
         "GIF": resized(encoded(quarters(), "GIF"), 65535, 65535), "WEBP": webp(16383, 16383),
         "BMP": encoded(quarters(), "BMP")[:18] + struct.pack("<ii", 50_000, 50_000) + encoded(quarters(), "BMP")[26:],
         "PNG of 2³¹ columns": png(2**31 - 1, 1), "CMYK": resized(jpeg(quarters().convert("CMYK")), 6000, 6000)}


@pytest.mark.parametrize("name", BOMBS)
def test_too_many_pixels_are_refused_by_the_header(name):
    with pytest.raises(ImageTooLarge, match=r"pixels; shrink it to at most \d+ million"):
        preprocess(BOMBS[name], (60, 40))


def test_too_many_scans_are_refused():
    content = jpeg(quarters(), progressive=True)
    start = content.rindex(b"\xff\xda")
    scan = content[start:start + 2 + struct.unpack(">H", content[start + 2:start + 4])[0]]
    preprocess(content[:-2] + scan * 9 + content[-2:], (60, 40))
    with pytest.raises(ImageError, match=r"too many scans \(110\)"):
        preprocess(content[:-2] + scan * MAX_SCANS + content[-2:], (60, 40))


def test_no_plugin_is_imported_that_no_format_needs():
    """Pillow would otherwise import some forty of them at the first image that is not a JPEG."""
    probe = ("import sys, preprocess\ntry: preprocess.preprocess(b'RIFF', (9, 9))\nexcept ValueError: pass\n"
             "print(*[name for name in sys.modules if name.endswith('ImagePlugin')])")
    plugins = subprocess.run([sys.executable, "-c", probe], cwd=Path(__file__).parent.parent / "lambda", check=True,
                             capture_output=True, text=True).stdout.split()
    assert "PIL.WebPImagePlugin" in plugins and "PIL.PsdImagePlugin" not in plugins
