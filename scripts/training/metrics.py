"""The measures of a classifier, in NumPy: the same for training, conversion and the report.

    >>> accuracy(np.array([[0.9, 0.1], [0.3, 0.7]]), np.array([0, 0]))
    0.5

Throughout, `probabilities` is float [photos, labels] and `targets` int [photos], the indices of the true labels.
"""
import math
from typing import NamedTuple

import numpy as np


class PerLabel(NamedTuple):
    """One value per label; NaN where it is undefined (the label was never predicted, or no photo shows it)."""
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray


class Calibration(NamedTuple):
    """One value per bin of confidence: photos in it, their mean confidence and their accuracy (NaN where empty)."""
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def accuracy(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """The share of photos whose most probable label is the true one."""
    return float(np.mean(probabilities.argmax(1) == targets))


def wilson(correct: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a proportion (1927), 95 % by default: unlike p ± 1.96 s it never leaves 0..1."""
    share = correct / total
    centre = share + z * z / (2 * total)
    margin = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (centre - margin) / scale), min(1.0, (centre + margin) / scale)


def log_loss(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Mean cross-entropy in nats; probabilities are clipped at 1e-7 as Keras does (int8 models give exact zeros)."""
    return float(-np.log(np.clip(probabilities[np.arange(len(targets)), targets], 1e-7, 1)).mean())


def confusion_matrix(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Photos by true label (rows) and predicted label (columns)."""
    labels = probabilities.shape[1]
    return np.bincount(targets * labels + probabilities.argmax(1), minlength=labels * labels).reshape(labels, labels)


def per_label(probabilities: np.ndarray, targets: np.ndarray) -> PerLabel:
    """Precision, recall, F1 and number of photos of each label."""
    matrix = confusion_matrix(probabilities, targets)
    hits, predicted, support = np.diag(matrix), matrix.sum(0), matrix.sum(1)
    with np.errstate(invalid="ignore"):  # 0/0 is the NaN that is meant
        return PerLabel(hits / predicted, hits / support, 2 * hits / (predicted + support), support)


def macro_f1(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """The mean F1 of the labels that are shown or predicted at all: every label counts the same, however rare."""
    return float(np.nanmean(per_label(probabilities, targets).f1))


def calibration(probabilities: np.ndarray, targets: np.ndarray, bins: int = 15) -> Calibration:
    """Accuracy over confidence (the top probability) in bins of equal width, each with its upper edge."""
    confidence = probabilities.max(1)
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    with np.errstate(invalid="ignore"):
        return Calibration(count, np.bincount(bin_of, confidence, bins) / count,
                           np.bincount(bin_of, probabilities.argmax(1) == targets, bins) / count)


def ece(probabilities: np.ndarray, targets: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error, top-1: the mean gap between confidence and accuracy, bins weighted by their photos.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3.
    """
    curve = calibration(probabilities, targets, bins)
    return float(np.nansum(curve.count * np.abs(curve.accuracy - curve.confidence)) / len(targets))


def softmax(logits: np.ndarray) -> np.ndarray:
    """float [N, labels] -> probabilities of the same shape."""
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


def best_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """The divisor of the logits that gives the smallest loss: temperature scaling (Guo et al. 2017)."""
    return float(min(np.geomspace(0.2, 5, 200), key=lambda divisor: log_loss(softmax(logits / divisor), targets)))
