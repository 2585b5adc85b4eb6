"""Prune a backbone: remove the expanded channels of EfficientNet-Lite that the remaining ones replace best.

    python scripts/prune.py --index data/clothing/index.csv --backbone data/backbones/efficientnet-lite0.keras \\
        --size 224x168 --output artifacts/efficientnet-lite0-pruned.keras

prints how many channels each block keeps. The channels with the least error for the most multiplications are removed
first; training photos show how large the error is. Train the pruned backbone like any other, at the same --size.
"""
import argparse
from pathlib import Path

import numpy as np

from common import atomic, fail
from train import image_size
from training.index import read_training_photos
from training.photos import load_split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True, help="index.csv of the photos")
    parser.add_argument("--extra", type=Path, help="index.csv of further training photos")
    parser.add_argument("--backbone", type=Path, required=True, help="EfficientNet-Lite by scripts/fetch_backbone.py")
    parser.add_argument("--output", type=Path, required=True, help="the backbone to write (.keras)")
    parser.add_argument("--size", type=image_size, default="300x228", help="input height x width [%(default)s]")
    parser.add_argument("--keep", type=float, default=0.6,
                        help="share of the blocks' multiplications to keep [%(default)s]")
    parser.add_argument("--photos", type=int, default=400, help="number of training photos to measure on [%(default)s]")
    args = parser.parse_args()
    photos, extra = read_training_photos(args.index, args.extra)
    photos = [photo for photo in photos + extra if photo.split == "train"]
    chosen = np.random.default_rng(0).permutation(len(photos))[:args.photos]
    photos = [photos[i] for i in chosen]

    from tqdm import tqdm

    from training.head import load_backbone
    from training.pruning import choose_channels, measure, without_channels

    backbone, _ = load_backbone(args.backbone)
    names = [layer.name.removesuffix("_expand_conv") for layer in backbone.layers
             if layer.name.endswith("_expand_conv")]
    if not names:
        fail(f"{args.backbone} is not an EfficientNet-Lite, so it has no expanded channels to prune")
    images = load_split(photos, sorted({photo.label for photo in photos}), args.size).images
    blocks = {name: measure(backbone, name, images) for name in tqdm(names, "blocks")}
    kept = choose_channels(blocks, args.keep)
    pruned = without_channels(backbone, blocks, kept)
    with atomic(args.output) as temporary:
        pruned.save(temporary)
    for name, block in blocks.items():
        print(f"{name:10}{len(kept[name]):5} of {len(block.mean):4} channels")
    print(f"{args.output}: {pruned.count_params():,} of {backbone.count_params():,} parameters")


if __name__ == "__main__":
    main()
