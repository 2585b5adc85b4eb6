"""The report on a model whose answers are known, as it names the colour of a picture."""
import json
import shutil
from collections import Counter, defaultdict
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import colour_model
from report import figures
from training.index import Photo, data_digest, read_index, write_index
from training_runs import script, successful

LABELS = ("$a_$ & <i>blue", "green", "red")  # users choose the labels, so none of this may be read as markup
HOSTILE_NAME = "<script>alert(1)$b$ {{ 0 }} ' .png"
VOID_TAGS = {"meta", "link", "img"}


class Page(HTMLParser):
    """The tags with their attributes; the text and the number of images of each section, by its id."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.section, self.text, self.images = [], [], "", defaultdict(str), Counter()
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID_TAGS:
            self.open.append(tag)
        if tag == "section":
            self.section = dict(attributes)["id"]
        if tag == "img":
            self.images[self.section] += 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text[self.section] += data


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """The index of 30 pictures in one colour each: five of train, two of validation and three of test per label.

    Two test pictures have wrong labels: a red one is labelled blue, and a grey one, which confuses the model, green.
    """
    folder = tmp_path_factory.mktemp("photos")
    noise = np.random.default_rng(0)
    photos = []
    for label, colour in zip(LABELS, colour_model.COLOURS.values()):
        for number in range(10):
            split = "train" if number < 5 else "validation" if number < 7 else "test"
            name = f"{number}.png"
            if number == 9 and label == LABELS[0]:
                name, colour = HOSTILE_NAME, colour_model.COLOURS["red"]
            if number == 9 and label == "green":
                colour = (140, 128, 120)
            path = folder / split / str(LABELS.index(label)) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.array(colour) + noise.integers(-15, 15, (80, 60, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
            photos.append(Photo(path, label, split, f"{label}{number}"))
    write_index(folder / "index.csv", photos)
    return folder / "index.csv"


def run(index, model, output, *flags):
    return script("evaluate.py", "--index", index, "--model", model, "--output", output, *flags)


@pytest.fixture(scope="module")
def report(index, tmp_path_factory):
    """A complete report: its folder, metrics and page. The extra photos are one red and one green one, both "red"."""
    folder = tmp_path_factory.mktemp("artifacts")
    photos = read_index(index)
    worn = [photo._replace(label="red") for photo in photos if photo.path.name == "5.png" and photo.label != LABELS[0]]
    (folder / "worn").mkdir()
    write_index(folder / "worn" / "index.csv", worn + [photo for photo in photos if photo.split == "train"])
    history = [{"epoch": epoch, "loss": 1 / epoch, "accuracy": 1 - 1 / epoch, "val_loss": 2 / epoch,
                "val_accuracy": None} for epoch in (1, 2, 3)]
    suspects = [{"path": "data/elsewhere/train/1/3.png", "label": "green", "suggested": "red", "probability": 0.01},
                {"path": "train/1/gone.png", "label": "green", "suggested": "red", "probability": 0.02}]
    model = colour_model.write(folder / "model.tflite", LABELS, confidence_threshold=0.6, familiarity_threshold=0.7,
                               history=history, suspects=suspects, dataset="drawn",
                               flags={"epochs": 3, "freeze": "<i>"}, data_digest=data_digest(photos))
    output = folder / "report" / "report.html"
    successful(run(index, model, output, "--extra", folder / "worn" / "index.csv"))
    return SimpleNamespace(folder=output.parent, page=Page(output.read_text()), html=output.read_text(), model=model,
                           metrics=json.loads((output.parent / "metrics.json").read_text()))


def test_metrics_hold_the_figures_of_each_split(report):
    splits = report.metrics["splits"]
    assert [(split, row["photos"], row["correct"]) for split, row in splits.items()] == [
        ("train", 15, 15), ("validation", 6, 6), ("test", 9, 7), ("worn validation", 2, 1)]
    assert splits["test"]["accuracy"] == 7 / 9
    assert splits["test"]["accuracy_interval"] == pytest.approx([0.4526, 0.9368], abs=1e-4)
    assert splits["train"]["macro_f1"] == 1 and splits["test"]["macro_f1"] == pytest.approx((0.8 + 0.8 + 0.75) / 3)
    # All clear colours get about the same probability. The loss is its negative log, the ECE its distance from 1.
    probability = np.exp(-splits["train"]["loss"])
    assert 0.9 < probability < 1 and splits["train"]["ece"] == pytest.approx(1 - probability, abs=0.002)


def test_metrics_hold_the_figures_of_each_label_and_the_calibration_on_test(report):
    assert report.metrics["confusion_matrix"] == [[2, 0, 1], [0, 2, 1], [0, 0, 3]]
    assert report.metrics["per_label"]["red"] == {"precision": 0.6, "recall": 1, "f1-score": 0.75, "support": 3}
    assert list(report.metrics["per_label"]) == list(LABELS)
    calibration = report.metrics["splits"]["test"]["calibration"]
    assert len(calibration["photos"]) == 15 and calibration["photos"][-1] == 8 and sum(calibration["photos"]) == 9
    assert calibration["correct"][-1] == 7 and sum(calibration["correct"]) == 7


def test_metrics_hold_the_confident_and_familiar_share_of_each_split(report):
    shares = {split: [row[name] for name in ("familiar", "confident", "confident_accuracy", "confident_and_wrong")]
              for split, row in report.metrics["splits"].items()}
    # In test, eight clear colours reach both thresholds, one of them with a wrong label; the grey picture reaches none.
    assert shares == {"train": [1, 1, 1, 0], "validation": [1, 1, 1, 0], "test": [8 / 9, 8 / 9, 7 / 8, 1 / 9],
                      "worn validation": [1, 1, 1 / 2, 1 / 2]}


def test_the_accuracy_of_confident_answers_is_missing_where_none_is_confident():
    row = figures.summarize(np.array([[0.9, 0.1, 0]]), np.array([0]), np.array([True]), np.array([False]))
    assert row["confident"] == 0 and row["confident_accuracy"] is None


def test_metrics_describe_the_model(report):
    assert report.metrics["file_bytes"] == report.model.stat().st_size
    assert report.metrics["input_size"] == list(colour_model.SIZE)
    assert report.metrics["same_data"] is True
    assert report.metrics["record"]["flags"] == {"epochs": 3, "freeze": "<i>"}


def test_the_page_links_to_its_sections(report):
    assert [tag for tag, _ in report.page.tags].count("h1") == 1
    links = {attributes["href"][1:] for tag, attributes in report.page.tags if tag == "a"}
    assert links <= report.page.text.keys() and len(links) == 13


def test_the_page_shows_the_figures(report):
    text = " ".join("".join(report.page.text.values()).split())
    assert "Test accuracy77.8 %7 of 9 photos; 95 % interval: 45.3 to 93.7 %" in text
    assert "a probability of at least 60.0 % and a familiarity of at least 0.70." in text
    assert "test88.9 %88.9 %87.5 %11.1 % worn validation100.0 %100.0 %50.0 %50.0 %" in text
    assert '"freeze": "<i>"' in text


def test_the_page_is_self_contained(report):
    for tag, attributes in report.page.tags:
        assert tag not in ("script", "iframe", "object", "form")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href"):
                assert value.startswith("#" if tag == "a" else "data:")
    assert "url(" not in report.html and "@import" not in report.html and "http://" not in report.html
    assert report.page.images == {
        "calibration": 1, "training": 1, "predictions": 9, "mistakes": 2, "unfamiliar": 9, "outliers": 10,
        "suspects": 1, "samples": 3, "augmented": 10}


@pytest.mark.parametrize("section, words", [
    ("mistakes", ["✗ red", f"actually {LABELS[0]}", HOSTILE_NAME, "actually green"]),
    ("unfamiliar", ["familiarity 0.6", "test/1/9.png", "familiarity 0.9"]),
])
def test_the_page_shows_the_most_confident_mistakes_and_the_least_familiar_photos_first(report, section, words):
    places = [report.page.text[section].index(each) for each in words]
    assert places == sorted(places)


def test_the_page_shows_suspects_that_the_index_still_lists(report):
    suspects = report.page.text["suspects"]
    assert "labelled green" in suspects and "looks like red" in suspects and "train/1/3.png" in suspects
    assert "gone.png" not in suspects


def test_the_charts_are_beside_the_page_and_nothing_temporary_is_left(report):
    charts = ["calibration.png", "curves.png"]
    assert sorted(path.name for path in report.folder.iterdir()) == [*charts, "metrics.json", "report.html"]
    for name in charts:
        with Image.open(report.folder / name) as image:
            assert len(set(image.convert("L").resize((50, 50)).tobytes())) > 2, f"{name} is blank"


def test_the_page_says_in_words_what_is_missing(report, index, tmp_path):
    shutil.copy(report.folder / "curves.png", tmp_path)  # from an earlier report
    model = colour_model.write(tmp_path / "model.tflite", LABELS, sharpness=9, data_digest="another")
    write_index(tmp_path / "index.csv", [photo for photo in read_index(index) if photo.split == "test"
                                         and photo.path.name not in ("9.png", HOSTILE_NAME)])
    output = tmp_path / "report.html"
    done = successful(run(tmp_path / "index.csv", model, output, "--extra", tmp_path / "index.csv"))
    text, printed = Page(output.read_text()).text, done.stdout
    for section, words in [("training", "no training history"), ("suspects", "lists none"),
                           ("mistakes", "every test photo is classified correctly"),
                           ("samples", "no training photos"), ("outliers", "no training photos")]:
        assert words in text[section]
    assert not (tmp_path / "curves.png").exists()
    assert str(output) in printed and "100.0 % of 6 photos" in printed
    assert "validation" not in printed  # the extra index lists no validation photos
    for said in ("".join(text.values()), printed):
        assert "trained with other photos" in said


def refusal(index, folder, *flags) -> str:
    """The message with which the script ends. It writes no report."""
    model = colour_model.write(folder / "model.tflite", LABELS)
    done = run(index, model, folder / "report" / "report.html", *flags)
    assert done.returncode == 1 and not (folder / "report").exists()
    return done.stderr


@pytest.mark.parametrize("change, message", [
    (lambda photos: [photo for photo in photos if photo.split != "test"], "no test photos"),
    (lambda photos: [*photos, photos[0]._replace(path=Path("/gone.png"))], "/gone.png (No such file or directory); "),
    (lambda photos: [*photos, photos[0]._replace(label="scarf")], f"{', '.join(LABELS)}, but the photos have"),
])
def test_an_index_that_can_not_be_measured_is_refused(index, tmp_path, change, message):
    write_index(tmp_path / "index.csv", change(read_index(index)))
    assert message in refusal(tmp_path / "index.csv", tmp_path)


def test_an_extra_index_with_other_labels_is_refused(index, tmp_path):
    write_index(tmp_path / "index.csv", [read_index(index)[0]._replace(split="validation", label="scarf")])
    assert "red, scarf" in refusal(index, tmp_path, "--extra", tmp_path / "index.csv")
