"""What all tests share: paths, a copy of the project to run make in, and no skipped tests where NO_SKIP is set."""
import os
import shutil
import sys
from pathlib import Path

import pytest

pytest_plugins = ["training_runs"]  # the fixtures `photos`, `trained` and `converted`
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "lambda")]
os.environ["TF_SET_ONEDNN_FPMATH_MODE"] = "FP32"  # train.py would set bfloat16, too coarse to compare results


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without the variables that an outer make or the user's AWS account would add, plus `more`."""
    return {name: value for name, value in os.environ.items()
            if not name.startswith(("MAKE", "MFLAGS", "AWS_"))} | more


def project_copy(folder: Path, environments: bool = True) -> Path:
    """Copy everything that make needs into `folder`; data and artifacts are left out.

    With `environments`, the copy uses the real virtual environments and never reinstalls them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("Makefile", "requirements-train.txt", "requirements-serve.txt", "scripts", "lambda", "tests/photos"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, folder / name)
    if environments:
        (folder / ".venv").symlink_to(ROOT / ".venv")
        for requirements in folder.glob("**/*requirements*.txt"):
            os.utime(requirements, (0, 0))
    return folder


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Turn a skip into a failure where NO_SKIP is set, as in CI."""
    report = (yield).get_result()
    if report.skipped and os.environ.get("NO_SKIP") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped although NO_SKIP is set: {report.longrepr}"
