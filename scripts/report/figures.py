"""The figures of the report: everything that metrics.json holds.

Throughout, `probabilities` is float32 [photos, labels], `familiarity` is float [photos], and `targets` is int [photos],
the indices of the true labels.
"""
from pathlib import Path

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, f1_score, log_loss, precision_recall_fscore_support

from serving import Model
from training.index import SPLITS, Photo, data_digest


def measure(model_path: Path, index: Path, model: Model, photos: list[Photo], probabilities: np.ndarray,
            familiarity: np.ndarray) -> dict:
    """The content of metrics.json. `per_label`, `confusion_matrix` and `calibration` describe test."""
    targets = np.array([model.labels.index(photo.label) for photo in photos])
    order = dict.fromkeys((*SPLITS, *(photo.split for photo in photos)))  # an extra split comes last
    rows = {split: np.array([photo.split == split for photo in photos]) for split in order}
    test = probabilities[rows["test"]], targets[rows["test"]]
    familiar = model.is_familiar(familiarity)
    confident = np.array([model.is_confident(*pair) for pair in zip(probabilities.max(1), familiarity)])
    digest = data_digest([photo for photo in photos if photo.split in SPLITS])
    return {
        "model": str(model_path), "file_bytes": model_path.stat().st_size, "input_size": model.size,
        "index": str(index), "data_digest": digest, "same_data": digest == model.record.get("data_digest"),
        "splits": {split: summarize(probabilities[mask], targets[mask], familiar[mask], confident[mask])
                   for split, mask in rows.items() if mask.any()},
        "per_label": per_label(model.labels, *test),
        "confusion_matrix": confusion_matrix(test[1], test[0].argmax(1), labels=range(len(model.labels))).tolist(),
        "calibration": calibration(*test),
        "record": {key: value for key, value in model.record.items() if key not in ("labels", "history", "suspects")}}


def summarize(probabilities: np.ndarray, targets: np.ndarray, familiar: np.ndarray, confident: np.ndarray) -> dict:
    """The figures of one split. The interval of the accuracy is Wilson's 95 % score interval.

    familiar, confident: bool [photos]; "confident_accuracy" is None if no photo is confident
    """
    predicted = probabilities.argmax(1)
    correct = predicted == targets
    interval = binomtest(int(correct.sum()), len(targets)).proportion_ci(method="wilson")
    return {"photos": len(targets), "correct": int(correct.sum()), "accuracy": correct.mean(),
            "accuracy_interval": list(interval),
            "macro_f1": f1_score(targets, predicted, labels=np.unique(targets), average="macro"),
            "loss": log_loss(targets, probabilities, labels=range(probabilities.shape[1])),
            "ece": ece(probabilities, targets),
            "familiar": familiar.mean(),
            "confident": confident.mean(),
            "confident_accuracy": correct[confident].mean() if confident.any() else None,
            "confident_and_wrong": (confident & ~correct).mean()}


def per_label(labels: list[str], probabilities: np.ndarray, targets: np.ndarray) -> dict[str, dict]:
    """Precision, recall, F1 and number of photos of each label; None where a ratio has no denominator."""
    *ratios, support = precision_recall_fscore_support(targets, probabilities.argmax(1), labels=range(len(labels)),
                                                       zero_division=np.nan)
    ratios = np.where(np.isnan(ratios), None, ratios).tolist()  # JSON has no NaN
    return {label: {"precision": precision, "recall": recall, "f1": f1, "support": photos}
            for label, precision, recall, f1, photos in zip(labels, *ratios, support.tolist())}


def calibration(probabilities: np.ndarray, targets: np.ndarray, bins: int = 15) -> list[dict]:
    """For each bin of confidence (the top probability): its photos, their mean confidence and their accuracy.

    Bins have equal width and include their upper edge; the means of an empty bin are None.
    """
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == targets
    bin_of = np.clip(np.ceil(confidence * bins), 1, bins)
    masks = [bin_of == number for number in range(1, bins + 1)]
    return [{"count": int(mask.sum()),
             "confidence": confidence[mask].mean(dtype=float) if mask.any() else None,
             "accuracy": correct[mask].mean() if mask.any() else None} for mask in masks]


def ece(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy, bins weighted by their photos.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3.
    """
    return sum(row["count"] * abs(row["accuracy"] - row["confidence"])
               for row in calibration(probabilities, targets) if row["count"]) / len(targets)
