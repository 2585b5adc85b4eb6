"""Class activation maps, against the network's own probabilities and against pictures whose map is known."""
import keras
import numpy as np
import pytest

import colour_model
from report.tiles import activation_maps, overlay
from serving import Network
from training.head import build_classifier, with_familiarity
from training.tflite import to_tflite

SIZE = 32, 24


@pytest.fixture(scope="module")
def classifier():
    """A tiny classifier of four labels, built like those that train.py makes, with random weights."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((*SIZE, 3))
    x = keras.layers.Rescaling(1 / 128, offset=-127 / 128, name="normalise")(pixels)
    for channels in (8, 16):
        x = keras.layers.Conv2D(channels, 3, 2, "same", activation="relu6")(x)
    logits = build_classifier(keras.Model(pixels, x), SIZE, labels=4)
    logits.get_layer("logits").bias.assign([1, -1, 2, 0])
    return with_familiarity(logits, np.random.default_rng(0).random((8, 16), np.float32), np.arange(8) % 4)


@pytest.mark.parametrize("quantize, tolerance", [("float32", 1e-5), ("float16", 1e-5), ("int8", 0.03)])
def test_the_means_of_the_maps_are_the_logits(classifier, tmp_path, quantize, tolerance):
    photos = np.random.default_rng(0).integers(0, 256, (10, *SIZE, 3), np.uint8)
    path = tmp_path / "model.tflite"
    path.write_bytes(to_tflite(classifier, quantize, photos))
    logits = activation_maps(path)(photos[0]).mean((0, 1))
    probabilities = Network(path).run(photos[0])[0]
    np.testing.assert_allclose(logits - logits[0], np.log(probabilities / probabilities[0]), atol=tolerance)


def test_the_map_of_a_label_is_high_where_the_photo_shows_it(tmp_path):
    photo = np.full((*colour_model.SIZE, 3), colour_model.COLOURS["blue"], np.uint8)
    photo[:20] = colour_model.COLOURS["red"]
    maps = activation_maps(colour_model.write(tmp_path / "model.tflite"))(photo)
    assert maps.shape == (*colour_model.SIZE, 3)
    red = maps[..., colour_model.LABELS.index("red")]
    assert red[:20].min() > red[20:].max()


def test_an_overlay_colours_what_speaks_for_the_label_and_greys_the_rest():
    photo = np.full((40, 30, 3), (0, 90, 210), np.uint8)
    result = overlay(photo, np.float32([[4, 4], [4, 4], [-1, -1], [-1, -1]])).astype(int)
    assert result[0, 0, 0] > 180 and result[0, 0, 0] > 2 * result[0, 0, 2]
    assert (result[-1] == 100).all()
    assert (overlay(photo, np.full((4, 2), -1, np.float32)) == 100).all()  # nothing speaks for the label
