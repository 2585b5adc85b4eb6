"""The charts of `make bench`, each as <name>.png and, for a reader whose page is dark, as <name>-dark.png."""
from pathlib import Path

from bench_goals import LARGE, SMALL
from pictures import THEMES, matplotlib, pyplot, save

# Paul Tol's colours, told apart with every kind of colour vision.
OURS, OTHERS, COLOURS = "#4477aa", "#bbbbbb", ("#4477aa", "#66ccee", "#ee7733", "#aa3377")


def draw(found: dict, folder: Path) -> dict[str, Path]:
    """Write the charts; gives the path of each by its name."""
    makers = {f"network-{threads}": lambda threads=threads: bars(
        [item for item in found["network"] if item["threads"] == threads], "Milliseconds of the network")
        for threads in sorted({item["threads"] for item in found["network"]})}
    makers |= {"requests": lambda: bars([{**item, "group": item["photo"]} for photo in (SMALL, LARGE)
                                         for item in found["requests"] if item["photo"] == photo],
                                        "Milliseconds of a request"),
               "start": lambda: bars(found["cold_start"], "Milliseconds to the first answer"),
               "growth": lambda: lines(photo_curves(found["requests"]), "Megapixels", "Milliseconds of a request"),
               "memory": lambda: lines({item["contender"]: item["megabytes"] for item in found["memory"]
                                        if "megabytes" in item}, "Requests", "Megabytes held")}
    matplotlib.rcParams.update({"text.parse_math": False, "font.size": 11, "axes.spines.top": False,
                                "axes.spines.right": False, "grid.alpha": 0.25})
    for suffix, theme in THEMES.items():
        foreground = theme["text.color"]
        with matplotlib.rc_context({**theme, **{key: foreground for key in (
                "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "axes.titlecolor")}}):
            for name, make in makers.items():
                save(make(), folder / f"{name}{suffix}.png")
    return {name + suffix: folder / f"{name}{suffix}.png" for name in makers for suffix in THEMES}


def bars(items: list[dict], title: str) -> pyplot.Figure:
    """A panel per group, a bar per contender, cut at six times the first: ours in colour, a line over the quartiles."""
    groups = {}
    for item in items:
        if "median" in item:
            groups.setdefault(item["group"], []).append(item)
    figure, axes = pyplot.subplots(max(1, len(groups)), 1, layout="constrained", squeeze=False,
                                   height_ratios=[len(rows) + 1 for rows in groups.values()] or [1],
                                   figsize=(5, 1 + 0.3 * sum(len(rows) + 2 for rows in groups.values())))
    for cell, (group, rows) in zip(axes.flat, groups.items()):
        # The panel's title names the model already.
        names = [item["contender"].removesuffix(f", {group}") for item in rows]
        longest = 6 * rows[0]["median"]
        ours = [name.startswith("ours") or name == "LiteRT" and not group.startswith("reference") for name in names]
        cell.barh(names, [min(item["median"], longest) for item in rows],
                  color=[OURS if own else OTHERS for own in ours])
        cell.hlines(names, *([min(item[key], longest) for item in rows] for key in ("q1", "q3")), color="#ee7733",
                    linewidth=3)
        for name, item in zip(names, rows):
            text = f"{item['median']:,.0f}" if item["median"] >= 100 else f"{item['median']:.1f}"
            cell.annotate(text + " (cut)" * (item["median"] > longest), (min(item["q3"], longest), name), (4, 0),
                          textcoords="offset points", va="center")
        cell.margins(x=0.2)
        cell.invert_yaxis()
        cell.set_title(f"ms, {group}" if len(groups) > 1 else title, loc="left", fontsize=11)
    return figure


def photo_curves(rows: list[dict]) -> dict[str, list]:
    curves = {}
    for item in rows:
        if "median" in item:
            width, height = map(int, item["photo"].split(" × "))
            curves.setdefault(item["contender"], []).append((width * height / 1e6, item["median"]))
    return curves


def lines(curves: dict[str, list], across: str, title: str) -> pyplot.Figure:
    figure, cell = pyplot.subplots(figsize=(5, 3.4), layout="constrained")
    for (name, points), colour, marker in zip(curves.items(), COLOURS, "os^D"):
        cell.plot(*zip(*points), marker=marker, markersize=4, color=colour, label=name)
    cell.set_xlabel(across)
    cell.set_ylim(0, 1.15 * max((height for points in curves.values() for _, height in points), default=1))
    cell.grid(True, axis="y")
    cell.set_title(title, loc="left", fontsize=11)
    if curves:
        cell.legend(frameon=False)
    return figure
