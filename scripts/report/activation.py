"""Class activation maps: which parts of a photo speak for a label (Zhou et al., Learning Deep Features for
Discriminative Localization, CVPR 2016).

The network ends in average pooling and a dense layer, so a label's logit is exactly the mean of the label's map.
"""
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from PIL import Image


def activation_maps(model: Path) -> Callable[[np.ndarray], np.ndarray]:
    """A function that maps a photo, uint8 [height, width, 3], to its maps, float32 [rows, columns, labels].

    Averaged over rows and columns, the maps are the photo's logits; an int8 file rounds the average.
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
    source = interpreter.get_input_details()[0]["index"]

    def run(photo: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(source, photo[np.newaxis])
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
