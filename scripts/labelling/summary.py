"""The columns of a table of labels, and the count of its rows. scripts/aws/bulk.py uses it too, without NumPy."""
from collections import Counter

from common import printable

# The columns before those of the labels.
FIXED = ["image", "label", "probability", "confident", "familiarity", "familiar", "error", "model"]


def count(row: dict, counts: Counter) -> None:
    """Add a row to the counts; its values may be text from a file."""
    counts["photos"] += 1
    if row["error"]:
        counts["failed"] += 1
    else:
        counts["unsure"] += row["confident"] in (False, "false")
        counts["unfamiliar"] += row["familiar"] in (False, "false")
        counts["label", row["label"]] += 1


def summary(counts: Counter, output: str) -> str:
    """The number of photos per label, then the line that names the table."""
    lines = [f"  {number:8,} {printable(name[1])}" for name, number in counts.most_common() if isinstance(name, tuple)]
    lines.append(f"{output}: {counts['photos']:,} photos, {counts['unsure']:,} unsure, of which "
                 f"{counts['unfamiliar']:,} unfamiliar, {counts['failed']:,} failed")
    return "\n".join(lines)
