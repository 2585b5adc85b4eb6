"""The table of labels, with a row per photo. The file's extension decides its format, .csv or .jsonl (JSON Lines).

A row is a dictionary of the columns, with None where there is no value. scripts/aws/bulk.py uses this file too, with
the standard library only.
"""
import csv
import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from common import atomic, fail, printable

# The columns before those of the labels, which are float32, and their types, as pyarrow names them.
FIXED = {"image": "string", "label": "string", "probability": "float32", "confident": "bool",
         "familiarity": "float32", "familiar": "bool", "error": "string", "model": "string"}


def to_row(answer: dict) -> dict:
    """The row for an answer of `labelling.run.label`, or of lambda/batch.py with `image` added."""
    scores = answer.get("scores", {})
    label = max(scores, key=scores.get, default="")
    values = {"label": label, "probability": scores.get(label), "error": "", **answer}
    row = {name: values.get(name) for name in FIXED} | scores
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in row.items()}


def append(path: Path, columns: list[str], rows: Iterable[dict]) -> None:
    """Write each row to the end of the table as soon as it comes, so that an interrupted run can be continued."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        with open(path, "rb+") as file:
            for line in deque(file, maxlen=1):
                if not line.endswith(b"\n"):
                    file.truncate(file.tell() - len(line))
    with open(path, "a", buffering=1, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        table = csv.writer(file, lineterminator="\n")
        if path.suffix == ".csv" and not file.tell():
            table.writerow(columns)
        for row in rows:
            values = [row.get(name) for name in columns]
            if path.suffix == ".csv":
                table.writerow([str(value).lower() if isinstance(value, bool) else value for value in values])
            else:
                file.write(json.dumps(dict(zip(columns, values))) + "\n")


def read(path: Path, columns: list[str], digest: str) -> Iterator[dict]:
    """Yield the rows of a table. Ends the script if it has other columns or comes from another model."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            lines = (line for line in file if line.endswith("\n"))  # an interrupted run may leave a part of a row
            for row in _from_csv(lines, columns) if path.suffix == ".csv" else map(json.loads, lines):
                if not isinstance(row, dict) or list(row) != columns or row["model"] != digest:
                    raise ValueError
                yield row
    except (ValueError, csv.Error):
        fail(f"{path} was not written with this model; name another file: OUT=…")


def _from_csv(lines: Iterator[str], columns: list[str]) -> Iterator[dict]:
    """The rows of a CSV file, with the types that they have in JSON."""
    rows = csv.reader(lines)
    if next(rows, columns) != columns:
        raise ValueError
    for values in rows:
        yield {name: value if FIXED.get(name) == "string" else json.loads(value or "null")
               for name, value in zip(columns, values, strict=True)}


def to_parquet(path: Path, columns: list[str], output: Path) -> None:
    """Write the CSV table as a Parquet file, which can't grow row by row."""
    from pyarrow import csv, parquet

    types = csv.ConvertOptions(column_types={name: FIXED.get(name, "float32") for name in columns})
    batches = csv.open_csv(path, parse_options=csv.ParseOptions(newlines_in_values=True), convert_options=types)
    with atomic(output) as temporary, parquet.ParquetWriter(temporary, batches.schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def summarize(rows: Iterable[dict], title: str) -> bool:
    """Print the number of photos per label, then all together. Returns whether there are photos and all have labels."""
    labels, counts = Counter(), Counter()
    for row in rows:
        labels[row["label"]] += 1
        counts["unsure"] += row["confident"] is False
        counts["unfamiliar"] += row["familiar"] is False
    failed = labels.pop("", 0)
    for label, number in labels.most_common():
        print(f"  {number:8,} {printable(label)}")
    print(f"{title}: {labels.total() + failed:,} photos, {counts['unsure']:,} unsure, of which "
          f"{counts['unfamiliar']:,} unfamiliar, {failed:,} failed")
    return bool(labels) and not failed
