"""Measures that training, conversion and the report share, and temperature scaling.

Throughout, `probabilities` is float [photos, labels] and `targets` is int [photos], the indices of the true labels.
"""
import numpy as np
import sklearn.metrics
from scipy.special import softmax


def accuracy(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """The share of photos whose most probable label is the true one."""
    return float(np.mean(probabilities.argmax(1) == targets))


def macro_f1(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """The mean F1 of the labels that have photos; each counts the same."""
    return float(sklearn.metrics.f1_score(targets, probabilities.argmax(1), labels=np.unique(targets), average="macro"))


def log_loss(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Mean cross-entropy in nats. It is finite for a probability of 0 too."""
    return float(sklearn.metrics.log_loss(targets, probabilities, labels=range(probabilities.shape[1])))


def best_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """The divisor of the logits that minimises the log loss: temperature scaling (Guo et al. 2017)."""
    return float(min(np.geomspace(0.2, 5, 200), key=lambda divisor: log_loss(softmax(logits / divisor, 1), targets)))
