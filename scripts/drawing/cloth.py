"""Cloth to cut garments from: patterned fabric, panels with rounded corners, seams, sleeves."""
import math
from random import Random

from PIL import Image, ImageDraw

CANVAS = 400  # pixels; garments are drawn in coordinates from -1 to 1, y downwards

Point = tuple[float, float]
Colour = tuple[int, int, int]


def shade(colour: Colour, factor: float) -> Colour:
    return tuple(min(255, round(channel * factor)) for channel in colour)


def mirrored(points: list[Point]) -> list[Point]:
    """A symmetrical outline from its right half."""
    return points + [(-x, y) for x, y in reversed(points)]


def rounded(points: list[Point]) -> list[Point]:
    """The closed outline with its corners cut twice (Chaikin), as cloth has no sharp ones."""
    for cut in (0.12, 0.25):
        points = [(a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t)
                  for a, b in zip(points, points[1:] + points[:1]) for t in (cut, 1 - cut)]
    return points


def pixel(point: Point) -> Point:
    return (point[0] + 1) * CANVAS / 2, (point[1] + 1) * CANVAS / 2


def fabric(rng: Random, colour: Colour, second: Colour) -> Image.Image:
    """Plain, striped, dotted, checked or shaded cloth."""
    cloth = Image.new("RGB", (CANVAS, CANVAS), colour)
    pen = ImageDraw.Draw(cloth, "RGBA")
    kind = rng.choice(["plain", "plain", "plain", "across", "along", "checks", "dots", "gradient"])
    step = rng.randint(16, 44)
    width = rng.randint(3, step // 2)
    for at in range(0, CANVAS, step):
        if kind in ("across", "checks"):
            pen.rectangle((0, at, CANVAS, at + width), (*second, 160 if kind == "checks" else 255))
        if kind in ("along", "checks"):
            pen.rectangle((at, 0, at + width, CANVAS), (*second, 160 if kind == "checks" else 255))
        if kind == "dots":
            for x in range(at // step % 2 * step // 2, CANVAS, step):
                pen.ellipse((x, at, x + width, at + width), second)
    if kind == "gradient":
        cloth.paste(second, mask=Image.linear_gradient("L").resize(cloth.size))
    return cloth


class Garment:
    """A garment on a transparent canvas, cut from one fabric of some main colour, with trimmings in a second one."""

    def __init__(self, rng: Random, fabric: Image.Image, colour: Colour, second: Colour):
        self.rng, self.fabric, self.colour, self.second = rng, fabric, colour, second
        self.image = Image.new("RGBA", (CANVAS, CANVAS))
        self.pen = ImageDraw.Draw(self.image)

    def panel(self, points: list[Point], colour: Colour | None = None) -> None:
        """Cut a piece from the fabric, or from plain cloth, and edge it."""
        outline = [pixel(point) for point in rounded(points)]
        mask = Image.new("L", (CANVAS, CANVAS))
        ImageDraw.Draw(mask).polygon(outline, fill=255)
        box = mask.getbbox()
        self.image.paste(colour or self.fabric.crop(box), box, mask.crop(box))
        self.pen.line(outline + outline[:2], shade(colour or self.colour, 0.55), 3)

    def seam(self, *points: Point, factor: float = 0.6, width: int = 2, colour: Colour | None = None) -> None:
        self.pen.line([pixel(point) for point in points], colour or shade(self.colour, factor), width)

    def dot(self, x: float, y: float, radius: float, colour: Colour, shape: str = "ellipse") -> None:
        box = [pixel((x - radius, y - radius)), pixel((x + radius, y + radius))]
        getattr(self.pen, shape)(box, colour, shade(colour, 0.5))

    def sleeves(self, length: float, width: float, cuff: bool = False, low: float = 0.5, high: float = 1.2) -> None:
        """A left and a right sleeve from the shoulders, each hanging at its own angle below the horizontal."""
        for side in (-1, 1):
            angle = self.rng.uniform(low, high)
            x, y = math.cos(angle), math.sin(angle)
            (top, tip), hem = ((side * (0.38 + x * d), -0.74 + y * d) for d in (0, length)), width * 0.8
            inner = tip[0] - side * y * hem, tip[1] + x * hem
            self.panel([top, tip, inner, (side * 0.36, -0.72 + width), (side * 0.3, -0.6)])
            if cuff:
                back = [(px - side * x * 0.1, py - y * 0.1) for px, py in (tip, inner)]
                self.panel([tip, inner, back[1], back[0]])

    def top(self, width: float, hem: float, bottom: float, neck: float = 0.14, tail: float = 0.0) -> None:
        """The body of whatever is worn above the waist, with the inside of its back showing at the neck."""
        self.panel(mirrored([(0.0, -0.84), (0.17, -0.82), (0.1, -0.6)]), shade(self.colour, 0.5))
        self.panel(mirrored([(0.02, -0.8 + neck), (0.1, -0.8 + neck * 0.8), (0.18, -0.83), (0.42, -0.73),
                             (width - 0.02, -0.3), (width, 0.2), (hem, bottom - tail), (0.1, bottom)]))
