"""The outlines of ten garments. The keys of GARMENTS are the labels.

A garment is a list of (material, outlines of pieces), drawn in this order. Coordinates run from -1 to 1, y downwards.
"""
Point = tuple[float, float]


def pair(*right: Point) -> list[list[Point]]:
    """Two pieces, the second one the mirror image of the first."""
    return [list(right), [(-x, y) for x, y in reversed(right)]]


def whole(*right_half: Point) -> list[list[Point]]:
    """One piece, symmetrical about the vertical axis."""
    right, left = pair(*right_half)
    return [right + left]


TOP = ("cloth", whole((0.16, -0.72), (0.22, -0.82), (0.42, -0.72), (0.44, 0.0), (0.46, 0.7)))
LONG_SLEEVES = ("cloth", pair((0.35, -0.78), (0.56, -0.64), (0.86, 0.42), (0.62, 0.5), (0.38, -0.2)))
SHORT_SLEEVES = ("cloth", pair((0.35, -0.78), (0.56, -0.68), (0.88, -0.34), (0.68, -0.12), (0.38, -0.4)))
SHOE = [
    ("cloth", [(-0.85, -0.3), (-0.4, -0.34), (-0.2, -0.1), (0.35, 0), (0.8, 0.12), (0.85, 0.25), (-0.85, 0.25)]),
    ("trimming", [(0.35, 0.02), (0.8, 0.12), (0.85, 0.25), (0.35, 0.25)]),
    ("dark", [(-0.9, 0.2), (0.9, 0.2), (0.92, 0.33), (-0.88, 0.33)]),
    ("white", [(-0.12, -0.06), (0.0, -0.04), (0.1, 0.12), (0.0, 0.12)]),
]

GARMENTS = {
    "dress": [
        ("cloth", whole((0.12, -0.68), (0.2, -0.92), (0.3, -0.9), (0.3, -0.5), (0.22, -0.15), (0.64, 0.9))),
        ("trimming", whole((0.23, -0.2), (0.22, -0.1))),
    ],
    "hat": [
        ("cloth", whole((0.0, -0.3), (0.6, -0.08), (0.95, 0.12), (0.7, 0.34), (0.3, 0.44))),
        ("cloth", whole((0.12, -0.56), (0.36, -0.58), (0.46, -0.2), (0.5, 0.1), (0.3, 0.2))),
        ("trimming", whole((0.47, -0.12), (0.5, 0.1), (0.3, 0.2), (0.28, -0.02))),
    ],
    "longsleeve": [LONG_SLEEVES, TOP],
    "outwear": [
        ("dark", whole((0.12, -0.96), (0.28, -0.86), (0.28, -0.66))),
        ("cloth", pair((0.4, -0.76), (0.64, -0.6), (0.94, 0.4), (0.66, 0.5), (0.42, -0.1))),
        ("cloth", whole((0.12, -0.8), (0.46, -0.74), (0.54, 0.0), (0.58, 0.86))),
        ("trimming", whole((0.14, -0.8), (0.08, 0.86))),
        ("dark", pair((0.16, -0.84), (0.34, -0.56), (0.24, -0.5), (0.08, 0.0))),
        ("dark", pair((0.24, 0.26), (0.44, 0.14), (0.46, 0.22), (0.26, 0.34))),
    ],
    "pants": [
        ("cloth", pair((0.0, -0.9), (0.32, -0.9), (0.38, -0.5), (0.42, 0.9), (0.2, 0.92), (0.0, -0.25))),
        ("dark", whole((0.33, -0.95), (0.33, -0.83))),
    ],
    "shirt": [
        LONG_SLEEVES,
        TOP,
        ("dark", whole((0.06, -0.7), (0.06, 0.7))),
        *(("white", whole((0.03, y), (0.03, y + 0.06))) for y in (-0.5, -0.26, -0.02, 0.22, 0.46)),
        ("trimming", pair((0.0, -0.7), (0.18, -0.94), (0.3, -0.76), (0.16, -0.5))),
    ],
    "shoes": [(material, [[(x, y + down) for x, y in piece]]) for down in (-0.42, 0.4) for material, piece in SHOE],
    "shorts": [
        ("cloth", pair((0.0, -0.5), (0.42, -0.5), (0.5, -0.1), (0.6, 0.46), (0.1, 0.52), (0.0, 0.04))),
        ("dark", whole((0.43, -0.56), (0.43, -0.42))),
        ("white", pair((0.02, -0.44), (0.06, -0.44), (0.1, -0.14), (0.06, -0.14))),
    ],
    "skirt": [
        ("cloth", whole((0.32, -0.52), (0.72, 0.5), (0.3, 0.58))),
        *(("dark", pair((x, -0.3), (2.2 * x, 0.5), (2.2 * x - 0.03, 0.5))) for x in (0.08, 0.18, 0.28)),
        ("dark", whole((0.33, -0.58), (0.34, -0.44))),
    ],
    "t-shirt": [SHORT_SLEEVES, TOP],
}
