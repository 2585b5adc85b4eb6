"""The first half of training: a linear head on the features of a frozen backbone, and the labels it doubts."""
import numpy as np
from tqdm import tqdm

from training.index import Photo
from training.metrics import softmax


STEPS, PEAK_RATE, L2 = 150, 0.03, 0.05  # L2 by cross-validation inside train and validation


def features(backbone, size: tuple[int, int]):
    """A function that gives averaged feature maps, float32 [N, channels], of photos, uint8 [N, height, width, 3]."""
    import keras
    from training.tflite import runner

    pixels = keras.Input((*size, 3))
    run = runner(keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(backbone(pixels))))
    return lambda images: np.stack([run(image) for image in tqdm(images, "backbone features", mininterval=1)])


def fit_head(inputs: np.ndarray, targets: np.ndarray, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Multinomial logistic regression, full batch, by Adam (Kingma & Ba 2015) with a falling rate.

    inputs: float32 [N, channels]; targets: int [N]. Returns weights [channels, labels] and bias [labels], float32.
    """
    # Half-way between one scale for all channels and one for each, which lets faint channels shout: the best of the
    # three in cross-validation.
    mean, scale = inputs.mean(0), np.sqrt((inputs.std(0) + 1e-6) * (inputs.std() + 1e-6))
    inputs = (inputs - mean) / scale
    wanted = np.eye(labels, dtype=np.float32)[targets]
    weights = np.zeros((inputs.shape[1] + 1, labels), np.float32)  # the last row is the bias
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    for step in range(1, STEPS + 1):
        error = (softmax(inputs @ weights[:-1] + weights[-1]) - wanted) / len(inputs)
        gradient = np.vstack([inputs.T @ error + L2 * weights[:-1], error.sum(0)])
        first, second = 0.9 * first + 0.1 * gradient, 0.99 * second + 0.01 * gradient ** 2
        rate = PEAK_RATE * (1 - step / (STEPS + 1))
        weights -= rate * first / (1 - 0.9 ** step) / (np.sqrt(second / (1 - 0.99 ** step)) + 1e-8)
    weights[:-1] /= scale[:, np.newaxis]
    return weights[:-1], weights[-1] - mean @ weights[:-1]


def find_suspects(photos: list[Photo], inputs: np.ndarray, targets: np.ndarray, labels: list[str]) -> list[dict]:
    """Training photos whose label looks wrong: by five-fold out-of-fold probability of a linear head, worst first."""
    folds = np.random.default_rng(0).permutation(len(inputs)) % 5
    probabilities = np.zeros((len(inputs), len(labels)), np.float32)
    for fold in tqdm(range(5), "out-of-fold heads", mininterval=1):
        weights, bias = fit_head(inputs[folds != fold], targets[folds != fold], len(labels))
        probabilities[folds == fold] = softmax(inputs[folds == fold] @ weights + bias)
    own, suggested = probabilities[np.arange(len(targets)), targets], probabilities.argmax(1)
    worst = [i for i in np.argsort(own) if suggested[i] != targets[i]][:60]
    return [{"path": str(photos[i].path), "label": labels[targets[i]], "suggested": labels[suggested[i]],
             "probability": round(float(own[i]), 4)} for i in worst]
