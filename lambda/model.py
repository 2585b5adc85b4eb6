"""A model file, which is a network with its labels and record as zip entries, and its interpreter."""
import hashlib
import json
import os
import zipfile
from pathlib import Path

import numpy as np

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    from tflite_runtime.interpreter import Interpreter

THRESHOLDS = ("confidence_threshold", "familiarity_threshold")


class Network:
    """A TensorFlow Lite network, from a file or its bytes; size: (height, width) of its input in pixels."""

    def __init__(self, source: str | os.PathLike | bytes, threads: int = 1):
        given = {"model_content": source} if isinstance(source, bytes) else {"model_path": str(source)}
        self._interpreter = Interpreter(**given, num_threads=threads)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [output["index"] for output in self._interpreter.get_output_details()]
        self.size = tuple(int(side) for side in self._interpreter.get_input_details()[0]["shape"][1:3])

    def run(self, image: np.ndarray) -> list[np.ndarray]:
        """Image [height, width, 3] of the input's type -> the outputs, without the batch dimension."""
        self._interpreter.set_tensor(self._input, image[np.newaxis])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(output)[0] for output in self._outputs]


class Model(Network):
    """A model ready to predict. Raises ValueError, which names the file.

    labels: the names of the classes, in the order of the probabilities.
    record: what convert.py wrote: data, flags, metrics, both thresholds (0.0 if it has none).
    digest: the first 12 hex digits of the file's SHA-256.
    """

    def __init__(self, path: str | os.PathLike, threads: int = 1):
        try:
            with zipfile.ZipFile(path) as archive:
                self.record = {**dict.fromkeys(THRESHOLDS, 0.0), **json.loads(archive.read("metadata.json"))}
                self.labels = self.record["labels"] = archive.read("labels.txt").decode().splitlines()
            for name in THRESHOLDS:
                if not (isinstance(self.record[name], (int, float)) and 0 <= self.record[name] <= 1):
                    raise ValueError(f"{name} is not a number from 0 to 1")
        except (zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: not a model made by scripts/convert.py ({error})") from None
        self.digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]
        super().__init__(path, threads)
        outputs = [output["shape"].tolist() for output in self._interpreter.get_output_details()]
        if outputs != [[1, len(self.labels)], [1, 1]]:
            raise ValueError(f"{path}: outputs {outputs} for {len(self.labels)} labels; convert it again")

    def predict(self, image: np.ndarray) -> tuple[np.ndarray, float]:
        """uint8 [height, width, 3] from `preprocess` -> probabilities float32 [labels], familiarity 0 to 1.

        Familiarity says how much a photo resembles the training photos: the largest cosine similarity between its
        features and the labels' prototypes.
        """
        probabilities, familiarity = self.run(image)
        return probabilities, min(1.0, float(familiarity[0]))  # rounding may exceed 1

    def is_familiar(self, familiarity: float) -> bool:
        return familiarity >= self.record["familiarity_threshold"]

    def is_confident(self, probability: float, familiarity: float) -> bool:
        """Whether the highest probability and the familiarity of a photo both reach their thresholds."""
        return bool(probability >= self.record["confidence_threshold"]) and self.is_familiar(familiarity)
