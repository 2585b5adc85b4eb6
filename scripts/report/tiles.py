"""The photos that the report shows, with their captions and activation maps."""
import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from PIL import Image

from serving import Model, preprocess
from training.augmentation import augment
from training.index import Photo


def tile(image: np.ndarray, title: str, note: str = "", path: str = "", kind: str = "") -> dict:
    """A photo, uint8 [height, width, 3], as a JPEG file with its caption.

    kind: "correct" or "wrong" if the photo shows a prediction
    """
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG")
    return {"image": file.getvalue(), "title": title, "note": note, "path": path, "kind": kind}


def choose(model_path: Path, model: Model, photos: list[Photo], probabilities: np.ndarray,
           familiarity: np.ndarray) -> dict[str, list[dict]]:
    """The photos of each section of the page as the network sees them, the same in each run.

    probabilities: float32 [photos, labels]; familiarity: float [photos]
    """
    maps_of = activation_maps(model_path)
    confidence, predicted = probabilities.max(1), probabilities.argmax(1)

    def image(row: int) -> np.ndarray:
        return preprocess(photos[row].path, model.size)

    def prediction(row: int) -> dict:
        """The photo beside the map of its predicted label."""
        photo, answer = photos[row], model.labels[predicted[row]]
        both = np.hstack([image(row), overlay(image(row), maps_of(image(row))[..., predicted[row]])])
        title = f"{answer} {confidence[row]:.0%}"
        if answer == photo.label:
            return tile(both, f"✓ {title}", "", photo.path, "correct")
        return tile(both, f"✗ {title}", f"actually {photo.label}", photo.path, "wrong")

    def unfamiliar(rows: list[int]) -> list[dict]:
        return [tile(image(row), photos[row].label, f"familiarity {familiarity[row]:.2f}", photos[row].path)
                for row in sorted(rows, key=lambda row: familiarity[row])[:10]]

    train, test = ([row for row, photo in enumerate(photos) if photo.split == split] for split in ("train", "test"))
    mistakes = [row for row in test if model.labels[predicted[row]] != photos[row].label]
    sample = {photos[row].label: row for row in train}
    # The record may have another machine's paths, so <split>/<label>/<file name> tells which photo it means.
    row_of = {photos[row].path.parts[-3:]: row for row in train}
    suspects = [(row_of.get(Path(entry["path"]).parts[-3:]), entry) for entry in model.record.get("suspects", [])]
    copies = augment(np.stack([image((train or test)[0])] * 10), 0).numpy().round().astype(np.uint8)
    return {
        "samples": [tile(image(row), label) for label, row in sorted(sample.items())],
        "predictions": [prediction(row) for row in random.Random(0).sample(test, min(12, len(test)))],
        "mistakes": [prediction(row) for row in sorted(mistakes, key=lambda row: -confidence[row])[:18]],
        "unfamiliar_test": unfamiliar(test),
        "unfamiliar_train": unfamiliar(train),
        "suspects": [tile(image(row), f"labelled {entry['label']}", f"looks like {entry['suggested']}",
                          photos[row].path) for row, entry in suspects if row is not None][:20],
        "augmented": [tile(copy, f"copy {number}") for number, copy in enumerate(copies, 1)]}


def activation_maps(model: Path) -> Callable[[np.ndarray], np.ndarray]:
    """A function that tells which parts of a photo speak for each label: its class activation maps.

    It takes a photo, uint8 [height, width, 3], and returns its maps, float32 [rows, columns, labels]. The network ends
    in average pooling and a dense layer, so the mean of a map is the logit of its label; an int8 file rounds the mean.
    Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016.
    """
    # The default delegate would not keep the features from which the maps are computed.
    interpreter = Interpreter(str(model), experimental_preserve_all_tensors=True,
                              experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    interpreter.allocate_tensors()
    operators = interpreter._get_ops_details()
    pooling = max(operator["index"] for operator in operators if operator["op_name"] == "MEAN")
    dense = next(operator for operator in operators[pooling:] if operator["op_name"] == "FULLY_CONNECTED")
    features = operators[pooling]["inputs"][0]
    scale, zero_point = interpreter._get_tensor_details(features, 0)["quantization"]

    def run(photo: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], photo[np.newaxis])
        interpreter.invoke()
        values = interpreter.get_tensor(features)[0].astype(np.float32)
        values = (values - zero_point) * (scale or 1)  # 0 in a float network
        kernel, *bias = [interpreter.get_tensor(tensor) for tensor in dense["inputs"][1:] if tensor >= 0]
        return values @ kernel.T + sum(bias)  # a bias is optional

    return run


def overlay(photo: np.ndarray, label_map: np.ndarray) -> np.ndarray:
    """Colour the parts of a photo that speak for a label in red; the rest turns grey.

    photo: uint8 [height, width, 3]; label_map: float32 [rows, columns], stretched over the whole photo.
    """
    size = photo.shape[1], photo.shape[0]
    stretched = np.array(Image.fromarray(label_map).resize(size, Image.Resampling.BICUBIC))
    opacity = 0.75 * np.clip(stretched / max(stretched.max(), 1e-9), 0, 1)[..., np.newaxis]
    return (photo.mean(axis=2, keepdims=True) * (1 - opacity) + (230, 60, 20) * opacity).round().astype(np.uint8)
