"""Training photos whose label looks wrong to a head that was fitted to the others."""
import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

from training.head import linear_head
from training.index import Photo

FOLDS = 5
MAX_SUSPECTS = 60


def find_suspects(photos: list[Photo], features: np.ndarray, targets: np.ndarray, labels: list[str]) -> list[dict]:
    """List the training photos whose label looks wrong, the most doubtful first.

    features: float32 [2 N, channels], of the photos, then of their mirror images; targets: int [N]. Each photo is
    judged by a head that was fitted to others (out-of-fold probabilities).
    """
    folds = min(FOLDS, np.bincount(targets).min())
    if folds < 2:
        return []  # the only photo of a label can't be judged by others
    probabilities = cross_val_predict(
        linear_head(len(features)),
        features,
        np.tile(targets, 2),
        groups=np.tile(np.arange(len(targets)), 2),  # keeps a photo and its mirror image in the same fold
        cv=StratifiedGroupKFold(folds, shuffle=True, random_state=0),
        method="predict_proba")
    probabilities = (probabilities[:len(targets)] + probabilities[len(targets):]) / 2
    suggested = probabilities.argmax(1)
    own = probabilities[np.arange(len(targets)), targets]
    doubtful = [i for i in np.argsort(own) if suggested[i] != targets[i]]
    return [{"path": str(photos[i].path), "label": labels[targets[i]], "suggested": labels[suggested[i]],
             "probability": round(float(own[i]), 4)} for i in doubtful[:MAX_SUSPECTS]]
