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
from serving import RequestError, preprocess

TEMPLATE = Path(__file__).with_name("unsure.html")
SIZE = 220, 165  # of a thumbnail, height x width in pixels


def write_page(page: Path, rows: Iterator[dict], labels: list[str], number: int) -> None:
    """Write the page of `number` photos.

    A photo comes early if the probability of its label is low, or its familiarity, by which the former is multiplied.
    """
    labelled = (row for row in rows if not row["error"])
    unsure = heapq.nsmallest(number, labelled, key=lambda row: row["probability"] * row["familiarity"])
    photos = [{**row, "thumbnail": thumbnail(row["image"])} for row in unsure]
    data = json.dumps({"labels": labels, "photos": photos}).replace("<", r"\u003c")  # no tag can close the script
    with atomic(page) as temporary:
        temporary.write_text(TEMPLATE.read_text("utf-8").replace("{{data}}", data), "utf-8")


def thumbnail(photo: str) -> str:
    """The photo as the model sees it, as a data URL; empty if it can no longer be read."""
    try:
        pixels = preprocess(read(photo), SIZE)
    except (ValueError, OSError, RequestError):
        return ""
    jpeg = io.BytesIO()
    Image.fromarray(pixels).save(jpeg, "JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode()
