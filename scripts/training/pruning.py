"""Structured pruning of EfficientNet-Lite: which expanded channels to remove, and how the others replace them.

The output of a block is linear in its expanded channels. So linear regression on photos finds the weights with which
the remaining channels replace a removed one, and the error that is left ("optimal brain surgeon", Hassibi and Stork
1993).
"""
from typing import NamedTuple

import keras
import numpy as np

GROUP = 8  # channels are removed in groups of 8: processors compute with vectors of at least 8 numbers
POSITIONS = 20  # sampled in each feature map
RIDGE = 1e-3  # added to the variances, relative to their mean, so that the covariance can be inverted


class Block(NamedTuple):
    """The statistics of a block with C expanded channels and D output channels.

    mean: [C] and covariance: [C, C], of the expanded channels after their last activation. kernel: [C, D] and scale:
    [D], of the convolution that turns them into the output. cost: multiplications per expanded channel.
    """
    mean: np.ndarray
    covariance: np.ndarray
    kernel: np.ndarray
    scale: np.ndarray
    cost: float


def measure(backbone, name: str, images: np.ndarray) -> Block:
    """Run the backbone on images, uint8 [N, height, width, 3], up to a block."""
    expand, depthwise, project = (backbone.get_layer(f"{name}_{part}_conv") for part in
                                  ("expand", "depthwise", "project"))
    activations = backbone.get_layer(f"{depthwise.name}_relu").output
    model = keras.Model(backbone.input, [expand.output, activations])
    random = np.random.default_rng(0)
    samples = []
    for start in range(0, len(images), 16):
        before, after = model.predict_on_batch(images[start:start + 16].astype(np.float32))
        positions = after.reshape(len(after), -1, after.shape[-1])
        samples.append(positions[:, random.integers(positions.shape[1], size=POSITIONS)].reshape(-1, after.shape[-1]))
    samples = np.concatenate(samples).astype(np.float64)
    covariance = np.cov(samples, rowvar=False)
    covariance += RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    inputs, outputs = before[0, ..., 0].size, after[0, ..., 0].size
    cost = inputs * expand.kernel.shape[2] + outputs * (depthwise.kernel_size ** 2 + project.filters)
    kernel, scale, _ = project.get_weights()
    return Block(samples.mean(0), covariance, kernel[0, 0], scale, cost)


def removal_order(block: Block) -> tuple[np.ndarray, np.ndarray]:
    """The order in which to remove channels, and the error that each removal adds, relative to the output's variance.

    Both are [C].
    """
    kernel = block.kernel * block.scale
    variance = np.sum(kernel * (block.covariance @ kernel))
    inverse = np.linalg.inv(block.covariance)
    present = np.ones(len(kernel), bool)
    order, errors = [], []
    while present.any():
        channels = np.flatnonzero(present)
        error = np.sum(kernel[channels] ** 2, axis=1) / inverse[channels, channels]
        removed = channels[error.argmin()]
        order.append(removed)
        errors.append(error.min() / variance)
        # The other channels replace the removed one, and the inverse becomes that of their own covariance.
        replacement = inverse[:, removed] / inverse[removed, removed]
        kernel = kernel - np.outer(replacement, kernel[removed])
        inverse = inverse - np.outer(replacement, inverse[removed])
        present[removed] = False
    return np.array(order), np.array(errors)


def choose_channels(blocks: dict[str, Block], keep: float) -> dict[str, np.ndarray]:
    """The channels of each block that stay, so that about a share `keep` of all multiplications is left."""
    groups = []
    for name, block in blocks.items():
        order, errors = removal_order(block)
        for start in range(0, len(order) - GROUP, GROUP):  # one group stays in any case
            group = slice(start, start + GROUP)
            groups.append((errors[group].sum() / block.cost, name, order[group]))
    kept = {name: np.arange(len(block.mean)) for name, block in blocks.items()}
    total = left = sum(block.cost * len(block.mean) for block in blocks.values())
    for _, name, group in sorted(groups, key=lambda group: group[0]):
        if left <= keep * total:
            break
        kept[name] = np.setdiff1d(kept[name], group)
        left -= blocks[name].cost * len(group)
    return kept


def without_channels(backbone, blocks: dict[str, Block], kept: dict[str, np.ndarray]):
    """Build the backbone with the kept channels only, which replace the removed ones."""
    def narrower(layer):
        name = layer.name.removesuffix("_expand_conv")
        filters = {"filters": len(kept[name])} if name in kept else {}
        return layer.__class__.from_config({**layer.get_config(), **filters})

    pruned = keras.models.clone_model(backbone, clone_function=narrower)
    for layer in backbone.layers:
        pruned_layer = pruned.get_layer(layer.name)
        if [weight.shape for weight in layer.weights] == [weight.shape for weight in pruned_layer.weights]:
            pruned_layer.set_weights(layer.get_weights())
    for name, block in blocks.items():
        channels = kept[name]
        for part, axis in ("expand", 3), ("depthwise", 2):
            kernel, scale, shift = backbone.get_layer(f"{name}_{part}_conv").get_weights()
            pruned.get_layer(f"{name}_{part}_conv").set_weights(
                [kernel.take(channels, axis), scale[channels], shift[channels]])
        shift = backbone.get_layer(f"{name}_project_conv").get_weights()[2]
        among_kept = block.covariance[np.ix_(channels, channels)]
        kernel = np.linalg.solve(among_kept, block.covariance[channels] @ block.kernel)
        shift = shift + (block.mean @ block.kernel - block.mean[channels] @ kernel) * block.scale
        pruned.get_layer(f"{name}_project_conv").set_weights([kernel[np.newaxis, np.newaxis], block.scale, shift])
    return pruned
