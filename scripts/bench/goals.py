"""The goals of `make bench`: for each what was wanted, and what the run's figures say."""
from pathlib import Path

SMALL, LARGE = "400 × 533", "3000 × 4000"  # the photos that the goals are about, width × height
# Wanted of each released model, beside the reference on its own runtime: times as fast, times as small.
WANTED = {"model": {"request": 2.5, "large request": 5, "cold start": 3, "file": 34},
          "model-small": {"request": 8, "large request": 7, "cold start": 3, "file": 47}}


def value(rows: list[dict], key: str = "median", **wanted) -> float | None:
    """The figure of the row that has all that is wanted; None where it is missing."""
    return next((row.get(key) for row in rows if all(row.get(name) == item for name, item in wanted.items())), None)


def goals(found: dict, models: list[Path]) -> list[dict]:
    rows = []

    def add(goal: str, model: str, wanted: float, theirs: float | None, ours: float | None) -> None:
        measured = theirs / ours if theirs and ours else None
        rows.append({"goal": goal, "model": model, "wanted": wanted, "measured": measured,
                     "met": None if measured is None else measured >= wanted})
    for model in models:
        us, they = f"ours, {model.stem}", "the reference on tflite-runtime"
        for goal, wanted in WANTED.get(model.stem, {}).items():
            table, selected = {
                "request": ("requests", {"photo": SMALL}), "large request": ("requests", {"photo": LARGE}),
                "cold start": ("cold_start", {}), "file": ("cold_start", {"key": "model_mb"})}[goal]
            theirs, ours = (value(found[table], contender=name, **selected) for name in (they, us))
            add({"request": f"a request, {SMALL}", "large request": f"a request, {LARGE}"}.get(goal, goal),
                model.stem, wanted, theirs, ours)
        for kind in ("int8", "float32"):
            group = [row for row in found["network"] if row["group"] == f"{model.stem}, {kind}" and row["threads"] == 1]
            others = [row["median"] for row in group if "median" in row and not row["contender"].startswith("LiteRT")]
            add(f"fastest other engine, {kind}", model.stem, 1.0, min(others, default=None),
                value(group, contender=f"LiteRT, {model.stem}, {kind}"))
    return rows
