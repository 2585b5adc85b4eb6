"""Training photos whose label looks wrong to a head that was fitted to the others."""
import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

from training.head import linear_head
from training.photos import Split

FOLDS = 5
MAX_SUSPECTS = 60
MIN_PROBABILITY = 0.1  # extra photos whose label has less are left out; EXPERIMENTS.md says why


def check_labels(train: Split, features: np.ndarray, labels: list[str], own: set[str]):
    """Leave out the extra photos whose labels look wrong, and list the suspects among all photos.

    features: float32 [2 N, channels], of the photos, then of their mirror images; own: the hashes of the index's own
    photos, which are never left out. Returns the other photos, their features, and the suspects.
    """
    probabilities = out_of_fold_probabilities(features, train.targets)
    own_label = probabilities[np.arange(len(train.targets)), train.targets]
    is_extra = np.array([photo.sha256 not in own for photo in train.photos])
    kept = ~is_extra | (own_label >= MIN_PROBABILITY)
    if is_extra.any():
        print(f"left out {np.sum(~kept)} of {np.sum(is_extra)} extra photos, whose labels look wrong")
    photos = [photo for photo, is_kept in zip(train.photos, kept) if is_kept]
    rest = Split(photos, train.images[kept], train.targets[kept], train.weights[kept])
    return rest, features[np.tile(kept, 2)], list_suspects(train, probabilities, own_label, labels)


def list_suspects(train: Split, probabilities: np.ndarray, own_label: np.ndarray, labels: list[str]) -> list[dict]:
    """The photos for which another label is more probable than their own, the most doubtful first."""
    suggested = probabilities.argmax(1)
    doubtful = [i for i in np.argsort(own_label) if suggested[i] != train.targets[i]]
    return [{"path": str(train.photos[i].path), "label": labels[train.targets[i]], "suggested": labels[suggested[i]],
             "probability": round(float(own_label[i]), 4)} for i in doubtful[:MAX_SUSPECTS]]


def out_of_fold_probabilities(features: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The probabilities of the labels for each training photo, by a head that was fitted to others: [N, labels].

    features: float32 [2 N, channels], of the photos, then of their mirror images; targets: int [N].
    """
    folds = min(FOLDS, np.bincount(targets).min())
    if folds < 2:
        return np.eye(targets.max() + 1)[targets]  # the only photo of a label can't be judged by others
    probabilities = cross_val_predict(
        linear_head(len(features)),
        features,
        np.tile(targets, 2),
        groups=np.tile(np.arange(len(targets)), 2),  # keeps a photo and its mirror image in the same fold
        cv=StratifiedGroupKFold(folds, shuffle=True, random_state=0),
        method="predict_proba")
    return (probabilities[:len(targets)] + probabilities[len(targets):]) / 2
