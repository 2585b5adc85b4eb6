"""The columns of a table of labels, and the count of its rows. Without NumPy, as scripts/aws/bulk.py uses it too."""
from collections import Counter

from common import printable

FIXED = ["image", "label", "probability", "confident", "error", "model"]  # before a column per label


def count(row: dict, counts: Counter) -> None:
    """Count a row; its values may be texts from a file."""
    counts["photos"] += 1
    if row["error"]:
        counts["failed"] += 1
    else:
        counts["unsure"] += row["confident"] in (False, "false")
        counts["label", row["label"]] += 1


def summary(counts: Counter, output: str) -> str:
    """The number of photos per label, then the line that names the table."""
    lines = [f"  {number:8,} {printable(name[1])}" for name, number in counts.most_common() if isinstance(name, tuple)]
    lines.append(f"{output}: {counts['photos']:,} photos, {counts['unsure']:,} unsure, {counts['failed']:,} failed")
    return "\n".join(lines)
