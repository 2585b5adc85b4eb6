"""Draw garments with ten labels, to run the whole pipeline without downloading photos.

    python scripts/draw_data.py --output data/drawn/index.csv

writes 920 JPEGs beside index.csv. Colours, shape, pose, light and noise vary; the same seed draws the same bytes.
"""
import argparse
import cmath
import colorsys
import io
import math
from collections.abc import Iterator
from pathlib import Path
from random import Random

from PIL import Image, ImageChops, ImageDraw
from tqdm import tqdm

from training.index import write_photos

# The pieces of each garment, drawn in this order: the brightness of the colour, and the corners of the right half, from
# -1 to 1 with y downwards. The left half is its mirror image.
TOP = 1, ((0, -0.66), (0.2, -0.8), (0.42, -0.72), (0.46, 0.7), (0, 0.7))
LONG_SLEEVE = 0.9, ((0.35, -0.78), (0.56, -0.64), (0.86, 0.42), (0.62, 0.5), (0.38, -0.2))
SHORT_SLEEVE = 0.9, ((0.35, -0.78), (0.56, -0.68), (0.88, -0.34), (0.68, -0.12), (0.38, -0.4))
GARMENTS = {
    "dress": [(1, ((0, -0.7), (0.18, -0.9), (0.3, -0.88), (0.22, -0.15), (0.64, 0.9), (0, 0.9))),
              (0.6, ((0, -0.22), (0.24, -0.22), (0.24, -0.12), (0, -0.12)))],
    "hat": [(0.9, ((0, 0.0), (0.6, 0.0), (0.95, 0.14), (0.6, 0.34), (0, 0.4))),
            (1, ((0, -0.5), (0.36, -0.55), (0.5, 0.1), (0.3, 0.2), (0, 0.22))),
            (0.6, ((0, 0.0), (0.47, -0.06), (0.5, 0.1), (0.3, 0.2), (0, 0.22)))],
    "longsleeve": [LONG_SLEEVE, TOP],
    "outwear": [(0.9, ((0.4, -0.76), (0.64, -0.6), (0.94, 0.4), (0.66, 0.5), (0.42, -0.1))),
                (1, ((0, -0.8), (0.46, -0.74), (0.58, 0.86), (0, 0.86))),
                (0.6, ((0.04, -0.8), (0.34, -0.84), (0.3, -0.5), (0.04, 0.0))),
                (0.4, ((0, -0.8), (0.05, -0.8), (0.05, 0.86), (0, 0.86)))],
    "pants": [(1, ((0, -0.9), (0.34, -0.9), (0.42, 0.9), (0.18, 0.92), (0, -0.2)))],
    "shirt": [LONG_SLEEVE, TOP,
              (0.4, ((0, -0.7), (0.05, -0.7), (0.05, 0.7), (0, 0.7))),
              (0.6, ((0.02, -0.72), (0.2, -0.94), (0.32, -0.76), (0.18, -0.5)))],
    "shoes": [(1, ((0.1, 0.5), (0.08, -0.1), (0.3, -0.2), (0.5, 0.1), (0.92, 0.3), (0.92, 0.5))),
              (0.4, ((0.06, 0.44), (0.94, 0.44), (0.94, 0.56), (0.06, 0.56)))],
    "shorts": [(1, ((0, -0.5), (0.42, -0.5), (0.6, 0.46), (0.1, 0.52), (0, 0.04)))],
    "skirt": [(1, ((0, -0.5), (0.34, -0.5), (0.72, 0.5), (0, 0.58))),
              (0.6, ((0, -0.56), (0.34, -0.56), (0.36, -0.42), (0, -0.42)))],
    "t-shirt": [SHORT_SLEEVE, TOP],
}


def colour(rng: Random) -> tuple[int, int, int]:
    saturation, value = rng.uniform(0, 0.9), rng.uniform(0.2, 1)
    return tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(rng.random(), saturation, value))


def picture(label: str, rng: Random) -> Image.Image:
    """A photo-like picture of a garment on a floor."""
    size = (240, 320) if rng.random() < 0.85 else (320, 240)
    cloth = floor = colour(rng)
    while sum(abs(a - b) for a, b in zip(cloth, floor)) < 110:  # the garment must stand out from the floor
        cloth = colour(rng)
    image = Image.new("RGB", size, floor)
    pen = ImageDraw.Draw(image)
    centre = complex(size[0] / 2 + rng.gauss(0, 12), size[1] / 2 + rng.gauss(0, 12))
    turn = cmath.rect(min(size) / 2 * rng.uniform(0.7, 1), rng.gauss(0, 0.15))
    width, height = rng.uniform(0.8, 1.1), rng.uniform(0.85, 1.05)
    for brightness, corners in GARMENTS[label]:
        shade = tuple(round(brightness * channel) for channel in cloth)
        for side in (-width, width):
            moved = [centre + turn * complex(side * x + bool(x) * rng.gauss(0, 0.02), height * y + rng.gauss(0, 0.02))
                     for x, y in corners]  # corners on the axis stay on it, so that the halves meet
            pen.polygon([(point.real, point.imag) for point in moved], shade)
    light = Image.frombytes("RGB", (3, 3), bytes(rng.choices(range(150, 256), k=27)))
    image = ImageChops.multiply(image, light.resize(size, Image.Resampling.BICUBIC))
    noise = Image.frombytes("RGB", size, rng.randbytes(3 * size[0] * size[1]))
    return Image.blend(image, noise, rng.uniform(0.05, 0.25))


def pictures(seed: int, per_label: int) -> Iterator[tuple[str, bytes]]:
    """All pictures, as (split/label/name.jpg, bytes)."""
    counts = {"train": per_label, "validation": math.ceil(per_label / 5), "test": math.ceil(per_label / 3)}
    jobs = [(split, label, i) for split, count in counts.items() for label in GARMENTS for i in range(count)]
    for split, label, i in tqdm(jobs, "drawing", disable=None):
        file = io.BytesIO()
        picture(label, Random(f"{seed}/{split}/{label}/{i}")).save(file, "JPEG", quality=85)
        yield f"{split}/{label}/{i:04}.jpg", file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="index.csv; the pictures go into its folder")
    parser.add_argument("--per-label", type=int, default=60, metavar="N",
                        help="training pictures per label; N/5 more for validation, N/3 for test [%(default)s]")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.per_label < 1:
        parser.error("--per-label must be at least 1")
    write_photos(args.output, dict(pictures(args.seed, args.per_label)))


if __name__ == "__main__":
    main()
