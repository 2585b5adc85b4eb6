"""The parts of scripts/aws/label_bucket.sh in Python, with the standard library only.

    bulk.py plan PHOTOS MEMORY ARCHITECTURE CONCURRENCY    print the duration and the cost of a job
    bulk.py merge FOLDER OUTPUT                            write a job's report as the table of `make label`
"""
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote_plus

from common import atomic
from costs import BILLED_MS, GB_SECOND, REQUEST
from labelling import table

# List prices in us-east-1 as of November 2026, in dollars, beside those in costs.py.
JOB = 0.25
PER_MILLION = {"S3 Batch Operations": 1.015, "S3's requests": 0.40, "Lambda's requests": REQUEST, "logs": 0.75}
S3_MS = 100  # typical latency of S3, from Amazon S3's performance guide


def plan(photos: str, memory: str, architecture: str, concurrency: str) -> None:
    millions = int(photos) / 1e6
    seconds = (BILLED_MS + S3_MS) / 1000
    processor = seconds * int(memory) / 1024 * GB_SECOND[architecture]
    dollars = JOB + millions * (sum(PER_MILLION.values()) + processor)
    minutes = int(photos) * seconds / int(concurrency) / 60
    print(f"about {max(1, minutes):,.0f} min with {concurrency} photos at a time, and ${dollars:,.2f}")


def answers(folder: str) -> Iterator[dict]:
    """The answer for each row of a report, whose columns are in its manifest.json."""
    for path in sorted(Path(folder).rglob("*.csv")):
        with open(path, newline="", encoding="utf-8") as file:
            for bucket, key, _, status, code, _, message in csv.reader(file):
                try:
                    answer = json.loads(message)
                except ValueError:
                    answer = {"error": message or f"S3 Batch Operations: {status}, {code}"}
                yield {"image": f"s3://{bucket}/{unquote_plus(key)}", **answer}


def merge(folder: str, output: str) -> None:
    """Write the table and print its summary. The exit status is 1 unless every photo has a label."""
    labels = {name for answer in answers(folder) for name in answer.get("scores", ())}
    with atomic(Path(output)) as temporary:
        table.append(temporary, [*table.FIXED, *sorted(labels)], map(table.to_row, answers(folder)))
    sys.exit(not table.summarize(map(table.to_row, answers(folder)), output))


if __name__ == "__main__":
    {"plan": plan, "merge": merge}[sys.argv[1]](*sys.argv[2:])
