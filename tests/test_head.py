"""The linear head: what it predicts, unusual numbers of labels, and the labels that it doubts."""
import numpy as np
import pytest
from scipy.special import softmax
from training.head import HalfwayScaler, check_labels, fit_head, linear_head, with_familiarity
from training.index import Photo
from training.photos import Split


def clusters(labels, per_label, channels=20, seed=0):
    """Features of `labels` noisy clusters whose channels have very different scales, and their targets."""
    random = np.random.default_rng(seed)
    targets = np.tile(np.arange(labels), per_label)
    centres = random.normal(0, 2, (labels, channels))
    features = (centres[targets] + random.normal(0, 1, (len(targets), channels))) * np.geomspace(0.01, 100, channels)
    return features.astype(np.float32) + 5, targets


def test_channels_are_scaled_half_way_between_one_scale_for_all_and_one_for_each():
    features, _ = clusters(3, 50)
    spread = HalfwayScaler().fit_transform(features).std(0)
    np.testing.assert_allclose(spread, np.sqrt(features.std(0) / features.std()), rtol=1e-3)


@pytest.mark.parametrize("labels", [2, 3, 10])
def test_the_folded_head_predicts_what_scaler_and_regression_predict(labels):
    features, targets = clusters(labels, 30)
    kernel, bias = fit_head(features, targets, np.ones(len(targets)))
    assert kernel.shape == (20, labels) and kernel.dtype == bias.dtype == np.float32
    wanted = linear_head(len(features)).fit(features, targets).predict_proba(features)
    np.testing.assert_allclose(softmax(features @ kernel + bias, 1), wanted, atol=1e-3)
    assert (wanted.argmax(1) == targets).mean() > 0.9


def test_a_photo_without_weight_does_not_count():
    features, targets = clusters(3, 30)
    wrong = np.where(np.arange(90) < 45, (targets + 1) % 3, targets)
    kernel, bias = fit_head(features, wrong, np.where(wrong == targets, 1.0, 0.0))
    assert ((features @ kernel + bias).argmax(1) == targets).mean() > 0.9


def test_familiarity_is_the_largest_cosine_similarity_to_a_prototype():
    import keras
    features = keras.Input((20,), name="pixels")
    named = keras.layers.Identity(name="features")(features)
    training, targets = clusters(3, 30)
    model = with_familiarity(keras.Model(features, keras.layers.Dense(3)(named)), training, targets)
    unit = training / np.linalg.norm(training, axis=1, keepdims=True)
    prototypes = np.stack([unit[targets == label].mean(0) for label in range(3)])
    prototypes /= np.linalg.norm(prototypes, axis=1, keepdims=True)
    probabilities, familiarity = model.predict(np.concatenate([training, np.zeros((1, 20))]), verbose=0)
    np.testing.assert_allclose(familiarity[:-1, 0], (unit @ prototypes.T).max(1), atol=1e-5)
    assert probabilities.sum(1) == pytest.approx(1, abs=1e-5) and familiarity[-1, 0] == 0


def check(targets, features, extra=()):
    """Photos are named by their number; those in `extra` come from a second index. Returns (photos left, suspects)."""
    photos = [Photo(f"{number}.jpg", f"label {target}", "train", f"{number}") for number, target in enumerate(targets)]
    split = Split(photos, np.zeros((len(photos), 2, 2, 3), np.uint8), targets, np.ones(len(photos), np.float32))
    own = {photo.sha256 for number, photo in enumerate(photos) if number not in extra}
    # Equal features stand for the mirror images: a head that had seen them would know the wrong labels.
    left, features, suspects = check_labels(split, np.tile(features, (2, 1)), ["a", "b", "c"], own)
    assert len(features) == 2 * len(left.images) == 2 * len(left.targets) == 2 * len(left.weights)
    return {photo.path for photo in left.photos}, suspects


def test_wrong_labels_are_found_although_the_mirror_images_repeat_them():
    features, targets = clusters(3, 40, channels=1000)
    wrong = targets.copy()
    wrong[[4, 50]] = (targets[[4, 50]] + 1) % 3
    left, suspects = check(wrong, features)
    assert [row["probability"] for row in suspects] == sorted(row["probability"] for row in suspects)
    found = {(row["path"], row["label"], row["suggested"]) for row in suspects[:2]}
    assert found == {("4.jpg", "c", "b"), ("50.jpg", "a", "c")}
    assert len(left) == 120


def test_extra_photos_with_wrong_labels_are_left_out(capsys):
    features, targets = clusters(3, 40)
    targets[[4, 50]] = (targets[[4, 50]] + 1) % 3
    left, _ = check(targets, features, extra=range(30, 60))
    assert {f"{number}.jpg" for number in range(120)} - left == {"50.jpg"}
    assert "left out 1 of 30 extra photos" in capsys.readouterr().out


def test_no_label_is_doubted_where_one_has_a_single_photo():
    features, targets = clusters(3, 4)
    targets[1:] = np.where(targets[1:] == 0, 1, targets[1:])
    left, suspects = check(targets, features, extra=range(12))
    assert len(left) == 12 and suspects == []
