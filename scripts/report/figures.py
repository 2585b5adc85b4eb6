"""The figures of the report: everything that metrics.json holds.

Throughout, `probabilities` is float32 [photos, labels], `familiarity` is float [photos], and `targets` is int [photos],
the indices of the true labels.
"""
from pathlib import Path

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import classification_report, confusion_matrix, f1_score, log_loss

from serving import Model
from training.index import SPLITS, Photo, data_digest

BINS = 15  # of confidence, of equal width; each includes its upper edge


def measure(model_path: Path, index: Path, model: Model, photos: list[Photo], probabilities: np.ndarray,
            familiarity: np.ndarray) -> dict:
    """The content of metrics.json. `per_label` and `confusion_matrix` describe test."""
    targets = np.array([model.labels.index(photo.label) for photo in photos])
    order = dict.fromkeys((*SPLITS, *(photo.split for photo in photos)))  # an extra split comes last
    rows = {split: np.array([photo.split == split for photo in photos]) for split in order}
    familiar = model.is_familiar(familiarity)
    confident = np.array([model.is_confident(*pair) for pair in zip(probabilities.max(1), familiarity)])
    digest = data_digest([photo for photo in photos if photo.split in SPLITS])
    test, numbers = (targets[rows["test"]], probabilities[rows["test"]].argmax(1)), range(len(model.labels))
    per_label = classification_report(*test, labels=numbers, output_dict=True, zero_division=0)
    return {
        "model": str(model_path), "file_bytes": model_path.stat().st_size, "input_size": model.size,
        "index": str(index), "data_digest": digest, "same_data": digest == model.record.get("data_digest"),
        "splits": {split: summarize(probabilities[mask], targets[mask], familiar[mask], confident[mask])
                   for split, mask in rows.items() if mask.any()},
        "per_label": {label: per_label[str(number)] for number, label in enumerate(model.labels)},
        "confusion_matrix": confusion_matrix(*test, labels=numbers).tolist(),
        "record": {key: value for key, value in model.record.items() if key not in ("labels", "history", "suspects")}}


def summarize(probabilities: np.ndarray, targets: np.ndarray, familiar: np.ndarray, confident: np.ndarray) -> dict:
    """The figures of one split. The interval of the accuracy is Wilson's 95 % score interval.

    "ece" is the expected calibration error: the mean gap between confidence (the top probability) and accuracy in each
    bin, weighted by the bin's photos (Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3).

    familiar, confident: bool [photos]; "confident_accuracy" is None if no photo is confident
    """
    confidence, predicted = probabilities.max(1), probabilities.argmax(1)
    correct = predicted == targets
    interval = binomtest(int(correct.sum()), len(targets)).proportion_ci(method="wilson")
    bin_of = np.clip(np.ceil(confidence * BINS), 1, BINS).astype(int) - 1
    return {"photos": len(targets), "correct": int(correct.sum()), "accuracy": correct.mean(),
            "accuracy_interval": list(interval),
            "macro_f1": f1_score(targets, predicted, labels=np.unique(targets), average="macro"),
            "loss": log_loss(targets, probabilities, labels=range(probabilities.shape[1])),
            "ece": np.abs(np.bincount(bin_of, correct - confidence.astype(float))).sum() / len(targets),
            "calibration": {"photos": np.bincount(bin_of, minlength=BINS).tolist(),
                            "correct": np.bincount(bin_of[correct], minlength=BINS).tolist()},
            "familiar": familiar.mean(),
            "confident": confident.mean(),
            "confident_accuracy": correct[confident].mean() if confident.any() else None,
            "confident_and_wrong": (confident & ~correct).mean()}
