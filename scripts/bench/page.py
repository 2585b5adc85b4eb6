"""The figures of `make bench` as tables, once for the page and once for Markdown, and as charts."""
import re
from html import escape
from pathlib import Path
from typing import NamedTuple

import report
from bench_goals import LARGE, SMALL


class Section(NamedTuple):
    """A table with its chart. A row that is shorter than the head says in its second cell why it has no figures."""
    title: str
    text: str
    head: list[str]
    rows: list[list[str]]
    chart: str = ""


def number(amount: float | None, unit: str = "") -> str:
    if amount is None or isinstance(amount, int):
        return "–" if amount is None else f"{amount:,}{unit}"
    digits = 0 if abs(amount) >= 100 else 1 if abs(amount) >= 10 else 2
    return f"{amount:,.{digits}f}{unit}"


def times(item: dict) -> list[str]:
    """Median, quartiles, ratio."""
    return [number(item["median"]), f"{number(item['q1'])} – {number(item['q3'])}", number(item.get("ratio"), " ×")]


def rows_of(items: list[dict], cells) -> list[list[str]]:
    return [[item["contender"], item["error"]] if "error" in item else [item["contender"], *cells(item)]
            for item in items]


def sections(found: dict) -> list[Section]:
    spread = ["median", "quartiles", "beside ours"]
    machine, training = found["machine"], found["training"]
    peak = "; ".join(f"{item['giga_multiply_adds']:.0f} billion multiply-adds a second with {item['threads']} "
                     f"thread{'s' * (item['threads'] > 1)}, by {item['by']}" for item in machine["threads_peak"])
    parts = [Section("The goals", "“Measured” is how many times as fast or as small we are, beside the reference on "
                     "tflite-runtime 2.14, the runtime that it names, or beside the fastest other engine.",
                     ["goal", "model", "wanted", "measured", ""],
                     [[goal["goal"], goal["model"], f"≥ {goal['wanted']} ×", number(goal["measured"], " ×"),
                       {True: "met", False: "missed", None: "not measured"}[goal["met"]]] for goal in found["goals"]])]
    for threads in sorted({item["threads"] for item in found["network"]}):
        parts.append(Section(
            f"The network alone, {threads} thread{'s' * (threads > 1)}",
            "Milliseconds for one photo, batch 1. LiteRT is what we serve with. The peak in float32 was measured in "
            f"the same run: {peak}. int8 may pass it. The float32 networks are untrained, which makes no difference to "
            "speed.",
            ["engine, model", "ms", *spread[1:], "of the peak", "answers differ by"],
            rows_of([item for item in found["network"] if item["threads"] == threads],
                    lambda item: [*times(item), number(item["peak_share"] and 100 * item["peak_share"], " %"),
                                  "–" if item["difference"] is None else f"{item['difference']:.3f}"]),
            f"network-{threads}"))
    parts.append(Section(
        "Throughput", f"Photos a second, {machine['cores']} processes of one thread each: more is better.",
        ["engine, model", "photos/s", *spread[1:]],
        rows_of(found["throughput"], times)))
    for photo in (SMALL, LARGE):
        size = next(item["kilobytes"] for item in found["requests"] if item["photo"] == photo)
        parts.append(Section(
            f"A whole request, a photo of {photo}", f"Milliseconds from the {size:,.0f} kB of a JPEG to JSON, on one "
            "processor. Ours is the whole function, asked by API Gateway's event with the photo as base64; the "
            "reference's is what it describes: decode, resize, divide by 255, predict; fetching the URL is left out. "
            "“Pixels” is the part that makes the network's input from the JPEG, measured alone.",
            ["function", "ms", *spread[1:], "pixels"],
            rows_of([item for item in found["requests"] if item["photo"] == photo],
                    lambda item: [*times(item), number(item["decode_ms"])]),
            "requests" * (photo == SMALL)))
    parts.append(Section(
        "Cold start, memory, size",
        "Milliseconds from the start of a process to its first answer, on one processor; files are in the page cache; "
        "“to load”, a median too, is importing the packages and loading the model. The imports alone are what no "
        "function with these packages can go below. Memory is the most after the first answer, and after a photo of 12 "
        "megapixels. Packages are as installed, with what they depend on. The engines have our preprocessing around "
        "them.",
        ["function or engine", "ms", *spread[1:], "to load", "model MB", "memory MB", "12 MP", "packages MB"],
        rows_of(found["cold_start"], lambda item: [*times(item), *(number(item.get(key)) for key in (
            "load_ms", "model_mb", "memory_mb", "large_memory_mb", "packages_mb"))]), "start"))
    inside = found["container"]
    parts.append(Section(
        "In the container", "Milliseconds by the report of AWS's emulator: initialisation, the first request with it, "
        "and all from `docker run` to the answer. Layers of the image, the newest first.", ["what", "ms", "quartiles"],
        [["container", inside["error"]]] if "error" in inside else
        [[name, *times(inside[key])[:2]] for name, key in (
            ("initialisation", "init_ms"), ("first request, with it", "first_ms"), ("docker run to answer", "run_ms"))]
        + [["layers", " + ".join(map(number, inside["layers_mb"])) + " MB"]]))
    record = training["record"]
    validation = ((record.get("metrics") or {}).get("validation") or {}).get("accuracy") or (
        record["history"][-1]["val_accuracy"] if record.get("history") else None)
    parts.append(Section(
        "Training", "Milliseconds per photo of a step, beside what the peak of all cores allows. The whole, by the "
        f"model's record: {training_time(record)}; accuracy on validation {report.percent(validation)}.",
        ["step", "ms", "quartiles", "limit", "of the limit"],
        [["steps", training["error"]]] if "error" in training else
        [[item["contender"], number(1e3 * item["median"]), f"{number(1e3 * item['q1'])} – {number(1e3 * item['q3'])}",
          number(1e3 * item["limit"]), number(100 * item["limit"] / item["median"], " %")]
         for item in training["steps"]]))
    parts.append(Section(
        "Cost", "Dollars per million predictions on Lambda (x86_64, us-east-1, list prices as of "
        f"{found['prices']['DATE']}), were its processor this one, at the cheapest memory that the photo of 12 "
        "megapixels fits in; idle time costs nothing. The last column adds API Gateway's REST price.",
        ["function", "photo", "MB", "ms billed", "Lambda $", "with API $"],
        rows_of(found["cost"], lambda item: [item["photo"], str(item["memory_mb"]), number(item["milliseconds"]),
                                             f"{item['dollars']:.2f}", f"{item['with_api']:.2f}"])))
    parts.append(Section(
        "Growth with the photo", "Milliseconds of a request by the photo's size.",
        *pivot("function", "photo", found["requests"]), "growth"))
    parts.append(Section(
        "Growth with the list", f"Milliseconds of a request for so many photos of {SMALL}.",
        *pivot("function", "length", found["lists"])))
    parts.append(Section(
        "Memory over many requests", "Megabytes held, first and last.",
        ["function", "requests", "MB", "requests", "MB"],
        rows_of(found["memory"], lambda item: [number(cell) for pair in (item["megabytes"][0], item["megabytes"][-1])
                                               for cell in pair]), "memory"))
    return parts


def pivot(first: str, key: str, items: list[dict]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table of medians, with a row per contender and a column per value of `key`."""
    columns = list(dict.fromkeys(item[key] for item in items))
    rows = {}
    for item in items:
        cells = rows.setdefault(item["contender"], [item["contender"]])
        if "error" not in item:
            cells.append(number(item["median"]))
        elif len(cells) == 1:
            cells.append(item["error"])
    return [first, *map(str, columns)], list(rows.values())


def training_time(record: dict) -> str:
    epochs = len(record.get("history") or [])
    recipe = f"{record.get('backbone')}, {epochs} epochs" if epochs else f"{record.get('backbone')}, head only"
    seconds = record.get("seconds")
    return f"{recipe}, {'seconds not recorded' if seconds is None else f'{seconds:,} s'}"


def origin(found: dict) -> str:
    machine = found["machine"]
    versions = sorted({item["version"] for item in found["network"] if "version" in item})
    instructions = ", ".join(machine["instructions"]) or "instructions unknown"
    return (f"{machine['cpu']}, {machine['cores']} cores ({instructions}), "
            f"{machine['system']}, Python {machine['python']}, {', '.join(versions)}; commit {machine['commit']}, "
            f"{machine['date']} UTC; `make bench` took {machine['minutes']:.0f} minutes.")


def markdown(found: dict) -> str:
    lines = [origin(found)]
    for part in sections(found):
        lines += ["", f"### {part.title}", "", part.text, "", "| " + " | ".join(part.head) + " |",
                  "|---|" + "--:|" * (len(part.head) - 1)]
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
                  + " |" * (len(part.head) - len(cells)) for cells in part.rows]
    return "\n".join(lines) + "\n"


def page(found: dict, charts: dict[str, Path]) -> str:
    """The whole page, with the report's style and the charts inside."""
    style = re.search(r"<style>.*?</style>", report.TEMPLATE.read_text(encoding="utf-8"), re.DOTALL)[0]
    parts, cards = sections(found), ""
    for goal in found["goals"]:
        if goal["measured"] is not None:
            verdict = "met" if goal["met"] else "missed"
            cards += (f"<div><dt>{escape(goal['goal'])}</dt><dd>{number(goal['measured'], ' ×')}</dd>"
                      f"<dd>{escape(goal['model'])}; wanted ≥ {goal['wanted']}: {verdict}</dd></div>")
    body = "".join(f'<section id="s{place}"><h2>{escape(part.title)}</h2><p>{escape(part.text)}</p>'
                   f"{report.chart(charts, part.chart, part.title)}{table(part)}</section>"
                   for place, part in enumerate(parts))
    links = " ".join(f'<a href="#s{place}">{escape(part.title)}</a>' for place, part in enumerate(parts))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,"><title>Benchmark</title>
{style}<style>td.why {{ color: var(--bad); text-align: left; white-space: normal; min-width: 16em; }}
@media (max-width: 480px) {{ tbody th {{ white-space: normal; }} }}</style></head>
<body><header><h1>Where we stand beside the others</h1><p class="quiet">{escape(origin(found))}</p>
<nav aria-label="Sections">{links}</nav></header>
<main><dl class="cards">{cards}</dl>{body}</main>
<footer>Written by scripts/bench.py; every figure is in bench.json beside this page.</footer></body></html>
"""


def table(part: Section) -> str:
    body = ""
    for name, *cells in part.rows:
        why = len(cells) < len(part.head) - 1
        body += f'<tr><th scope="row">{escape(name)}</th>' + "".join(
            f'<td{f" class=why colspan={len(part.head) - 1}" * why}>{escape(cell)}</td>' for cell in cells) + "</tr>"
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in part.head)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
