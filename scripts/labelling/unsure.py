"""The page of the photos that the model is least certain of. A person corrects their labels there."""
import base64
import heapq
import io
import json
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from common import atomic
from labelling.photos import read
from serving import preprocess

TEMPLATE = Path(__file__).with_name("unsure.html")
SIZE = 220, 165  # of a thumbnail, height x width in pixels


def write_page(output: Path, rows: Iterator[dict], labels: list[str], number: int) -> Path:
    """Write the page beside the table and return its path.

    A photo comes early if the probability of its label is low, or its familiarity, by which the former is multiplied.
    """
    labelled = (row for row in rows if not row["error"])
    unsure = heapq.nsmallest(number, labelled, key=lambda row: float(row["probability"]) * float(row["familiarity"]))
    photos = [{"image": row["image"], "label": row["label"], "probability": float(row["probability"]),
               "familiar": row["familiar"] in (True, "true"), "thumbnail": thumbnail(row["image"])} for row in unsure]
    data = json.dumps({"labels": labels, "photos": photos}).replace("<", r"\u003c")  # no tag can close the script
    page = output.with_suffix(".unsure.html")
    with atomic(page) as temporary:
        temporary.write_text(TEMPLATE.read_text("utf-8").replace("{{data}}", data), "utf-8")
    return page


def thumbnail(image: str) -> str:
    """The photo as the model sees it, as a data URL; empty if it can no longer be read."""
    [content] = read([image])
    try:
        pixels = Image.fromarray(preprocess(content, SIZE))
    except (ValueError, TypeError):  # TypeError: `read` returned an error
        return ""
    jpeg = io.BytesIO()
    pixels.save(jpeg, "JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode()
