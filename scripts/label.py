"""Label all photos of a catalogue on every core, into a table with a row per photo.

    python scripts/label.py --model artifacts/model.tflite --output labels.csv photos/ more.txt 'old/*/*.jpg'

Takes photos, folders (searched recursively), globs, URLs, text files with one of these per line, and - for such a list
on standard input. The extension of the output decides its format: .csv, .jsonl (JSON Lines) or .parquet. A photo that
can't be read becomes a row with its error. The same command continues an interrupted run, and adds new photos later.
--unsure N also writes a page with the N photos that the model is least certain of, to be labelled by hand. Prints the
number of photos per label; the exit status is 1 if a photo could not be read.
"""
import argparse
import os
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from common import fail
from labelling.photos import expand, read_lists
from labelling.summary import count, summary


class Queue:
    """The photos that are left to label, each once; in a temporary database on disk, to save memory."""

    def __init__(self):
        self.database = sqlite3.connect("")
        self.database.execute("CREATE TABLE photo (name BLOB PRIMARY KEY, error TEXT, source INT) WITHOUT ROWID")

    def add(self, sources: Iterator[str]) -> None:
        self.database.executemany("INSERT OR IGNORE INTO photo VALUES (?, ?, ?)", (
            (os.fsencode(name), error, number) for number, source in enumerate(sources)
            for name, error in expand(source)))

    def remove(self, name: str) -> None:
        self.database.execute("DELETE FROM photo WHERE name = ?", [os.fsencode(name)])

    def __len__(self) -> int:
        return self.database.execute("SELECT count(*) FROM photo").fetchone()[0]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """(name, error) in the order of the sources, by name within a folder."""
        for name, error in self.database.execute("SELECT name, error FROM photo ORDER BY source, name"):
            yield os.fsdecode(name), error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", help="a photo, folder, glob, URL, text file of these, or -")
    parser.add_argument("--model", type=Path, required=True, help="model.tflite")
    parser.add_argument("--output", type=Path, default=Path("labels.csv"), help="the table [%(default)s]")
    parser.add_argument("--unsure", type=int, default=0, metavar="N", help="the least certain photos as a page of N")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="one per core unless set")
    args = parser.parse_args()

    from tqdm import tqdm

    from labelling.run import label_on_all_cores, load_model
    from labelling.table import Table, to_row
    from labelling.unsure import write_page

    model = load_model(args.model, threads=1)
    table, queue, counts = Table(args.output, model), Queue(), Counter()
    queue.add(read_lists(args.photos))
    for row in table.rows():
        queue.remove(row["image"])
        count(row, counts)
    done, left = counts["photos"], len(queue)
    if done:
        print(f"{args.output} holds {done:,} photos; {left:,} are left", file=sys.stderr)
    try:
        with table, tqdm(total=done + left, initial=done, unit=" photos", mininterval=0.5) as bar:
            for result in label_on_all_cores(args.model, queue, args.processes):
                row = to_row(result, model)
                table.append(row)
                count(dict(zip(table.columns, row)), counts)
                bar.update()
            if args.unsure:
                page = write_page(args.output, table.rows(), model.labels, args.unsure)
    except KeyboardInterrupt:
        sys.exit(f"stopped; the same command continues {table.path}")
    except BrokenProcessPool:
        fail(f"a worker process ended, perhaps for lack of memory; repeat the command to continue {table.path}")
    except OSError as error:
        fail(f"can't write {table.path}: {error.strerror}; repeat the command to continue")
    print(summary(counts, str(args.output)))
    if args.unsure:
        print(f"{page}: correct the labels there, then train on them")
    sys.exit(1 if counts["failed"] else 0)


if __name__ == "__main__":
    main()
