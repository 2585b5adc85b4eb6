"""The report's page and its summary for the terminal, from the figures that evaluate.py measured.

Labels and paths are the user's own words, so all text passes through `escape`.
"""
import base64
import io
import json
from html import escape
from pathlib import Path
from string import Template

from PIL import Image

TEMPLATE = Path(__file__).with_suffix(".html")
GUO = "Guo et al., On Calibration of Modern Neural Networks, 2017"
MARKS = {True: "✓\N{NO-BREAK SPACE}", False: "✗\N{NO-BREAK SPACE}", None: ""}
CLASSES = {True: "right", False: "wrong", None: ""}


def percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"


def interval(row: dict) -> str:
    low, high = row["accuracy_interval"]
    return f"{100 * low:.1f} to {percent(high)}"


def text(figures: dict) -> str:
    """The figures for a terminal."""
    lines = [f"{'':11}{'photos':>7}{'accuracy':>10}  {'95 % interval':<16}{'macro-F1':>9}{'loss':>8}{'ECE':>8}"]
    lines += [f"{split:11}{row['photos']:7}{percent(row['accuracy']):>10}  {interval(row):<16}"
              f"{percent(row['macro_f1']):>9}{row['loss']:8.3f}{percent(row['ece']):>8}"
              for split, row in figures["splits"].items()]
    lines += [sentence for sentence in (confidence(figures), speed(figures), warning(figures)) if sentence]
    return "\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")


def confidence(figures: dict) -> str:
    row = figures["confident"]
    if not row:
        return "The model's record holds no confidence threshold."
    return (f"{percent(row['share'])} of the test photos reach the confidence threshold of "
            f"{percent(row['threshold'])}; the model is right about {percent(row['accuracy'])} of those.")


def speed(figures: dict) -> str:
    row = figures["latency"]
    return (f"One photo takes {row['network_ms']:.1f} ms in the network and {row['decode_ms']:.1f} ms to decode and "
            f"fit (median, {row['threads']} thread, {row['cpu']}).")


def warning(figures: dict) -> str:
    if figures["same_data"] is not False:
        return ""
    return ("Note: the model was trained with other photos than these (their digests differ), "
            "so what is 'train' or 'test' here was not that to the model.")


def page(labels: list[str], figures: dict, tiles: dict, charts: dict[str, Path]) -> str:
    """The whole page, pictures inside."""
    test, record = figures["splits"]["test"], figures["record"]
    none_found = "The model's record names none: training found no such photo, or did not look for any."
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        model=escape(figures["model"]), warning=f'<p class="warning">{warning(figures)}</p>' * bool(warning(figures)),
        cards="".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd><dd>{escape(note)}</dd></div>"
                      for name, value, note in cards(figures)),
        splits=table(["", *figures["splits"]], [[name, *map(value, figures["splits"].values())] for name, value in (
            ("Photos", lambda row: row["photos"]), ("Accuracy", lambda row: percent(row["accuracy"])),
            ("95 % from", lambda row: percent(row["accuracy_interval"][0])),
            ("95 % to", lambda row: percent(row["accuracy_interval"][1])),
            ("Macro-F1", lambda row: percent(row["macro_f1"])), ("Loss", lambda row: f"{row['loss']:.3f}"),
            ("ECE", lambda row: percent(row["ece"])))]),
        gap=gap(figures),
        labels=table(["Label", "Precision", "Recall", "F1", "Photos"],
                     [[label, *(percent(row[key], 0) for key in ("precision", "recall", "f1")), row["support"]]
                      for label, row in figures["per_label"].items()]),
        confusion=confusion(labels, figures["confusion_matrix"]),
        confused=confused(labels, figures["confusion_matrix"]),
        calibration=chart(charts, "calibration", "Bars of accuracy over confidence, and of photos over confidence"),
        ece=percent(test["ece"]), source=GUO, confidence=confidence(figures),
        curves=chart(charts, "curves", "Loss and accuracy of train and validation over the epochs")
        or "<p>The model's record holds no history of its training, so there are no curves.</p>",
        predictions=grid(tiles["predictions"]),
        mistakes=grid(tiles["mistakes"], paths=True) or "<p>None: every test photo is labelled right.</p>",
        suspects=grid(tiles["suspects"], paths=True) or f"<p>{none_found}</p>",
        samples=grid(tiles["samples"]) or "<p>The index holds no training photo.</p>",
        augmented=grid(tiles["augmented"]) or "<p>The index holds no training photo.</p>",
        provenance=table(["What", "Value"], [[key, value] for key, value in provenance(figures, record).items()]))


def cards(figures: dict) -> list[tuple[str, str, str]]:
    test, latency = figures["splits"]["test"], figures["latency"]
    sure = figures["confident"]
    return [("Test accuracy", percent(test["accuracy"]),
             f"{test['correct']} of {test['photos']}; 95 %: {interval(test)}"),
            ("Macro-F1", percent(test["macro_f1"]), "each label counts the same"),
            ("When confident", percent(sure["accuracy"] if sure else None),
             f"{percent(sure['share'], 0)} of the photos" if sure else "no threshold in the model"),
            ("Latency", f"{latency['network_ms']:.1f} ms", f"+ {latency['decode_ms']:.1f} ms to decode; 1 thread"),
            ("File", f"{figures['file_bytes'] / 1e6:.2f} MB", "takes {} × {} pixels".format(*figures["input_size"]))]


def gap(figures: dict) -> str:
    parts = [f"{100 * abs(value):.1f} points {'lower' if value > 0 else 'higher'} than {split}"
             for split, value in figures["gap"].items()]
    return f"Test accuracy is {' and '.join(parts)}." if parts else ""


def table(head: list[str], rows: list[list]) -> str:
    cells = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(f'<tr><th scope="row">{escape(str(row[0]))}</th>'
                   + "".join(f"<td>{escape(str(value))}</td>" for value in row[1:]) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'


def confusion(labels: list[str], matrix: list[list[int]]) -> str:
    """A row per true label; each cell tinted by its share of the row."""
    head = "".join(f'<th scope="col"><span>{escape(label)}</span></th>' for label in labels)
    body = ""
    for true, row in enumerate(matrix):
        kinds = ["hit" if true == column else "miss" for column in range(len(row))]
        cells = (f'<td class="{kind}" style="--share:{count / sum(row):.2f}">{count}</td>' if count else "<td>0</td>"
                 for kind, count in zip(kinds, row))
        body += f'<tr><th scope="row">{escape(labels[true])}</th>{"".join(cells)}</tr>'
    return (f'<div class="scroll"><table class="confusion"><thead><tr><td></td>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>")


def confused(labels: list[str], matrix: list[list[int]]) -> str:
    pairs = sorted(((count, true, column) for true, row in enumerate(matrix) for column, count in enumerate(row)
                    if count and true != column), key=lambda pair: -pair[0])[:5]
    items = "".join(f"<li>{escape(labels[true])} taken for {escape(labels[column])}: "
                    f"{count} of {sum(matrix[true])}</li>" for count, true, column in pairs)
    return f"<p>Most often confused:</p><ul>{items}</ul>" if items else "<p>No label is taken for another.</p>"


def chart(charts: dict[str, Path], name: str, description: str) -> str:
    """A picture in the colours of the reader's theme; nothing where it was not drawn."""
    if name not in charts:
        return ""
    light, dark = (f"data:image/png;base64,{base64.b64encode(charts[key].read_bytes()).decode()}"
                   for key in (name, f"{name}-dark"))
    return (f'<picture><source srcset="{dark}" media="(prefers-color-scheme: dark)">'
            f'<img src="{light}" alt="{description}" width="800" height="896"></picture>')


def grid(tiles: list, paths: bool = False) -> str:
    """Photos with captions, as many in a row as the screen takes; nothing where there are none."""
    figures = "".join(
        f'<figure class="{CLASSES[tile.right]}"><img src="{thumbnail(tile.image)}" alt="">'
        f"<figcaption><b>{MARKS[tile.right]}{escape(tile.title)}</b><span>{escape(tile.note)}</span>"
        f"{f'<small>{escape(tile.path)}</small>' * paths}</figcaption></figure>" for tile in tiles)
    return f'<div class="grid">{figures}</div>' if figures else ""


def thumbnail(image) -> str:
    buffer = io.BytesIO()
    picture = Image.fromarray(image)
    picture.thumbnail((300, 200))
    picture.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def provenance(figures: dict, record: dict) -> dict:
    """What was measured, and the model's record, in flat rows."""
    rows = {"model": figures["model"], "photos": figures["index"], "photos' digest": figures["data_digest"],
            "CPU of the latency": figures["latency"]["cpu"]}
    for key, value in record.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {json.dumps(item)}" for name, item in value.items())
        rows[f"model: {key.replace('_', ' ')}"] = value
    return rows
