"""Ten kinds of garments, each a function that cuts one out of cloth; their names are the labels."""
import math
from random import Random

from drawing.cloth import Garment, mirrored, shade


def t_shirt(garment: Garment, rng: Random) -> None:
    garment.sleeves(rng.uniform(0.3, 0.42), rng.uniform(0.32, 0.4), high=1.0)
    garment.top(rng.uniform(0.4, 0.5), rng.uniform(0.42, 0.54), rng.uniform(0.6, 0.85), rng.uniform(0.12, 0.26))
    if rng.random() < 0.5:  # a print on the chest
        garment.dot(0, -0.25, rng.uniform(0.12, 0.25), garment.second, rng.choice(["ellipse", "rectangle"]))


def longsleeve(garment: Garment, rng: Random) -> None:
    garment.sleeves(rng.uniform(0.95, 1.2), rng.uniform(0.26, 0.34), cuff=True, low=0.85, high=1.3)
    garment.top(rng.uniform(0.36, 0.46), rng.uniform(0.36, 0.48), rng.uniform(0.55, 0.8), rng.uniform(0.1, 0.24))
    garment.seam((-0.4, 0.5), (0.4, 0.5), factor=0.8)


def shirt(garment: Garment, rng: Random) -> None:
    long = rng.random() < 0.65
    garment.sleeves(rng.uniform(0.95, 1.15) if long else 0.4, 0.3, cuff=long, low=0.8 if long else 0.5, high=1.25)
    bottom = rng.uniform(0.65, 0.88)
    garment.top(rng.uniform(0.4, 0.48), rng.uniform(0.42, 0.5), bottom, 0.1, tail=0.1)
    button = rng.choice([(240, 240, 235), (40, 35, 35), (150, 110, 70)])
    for i in range(6):
        garment.dot(0, -0.58 + i * 0.22, 0.028, button)
    collar = garment.colour if rng.random() < 0.7 else (245, 245, 245)
    for side in (-1, 1):
        garment.seam((side * 0.05, -0.66), (side * 0.05, bottom), factor=0.75)
        garment.panel([(side * 0.02, -0.7), (side * 0.2, -0.92), (side * 0.28, -0.76), (side * 0.15, -0.54)], collar)
    if rng.random() < 0.7:
        garment.panel([(0.14, -0.34), (0.34, -0.34), (0.34, -0.12), (0.24, -0.07), (0.14, -0.12)])


def outwear(garment: Garment, rng: Random) -> None:
    bottom, width = rng.uniform(0.6, 0.98), rng.uniform(0.5, 0.58)
    hood = rng.random() < 0.5
    if hood:
        garment.panel(mirrored([(0.0, -1.0), (0.2, -0.96), (0.3, -0.75), (0.2, -0.6)]))
        garment.panel(mirrored([(0.0, -0.92), (0.13, -0.88), (0.16, -0.7)]), shade(garment.colour, 0.4))
    garment.sleeves(rng.uniform(0.95, 1.15), rng.uniform(0.4, 0.46), cuff=True, low=0.95, high=1.3)
    garment.top(width, width + 0.02, bottom)
    if rng.random() < 0.4:  # quilted
        for i in range(8):
            y = -0.5 + i * (bottom + 0.42) / 8
            garment.seam((-width, y), (0, y + 0.04), (width, y), width=4)
    gap = rng.uniform(0.05, 0.16)  # open: what is worn below shows
    garment.panel([(-0.12, -0.8), (0.12, -0.8), (gap, bottom + 0.02), (-gap, bottom + 0.02)], garment.second)
    for side in (-1, 1):
        if not hood:
            garment.panel([(side * 0.16, -0.9), (side * 0.36, -0.6), (side * 0.24, -0.5), (side * 0.09, -0.05),
                           (side * 0.07, -0.6)], shade(garment.colour, 0.8))
        garment.seam((side * 0.2, 0.28), (side * 0.38, 0.08), factor=0.35, width=6)


def dress(garment: Garment, rng: Random) -> None:
    if rng.random() < 0.4:
        garment.sleeves(rng.uniform(0.2, 0.3), 0.26)
    waist, hem, bottom = rng.uniform(0.2, 0.27), rng.uniform(0.45, 0.75), rng.uniform(0.75, 0.95)
    garment.panel(mirrored([(0.02, -0.62), (0.12, -0.66), (0.2, -0.92), (0.32, -0.9), (0.3, -0.55), (waist, -0.15),
                            (hem * 0.75, bottom - 0.5), (hem, bottom - 0.04), (0.1, bottom)]))
    for fold in (-0.6, -0.25, 0.1, 0.5):
        garment.seam((fold * waist, -0.1), (fold * hem, bottom - 0.1), factor=0.75)
    if rng.random() < 0.6:
        garment.panel(mirrored([(waist, -0.19), (waist, -0.11)]), garment.second)


def skirt(garment: Garment, rng: Random) -> None:
    waist, hem, bottom = rng.uniform(0.28, 0.36), rng.uniform(0.5, 0.85), rng.uniform(0.35, 0.75)
    garment.panel(mirrored([(0.1, -0.5), (waist, -0.52), (hem * 0.8, 0.0), (hem, bottom - 0.08), (0.15, bottom)]))
    for i in range(pleats := rng.randint(3, 9)):
        fold = (i + 0.5) / pleats * 2 - 1
        garment.seam((fold * waist, -0.42), (fold * hem * 0.95, bottom - 0.05 - 0.05 * abs(fold)), factor=0.7)
    garment.panel(mirrored([(waist + 0.01, -0.58), (waist + 0.02, -0.45)]), shade(garment.colour, 0.8))


def trousers(garment: Garment, waist: float, hip: float, crotch: float, bottom: float, outer: float,
             leg: float) -> None:
    """Two legs, waistband, fly and pockets; the top lies as far above the middle as the legs' ends lie below."""
    top = -bottom
    for side in (-1, 1):
        garment.panel([(0, top), (side * waist, top), (side * hip, top + 0.35), (side * outer, bottom),
                       (side * (outer - leg), bottom + 0.03), (side * 0.01, crotch)])
        garment.seam((side * waist * 0.55, top + 0.12), (side * hip * 0.9, top + 0.32))
    garment.seam((0, top), (0, crotch), (-0.05, crotch - 0.08), (-0.06, top + 0.1))
    garment.panel(mirrored([(waist, top - 0.05), (waist + 0.01, top + 0.08)]), shade(garment.colour, 0.8))


def pants(garment: Garment, rng: Random) -> None:
    outer = rng.uniform(0.32, 0.5)
    trousers(garment, rng.uniform(0.28, 0.34), 0.38, rng.uniform(-0.35, -0.2), rng.uniform(0.85, 0.93), outer,
             rng.uniform(0.18, 0.28))
    garment.dot(0, -0.86, 0.03, (200, 180, 120))


def shorts(garment: Garment, rng: Random) -> None:
    outer = rng.uniform(0.5, 0.66)
    trousers(garment, rng.uniform(0.38, 0.44), 0.5, rng.uniform(-0.08, 0.1), rng.uniform(0.42, 0.58), outer,
             outer - rng.uniform(0.05, 0.12))
    for side in (-1, 1):  # a drawstring
        garment.seam((side * 0.02, -0.45), (side * rng.uniform(0.04, 0.1), -0.2), colour=(245, 245, 240), width=5)


def hat(garment: Garment, rng: Random) -> None:
    kind = rng.choice(["cap", "brim", "beanie"])
    height = rng.uniform(0.5, 0.7)
    crown = mirrored([(0.15, -height), (0.4, -height * 0.8), (0.52, -0.2), (0.52, 0.15)])
    if kind == "brim":
        garment.panel([(0.98 * math.cos(i / 3), 0.15 + 0.3 * math.sin(i / 3)) for i in range(19)])
        garment.panel(mirrored([(0.1, -height + 0.05), (0.35, -height), (0.45, -0.2), (0.5, 0.18), (0.25, 0.26)]))
        garment.panel(mirrored([(0.47, -0.05), (0.5, 0.17), (0.25, 0.25), (0.25, 0.06)]), garment.second)
    elif kind == "cap":
        side = rng.choice([-1, 1])
        garment.panel(crown)
        garment.panel([(side * -0.35, 0.15), (side * 0.5, 0.02), (side * 0.98, 0.18), (side * 0.95, 0.3),
                       (side * 0.4, 0.32)], garment.second)
        for x in (-0.25, 0.2):
            garment.seam((0, -height), (x, -0.3), (x * 1.3, 0.12))
        garment.dot(0, -height, 0.05, garment.second)
    else:
        garment.panel(crown)
        garment.panel(mirrored([(0.2, 0.02), (0.56, 0.0), (0.58, 0.3), (0.2, 0.34)]))
        for i in range(-5, 6):
            garment.seam((i * 0.1, 0.04), (i * 0.1, 0.3), width=3)
        if rng.random() < 0.7:
            garment.dot(0, -height - 0.05, 0.17, garment.second)


def shoes(garment: Garment, rng: Random) -> None:
    ankle, second_side = rng.uniform(-0.05, -0.55), rng.choice([-1, 1])
    size, sole = rng.uniform(0.7, 0.9), rng.choice([(245, 245, 240), (60, 50, 45), (190, 150, 100)])
    for side, x, y in ((second_side, 0.12 * second_side, -0.22), (1, -0.06, 0.35)):
        def at(*points):
            return [(x + side * px * size, y + py * size) for px, py in points]
        garment.panel(at((-0.85, 0.1), (-0.88, ankle), (-0.4, ankle - 0.03), (-0.25, min(-0.05, ankle + 0.3)),
                         (0.35, 0.02), (0.82, 0.15), (0.9, 0.32), (-0.85, 0.32)))
        garment.panel(at((0.5, 0.06), (0.82, 0.14), (0.9, 0.3), (0.5, 0.3)), garment.second)
        garment.panel(at((-0.9, 0.26), (0.92, 0.26), (0.95, 0.4), (-0.88, 0.4)), sole)
        for i in range(4):
            lace = at((-0.25 + i * 0.15, -0.06 + i * 0.03), (-0.15 + i * 0.15, 0.1 + i * 0.02))
            garment.seam(*lace, colour=(250, 250, 250), width=5)


GARMENTS = {function.__name__.replace("_", "-"): function for function in (
    dress, hat, longsleeve, outwear, pants, shirt, shoes, shorts, skirt, t_shirt)}
