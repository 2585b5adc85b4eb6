"""Label one photo or a few, in the terminal or as JSON Lines. For many, scripts/label.py uses every core.

    python scripts/predict.py --model artifacts/model.tflite shirt.jpg
    python scripts/predict.py --model artifacts/model.tflite --json photos/ https://example.org/shoe.jpg

Prints the label and bars for the five most probable ones. The note "unfamiliar" says that a photo differs from the
training photos, "low confidence" that the probability is low. The exit status is 1 if a photo can't be read.
"""
import argparse
import json
import os
import sys
from pathlib import Path

from common import bars, printable
from labelling.photos import expand, read_lists
from labelling.run import label, load_model


def show(answer: dict, as_json: bool) -> None:
    """Print the answer for a photo: as a line of JSON, or for people, with an error on stderr."""
    image, ranked = printable(answer["image"]), sorted(answer.pop("scores", {}).items(), key=lambda score: -score[1])
    if as_json:
        labels = {"label": ranked[0][0], "probabilities": dict(ranked)} if ranked else {}
        print(json.dumps(answer | labels), flush=True)
        return
    if "error" in answer:
        print(f"{image}: {printable(answer['error'])}", file=sys.stderr, flush=True)
        return
    note = "" if answer["confident"] else " (low confidence)" if answer["familiar"] else " (unfamiliar)"
    print(f"{image}: {printable(ranked[0][0])}{note}\n{bars(ranked[:5])}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="+", help="a photo, folder, glob, URL, text file of these (.txt), or - (stdin)")
    parser.add_argument("--model", type=Path, required=True, help="model.tflite")
    parser.add_argument("--json", action="store_true", help="print a JSON object for each photo")
    args = parser.parse_args()
    model = load_model(args.model, threads=os.cpu_count())
    sys.stdout.reconfigure(errors="replace")
    failed = False
    try:
        for source in read_lists(args.image):
            for photo in sorted(expand(source)):
                answer = label(model, photo)
                failed |= "error" in answer
                show(answer, args.json)
    except (KeyboardInterrupt, BrokenPipeError):  # Ctrl-C, or a reader such as `head` has closed the pipe
        os._exit(130)  # without another attempt to write
    sys.exit(failed)


if __name__ == "__main__":
    main()
