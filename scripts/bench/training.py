"""What training costs per photo beside what the machine's peak allows, on random pixels: a few steps of each kind.

    python scripts/bench_training.py --backbone artifacts/bench/networks/model-float32.keras --freeze 0.4 --peak 150

prints JSON: for the features that the head learns from, and for a fine-tuning step (AdamW with averaged weights, the
lower share --freeze of the layers frozen), the seconds per photo of each step measured, and those that the peak allows.
A frozen layer takes its forward pass; a trained one as much again for its weights' gradient and for its input's.
"""
import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def multiply_adds(layer) -> int:
    """Of a convolution or a dense layer, per photo."""
    from math import prod
    return prod(layer.kernel.shape) * prod(layer.output.shape[1:-1]) if hasattr(layer, "kernel") else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", type=Path, required=True, help="the float network, by scripts/bench_networks.py")
    parser.add_argument("--freeze", type=float, default=0.4, help="[%(default)s]")
    parser.add_argument("--batch", type=int, default=32, help="[%(default)s]")
    parser.add_argument("--steps", type=int, default=3, help="[%(default)s]")
    parser.add_argument("--peak", type=float, required=True, help="billions of multiply-adds per second")
    args = parser.parse_args()

    import keras
    import numpy as np

    saved = keras.models.load_model(args.backbone, compile=False)
    backbone = next(layer for layer in saved.layers if isinstance(layer, keras.Model))
    pixels, labels = keras.Input(saved.input_shape[1:]), saved.output_shape[-1]
    backbone = keras.models.clone_model(backbone, input_tensors=pixels)  # its shapes are fixed now
    pooled = keras.layers.GlobalAveragePooling2D()(backbone.output)
    network = keras.Model(pixels, keras.layers.Dense(labels, "softmax")(pooled))
    cost = [multiply_adds(layer) for layer in backbone.layers]
    frozen = int(np.ceil(args.freeze * len(backbone.layers)))
    for position, layer in enumerate(backbone.layers):  # as scripts/finetune.py does
        layer.trainable = position >= frozen and not isinstance(layer, keras.layers.BatchNormalization)
    network.compile(keras.optimizers.AdamW(1e-4, weight_decay=1e-2, use_ema=True), "categorical_crossentropy")
    images = np.random.default_rng(0).integers(0, 256, (args.batch, *saved.input_shape[1:])).astype(np.float32)
    targets = np.eye(labels, dtype=np.float32)[np.arange(args.batch) % labels]

    def seconds(step) -> list[float]:
        step()  # the first one compiles
        times = []
        for _ in range(args.steps):
            started = time.perf_counter()
            step()
            times.append((time.perf_counter() - started) / args.batch)
        return times
    print(json.dumps({
        "features": {"seconds": seconds(lambda: network.predict_on_batch(images)),
                     "limit": sum(cost) / args.peak / 1e9},
        "fine-tuning": {"seconds": seconds(lambda: network.train_on_batch(images, targets)),
                        "limit": (sum(cost) + 2 * sum(cost[frozen:])) / args.peak / 1e9}}))


if __name__ == "__main__":
    main()
