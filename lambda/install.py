"""Prepare folders of the image in its build stage (see Dockerfile): small, byte-compiled, reproducible.

Uses the standard library only: Amazon Linux's minimal images do not even have `find`.
"""
import compileall
import os
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

BUILD = Path("/build")
DATE = 315532800  # 1980-01-01, the earliest date that zip can store
# 61 MB of 137, which serving never loads; tests/test_docker.py shows that the rest works without them.
UNUSED = """
    ai_edge_litert/aot  ai_edge_litert/tflite  ai_edge_litert/tools  ai_edge_litert/vendors
    ai_edge_litert/libLiteRt*.so  ai_edge_litert/*_pb2.py  ai_edge_litert/schema_py_generated.py
    numpy/**/tests  numpy/**/*.pyi  numpy/**/include  numpy/**/*.a  numpy/f2py  numpy/_core/_simd.*.so
    PIL/_avif.*.so  PIL/_imagingft.*.so  PIL/_imagingtk.*.so
    pillow.libs/libavif-*  pillow.libs/libfreetype-*  pillow.libs/libharfbuzz-*
    pillow.libs/libbrotli*  pillow.libs/libpng16-*
    bin
""".split()


def install_packages(folder: Path) -> None:
    wheels = BUILD / "wheels"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--root-user-action=ignore", "--no-index",
                    "--find-links", wheels, "--no-deps", "--require-hashes", "--no-compile", "--target", folder,
                    "-r", wheels / "requirements.txt"], check=True)
    for pattern in UNUSED:
        for path in list(folder.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


for name in sys.argv[1:]:
    root = BUILD / name
    if name == "packages":
        install_packages(root / "var/task")
    compileall.compile_dir(root, quiet=1, stripdir=root, prependdir="/",
                           invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    for path in root.rglob("*"):  # readable for everyone, and equal input gives an equal layer
        os.chmod(path, 0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        os.utime(path, (DATE, DATE))
