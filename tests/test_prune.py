"""Pruning: channels that others can replace go first, and a head still learns from what is left."""
import numpy as np
import pytest
from training.efficientnet_lite import efficientnet_lite
from training.head import load_backbone
from training.pruning import GROUP, choose_channels, measure, without_channels
from training_runs import script, successful, train_arguments


@pytest.fixture(scope="module")
def lite(photos):
    """A narrow EfficientNet-Lite that is not trained."""
    import keras
    keras.utils.set_random_seed(1)
    path = photos / "lite.keras"
    efficientnet_lite(0.25, 0.3).save(path)
    return path


def prune_arguments(photos, backbone, output, *flags):
    return ["--index", photos / "index.csv", "--backbone", backbone, "--output", output, "--size", "64x48", *flags]


def channels(backbone) -> dict[str, int]:
    """Block -> the number of its expanded channels."""
    return {layer.name: layer.filters for layer in backbone.layers if layer.name.endswith("expand_conv")}


def test_copies_of_channels_are_removed_and_the_output_stays(lite):
    backbone, _ = load_backbone(lite)
    expand, depthwise = (backbone.get_layer(f"block_3_{part}_conv") for part in ("expand", "depthwise"))
    half = expand.filters // 2
    for layer, axis in (expand, 3), (depthwise, 2):
        kernel, scale, shift = layer.get_weights()
        first = kernel.take(range(half), axis)
        layer.set_weights([np.concatenate([first, 1.5 * first if axis == 2 else first], axis), scale, shift])
    images = np.random.default_rng(0).integers(0, 256, (40, 64, 48, 3), np.uint8)
    blocks = {"block_3": measure(backbone, "block_3", images)}
    pruned = without_channels(backbone, blocks, choose_channels(blocks, 0.5))
    assert channels(pruned)["block_3_expand_conv"] == -(-half // GROUP) * GROUP
    before, after = (model.predict(images.astype(np.float32), verbose=0) for model in (backbone, pruned))
    assert np.abs(after - before).max() < 0.01 * before.max()


def test_a_pruned_backbone_is_smaller_and_can_be_trained(photos, lite, tmp_path):
    output = tmp_path / "pruned.keras"
    done = successful(script("prune.py", *prune_arguments(photos, lite, output, "--keep", "0.5")))
    before, after = (channels(load_backbone(path)[0]) for path in (lite, output))
    assert all(GROUP <= after[name] <= before[name] for name in before) and sum(after.values()) < sum(before.values())
    assert f"block_5   {after['block_5_expand_conv']:5} of {before['block_5_expand_conv']:4} channels" in done.stdout
    done = successful(script("train.py", *train_arguments(photos, tmp_path / "model.keras", "--epochs", "1",
                                                          backbone=output)))
    assert "validation accuracy" in done.stdout


def test_keeping_nothing_leaves_a_group_of_channels_in_each_block(photos, lite, tmp_path):
    successful(script("prune.py", *prune_arguments(photos, lite, tmp_path / "pruned.keras", "--keep", "0")))
    assert set(channels(load_backbone(tmp_path / "pruned.keras")[0]).values()) <= set(range(1, GROUP + 1))


def test_another_network_is_refused(photos, tmp_path):
    done = script("prune.py", *prune_arguments(photos, photos / "backbone.keras", tmp_path / "pruned.keras"))
    assert done.returncode == 1 and "is not an EfficientNet-Lite" in done.stderr
    assert not list(tmp_path.iterdir())
