"""Draw garments: ten labels to try the whole chain on where no photos can be had. Nothing is downloaded.

    python scripts/draw_data.py --output data/drawn/index.csv

writes 920 JPEGs beside index.csv and prints the table of labels and splits. Colour, pattern, cut, pose, background,
light and noise vary; the same seed draws the same bytes. Each picture belongs to one of sixteen "people", who have
their own floor and their own taste; as in the clothes photos, those of the test split own no training picture.
"""
import argparse
import colorsys
import hashlib
import io
import math
from pathlib import Path
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from drawing.cloth import CANVAS, Colour, Garment, fabric, shade
from drawing.garments import GARMENTS
from training.index import Photo, atomic_photos, data_digest, print_table, write_index

PEOPLE = {"train": range(12), "validation": range(12), "test": range(12, 16)}


def soft_noise(rng: Random, cells: int, size: tuple[int, int], low: int, high: int) -> Image.Image:
    """Smooth random values from low to high: folds, light."""
    noise = Image.frombytes("L", (cells, cells), rng.randbytes(cells * cells)).resize(size, Image.Resampling.BICUBIC)
    return noise.point([low + (high - low) * value // 255 for value in range(256)])


def colour(rng: Random, hue: float, brightest: float = 1.0) -> Colour:
    """A colour near a hue, now and then white, grey or black."""
    saturation = rng.choice([0.05, 0.3, 0.5, 0.7, 0.85])
    value = rng.uniform(0.15, brightest)
    return tuple(round(255 * c) for c in colorsys.hsv_to_rgb((hue + rng.gauss(0, 0.04)) % 1, saturation, value))


def background(owner: Random, rng: Random, size: tuple[int, int]) -> tuple[Image.Image, Colour]:
    """The floor or wall of its owner, with other things lying about at times; and its main colour."""
    width, height = size
    kind = owner.choice(["plain", "gradient", "planks", "carpet", "tiles"])
    hue, saturation, value = owner.random(), owner.uniform(0.05, 0.45), owner.uniform(0.35, 0.95)
    if kind == "planks":
        hue, saturation = owner.uniform(0.05, 0.11), owner.uniform(0.3, 0.6)
    base = tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, saturation, value))
    image = Image.new("RGB", size, base)
    pen = ImageDraw.Draw(image)
    step = owner.randint(30, 70)
    shift = rng.randrange(step)
    if kind == "gradient":
        image.paste(shade(base, 0.55), mask=Image.linear_gradient("L").resize(size))
    elif kind == "planks":
        for x in range(-shift, width, step):
            plank = shade(base, rng.uniform(0.8, 1.15))
            pen.rectangle((x, 0, x + step, height), plank, shade(base, 0.5))
            for _ in range(4):  # the grain
                at = x + rng.uniform(3, step - 3)
                pen.line((at, 0, at + rng.uniform(-6, 6), height), shade(plank, rng.uniform(0.75, 0.95)))
    elif kind == "tiles":
        for x in range(-shift, width, step):
            for y in range(-shift, height, step):
                pen.rectangle((x, y, x + step, y + step), shade(base, rng.uniform(0.92, 1.05)), shade(base, 0.7))
    elif kind == "carpet":
        image = ImageChops.multiply(image, soft_noise(rng, 90, size, 120, 255).convert("RGB"))
        pen = ImageDraw.Draw(image)
    for _ in range(rng.choice([0, 0, 0, 1, 3, 5])):  # clutter, towards the edges
        x, y = rng.choice([rng.uniform(-0.1, 0.15), rng.uniform(0.85, 1.1)]) * width, rng.random() * height
        across, down = rng.uniform(8, 45), rng.uniform(8, 45)
        thing = shade(colour(rng, rng.random()), 0.9)
        rng.choice([pen.rectangle, pen.ellipse])((x - across, y - down, x + across, y + down), thing, shade(thing, 0.6))
    return image, base


def picture(label: str, owner: Random, rng: Random) -> Image.Image:
    """One photo-like picture of a garment of that label on its owner's floor."""
    size = width, height = (240, 320) if rng.random() < 0.85 else (320, 240)
    taste = [owner.random() for _ in range(4)]
    scene, base = background(owner, rng, size)
    main = base
    while sum(abs(a - b) for a, b in zip(main, base)) < 110:  # to be seen on the floor
        main = colour(rng, rng.choice(taste))
    second = colour(rng, rng.choice(taste))
    garment = Garment(rng, fabric(rng, main, second), main, second)
    GARMENTS[label](garment, rng)

    cloth = garment.image
    folds = soft_noise(rng, rng.randint(5, 12), cloth.size, rng.randint(170, 220), 255)
    cloth = Image.merge("RGBA", [*(ImageChops.multiply(band, folds) for band in cloth.split()[:3]), cloth.split()[3]])
    # The pose: rotated, scaled, shifted; each corner moved by itself is perspective. QUAD wants, for each corner of the
    # picture, its place on the canvas: the way back from picture to garment.
    angle, scale = math.radians(rng.gauss(0, 9)), min(width, height * 0.85) / CANVAS * rng.uniform(0.82, 1.15)
    right, down = rng.uniform(-0.07, 0.07) * width, rng.uniform(-0.06, 0.06) * height
    corners = []
    for x, y in ((0, 0), (0, height), (width, height), (width, 0)):
        x, y = (x - width / 2 - right) / scale, (y - height / 2 - down) / scale
        corners += [CANVAS / 2 + x * math.cos(angle) + y * math.sin(angle) + rng.uniform(-22, 22),
                    CANVAS / 2 - x * math.sin(angle) + y * math.cos(angle) + rng.uniform(-22, 22)]
    cloth = cloth.transform(size, Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)

    shadow = ImageChops.offset(cloth.getchannel("A"), rng.randint(-5, 5), rng.randint(1, 6))
    shadow = shadow.filter(ImageFilter.BoxBlur(rng.uniform(2, 6))).point([value // 2 for value in range(256)])
    scene.paste((15, 12, 10), mask=shadow)
    scene.paste(cloth, mask=cloth)

    # The light: uneven, of some colour and strength; then a camera that may be a little out of focus, and its noise.
    light = soft_noise(rng, 3, size, rng.randint(150, 230), 255)
    scene = ImageChops.multiply(scene, light.convert("RGB"))
    warmth, strength = rng.uniform(-0.1, 0.1), rng.uniform(0.85, 1.5)
    scene = scene.point([min(255, round(value * strength * (1 + tint))) for tint in (warmth, 0, -warmth)
                         for value in range(256)])
    if rng.random() < 0.3:
        scene = scene.filter(ImageFilter.BoxBlur(rng.uniform(0.3, 1.0)))
    grain = rng.randint(4, 28)
    noise = Image.frombytes("RGB", size, rng.randbytes(3 * width * height))
    noise = noise.point([128 + (value - 128) * grain // 256 for value in range(256)] * 3)
    return ImageChops.add(scene, noise, 1, -128)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="index.csv; the pictures go into its folder")
    parser.add_argument("--per-label", type=int, default=60, metavar="N",
                        help="training pictures per label; N/5 more for validation, N/3 for test [%(default)s]")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.per_label < 1:
        parser.error("--per-label must be at least 1")
    from tqdm import tqdm
    counts = {"train": args.per_label, "validation": -(-args.per_label // 5), "test": -(-args.per_label // 3)}
    jobs = [(split, label, i) for split, count in counts.items() for label in GARMENTS for i in range(count)]
    photos = []
    with atomic_photos(args.output) as new:
        for split, label, i in tqdm(jobs, "drawing", disable=None):
            rng = Random(f"{args.seed}/{split}/{label}/{i}")
            owner = Random(f"{args.seed}/{rng.choice(PEOPLE[split])}")
            file = io.BytesIO()
            picture(label, owner, rng).save(file, "JPEG", quality=85)
            path = Path(split, label, f"{i:04}.jpg")
            (new / path).parent.mkdir(parents=True, exist_ok=True)
            (new / path).write_bytes(file.getvalue())
            photos.append(Photo(args.output.parent / path, label, split, hashlib.sha256(file.getvalue()).hexdigest()))
    write_index(args.output, photos)
    print_table(photos)
    print(f"drawn with seed {args.seed}, data digest {data_digest(photos)[:12]}, index {args.output}")


if __name__ == "__main__":
    main()
