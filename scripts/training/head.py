"""The first half of training: a linear head on the features of a frozen backbone, and the labels that it doubts."""
import os

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from common import fail
from training.index import Photo

L2 = 0.05  # penalty relative to the mean loss; chosen by cross-validation inside train and validation
FOLDS = 5
MAX_SUSPECTS = 60
ABSENT_LABEL_LOGIT = -10.0  # for a label that no training photo shows


def feature_extractor(backbone, shape: tuple[int, int, int]):
    """A function that averages the feature maps of photos: uint8 [N, height, width, 3] -> float32 [N, channels].

    It runs on the TensorFlow Lite interpreter, which is three times as fast as TensorFlow on a CPU.
    """
    import keras

    from serving import Network
    from training.tflite import to_tflite

    pixels = keras.Input(shape)
    features = keras.layers.GlobalAveragePooling2D()(backbone(pixels))
    network = Network(to_tflite(keras.Model(pixels, features), "float32"), threads=os.cpu_count())
    return lambda images: np.stack([network.run(image) for image in tqdm(images, "backbone features", mininterval=1)])


class HalfwayScaler(StandardScaler):
    """Scales channels half-way between one scale for all of them and one for each (the geometric mean of the two).

    One scale for each, the usual choice, amplifies low-variance channels.
    """

    def fit(self, features, targets=None):
        super().fit(features)
        self.scale_ = np.sqrt(self.scale_ * features.std())
        return self


def linear_head(examples: int):
    """Multinomial logistic regression on scaled features; the more examples, the weaker the penalty on each."""
    return make_pipeline(HalfwayScaler(), LogisticRegression(C=1 / (L2 * examples), max_iter=1000))


def fit_head(features: np.ndarray, targets: np.ndarray, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Fit a linear classifier; returns weights [channels, labels] and bias [labels], float32, its scaler folded in.

    features: float32 [N, channels]; targets: int [N], of at least two labels.
    """
    if len(np.unique(targets)) < 2:
        fail("all training photos have the same label; use a larger --limit")
    scaler, regression = linear_head(len(features)).fit(features, targets)
    coefficients, intercepts = regression.coef_, regression.intercept_
    if len(regression.classes_) == 2:  # scikit-learn then gives one row, the difference of the two logits
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    coefficients = coefficients / scaler.scale_
    weights = np.zeros((features.shape[1], labels), np.float32)
    weights[:, regression.classes_] = coefficients.T
    bias = np.full(labels, ABSENT_LABEL_LOGIT, np.float32)
    bias[regression.classes_] = intercepts - coefficients @ scaler.mean_
    return weights, bias


def find_suspects(photos: list[Photo], features: np.ndarray, targets: np.ndarray, labels: list[str]) -> list[dict]:
    """List the training photos whose label looks wrong, the most doubtful first.

    features: float32 [2 N, channels], of the photos, then of their mirror images; targets: int [N]. Each photo is
    judged by a head that was fitted to others (out-of-fold probabilities).
    """
    present, counts = np.unique(targets, return_counts=True)
    folds = min(FOLDS, counts.min())
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
    suggested = present[probabilities.argmax(1)]
    own = probabilities[np.arange(len(targets)), np.searchsorted(present, targets)]
    doubtful = [i for i in np.argsort(own) if suggested[i] != targets[i]]
    return [{"path": str(photos[i].path), "label": labels[targets[i]], "suggested": labels[suggested[i]],
             "probability": round(float(own[i]), 4)} for i in doubtful[:MAX_SUSPECTS]]
