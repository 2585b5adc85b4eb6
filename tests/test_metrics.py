"""The measures against values worked out by hand or by another formula."""
import math

import numpy as np
import pytest

from training import metrics

EYE = np.eye(3, dtype=np.float32)


def predictions(*pairs):
    """(true, predicted) label pairs -> probabilities and targets, every prediction at 0.8."""
    targets, predicted = np.array(pairs).T
    return 0.1 + 0.7 * EYE[predicted], targets


@pytest.mark.parametrize("correct, total, low, high", [
    (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718),
])
def test_wilson_interval_matches_newcombe_1998_table_1(correct, total, low, high):
    assert metrics.wilson(correct, total) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("correct, total", [(336, 372), (1, 3), (0, 5), (5, 5), (3068, 3068)])
def test_wilson_bounds_solve_the_score_equation(correct, total):
    # By definition each bound p satisfies (share - p)^2 = z^2 p (1 - p) / n.
    for bound in metrics.wilson(correct, total):
        left = (correct / total - bound) ** 2
        assert left == pytest.approx(1.959964 ** 2 * bound * (1 - bound) / total, abs=1e-12)


def test_confusion_matrix_has_true_labels_in_rows():
    probabilities, targets = predictions((0, 0), (0, 2), (0, 2), (1, 1), (2, 0))
    assert metrics.confusion_matrix(probabilities, targets).tolist() == [[1, 0, 2], [0, 1, 0], [1, 0, 0]]
    assert metrics.accuracy(probabilities, targets) == 2 / 5


def test_per_label_values_by_hand():
    probabilities, targets = predictions((0, 0), (0, 0), (0, 1), (1, 1), (1, 2), (2, 2))
    result = metrics.per_label(probabilities, targets)
    assert result.precision == pytest.approx([1, 1 / 2, 1 / 2])
    assert result.recall == pytest.approx([2 / 3, 1 / 2, 1])
    assert result.f1 == pytest.approx([4 / 5, 1 / 2, 2 / 3])
    assert result.support.tolist() == [3, 2, 1]
    assert metrics.macro_f1(probabilities, targets) == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3)


def test_a_label_absent_from_the_photos_leaves_macro_f1_to_the_others():
    probabilities, targets = predictions((0, 0), (1, 1))
    result = metrics.per_label(probabilities, targets)
    assert math.isnan(result.precision[2]) and math.isnan(result.recall[2]) and math.isnan(result.f1[2])
    assert metrics.macro_f1(probabilities, targets) == 1


def test_a_label_predicted_but_never_shown_counts_as_zero():
    probabilities, targets = predictions((0, 0), (1, 2))
    assert metrics.per_label(probabilities, targets).f1.tolist() == [1, 0, 0]
    assert metrics.macro_f1(probabilities, targets) == pytest.approx(1 / 3)


@pytest.mark.parametrize("predicted, expected", [([0, 1, 2], 1.0), ([1, 2, 0], 0.0)], ids=["perfect", "all wrong"])
def test_extremes(predicted, expected):
    probabilities, targets = EYE[predicted], np.arange(3)
    assert metrics.accuracy(probabilities, targets) == expected
    assert metrics.macro_f1(probabilities, targets) == expected
    assert metrics.ece(probabilities, targets) == 1 - expected  # wholly sure each time
    assert metrics.log_loss(probabilities, targets) == pytest.approx(0 if expected else -math.log(1e-7), rel=1e-6)


def test_log_loss_is_the_mean_of_minus_log_of_the_true_label():
    probabilities = np.array([[0.5, 0.25, 0.25], [0.1, 0.7, 0.2]])
    assert metrics.log_loss(probabilities, np.array([1, 1])) == pytest.approx(-(math.log(0.25) + math.log(0.7)) / 2)


def two_labels(confidences):
    return np.array([[confidence, 1 - confidence] for confidence in confidences])


@pytest.mark.parametrize("confidences, right, expected", [
    ([0.8] * 10, 8, 0.0),  # 80 % sure, 80 % right
    ([0.8] * 10, 5, 0.3),  # too sure
    ([0.6] * 10, 10, 0.4),  # too modest
    ([0.95] * 5 + [0.55] * 5, 5, (0.05 + 0.55) / 2),  # two bins, weighted alike: all right, then all wrong
    ([0.95] * 9 + [0.55], 9, (9 * 0.05 + 0.55) / 10),
    ([0.7] + [0.72], 1, abs(0.5 - 0.71)),  # one bin: its mean confidence counts
])
def test_ece_on_constructed_cases(confidences, right, expected):
    targets = np.array([0] * right + [1] * (len(confidences) - right))
    assert metrics.ece(two_labels(confidences), targets) == pytest.approx(expected)


def test_calibration_bins_have_equal_width_and_own_their_upper_edge():
    curve = metrics.calibration(two_labels([0.75, 0.76, 1.0, 0.5]), np.array([0, 1, 0, 0]), bins=4)
    assert curve.count.tolist() == [0, 1, 1, 2]
    assert curve.accuracy[1:].tolist() == [1, 1, 0.5]
    assert curve.confidence[3] == pytest.approx(0.88)
    assert math.isnan(curve.accuracy[0])
