"""Small files that cost a careless decoder gigabytes or minutes, and the largest files that are accepted.

CASES maps what a file is to the function that builds it and to the status that it is answered with. Nothing beside
Pillow is needed, as fuzzing (tests/fuzz) starts from these files too.
"""
import io
import struct
import zlib
from collections.abc import Callable

from PIL import Image


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def segment(marker: int, content: bytes) -> bytes:
    """A part of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def jpeg(width: int, height: int, mode="RGB", header=b"", more_scans=0, real=False, **options) -> bytes:
    """A JPEG of any size in its header, which libjpeg fills up with grey, or with `real` pixels.

    header: further segments; more_scans: how often the last scan is repeated.
    """
    content = encoded(Image.new(mode, (width, height) if real else (64, 64), 77), "JPEG", **options)
    if not real:
        frame = content.index(b"\xff\xc2\0" if options.get("progressive") else b"\xff\xc0\0")
        content = content[:frame + 5] + struct.pack(">HH", height, width) + content[frame + 9:]
    last_scan = content[content.rindex(b"\xff\xda"):-2]
    return content[:2] + header + content[2:-2] + last_scan * more_scans + content[-2:]


def directory(kind: int, count: int, entries: int, size: int) -> bytes:
    """A TIFF directory, as in EXIF, all entries of which name the same `size` bytes: `count` values of a TIFF type."""
    offset = 14 + 12 * entries
    return (b"MM\0*" + struct.pack(">IH", 8, entries)
            + b"".join(struct.pack(">HHII", 40_000 + entry, kind, count, offset) for entry in range(entries))
            + bytes(4) + bytes(range(256)) * (size // 256 + 1))


def chunk(name: bytes, content: bytes = b"") -> bytes:
    """A part of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


# The seven passes of an interlaced PNG: first column and row, step between columns and rows.
ADAM7 = (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)
PAETH = b"\4"  # the filter that takes longest


def png(width: int, height: int, depth=8, colour=0, before=b"", after=b"", data: bytes | None = None,
        interlaced=False) -> bytes:
    """A PNG of zeros, or of any `data`, with further chunks before and after its pixels."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    if data is None:
        compressor = zlib.compressobj(1)
        data = b""
        for left, top, across, down in ADAM7 if interlaced else [(0, 0, 1, 1)]:
            row = PAETH + bytes((-(-(width - left) // across) * channels * depth + 7) // 8)
            data += b"".join(compressor.compress(row) for _ in range(top, height, down))
        data += compressor.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + chunk(b"IDAT", data) + after + chunk(b"IEND"))


def text(number: int, content: bytes) -> bytes:
    """A compressed text in a PNG."""
    return chunk(b"iTXt", b"%d\0\1\0\0\0" % number + zlib.compress(content))


def texts(count: int) -> bytes:
    """Texts that take a thousand times their size while Pillow reads them, and then four times as much."""
    return b"".join(text(number, bytes(990_000) + "\U0001f600".encode()) for number in range(count))


PALETTE = chunk(b"PLTE", bytes(range(256)) * 3) + chunk(b"tRNS", bytes(range(255)))
ANIMATION = chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(
    b"fcTL", struct.pack(">IIIIIHHBB", 0, 30_000, 30_000, 0, 0, 1, 1, 1, 0))


def gif(width: int, height: int, before=b"") -> bytes:
    """A GIF of one black frame on a screen of 9 x 9, to be disposed of to the background."""
    return (b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0x80, 0, 0) + bytes(6) + before + b"!\xf9\4\x08\0\0\0\0"
            + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\2\2\x4c\1\0;")


def large_gif(screen: int, frame: int) -> bytes:
    content = encoded(Image.new("P", (frame, frame)), "GIF")
    return content[:6] + struct.pack("<HH", screen, screen) + content[10:]


def webp(width: int, height: int, chunks=b"") -> bytes:
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    content = b"WEBPVP8X" + struct.pack("<II", 10, 2) + canvas + chunks
    return b"RIFF" + struct.pack("<I", len(content)) + content


def bmp(bits: int, compression: int, data: bytes, side=5000) -> bytes:
    return b"BM" + struct.pack("<IIIIiiHHIIiiII", 0, 0, 1078, 40, side, side, 1, bits, compression, 0, 1, 1, 256, 0) + (
        bytes(range(256)) * 4 + data)


ARITHMETIC = b"\xff\xc2\0", b"\xff\xca\0"  # the frame marker of a progressive JPEG, and with arithmetic coding
CASES: dict[str, tuple[Callable[[], bytes], int]] = {
    # The largest that are accepted.
    "progressive JPEG": (lambda: jpeg(7200, 7200, progressive=True, subsampling=0), 200),
    "progressive JPEG, low and wide": (lambda: jpeg(65500, 793, progressive=True, subsampling=0), 200),
    "progressive JPEG, not shrunk while decoding": (lambda: jpeg(41000, 599, progressive=True, subsampling=0), 200),
    "progressive CMYK JPEG": (lambda: jpeg(41000, 599, mode="CMYK", progressive=True), 200),
    "JPEG of 99 scans": (lambda: jpeg(2450, 2450, real=True, more_scans=89, progressive=True, subsampling=0), 200),
    "PNG with alpha, interlaced": (lambda: png(5000, 5000, 8, 6, interlaced=True), 200),
    "PNG with alpha in 16 bits, interlaced": (lambda: png(5000, 5000, 16, 6, interlaced=True), 200),
    "PNG with alpha in 16 bits, low and wide": (lambda: png(65535, 381, 16, 6, interlaced=True), 200),
    "PNG of 16-bit grey with a transparent colour": (lambda: png(5000, 5000, 16, 0, chunk(b"tRNS", bytes(2))), 200),
    "PNG with a transparent colour, low and wide": (lambda: png(65535, 381, 8, 2, chunk(b"tRNS", bytes(6))), 200),
    "PNG of grey with alpha, low and wide": (lambda: png(65535, 381, 8, 4), 200),
    "PNG of a transparent palette, low and wide": (lambda: png(65535, 381, 8, 3, PALETTE), 200),
    "PNG in 19,000 chunks": (lambda: png(64, 64, after=chunk(b"IDAT") * 19_000), 200),
    "GIF": (lambda: large_gif(5000, 5000), 200),
    "GIF frame smaller than its screen": (lambda: large_gif(5000, 4990), 200),
    "WEBP": (lambda: encoded(Image.new("RGBA", (3870, 3870), (1, 2, 3, 4)), "WEBP", lossless=True, quality=0), 200),
    "BMP of 8 bits": (lambda: bmp(8, 0, bytes(4000 * 1000), 2000), 200),
    "PNG of 16 texts that inflate": (lambda: png(64, 64, before=texts(16)), 200),
    # Metadata that are not parsed, as that would take gigabytes.
    "JPEG, EXIF that repeats itself": (
        lambda: jpeg(64, 64, header=segment(0xE1, b"Exif\0\0" + directory(1, 31_000, 2700, 31_000))), 200),
    "JPEG, multi-picture data that repeat themselves": (
        lambda: jpeg(64, 64, header=segment(0xE2, b"MPF\0" + directory(3, 15_500, 2700, 31_000))), 200),
    "PNG, EXIF that repeats itself": (
        lambda: png(64, 64, before=chunk(b"eXIf", directory(1, 400_000, 3000, 400_000))), 200),
    # Cut after nearly all of their pixels.
    "cut PNG": (lambda: png(5000, 5000, 8, 6)[:-99], 422),
    "cut JPEG": (lambda: jpeg(20000, 599, real=True, quality=1)[:-9], 422),
    # Too large, which Pillow's plugins may notice late.
    "JPEG, too wide": (lambda: jpeg(65500, 599, progressive=True, subsampling=0), 413),
    "JPEG of 65,000 x 65,000": (lambda: jpeg(65000, 65000), 413),
    "PNG, too wide": (lambda: png(5001, 5000, 16, 6, data=b""), 413),
    "PNG of 2 billion columns": (lambda: png(2**31 - 1, 1, data=b""), 413),
    "PNG with a second, larger header": (
        lambda: png(64, 64, before=png(30_000, 30_000, data=b"")[8:33] + ANIMATION), 413),
    "animated PNG": (lambda: png(30_000, 30_000, 8, 6, ANIMATION, data=b""), 413),
    "GIF frame larger than its screen": (lambda: gif(65535, 65535), 413),
    "GIF frame as large as Pillow opens": (lambda: gif(13_000, 13_000), 413),
    "WEBP of 16 million columns": (lambda: webp(1 << 24, 255), 422),
    # Metadata that cost gigabytes or minutes.
    "JPEG of 150,000 EXIF segments": (
        lambda: jpeg(64, 64, header=segment(0xE1, b"Exif\0\0" + bytes(9)) * 150_000), 422),
    "JPEG with 3 MB of junk": (lambda: jpeg(64, 64, header=segment(0xFE, b"x") + bytes(3_000_000)), 422),
    "JPEG with 3 MB of padding": (lambda: jpeg(64, 64, header=b"\xff" * 3_000_000), 422),
    "PNG of 250,000 empty chunks of pixels": (lambda: png(64, 64, after=chunk(b"IDAT") * 250_000), 422),
    "PNG of 250,000 chunks": (lambda: png(64, 64, before=chunk(b"abCd") * 250_000), 422),
    "PNG of 3,000 colour profiles": (
        lambda: png(64, 64, before=chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(1_000_000))) * 3000), 422),
    "PNG of texts that are no UTF-8": (lambda: png(64, 64, before=text(0, bytes(990_000) + b"\xff") * 3000), 422),
    "PNG of 17 texts that inflate": (lambda: png(64, 64, before=texts(17)), 422),
    "GIF comment of 1 million parts": (lambda: gif(9, 9, b"!\xfe" + b"\1x" * 1_000_000 + b"\0"), 422),
    "GIF of 500,000 comments": (lambda: gif(9, 9, b"!\xfe\1x\0" * 500_000), 422),
    "GIF with 3 MB of junk": (lambda: gif(9, 9, b"x" * 3_000_000), 422),
    "WEBP of 300,000 chunks": (lambda: webp(64, 64, b"abcd\0\0\0\0" * 300_000), 422),
    # Kinds that no browser or camera writes.
    "arithmetic JPEG of 100 scans": (
        lambda: jpeg(7200, 7200, more_scans=90, progressive=True, subsampling=0).replace(*ARITHMETIC), 422),
    "JPEG of 60 scans, large": (lambda: jpeg(7200, 7200, progressive=True, subsampling=0, more_scans=50), 422),
    "run-length encoded BMP of short lines": (lambda: bmp(8, 1, b"\1\1\0\0" * 5000), 422),
    "run-length encoded BMP in 4 bits": (lambda: bmp(4, 2, b"\1\1\0\0" * 5000), 422),
    # No images.
    "text": (lambda: b"hello", 415), "HEIC": (lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), 415)}
