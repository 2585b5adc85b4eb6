"""Draw garments with ten labels, to run the whole pipeline without downloading photos.

    python scripts/draw_data.py --output data/drawn/index.csv

writes 920 JPEGs beside index.csv and prints the table of labels and splits. Colour, pattern, shape, pose, background,
light and noise vary; the same seed draws the same bytes. Each picture belongs to one of sixteen "people", who have a
floor and favourite colours. As in the clothes photos, the people of the test split own no training picture.
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

from common import fail
from drawing.garments import GARMENTS
from training.index import data_digest, locked, print_table, write_photos

PEOPLE = {"train": range(12), "validation": range(12), "test": range(12, 16)}
CANVAS = 400  # pixels on which a garment is drawn, before it is posed

Colour = tuple[int, int, int]


def colour(rng: Random, hue: float) -> Colour:
    saturation, value = rng.choice([0.05, 0.4, 0.7, 0.9]), rng.uniform(0.2, 1)
    return tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue + rng.gauss(0, 0.04), saturation, value))


def darker(colour: Colour) -> Colour:
    return tuple(channel * 6 // 10 for channel in colour)


def pattern(rng: Random, size: tuple[int, int], first: Colour, second: Colour) -> Image.Image:
    """Plain, striped or checked cloth or floor."""
    image = Image.new("RGB", size, first)
    pen = ImageDraw.Draw(image)
    kind, step = rng.choice(["plain", "plain", "across", "along", "checks"]), rng.randint(20, 60)
    for start in range(0, max(size), step):
        if kind in ("across", "checks"):
            pen.rectangle((0, start, size[0], start + step // 3), second)
        if kind in ("along", "checks"):
            pen.rectangle((start, 0, start + step // 3, size[1]), second)
    return image


def garment(label: str, rng: Random, main: Colour, second: Colour) -> Image.Image:
    """A garment of two colours on a transparent canvas."""
    image = Image.new("RGBA", (CANVAS, CANVAS))
    cloth = pattern(rng, image.size, main, second)
    materials = {"cloth": cloth, "trimming": second, "dark": darker(main), "white": (240, 240, 235)}
    width, height = rng.uniform(0.85, 1.1), rng.uniform(0.85, 1.05)
    for material, outlines in GARMENTS[label]:
        for outline in outlines:
            points = [((1 + width * x + rng.gauss(0, 0.012)) * CANVAS / 2,
                       (1 + height * y + rng.gauss(0, 0.012)) * CANVAS / 2) for x, y in outline]
            mask = Image.new("L", image.size)
            ImageDraw.Draw(mask).polygon(points, 255)
            image.paste(materials[material], mask=mask)
            ImageDraw.Draw(image).line(points + points[:1], darker(main), 3)
    return image


def pose(image: Image.Image, rng: Random, size: tuple[int, int]) -> Image.Image:
    """Rotate, scale and shift a garment, and move each corner a little for perspective."""
    centre = complex(rng.gauss(CANVAS / 2, 20), rng.gauss(CANVAS / 2, 20))
    turn = cmath.rect(CANVAS / min(size) * rng.uniform(0.9, 1.2), rng.gauss(0, 0.15))
    quad = []  # where the corners of the picture lie on the canvas, counter-clockwise from the top left
    for x, y in ((-1, -1), (-1, 1), (1, 1), (1, -1)):
        corner = centre + turn * complex(x * size[0], y * size[1]) / 2
        quad += [corner.real + rng.uniform(-22, 22), corner.imag + rng.uniform(-22, 22)]
    return image.transform(size, Image.Transform.QUAD, quad, Image.Resampling.BILINEAR)


def picture(label: str, owner: Random, rng: Random) -> Image.Image:
    """A photo-like picture of a garment on its owner's floor."""
    size = (240, 320) if rng.random() < 0.85 else (320, 240)
    hues = [owner.random() for _ in range(4)]
    main = floor = colour(owner, owner.random())
    scene = pattern(owner, size, floor, darker(floor))
    while sum(abs(a - b) for a, b in zip(main, floor)) < 110:  # the garment must stand out from the floor
        main = colour(rng, rng.choice(hues))
    posed = pose(garment(label, rng, main, colour(rng, rng.choice(hues))), rng, size)
    scene.paste(posed, mask=posed)
    light = Image.frombytes("RGB", (3, 3), bytes(rng.choices(range(170, 256), k=27)))
    scene = ImageChops.multiply(scene, light.resize(size, Image.Resampling.BICUBIC))
    noise = Image.frombytes("RGB", size, rng.randbytes(3 * size[0] * size[1]))
    return Image.blend(scene, noise, rng.uniform(0.02, 0.1))


def pictures(seed: int, per_label: int) -> Iterator[tuple[Path, bytes]]:
    """All pictures, as (split/label/name.jpg, bytes)."""
    from tqdm import tqdm
    counts = {"train": per_label, "validation": math.ceil(per_label / 5), "test": math.ceil(per_label / 3)}
    jobs = [(split, label, i) for split, count in counts.items() for label in GARMENTS for i in range(count)]
    for split, label, i in tqdm(jobs, "drawing", disable=None):
        rng = Random(f"{seed}/{split}/{label}/{i}")
        owner = Random(f"{seed}/{rng.choice(PEOPLE[split])}")
        file = io.BytesIO()
        picture(label, owner, rng).save(file, "JPEG", quality=85)
        yield Path(split, label, f"{i:04}.jpg"), file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="index.csv; the pictures go into its folder")
    parser.add_argument("--per-label", type=int, default=60, metavar="N",
                        help="training pictures per label; N/5 more for validation, N/3 for test [%(default)s]")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.per_label < 1:
        parser.error("--per-label must be at least 1")
    try:
        with locked(args.output.parent):
            photos = write_photos(args.output, pictures(args.seed, args.per_label))
    except OSError as error:
        fail(f"can't write the pictures: {error}")
    print_table(photos)
    print(f"drawn with seed {args.seed}, data digest {data_digest(photos)[:12]}, index {args.output}")


if __name__ == "__main__":
    main()
