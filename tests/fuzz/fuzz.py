"""Look for images that break the preprocessing and for events that break the handler, by coverage-guided fuzzing.

    .venv/fuzz/bin/python tests/fuzz/fuzz.py --minutes 10 --output artifacts/fuzz

Half of the time goes to images, half to events. The images start from tests/hostile.py. A finding is a file
artifacts/fuzz/crash-…, oom-… or timeout-…; `fuzz.py --output DIR --target images -- artifacts/fuzz/crash-…` runs it
again. Once it is mended, keep it as a case in tests/hostile.py.
"""
import argparse
import base64
import io
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "lambda")]
from PIL import Image  # noqa: E402

from hostile import CASES, encoded  # noqa: E402

LARGEST_SEED = 64_000  # bytes
LIMITS = ["-rss_limit_mb=700", "-timeout=30", f"-max_len={LARGEST_SEED}", "-verbosity=0", "-print_final_stats=1"]
SMALL = [("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGBA"), ("PNG", "I;16"), ("GIF", "P"), ("WEBP", "RGBA"),
         ("BMP", "P")]
KINDS = ["application/json", "multipart/form-data; boundary=b", "text/plain", "image/jpeg"]
# The first byte chooses among the KINDS (and, by its highest bits, the form of the event), the rest is the body.
EVENTS = [b'\0{"url": "https://example.com/a.jpg"}', b'\0{"urls": ["http://127.0.0.1/", "s3://a/b"]}',
          b'\0{"image": "R0lGODlhAQABAIAAAP8AAAAAACwAAAAAAQABAAACAkQBADs="}', b'\0{"images": ["data:x,AAAA", "?"]}',
          b'\1--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\nBM\r\n--b--', b"\2[1]", b"\3BM",
          b'\x40/predict123{"url": "x"}']


def fuzz_images(atheris):
    """Any bytes give an array or an ImageError; what is accepted is what plain Pillow loads too."""
    with atheris.instrument_imports():
        from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin  # noqa: F401
        from image_checks import JpegImageFile
        from preprocess import ImageError, preprocess

    def check(data: bytes) -> None:
        try:
            array = preprocess(data, (60, 40))
        except ImageError:
            return
        assert array.shape == (60, 40, 3)
        # Image.open() would also parse the EXIF and the index of a multi-picture JPEG, which preprocess ignores.
        plain = JpegImageFile if data.startswith(b"\xff\xd8\xff") else Image.open
        plain(io.BytesIO(data)).load()
    return check


def fuzz_events(atheris):
    """Any event gets a response that can be sent, and never a failure of the server."""
    os.environ["MODEL_PATH"] = str(ROOT / "artifacts" / "release" / "model.tflite")
    with atheris.instrument_imports():
        import fetch  # noqa: F401
        import lambda_function
    import numpy as np
    count = len(lambda_function.MODEL.labels)
    probabilities = np.full(count, 1 / count, np.float32)
    lambda_function.MODEL.predict = lambda image: (probabilities, 0.9)  # the model is not the target

    def getaddrinfo(*_, **__):
        raise socket.gaierror
    socket.getaddrinfo = getaddrinfo

    def check(data: bytes) -> None:
        first, body = data[:1] or b"0", data[1:]
        headers = {"content-type": KINDS[first[0] % len(KINDS)]}
        path, top, body = "/predict", None, data[1:]
        if first[0] & 64:
            path, top, body = "/" + data[1:9].decode("latin-1"), data[9:12].decode("latin-1"), data[12:]
        event = {"httpMethod": "POST", "path": path, "headers": headers, "queryStringParameters": {"top": top or "1"}}
        if first[0] & 128:
            event = {"rawPath": path, "headers": headers, "requestContext": {"http": {"method": "POST"}}}
        event |= {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
        response = lambda_function.lambda_handler(event)
        json.dumps(response)
        assert response["statusCode"] < 500 or response["statusCode"] == 502, response
    return check


def run(target: str, arguments: list[str]) -> None:
    """Fuzz in this process, which libFuzzer ends."""
    import atheris
    check = {"images": fuzz_images, "events": fuzz_events}[target](atheris)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)  # the handler's log
    atheris.Setup([sys.argv[0], *arguments], check)
    atheris.Fuzz()


def write_seeds(target: str, folder: Path) -> None:
    refused = [make() for make, status in CASES.values() if status > 200]  # the others are slow, as they are large
    small = [encoded(Image.new(mode, (40, 30), 1), kind) for kind, mode in SMALL]
    seeds = EVENTS if target == "events" else refused + small
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(seeds):
        if len(content) <= LARGEST_SEED:
            (folder / f"seed-{number}").write_bytes(content)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--output", type=Path, required=True, help="folder for the findings and for what was tried")
    parser.add_argument("--target", choices=("images", "events"), help="fuzz only these, in this process")
    parser.add_argument("libfuzzer", nargs="*", help="after --: arguments of libFuzzer, such as a finding to run again")
    arguments = parser.parse_args()
    if arguments.target:
        return run(arguments.target, arguments.libfuzzer)
    failed = False
    for target in ("images", "events"):
        corpus = arguments.output / target
        write_seeds(target, corpus)
        seconds = round(arguments.minutes * 30)
        print(f"{target} for {seconds} seconds", flush=True)
        command = [sys.executable, __file__, "--output", arguments.output, "--target", target, "--", *LIMITS,
                   f"-max_total_time={seconds}", f"-artifact_prefix={arguments.output}/", corpus]
        failed |= bool(subprocess.run(command).returncode)
    if failed:
        sys.exit(f"there are findings in {arguments.output}; mend them and keep them as cases in tests/hostile.py")


if __name__ == "__main__":
    main()
