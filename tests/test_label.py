"""scripts/label.py as its users call it, in an environment without TensorFlow."""
import csv
import json
import os
import shutil
import subprocess
import time

import pytest

import colour_model
from api import picture
from conftest import ROOT
from labelling import run
from labelling.table import FIXED

PYTHON = ROOT / ".venv" / "label" / "bin" / "python"
SCRIPT = ROOT / "scripts" / "label.py"


@pytest.fixture(scope="module", autouse=True)
def label_environment():
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is not there; `make .venv/label/.installed` makes it")


@pytest.fixture
def folder(tmp_path):
    """A model and the photos blue.jpg, green.jpg, red.jpg and deeper/grey.jpg, of which the last is unfamiliar."""
    colour_model.write(tmp_path / "model.tflite", confidence_threshold=0.6, familiarity_threshold=0.9)
    (tmp_path / "photos" / "deeper").mkdir(parents=True)
    for name in ("blue", "green", "red", "deeper/grey"):
        (tmp_path / "photos" / f"{name}.jpg").write_bytes(picture(name.removeprefix("deeper/")))
    return tmp_path


def command(*arguments) -> list:
    return [PYTHON, SCRIPT, "--model", "model.tflite", "--processes", "2", *arguments]


def label(folder, *arguments, **options):
    return subprocess.run(command(*arguments), cwd=folder, capture_output=True, encoding="utf-8", timeout=120,
                          errors="surrogateescape", **{"stdin": subprocess.DEVNULL, **options})


def rows(path) -> list[dict]:
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


def images(folder, name="labels.csv") -> list[str]:
    return [row["image"] for row in rows(folder / name)]


def test_a_row_per_photo_holds_its_label_and_each_probability(folder):
    result = label(folder, "photos")
    blue, grey, green, red = rows(folder / "labels.csv")
    assert list(red) == ["image", "label", "probability", "confident", "familiarity", "familiar", "error", "model",
                         "blue", "green", "red"]
    assert (red["image"], red["label"], red["confident"], red["familiar"], red["error"]) == (
        "photos/red.jpg", "red", "true", "true", "")
    assert red["probability"] == red["red"] and float(red["red"]) > 0.9 and len(red["model"]) == 12
    assert (grey["familiarity"][:5], grey["familiar"], grey["confident"]) == ("0.577", "false", "false")
    assert result.returncode == 0 and "4 photos, 1 unsure, of which 1 unfamiliar, 0 failed" in result.stdout
    assert [line.split() for line in result.stdout.splitlines()[:3]] == [["2", "blue"], ["1", "green"], ["1", "red"]]
    assert "4/4" in result.stderr and "photos/s" in result.stderr


def test_each_format_holds_the_same_rows(folder):
    for suffix in ("csv", "jsonl", "parquet"):
        assert label(folder, "photos", "photos/gone.jpg", "--output", f"out/labels.{suffix}").returncode == 1
    expected = [{name: value if FIXED.get(name) == "string" else json.loads(value or "null")
                 for name, value in row.items()} for row in rows(folder / "out" / "labels.csv")]
    lines = [json.loads(line) for line in (folder / "out" / "labels.jsonl").read_text().splitlines()]
    read = "import json, pyarrow.parquet, sys; print(json.dumps(pyarrow.parquet.read_table(sys.argv[1]).to_pylist()))"
    table = json.loads(subprocess.check_output([PYTHON, "-c", read, folder / "out" / "labels.parquet"], text=True))
    assert list(lines[0]) == list(table[0]) == list(expected[0])
    assert lines == expected and table == [pytest.approx(row, abs=1e-6) for row in expected]
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "labels.csv", "labels.jsonl", "labels.parquet", "labels.parquet.csv"]


@pytest.mark.parametrize("sources, found", [
    (["photos"], ["blue.jpg", "deeper/grey.jpg", "green.jpg", "red.jpg"]),
    (["photos/*.jpg"], ["blue.jpg", "green.jpg", "red.jpg"]),
    (["photos/**/g*.jpg"], ["deeper/grey.jpg", "green.jpg"]),
    (["list.txt"], ["deeper/grey.jpg", "red.jpg"]),
    (["-"], ["deeper/grey.jpg", "red.jpg"]),
    (["photos/red.jpg", "photos"], ["blue.jpg", "deeper/grey.jpg", "green.jpg", "red.jpg"]),
])
def test_sources_are_expanded_and_each_photo_is_labelled_once(folder, sources, found):
    (folder / "list.txt").write_text("photos/red.jpg\r\n\nphotos/deeper\n", "utf-8")
    assert label(folder, *sources, stdin=open(folder / "list.txt")).returncode == 0
    assert images(folder) == [f"photos/{name}" for name in found]


@pytest.mark.parametrize("name, error", [
    ("cut.jpg", "is the file complete?"), ("pipe.jpg", "neither a file"), ("zero.jpg", "neither a file"),
    ("gone.jpg", "No such file"), ("gone.txt", "No such file"), ("none", "nor a readable folder with photos"),
    ("large.jpg", "at most 100 MB"),
    ("http://127.0.0.1/a.jpg", "not a public address"),
])
def test_an_unreadable_photo_becomes_a_row_with_its_error(folder, name, error):
    (folder / "cut.jpg").write_bytes(picture()[:400])
    (folder / "none").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    (folder / "zero.jpg").symlink_to("/dev/zero")
    os.truncate(os.open(folder / "large.jpg", os.O_CREAT | os.O_WRONLY), 100_000_001)
    result = label(folder, name, "photos/red.jpg")
    bad, good = sorted(rows(folder / "labels.csv"), key=lambda row: row["image"] == "photos/red.jpg")
    assert bad["image"] == name and error in bad["error"]
    assert {bad[column] for column in ("label", "probability", "confident", "familiarity", "familiar", "red")} == {""}
    assert good["label"] == "red"
    assert result.returncode == 1 and "0 unfamiliar, 1 failed" in result.stdout


def test_a_folder_is_searched_for_files_only_and_an_unreadable_subfolder_or_list_is_reported(folder):
    os.mkfifo(folder / "photos" / "pipe.jpg")
    (folder / "photos" / "zero.jpg").symlink_to("/dev/zero")
    (folder / "photos" / "loop").symlink_to(folder / "photos")
    (folder / "photos" / ".hidden.jpg").touch()
    (folder / "photos" / "locked").mkdir(mode=0)
    (folder / "locked.txt").touch(mode=0)
    # Root may read everything, unless it gives up the capability.
    drop = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all"] * (os.getuid() == 0)
    result = subprocess.run(drop + command("photos", "locked.txt"), cwd=folder, capture_output=True, text=True)
    (folder / "photos" / "locked").chmod(0o755)
    assert result.returncode == 1, result.stderr
    assert [row["image"] for row in rows(folder / "labels.csv") if row["error"]] == ["locked.txt", "photos/locked"]
    assert len(images(folder)) == 6


def test_a_killed_run_leaves_no_process_and_can_be_continued(folder):
    for number in range(1500):
        os.link(folder / "photos" / "red.jpg", folder / "photos" / f"{number}.jpg")
    process = subprocess.Popen(command("photos"), cwd=folder, stderr=subprocess.DEVNULL)
    while not (folder / "labels.csv").exists() or len(images(folder)) < 20:
        assert process.poll() is None
        time.sleep(0.02)
    workers = subprocess.check_output(["pgrep", "-P", str(process.pid)], text=True).split()
    process.kill()
    process.wait()
    assert 0 < len(images(folder)) < 1504 and len(workers) >= 2
    deadline = time.monotonic() + 30
    while any(os.path.exists(f"/proc/{worker}/exe") for worker in workers):
        assert time.monotonic() < deadline, "workers outlive the run"
        time.sleep(0.1)
    with open(folder / "labels.csv", "r+") as file:  # as after a full disk
        file.truncate(os.path.getsize(folder / "labels.csv") - 30)
    result = label(folder, "photos")
    assert result.returncode == 0 and "1,504 photos" in result.stdout
    assert len(images(folder)) == len(set(images(folder))) == 1504
    assert all(None not in row.values() for row in rows(folder / "labels.csv"))


def test_a_second_run_labels_only_new_photos(folder):
    label(folder, "photos/red.jpg")
    before = (folder / "labels.csv").read_text()
    result = label(folder, "photos")
    assert "1/4" in result.stderr and "4 photos" in result.stdout
    assert (folder / "labels.csv").read_text().startswith(before) and len(images(folder)) == 4


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("name", ['two\nlines, "quoted".jpg', b"\xff\xfe.jpg", "naïve 写真.jpg", "=1+1.jpg"])
def test_any_file_name_is_written_unchanged(folder, name, suffix):
    path = os.fsdecode(os.path.join(os.fsencode(folder / "photos"), os.fsencode(name)))
    shutil.copy(folder / "photos" / "red.jpg", path)
    for _ in range(2):  # the second run reads what the first wrote
        assert label(folder, "photos", "--output", f"labels.{suffix}").returncode == 0
    found = images(folder) if suffix == "csv" else [
        json.loads(line)["image"] for line in (folder / "labels.jsonl").read_text().splitlines()]
    assert found.count(f"photos/{os.fsdecode(name)}") == 1 and len(found) == 5


@pytest.mark.parametrize("output, content, message", [
    ("labels.csv", "name,price\nshirt,3", "was not written with this model"),
    ("labels.csv", f"{','.join(FIXED)},blue,green,red\na,red,1,true,1,true,,000000000000,0,0,1\n", "with this model"),
    ("labels.jsonl", '{"image": "a.jpg"}\n', "was not written with this model"),
    ("labels.xlsx", "", "must be .csv, .jsonl or, with pyarrow"),
    ("photos/red.jpg/labels.csv", None, "'photos/red.jpg'"),
    ("/dev/full", None, "No space left on device; the same command continues full.csv"),
])
def test_an_output_that_cannot_be_continued_is_refused_and_not_changed(folder, output, content, message):
    if content is not None:
        (folder / output).write_text(content)
    if output == "/dev/full":
        (folder / "full.csv").symlink_to(output)
        output = "full.csv"
    result = label(folder, "photos", "--output", output)
    assert result.returncode == 1 and message in result.stderr and "Traceback" not in result.stderr
    assert content is None or (folder / output).read_text() == content


def test_only_a_block_of_photos_is_in_memory_at_a_time(folder):
    taken = []
    photos = (taken.append(number) or str(folder / "photos" / "red.jpg") for number in range(10_000))
    answers = run.label_on_all_cores(folder / "model.tflite", photos, 1)
    assert next(answers)["scores"]["red"] > 0.9
    answers.close()
    assert len(taken) == run.BLOCK


def test_the_page_of_unsure_photos_saves_corrected_labels_as_a_training_folder(folder):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; `make test` installs it")
    chromium = shutil.which("chromium") or pytest.skip("chromium is not installed")
    os.makedirs(folder / "photos" / "it's <b> <")
    (folder / "photos" / "it's <b> <" / "script> $(touch hit).jpg").write_bytes(picture((128, 120, 120)))
    result = label(folder, "photos", "--unsure", "3")
    assert "labels.unsure.html: correct the labels there" in result.stdout
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto(f"file://{folder}/labels.unsure.html")
        assert page.locator("select").first.input_value() in colour_model.LABELS
        captions = page.locator("figcaption").all_inner_texts()
        assert "grey.jpg" in captions[0] and "$(touch hit)" in captions[1] and len(captions) == 3
        assert ["unfamiliar" in caption for caption in captions] == [True, True, False]
        assert page.locator("img").first.evaluate("image => image.naturalWidth") == 165
        for number, corrected in enumerate(("blue", "green", "")):
            page.locator("select").nth(number).select_option(corrected)
        with page.expect_download() as download:
            page.get_by_role("button").click()
        download.value.save_as(folder / "corrected.sh")
        browser.close()
    subprocess.run(["sh", "corrected.sh", "my photos"], cwd=folder, check=True)
    copied = [str(path.relative_to(folder / "my photos")) for path in sorted((folder / "my photos").rglob("*.jpg"))]
    assert copied == ["blue/0-grey.jpg", "green/1-script> $(touch hit).jpg"]
    assert not (folder / "hit").exists()
