"""The first half of training: a linear head fitted to a backbone's features, labels that it doubts, and familiarity."""
import os
from itertools import compress

import keras
import numpy as np
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize
from tqdm import tqdm

from serving import Network
from training.photos import Split
from training.tflite import to_tflite


def build_classifier(backbone: keras.Model, size: tuple[int, int], labels: int) -> keras.Model:
    """Build a model that gives logits, float32 [N, labels]; its head is the layer "logits"."""
    backbone.name = "backbone"
    pixels = keras.Input((*size, 3), name="pixels")
    features = keras.layers.GlobalAveragePooling2D(name="features")(backbone(pixels))
    logits = keras.layers.Dense(labels, name="logits")(keras.layers.Dropout(0.2)(features))
    return keras.Model(pixels, logits)


class HalfwayScaler(StandardScaler):
    """Scales channels half-way between one scale for all and one for each, which would amplify low-variance ones."""

    def fit(self, features, targets=None):
        super().fit(features)
        self.scale_ = np.sqrt(self.scale_ * features.std())
        return self


def linear_head(examples: int):
    """Multinomial logistic regression on scaled features. Its L2 penalty was chosen inside train and validation."""
    return make_pipeline(HalfwayScaler(), LogisticRegression(C=1 / (0.05 * examples), max_iter=1000))


def fit_head(features: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit a linear classifier; returns its kernel [channels, labels] and bias [labels], float32, its scaler folded in.

    features: float32 [N, channels]; targets: int [N], each label occurs; weights: float32 [N], of the examples.
    """
    scaler, regression = linear_head(len(features)).fit(features, targets, logisticregression__sample_weight=weights)
    coefficients, intercepts = regression.coef_, regression.intercept_
    if len(intercepts) == 1:  # for two labels scikit-learn gives one row, the difference of their logits
        coefficients, intercepts = (np.concatenate([-row, row]) / 2 for row in (coefficients, intercepts))
    coefficients = coefficients / scaler.scale_
    bias = intercepts - coefficients @ scaler.mean_
    return coefficients.T.astype(np.float32), bias.astype(np.float32)


def extract_features(model: keras.Model, train: Split, validation: Split) -> tuple[np.ndarray, np.ndarray]:
    """The features of the N training photos and of their mirror images, float32 [2 N, channels], and of validation.

    They are computed by the TensorFlow Lite interpreter, which is three times as fast as TensorFlow on a CPU.
    """
    features = keras.Model(model.input, model.get_layer("features").output)
    network = Network(to_tflite(features, "float32"), threads=os.cpu_count())

    def extract(images: np.ndarray) -> np.ndarray:
        return np.stack([network.run(image)[0] for image in tqdm(images, "backbone features", mininterval=1)])

    return np.concatenate([extract(train.images), extract(train.images[:, :, ::-1])]), extract(validation.images)


def refit_head(model: keras.Model, train: Split, validation: Split, features: np.ndarray,
               val_features: np.ndarray) -> np.ndarray:
    """Fit the head to features by `extract_features` and print its accuracy; returns validation's logits."""
    kernel, bias = fit_head(features, np.tile(train.targets, 2), np.tile(train.weights, 2))
    model.get_layer("logits").set_weights([kernel, bias])
    logits = val_features @ kernel + bias
    print(f"validation accuracy {np.mean(logits.argmax(1) == validation.targets):.4f} with a linear head")
    return logits


def calibrate(logits: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Temperature scaling (Guo et al. 2017): the divisor of logits [N, labels] of least log loss, and that loss."""
    def loss(temperature):
        return log_loss(targets, softmax(logits / temperature, 1), labels=range(logits.shape[1]))

    best = float(min(np.geomspace(0.2, 5, 200), key=loss))
    return best, float(loss(best))


def check_labels(train: Split, features: np.ndarray, labels: list[str], own: set[str]):
    """Leave out the extra photos whose labels look wrong, and list the suspects among all photos.

    features: by `extract_features`; own: the hashes of the index's own photos, which are never left out. Returns the
    rest, its features, and the suspects: photos for which another label is more probable, the most doubtful first.
    """
    probabilities = out_of_fold_probabilities(features, train.targets)
    suggested = probabilities.argmax(1)
    own_label = probabilities[np.arange(len(train.targets)), train.targets]
    doubtful = [i for i in np.argsort(own_label) if suggested[i] != train.targets[i]]
    suspects = [{"path": str(train.photos[i].path), "label": labels[train.targets[i]],
                 "suggested": labels[suggested[i]], "probability": round(float(own_label[i]), 4)}
                for i in doubtful[:60]]
    is_extra = np.array([photo.sha256 not in own for photo in train.photos])
    kept = ~is_extra | (own_label >= 0.1)  # EXPERIMENTS.md says why
    if is_extra.any():
        print(f"left out {np.sum(~kept)} of {np.sum(is_extra)} extra photos, whose labels look wrong")
    rest = Split(list(compress(train.photos, kept)), *(values[kept] for values in train[1:]))
    return rest, features[np.tile(kept, 2)], suspects


def out_of_fold_probabilities(features: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The probabilities of the labels for each training photo, by a head that was fitted to others: [N, labels]."""
    folds = min(5, np.bincount(targets).min())
    if folds < 2:
        return np.eye(targets.max() + 1)[targets]  # the only photo of a label can't be judged by others
    pairs = np.tile(np.arange(len(targets)), 2)  # a photo and its mirror image stay in the same fold
    cv = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    probabilities = cross_val_predict(linear_head(len(features)), features, np.tile(targets, 2), groups=pairs, cv=cv,
                                      method="predict_proba")
    return (probabilities[:len(targets)] + probabilities[len(targets):]) / 2


def with_familiarity(model: keras.Model, features: np.ndarray, targets: np.ndarray) -> keras.Model:
    """Build the whole classifier from a model of logits: pixels -> probabilities [N, labels], familiarity [N, 1].

    Familiarity is the largest cosine similarity between a photo's features and the labels' prototypes: the mean
    L2-normalised features of each label's training photos. features: float32 [M, channels]; targets: int [M].
    """
    labels = model.output.shape[1]
    unit = normalize(features)
    sums = np.stack([unit[targets == label].sum(0) for label in range(labels)], axis=1)
    prototypes = keras.layers.Dense(labels, use_bias=False, name="prototypes")
    unit_features = keras.layers.UnitNormalization(name="unit_features")(model.get_layer("features").output)
    familiarity = keras.ops.max(prototypes(unit_features), axis=1, keepdims=True)
    prototypes.set_weights([normalize(sums, axis=0)])
    return keras.Model(model.input, [keras.layers.Softmax(name="probabilities")(model.output), familiarity])
