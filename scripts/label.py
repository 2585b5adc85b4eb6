"""Label all photos of a catalogue on every core, into a table with a row per photo.

    python scripts/label.py --model artifacts/model.tflite --output labels.csv photos/ more.txt 'old/*/*.jpg'

The same command continues an interrupted run, and adds new photos later. A photo that can't be read becomes a row with
its error; the exit status is then 1. scripts/labelling/README.md describes the columns.
"""
import argparse
import base64
import heapq
import io
import json
import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from common import atomic, fail
from labelling import table
from labelling.photos import expand, read, read_lists
from labelling.run import label_on_all_cores, load_model
from serving import RequestError, preprocess


def find_photos(sources: list[str], rows: Iterable[dict]) -> tuple[Iterator[str], int, int]:
    """The photos that have no row yet, each once, by name; their number, and that of those with a row.

    They are in a temporary database on disk, so that memory does not grow with their number.
    """
    database = sqlite3.connect("")
    database.execute("CREATE TABLE photo (name BLOB PRIMARY KEY) WITHOUT ROWID")
    found = database.executemany("INSERT OR IGNORE INTO photo VALUES (?)", (
        [os.fsencode(photo)] for source in read_lists(sources) for photo in expand(source))).rowcount
    done = database.executemany("DELETE FROM photo WHERE name = ?", (
        [os.fsencode(row["image"])] for row in rows)).rowcount
    names = database.execute("SELECT name FROM photo ORDER BY name")
    return (os.fsdecode(name) for name, in names), found - done, done


def write_page(page: Path, rows: Iterable[dict], labels: list[str], number: int) -> None:
    """Write the page of the `number` least certain photos, where a person corrects their labels.

    A photo comes early if the probability of its label is low, or its familiarity, by which the former is multiplied.
    """
    labelled = (row for row in rows if not row["error"])
    unsure = heapq.nsmallest(number, labelled, key=lambda row: row["probability"] * row["familiarity"])
    photos = [{**row, "thumbnail": thumbnail(row["image"])} for row in unsure]
    data = json.dumps({"labels": labels, "photos": photos}).replace("<", r"\u003c")  # no tag can close the script
    template = Path(__file__).with_name("labelling") / "unsure.html"
    with atomic(page) as temporary:
        temporary.write_text(template.read_text("utf-8").replace("{{data}}", data), "utf-8")


def thumbnail(photo: str) -> str:
    """The photo as the model sees it, 220 pixels high, as a data URL; empty if it can no longer be read."""
    try:
        pixels = preprocess(read(photo), (220, 165))
    except (ValueError, OSError, RequestError):
        return ""
    jpeg = io.BytesIO()
    Image.fromarray(pixels).save(jpeg, "JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", help="a photo, folder, glob, URL, text file of these (.txt), or - (stdin)")
    parser.add_argument("--model", type=Path, required=True, help="model.tflite")
    parser.add_argument("--output", type=Path, default=Path("labels.csv"),
                        help="the table: .csv, .jsonl or .parquet [%(default)s]")
    parser.add_argument("--unsure", type=int, default=0, metavar="N",
                        help="also write a page of the N least certain photos, to be labelled by hand")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="one per core unless set")
    args = parser.parse_args()
    output = args.output
    parquet = output.suffix == ".parquet" and find_spec("pyarrow")
    if not (parquet or output.suffix in (".csv", ".jsonl")):
        fail(f"{output}: the extension must be .csv, .jsonl or, with pyarrow in .venv/label, .parquet")
    path = output.with_name(f"{output.name}.csv") if parquet else output
    model = load_model(args.model, threads=1)
    columns = [*table.FIXED, *model.labels]
    try:
        rows = table.read(path, columns, model.digest) if path.is_file() else ()
        photos, left, done = find_photos(args.photos, rows)
        answers = tqdm(label_on_all_cores(args.model, photos, args.processes), initial=done, total=done + left,
                       unit=" photos", mininterval=0.5)
        table.append(path, columns, map(table.to_row, answers))
        if parquet:
            table.to_parquet(path, columns, output)
        if args.unsure:
            page = output.with_suffix(".unsure.html")
            write_page(page, table.read(path, columns, model.digest), model.labels, args.unsure)
            print(f"{page}: correct the labels there, then train on them")
    except (KeyboardInterrupt, BrokenProcessPool, OSError) as error:
        fail(f"{str(error) or 'interrupted'}; the same command continues {path}")
    sys.exit(not table.summarize(table.read(path, columns, model.digest), str(output)))


if __name__ == "__main__":
    main()
