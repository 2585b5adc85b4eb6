"""The bridge to lambda/: everything that the scripts use of the serving code.

Training, calibration, evaluation and serving share one preprocessing function and one model reader. No other script
adds lambda/ to `sys.path`.
"""
import os
import sys
from pathlib import Path

from common import ROOT

sys.path.insert(0, str(ROOT / "lambda"))

from fetch import fetch_all  # noqa: E402, F401
from model import THRESHOLDS, Model, Network  # noqa: E402, F401
from preprocess import FORMATS, ImageError, preprocess  # noqa: E402, F401
from request import RequestError  # noqa: E402, F401


def load_handler(model: Path):
    """The Lambda handler serving `model`; raises ValueError or OSError if the file can't be loaded."""
    os.environ["MODEL_PATH"] = str(model)  # the handler reads it once, when it is imported
    from lambda_function import lambda_handler

    return lambda_handler
