"""Label one photo or a few, in the terminal or as JSON Lines. For many, scripts/label.py uses every core.

    python scripts/predict.py --model artifacts/model.tflite shirt.jpg
    python scripts/predict.py --model artifacts/model.tflite --json photos/ https://example.org/shoe.jpg

Takes photos, folders (searched recursively), globs, URLs, text files with one of these per line, and - for such a list
on standard input. A single photo gets bars for its five most probable labels; several photos get a line each, and a
count per label at the end. The note "unfamiliar" says that a photo differs from the training photos, "low confidence"
that the probability is low. A photo that can't be read is reported on stderr, the others are still labelled, and the
exit status is 1.
"""
import argparse
import json
import os
import sys
from collections import Counter
from pathlib import Path

from common import bars, printable
from labelling.photos import expand, read_lists
from labelling.run import Result, label, load_model
from serving import Model


def show(result: Result, model: Model, args: argparse.Namespace, alone: bool) -> str:
    """Print the result of a photo and return its label, or an empty one after an error."""
    if result.error:
        if args.json:
            print(json.dumps({"image": result.image, "error": result.error}), flush=True)
        print(f"{printable(result.image)}: {printable(result.error)}", file=sys.stderr, flush=True)
        return ""
    ranked = sorted(zip(model.labels, result.probabilities.tolist()), key=lambda pair: -pair[1])
    name, probability = ranked[0]
    familiar = model.is_familiar(result.familiarity)
    confident = model.is_confident(probability, result.familiarity)
    note = "" if confident else "low confidence" if familiar else "unfamiliar"
    if args.json:
        print(json.dumps({"image": result.image, "label": name, "confident": confident,
                          "familiarity": round(result.familiarity, 3), "familiar": familiar, "model": model.digest,
                          "probabilities": dict(ranked)}), flush=True)
    elif alone:
        print(f"{printable(result.image)}: {printable(name)}{note and f' ({note})'}\n{bars(ranked[:5])}")
    else:
        width = max(map(len, model.labels))
        print(f"{printable(name):<{width}} {probability:7.1%}  {note:<14}  {printable(result.image)}", flush=True)
    return name


def run(args: argparse.Namespace) -> bool:
    """Label all photos and print the results. Returns whether all photos could be read."""
    model = load_model(args.model, threads=os.cpu_count())
    photos = [photo for source in read_lists(args.image) for photo in sorted(expand(source))]
    sys.stdout.reconfigure(errors="replace")
    counts = Counter()
    for photo in photos:
        [result] = label(model, [photo])
        counts[show(result, model, args, alone=len(photos) == 1)] += 1
    errors = counts.pop("", 0)
    if not args.json and len(photos) > 1:
        found = ", ".join(f"{number} {printable(name)}" for name, number in counts.most_common())
        print(f"{len(photos) - errors} of {len(photos)} photos labelled{': ' * bool(found)}{found}")
    return not errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="+", help="a photo, folder, glob, URL, text file of these, or -")
    parser.add_argument("--model", type=Path, required=True, help="model.tflite")
    parser.add_argument("--json", action="store_true", help="one JSON object per line, for programs")
    args = parser.parse_args()
    try:
        sys.exit(0 if run(args) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # a reader such as `head` has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
