"""Label all photos of a catalogue on every core, into a table with a row per photo.

    python scripts/label.py --model artifacts/model.tflite --output labels.csv photos/ more.txt 'old/*/*.jpg'

Takes photos, folders (searched recursively), globs, URLs, text files with one of these per line, and - for such a list
on standard input. The extension of the output decides its format: .csv, .jsonl (JSON Lines) or .parquet. A photo that
can't be read becomes a row with its error. The same command continues an interrupted run, and adds new photos later.
--unsure N also writes a page with the N photos that the model is least certain of, to be labelled by hand. Prints the
number of photos per label; the exit status is 1 if a photo could not be read.
"""
import argparse
import csv
import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec
from pathlib import Path

from tqdm import tqdm

from common import fail
from labelling import table
from labelling.photos import expand, read_lists
from labelling.run import label_on_all_cores, load_model
from labelling.unsure import write_page


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


def rows_so_far(path: Path, columns: list[str], digest: str) -> Iterator[dict]:
    """The rows of an earlier run. Ends the script if they come from another model."""
    try:
        for row in table.read(path, columns) if path.is_file() else ():
            if row["model"] != digest:
                raise ValueError
            yield row
    except (ValueError, csv.Error):
        fail(f"{path} was not written with this model; name another file: OUT=…")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", help="a photo, folder, glob, URL, text file of these, or -")
    parser.add_argument("--model", type=Path, required=True, help="model.tflite")
    parser.add_argument("--output", type=Path, default=Path("labels.csv"), help="the table [%(default)s]")
    parser.add_argument("--unsure", type=int, default=0, metavar="N", help="the least certain photos as a page of N")
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
        photos, left, done = find_photos(args.photos, rows_so_far(path, columns, model.digest))
        answers = tqdm(label_on_all_cores(args.model, photos, args.processes), initial=done, total=done + left,
                       unit=" photos", mininterval=0.5)
        table.append(path, columns, map(table.to_row, answers))
        if parquet:
            table.to_parquet(path, columns, output)
        if args.unsure:
            page = output.with_suffix(".unsure.html")
            write_page(page, table.read(path, columns), model.labels, args.unsure)
            print(f"{page}: correct the labels there, then train on them")
    except (KeyboardInterrupt, BrokenProcessPool, OSError) as error:
        fail(f"{str(error) or 'interrupted'}; the same command continues {path}")
    sys.exit(not table.summarize(table.read(path, columns), str(output)))


if __name__ == "__main__":
    main()
