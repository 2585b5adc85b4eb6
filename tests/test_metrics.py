"""The metrics, compared with values worked out by hand or published."""
import math

import numpy as np
import pytest
from scipy.special import softmax

from report import figures
from training.head import calibrate

EYE = np.eye(3, dtype=np.float32)


def predictions(*pairs):
    """(true, predicted) label pairs -> probabilities and targets, every prediction at 0.8."""
    targets, predicted = np.array(pairs).T
    return 0.1 + 0.7 * EYE[predicted], targets


def summarize(probabilities, targets):
    return figures.summarize(probabilities, targets, familiar=targets == 0, confident=targets == 0)


@pytest.mark.parametrize("correct, total, low, high", [
    (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718),
])
def test_the_accuracy_interval_matches_table_1_of_newcombe_1998(correct, total, low, high):
    probabilities, targets = predictions(*[(0, 0)] * correct, *[(0, 1)] * (total - correct))
    assert summarize(probabilities, targets)["accuracy_interval"] == pytest.approx((low, high), abs=5e-5)


def test_values_of_each_label_match_those_by_hand():
    probabilities, targets = predictions((0, 0), (0, 0), (0, 1), (1, 1), (1, 2), (2, 2))
    assert figures.per_label(["a", "b", "c"], probabilities, targets) == {
        "a": {"precision": 1, "recall": pytest.approx(2 / 3), "f1": pytest.approx(4 / 5), "support": 3},
        "b": {"precision": 1 / 2, "recall": 1 / 2, "f1": 1 / 2, "support": 2},
        "c": {"precision": 1 / 2, "recall": 1, "f1": pytest.approx(2 / 3), "support": 1}}
    assert summarize(probabilities, targets)["macro_f1"] == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3)


@pytest.mark.parametrize("predicted, f1_of_c, macro_f1", [(1, None, 1), (2, 0, 1 / 2)], ids=["absent", "predicted"])
def test_macro_f1_is_the_mean_over_the_labels_that_have_photos(predicted, f1_of_c, macro_f1):
    probabilities, targets = predictions((0, 0), (1, predicted))
    label = figures.per_label(["a", "b", "c"], probabilities, targets)["c"]
    assert (label["f1"], label["recall"], label["support"]) == (f1_of_c, None, 0)
    assert summarize(probabilities, targets)["macro_f1"] == macro_f1


def test_log_loss_is_the_mean_negative_log_and_finite_at_zero():
    probabilities = np.array([[0.5, 0.25, 0.25], [0.1, 0.7, 0.2]], np.float32)
    expected = -(math.log(0.25) + math.log(0.7)) / 2
    assert summarize(probabilities, np.array([1, 1]))["loss"] == pytest.approx(expected, rel=1e-6)
    assert 10 < summarize(EYE, np.array([1, 2, 0]))["loss"] < math.inf


def test_the_best_temperature_undoes_a_scaling_of_the_logits():
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (5000, 4))
    targets = np.array([generator.choice(4, p=row) for row in softmax(logits, 1)])
    temperature, loss = calibrate(3 * logits, targets)
    assert temperature == pytest.approx(3, rel=0.1)
    assert loss == pytest.approx(calibrate(logits, targets)[1], rel=1e-3)


def two_labels(confidences):
    return np.array([[confidence, 1 - confidence] for confidence in confidences])


@pytest.mark.parametrize("confidences, correct, expected", [
    ([0.8] * 10, 8, 0.0),
    ([0.8] * 10, 5, 0.3),  # overconfident
    ([0.6] * 10, 10, 0.4),  # underconfident
    ([0.95] * 5 + [0.55] * 5, 5, (0.05 + 0.55) / 2),  # two bins of equal weight: all correct, then all wrong
    ([0.95] * 9 + [0.55], 9, (9 * 0.05 + 0.55) / 10),
    ([0.7] + [0.72], 1, abs(0.5 - 0.71)),  # one bin: its mean confidence counts
])
def test_calibration_error_matches_that_by_hand(confidences, correct, expected):
    targets = np.array([0] * correct + [1] * (len(confidences) - correct))
    assert figures.ece(two_labels(confidences), targets) == pytest.approx(expected)


def test_calibration_bins_have_equal_width_and_include_their_upper_edge():
    bins = figures.calibration(two_labels([0.75, 0.76, 1.0, 0.5]), np.array([0, 1, 0, 0]), bins=4)
    assert [row["count"] for row in bins] == [0, 1, 1, 2]
    assert [row["accuracy"] for row in bins] == [None, 1, 1, 0.5]
    assert bins[3]["confidence"] == pytest.approx(0.88)
