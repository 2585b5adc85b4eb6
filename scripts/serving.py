"""The bridge to lambda/: all that the scripts use of the serving code, such as the one preprocessing function."""
import sys

from common import ROOT

sys.path.insert(0, str(ROOT / "lambda"))

from fetch import fetch_all  # noqa: E402, F401
from model import THRESHOLDS, Model, Network  # noqa: E402, F401
from preprocess import ImageError, preprocess  # noqa: E402, F401
from request import RequestError  # noqa: E402, F401
