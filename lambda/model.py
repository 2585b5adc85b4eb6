"""A model file and its interpreter: `model.tflite` holds the network, its labels and its record.

Labels and record are zip entries appended to the network (the convention of TFLite metadata for associated files):
`unzip -p model.tflite labels.txt` prints the labels. Needs NumPy and one of the two interpreters.
"""
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


def read_record(path: str | os.PathLike) -> dict:
    """The labels and the record inside a model file; ValueError, which names the file, if they are missing or wrong."""
    try:
        with zipfile.ZipFile(path) as archive:
            labels = archive.read("labels.txt").decode().splitlines()
            record = json.loads(archive.read("metadata.json"))
        if not isinstance(record, dict):
            raise ValueError("metadata.json is not an object")
        record = {"labels": labels, **record}
        labels, threshold = record["labels"], record.get("confidence_threshold")
        if not (isinstance(labels, list) and labels and all(isinstance(label, str) for label in labels)):
            raise ValueError("the labels are not a list of text")
        if not (threshold is None or isinstance(threshold, (int, float)) and 0 <= threshold <= 1):
            raise ValueError("confidence_threshold is not a number from 0 to 1")
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ValueError(f"{path}: not a model made by scripts/convert.py ({error})") from None
    return record


class Network:
    """A TensorFlow Lite network, from a file or from the bytes of one; size: (height, width) of its input in pixels."""

    def __init__(self, source: str | os.PathLike | bytes, threads: int = 1):
        given = {"model_content": source} if isinstance(source, bytes) else {"model_path": str(source)}
        self._interpreter = Interpreter(**given, num_threads=threads)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self.size = tuple(int(side) for side in self._interpreter.get_input_details()[0]["shape"][1:3])

    def run(self, image: np.ndarray) -> np.ndarray:
        """One image [height, width, 3] of the network's input type -> its output, without the batch dimension."""
        self._interpreter.set_tensor(self._input, image[np.newaxis])
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)[0]


class Model(Network):
    """A model ready to predict. Raises ValueError, which names the file, if the file is not a whole model.

    labels: the names of the classes, in the order of the probabilities.
    record: what convert.py wrote about the model: data, flags, metrics, confidence threshold.
    threshold: the probability from which a label counts as confident.
    digest: the first 12 hex digits of the file's SHA-256, by which a result can be traced to its model.
    """

    def __init__(self, path: str | os.PathLike, threads: int = 1):
        self.record = read_record(path)
        self.labels = self.record["labels"]
        self.threshold = self.record.get("confidence_threshold") or 0
        self.digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]
        super().__init__(path, threads)
        outputs = self._interpreter.get_output_details()[0]["shape"][-1]
        if outputs != len(self.labels):
            raise ValueError(f"{path}: {len(self.labels)} labels for {outputs} outputs; convert the model again")

    def predict(self, image: np.ndarray) -> np.ndarray:
        """uint8 [height, width, 3] from `preprocess` -> float32 [classes], probabilities that sum to 1."""
        probabilities = self.run(image)
        return probabilities / probabilities.sum()  # an int8 softmax counts in 1/256, which may not add up
