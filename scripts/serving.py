"""The bridge to lambda/: all that the scripts use of the serving code, such as the one preprocessing function."""
import os
import sys
from pathlib import Path

from common import ROOT

sys.path.insert(0, str(ROOT / "lambda"))

from fetch import fetch_all  # noqa: E402, F401
from model import THRESHOLDS, Model, Network  # noqa: E402, F401
from preprocess import ImageError, preprocess  # noqa: E402, F401
from request import RequestError  # noqa: E402, F401


def load_handler(model: Path):
    """The Lambda handler serving `model`; raises ValueError or OSError if the file can't be loaded."""
    os.environ["MODEL_PATH"] = str(model)  # the handler reads it once, when it is imported
    from lambda_function import lambda_handler

    return lambda_handler
