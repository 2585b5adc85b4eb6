"""The random views of training photos."""
import numpy as np
import pytest
from training.augmentation import QUARTER_TURN_CHANCE, augment, mixup


def test_the_seed_determines_the_views():
    images = np.random.default_rng(0).integers(0, 256, (4, 20, 16, 3), np.uint8)
    first, again, other = (augment(images, seed).numpy() for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == images.shape and first.min() >= 0 and first.max() <= 255
    assert np.abs(first - other).mean() > 10


def test_a_tenth_of_the_photos_gets_quarter_turns():
    """The upper half of each photo is white, so the position of the light shows how the photo was turned."""
    images = np.zeros((900, 20, 20, 3), np.uint8)
    images[:, :10] = 255
    light = augment(images, 3).numpy().mean(3)
    down = light[:, :10].mean((1, 2)) - light[:, 10:].mean((1, 2))
    right = np.abs(light[:, :, :10].mean((1, 2)) - light[:, :, 10:].mean((1, 2)))
    sideways, upside_down = (right > np.abs(down)).mean(), ((down < 0) & (right < -down)).mean()
    assert sideways == pytest.approx(QUARTER_TURN_CHANCE * 2 / 3, abs=0.03)
    assert upside_down == pytest.approx(QUARTER_TURN_CHANCE / 3, abs=0.02)


def test_half_of_the_photos_are_mirrored():
    images = np.zeros((600, 20, 20, 3), np.uint8)
    images[:, :, :10] = 100
    light = augment(images, 4).numpy()
    left = light[:, :, :10].mean((1, 2, 3)) > light[:, :, 10:].mean((1, 2, 3))
    assert left.mean() == pytest.approx(0.5, abs=0.08)


def test_a_view_looks_the_same_at_every_image_size():
    photo = np.random.default_rng(0).uniform(0, 255, (4, 8, 6, 3)).astype(np.float32)
    small, large = (np.kron(photo, np.ones((1, times, times, 1))) for times in (8, 16))
    small, large = augment(small, 5).numpy(), augment(large, 5).numpy()
    halved = large.reshape(4, 64, 2, 48, 2, 3).mean((2, 4))
    assert np.median(np.abs(small - halved)) < 4 and np.median(np.abs(small - halved[::-1])) > 30


def test_mixup_blends_photos_and_targets_by_the_same_shares():
    images, targets = np.float32([0, 1, 2, 3]).reshape(4, 1, 1, 1) * np.ones((1, 2, 2, 3), np.float32), np.eye(4)
    mixed, shares = (values.numpy() for values in mixup(images, targets.astype(np.float32), 1))
    np.testing.assert_allclose(mixed[:, 0, 0, 0], shares @ [0, 1, 2, 3], atol=1e-5)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)
    assert (shares.argmax(1) == range(4)).all() and (shares.max(1) < 1).any()
