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


@pytest.mark.parametrize("pairs, expected", [
    ([(0, 0), (0, 0), (0, 1), (1, 1), (1, 2), (2, 2)], (4 / 5 + 1 / 2 + 2 / 3) / 3),
    ([(0, 0), (1, 1)], 1),
    ([(0, 0), (1, 2)], 1 / 2),
], ids=["by hand", "a label is absent", "an absent label is predicted"])
def test_macro_f1_is_the_mean_over_the_labels_that_have_photos(pairs, expected):
    assert summarize(*predictions(*pairs))["macro_f1"] == pytest.approx(expected)


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


def with_confidences(confidences, correct: int) -> dict:
    """The figures of photos with these confidences, the first `correct` of which are labelled correctly."""
    wrong = np.arange(len(confidences)) >= correct
    probabilities = np.array([[confidence, 1 - confidence] for confidence in confidences])
    return summarize(probabilities, wrong.astype(int))


@pytest.mark.parametrize("confidences, correct, expected", [
    ([0.8] * 10, 8, 0.0),
    ([0.8] * 10, 5, 0.3),  # overconfident
    ([0.6] * 10, 10, 0.4),  # underconfident
    ([0.95] * 5 + [0.55] * 5, 5, (0.05 + 0.55) / 2),  # two bins of equal weight: all correct, then all wrong
    ([0.95] * 9 + [0.55], 9, (9 * 0.05 + 0.55) / 10),
    ([0.7] + [0.72], 1, abs(0.5 - 0.71)),  # one bin: its mean confidence counts
])
def test_calibration_error_matches_that_by_hand(confidences, correct, expected):
    assert with_confidences(confidences, correct)["ece"] == pytest.approx(expected)


def test_calibration_bins_have_equal_width_and_include_their_upper_edge():
    calibration = with_confidences([0.61, 1.0, 0.6, 0.94, 0.93], correct=3)["calibration"]
    assert calibration == {"photos": [0] * 8 + [1, 1, 0, 0, 0, 1, 2], "correct": [0] * 8 + [1, 1, 0, 0, 0, 0, 1]}
