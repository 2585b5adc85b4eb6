"""The table that `make label` writes, with a row per photo. The file's extension decides its format."""
import csv
import importlib.util
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

from common import atomic, fail
from labelling.run import Result
from labelling.summary import FIXED
from serving import Model


def to_row(result: Result, model: Model) -> list:
    """The values of FIXED, then the probability of each label; what comes from the model is empty after an error."""
    if result.error:
        return [result.image, "", *[None] * 4, result.error, model.digest, *[None] * len(model.labels)]
    probabilities = [round(float(probability), 6) for probability in result.probabilities]
    best = result.probabilities.argmax()
    confident = model.is_confident(result.probabilities[best], result.familiarity)
    return [result.image, model.labels[best], probabilities[best], confident, round(result.familiarity, 3),
            model.is_familiar(result.familiarity), "", model.digest, *probabilities]


class Table:
    """A file of rows. Each row is written immediately, so that an interrupted run can be continued.

    A Parquet file can't be read before it is complete, so its rows are collected in a CSV file beside it.
    """

    def __init__(self, path: Path, model: Model):
        if path.suffix not in (".csv", ".jsonl", ".parquet"):
            fail(f"{path}: the extension must be .csv, .jsonl or .parquet")
        if path.suffix == ".parquet" and not importlib.util.find_spec("pyarrow"):
            fail("Parquet needs pyarrow, which is not installed; name a .csv file, or install it into .venv/label")
        self.output, self.model, self.columns = path, model, FIXED + model.labels
        self.path = path.with_name(path.name + ".csv") if path.suffix == ".parquet" else path
        if self.path != path and path.exists():
            fail(f"{path} is complete; delete it first, or name another file: OUT=…")

    def rows(self) -> Iterator[dict]:
        """The rows in the file, as dictionaries. Ends the script if they come from another model."""
        if not self.path.is_file():
            return
        for number, text in enumerate(self._whole_rows()):
            try:
                row = self._parse(text)
                if number == 0 and self.path.suffix == ".csv" and list(row.values()) == self.columns:
                    continue
                if row["model"] != self.model.digest:
                    raise ValueError
            except (ValueError, KeyError, TypeError):
                fail(f"{self.path}: row {number + 1} was not written with this model; name another file: OUT=…")
            yield row

    def _whole_rows(self) -> Iterator[str]:
        """The text of each row. An incomplete row at the end, left by an interrupted run, is removed from the file."""
        size, row = 0, b""
        with open(self.path, "rb") as file:
            for line in file:
                row += line
                if line.endswith(b"\n") and (self.path.suffix != ".csv" or row.count(b'"') % 2 == 0):
                    yield row.decode("utf-8", "surrogateescape")
                    size, row = size + len(row), b""
        if row:
            os.truncate(self.path, size)

    def _parse(self, text: str) -> dict:
        if self.path.suffix == ".csv":
            return dict(zip(self.columns, next(csv.reader([text])), strict=True))
        return json.loads(text)

    def __enter__(self) -> "Table":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(self.path, "a", encoding="utf-8", errors="surrogateescape", newline="")
        if self.path.suffix == ".csv" and not self.file.tell():
            self.append(self.columns)
        return self

    def append(self, row: list) -> None:
        """Write a row to the file immediately."""
        if self.path.suffix == ".csv":
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerow(
                [str(value).lower() if isinstance(value, bool) else value for value in row])
            self.file.write(text.getvalue())
        else:
            self.file.write(json.dumps(dict(zip(self.columns, row))) + "\n")
        self.file.flush()

    def __exit__(self, error_type, *_) -> None:
        self.file.close()
        if error_type is None and self.path != self.output:
            self._to_parquet()

    def _to_parquet(self) -> None:
        import pyarrow
        from pyarrow import csv as arrow_csv
        from pyarrow import parquet

        types = dict.fromkeys(self.columns, pyarrow.float32()) | dict.fromkeys(FIXED, pyarrow.string())
        types |= dict.fromkeys(["probability", "familiarity"], pyarrow.float32())
        types |= dict.fromkeys(["confident", "familiar"], pyarrow.bool_())
        with atomic(self.output) as temporary, arrow_csv.open_csv(
                self.path, parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
                convert_options=arrow_csv.ConvertOptions(column_types=types)) as batches:
            with parquet.ParquetWriter(temporary, batches.schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)
        self.path.unlink()
