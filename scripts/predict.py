"""Label one photo or a few, in the terminal or as JSON Lines. For many, scripts/label.py uses every core.

    python scripts/predict.py --model artifacts/model.tflite shirt.jpg
    python scripts/predict.py --model artifacts/model.tflite --json photos/ https://example.org/shoe.jpg

Takes photos, folders (searched recursively), globs, URLs, text files with one of these per line, and - for such a list
on standard input. Each photo gets its label and bars for the five most probable ones. The note "unfamiliar" says that
a photo differs from the training photos, "low confidence" that the probability is low. --json prints the rows that
scripts/label.py writes. After a photo that can't be read, the others are still labelled; the exit status is 1.
"""
import argparse
import json
import os
import sys
from pathlib import Path

from common import bars, printable
from labelling.photos import expand, read_lists
from labelling.run import label, load_model
from labelling.table import to_row


def show(answer: dict) -> None:
    """Print the answer for a photo for people, or its error on stderr."""
    image = printable(answer["image"])
    if "error" in answer:
        print(f"{image}: {printable(answer['error'])}", file=sys.stderr, flush=True)
        return
    ranked = sorted(answer["scores"].items(), key=lambda score: -score[1])
    note = "" if answer["confident"] else " (low confidence)" if answer["familiar"] else " (unfamiliar)"
    print(f"{image}: {printable(ranked[0][0])}{note}\n{bars(ranked[:5])}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="+", help="a photo, folder, glob, URL, text file of these, or -")
    parser.add_argument("--model", type=Path, required=True, help="model.tflite")
    parser.add_argument("--json", action="store_true", help="one JSON object per line, for programs")
    args = parser.parse_args()
    model = load_model(args.model, threads=os.cpu_count())
    sys.stdout.reconfigure(errors="replace")
    failed = False
    try:
        for source in read_lists(args.image):
            for photo in sorted(expand(source)):
                answer = label(model, photo)
                failed |= "error" in answer
                if args.json:
                    print(json.dumps(to_row(answer)), flush=True)
                else:
                    show(answer)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # a reader such as `head` has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(failed)


if __name__ == "__main__":
    main()
