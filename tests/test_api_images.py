"""Hundreds of broken, hostile and odd images, and a long run: never a server error, a hang or a heap that grows."""
import io
import json
import random
import subprocess

import pytest
from PIL import Image

import api
from conftest import ROOT
from preprocess import FORMATS, ImageError, preprocess
from test_preprocess import BOMBS, NOT_IMAGES, encoded, quarters

SERVING = ROOT / ".venv" / "ai-edge-litert" / "bin" / "python"
# Run in the serving environment: asks about each file of a folder; prints {name: status}, peak memory and slowest.
ASK = """
import contextlib, io, json, os, sys, time
import lambda_function
statuses, slowest = {}, 0
for name in sorted(os.listdir(sys.argv[1])):
    with open(os.path.join(sys.argv[1], name), "rb") as file:
        body = file.read()
    import base64
    event = {"httpMethod": "POST", "path": "/predict", "headers": {"content-type": "image/jpeg"},
             "body": base64.b64encode(body).decode(), "isBase64Encoded": True}
    started = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        statuses[name] = lambda_function.lambda_handler(event)["statusCode"]
    slowest = max(slowest, time.process_time() - started)
peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
print(json.dumps([statuses, peak, slowest]))
"""
# 5,000 requests of every kind in turn; prints the resident memory after the first 1,000 and at the end.
RUN = """
import base64, collections, contextlib, json, os, sys
import lambda_function
with open(sys.argv[1]) as file:
    events = json.load(file)
statuses, pages = collections.Counter(), []
sys.stdout = open(os.devnull, "w")
for turn in range(5_000):
    response = lambda_function.lambda_handler(events[turn % len(events)])
    statuses[str(response.get("statusCode", "direct"))] += 1
    if turn in (1_000, 4_999):
        with open("/proc/self/statm") as file:
            pages.append(int(file.read().split()[1]))
sys.stdout = sys.__stdout__
print(json.dumps([statuses, [count * os.sysconf("SC_PAGE_SIZE") for count in pages]]))
"""


def run(script: str, argument, model) -> list:
    if not SERVING.exists():
        pytest.skip(f"{SERVING} is not there; `make .venv/ai-edge-litert/.installed` makes it")
    result = subprocess.run([SERVING, "-c", script, argument], capture_output=True, text=True, timeout=300,
                            env={"PYTHONPATH": str(ROOT / "lambda"), "MODEL_PATH": model})
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return api.load(tmp_path_factory.mktemp("model")).model_path


def noise(mode="RGB", size=(120, 160)) -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    return Image.frombytes(mode, size, random.Random(1).randbytes(size[0] * size[1] * bands))


def originals() -> dict[str, bytes]:
    frames = [noise(), noise().rotate(90), noise().rotate(180)]
    exif = Image.Exif()
    exif[274] = 6
    return {"baseline": encoded(noise(), "JPEG"), "progressive": encoded(noise(), "JPEG", progressive=True),
            "grey": encoded(noise("L"), "JPEG"), "cmyk": encoded(noise("CMYK"), "JPEG"),
            "turned": encoded(noise(), "JPEG", exif=exif), "png": encoded(quarters(), "PNG"),
            "alpha": encoded(noise("RGBA"), "PNG"), "palette": encoded(noise("P"), "PNG", transparency=b"\0\1\2"),
            "animated-png": encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]),
            "gif": encoded(noise("P"), "GIF"),
            "animated": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
            "webp": encoded(noise(), "WEBP"), "lossless": encoded(noise("RGBA"), "WEBP", lossless=True),
            "animated-webp": encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
            "bmp": encoded(noise(), "BMP"), "palette-bmp": encoded(noise().convert("P"), "BMP"),
            "mpo": encoded(noise(), "MPO", save_all=True, append_images=frames[1:])}


def mutants() -> dict[str, bytes]:
    """Each original cut, with bits flipped, bytes lost and doubled, and in another format's clothes."""
    chance, made = random.Random(7), {}
    for name, content in originals().items():
        for part in range(1, 9):
            made[f"{name}-cut-{part}"] = content[:len(content) * part // 9]
        for seed in range(8):
            flipped = bytearray(content)
            for _ in range(1 << seed % 4):  # also in the header, where sizes and modes are
                reach = len(content) if seed % 2 else min(200, len(content))
                flipped[chance.randrange(reach)] ^= 1 << chance.randrange(8)
            made[f"{name}-flipped-{seed}"] = bytes(flipped)
        for seed in range(3):
            start = chance.randrange(len(content))
            made[f"{name}-lost-{seed}"] = content[:start] + content[start + chance.randrange(1, 50):]
            made[f"{name}-doubled-{seed}"] = content[:start] + content[start // 2:]
        made[f"{name}-dressed"] = encoded(quarters(), "PNG")[:60] + content[60:]
        made[f"{name}-noisy"] = content[:len(content) // 4] + chance.randbytes(5000)
    return made


GOOD = {f"good-{name}": content for name, content in originals().items()} | {
    "good-dot": encoded(Image.new("RGB", (1, 1)), "PNG"), "good-line": encoded(Image.new("RGB", (30_000, 1)), "JPEG"),
    "good-column": encoded(Image.new("L", (1, 30_000)), "PNG"),
    "good-12-megapixel": encoded(noise().resize((3000, 4000)), "JPEG"),
    "good-50-megapixel": encoded(Image.new("RGB", (8160, 6120), "navy"), "JPEG", progressive=True),
    "good-trailing": encoded(quarters(), "JPEG") + bytes(9999)}


def test_hundreds_of_images_without_a_server_error(tmp_path, model):
    files = {**mutants(), **GOOD, **{f"bomb-{name}": content for name, content in BOMBS.items()},
             **{f"other-{name}": content for name, content in NOT_IMAGES.items() if content}}
    assert len(files) > 300
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    statuses, peak, _ = run(ASK, tmp_path, model)
    assert statuses.keys() == files.keys()
    assert {name: statuses[name] for name in GOOD if statuses[name] != 200} == {}
    assert {status for name, status in statuses.items() if name.startswith("bomb-")} == {413}
    assert {status for name, status in statuses.items() if name.startswith("other-")} == {415}
    assert set(statuses.values()) <= {200, 413, 415, 422}
    assert 422 in {status for name, status in statuses.items() if "-cut-" in name}
    assert peak < 512 * 1024


@pytest.mark.filterwarnings("ignore")
def test_what_plain_pillow_can_not_load_is_refused():
    """Else a broken photo gets an answer about the part that could be decoded."""
    refused = 0
    for name, content in mutants().items():
        try:
            Image.open(io.BytesIO(content), formats=FORMATS).load()
        except Exception:
            refused += 1
            with pytest.raises(ImageError):
                preprocess(content, (40, 30))
                pytest.fail(name)
    assert refused > 150


def test_five_thousand_mixed_requests_leave_the_memory_flat(tmp_path, model):
    red, small = api.picture("red", size=(20, 20)), api.picture("blue", "PNG", size=(10, 30))
    events = [api.event(body=body, **headers) for body, headers in (
        (red, {"content_type": "image/jpeg"}), (small, {"content_type": "image/png"}),
        ({"image": api.encoded(red)}, {}), ({"images": [api.encoded(small), "?"]}, {}),
        (api.form(red, small), {"content_type": "multipart/form-data; boundary=----form"}),
        (red[:300], {"content_type": "image/jpeg"}), (b"{", {"content_type": "application/json"}), ({"url": "x"}, {}),
        (api.picture("red", "GIF", (20, 20)), {"content_type": "image/gif"}),
        (b"text", {"content_type": "text/plain"}))]
    events += [api.event("GET", "/health"), api.event("GET", "/"), api.event("OPTIONS"), api.event(body=red, kind="v2"),
               api.event("GET", "/nothing"), {"image": api.encoded(red)}, {"url": "http://127.0.0.1/"}]
    (tmp_path / "events.json").write_text(json.dumps(events))
    statuses, (early, late) = run(RUN, tmp_path / "events.json", model)
    assert sum(statuses.values()) == 5_000
    assert statuses.keys() == {"200", "204", "400", "404", "415", "422", "direct"}
    assert late - early < 2_000_000
