"""The report on a model whose answers are known: it names the colour of a picture."""
import csv
import json
import shutil
import sys
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import colour_model
from training import index as common
import evaluate
from training import metrics

LABELS = ("$a_$ & <i>blue", "green", "red")  # labels are the user's words: nothing in them may be taken for markup
NASTY = "<script>alert(1)$b$ {0}.png"
VOID = {"meta", "link", "img", "source", "br"}


class Page(HTMLParser):
    """The tags with their attributes, the text of each section by its id, and whether every tag is closed in order."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.text, self.sections = [], [], "", {}
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.section = dict(attributes)["id"]
            self.sections[self.section] = SimpleNamespace(text="", images=0)
        if tag == "img" and "section" in self.open:
            self.sections[self.section].images += 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if "section" in self.open:
            self.sections[self.section].text += data


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """30 pictures in one colour each, five of train, two of validation and three of test per label.

    Two test pictures are labelled wrongly: a red one as blue and a grey one, which the model is unsure of, as green.
    """
    folder = tmp_path_factory.mktemp("photos")
    noise = np.random.default_rng(0)
    rows = []
    for label, colour in zip(LABELS, colour_model.COLOURS.values()):
        for number in range(10):
            split = "train" if number < 5 else "validation" if number < 7 else "test"
            name = f"{number}.png"
            if number == 9 and label == LABELS[0]:
                name, colour = NASTY, colour_model.COLOURS["red"]
            if number == 9 and label == "green":
                colour = (140, 128, 120)
            path = folder / split / str(LABELS.index(label)) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.array(colour) + noise.integers(-15, 15, (80, 60, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
            rows.append(common.Photo(path, label, split, f"{label}{number}"))
    common.write_index(folder / "index.csv", rows)
    return folder


def run(index, model, output):
    """evaluate.py in this process, which has TensorFlow loaded already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["evaluate.py", *map(str, ("--index", index, "--model", model, "--output", output))])
        evaluate.main()


@pytest.fixture(scope="module")
def report(photos, tmp_path_factory):
    """The folder of a whole report, with its metrics and its page."""
    folder = tmp_path_factory.mktemp("artifacts")
    history = [{"epoch": epoch, "loss": 1 / epoch, "accuracy": 1 - 1 / epoch, "val_loss": 2 / epoch,
                "val_accuracy": None} for epoch in (1, 2, 3)]
    suspects = [{"path": "data/elsewhere/train/1/3.png", "label": "green", "suggested": "red", "probability": 0.01},
                {"path": "train/1/gone.png", "label": "green", "suggested": "red", "probability": 0.02}]
    model = colour_model.write(folder / "model.tflite", LABELS, confidence_threshold=0.6, history=history,
                               suspects=suspects, dataset="drawn", flags={"epochs": 3, "freeze": "<i>"},
                               data_digest=common.data_digest(common.read_index(photos / "index.csv")))
    output = folder / "report" / "report.html"
    run(photos / "index.csv", model, output)
    html = output.read_text()
    return SimpleNamespace(folder=output.parent, html=html, page=Page(html), model=model,
                           metrics=json.loads((output.parent / "metrics.json").read_text()))


def test_figures_of_the_splits(report):
    splits = report.metrics["splits"]
    assert [(split, row["photos"], row["correct"]) for split, row in splits.items()] == [
        ("train", 15, 15), ("validation", 6, 6), ("test", 9, 7)]
    assert splits["test"]["accuracy"] == 7 / 9
    assert splits["test"]["accuracy_interval"] == list(metrics.wilson(7, 9))
    assert report.metrics["gap"] == {"train": pytest.approx(2 / 9), "validation": pytest.approx(2 / 9)}
    assert splits["train"]["macro_f1"] == 1 and splits["test"]["macro_f1"] == pytest.approx((0.8 + 0.8 + 0.75) / 3)
    # Each clear colour gets about the same probability: train's loss is -log of it, its ECE what is missing to 1.
    probability = np.exp(-splits["train"]["loss"])
    assert 0.9 < probability < 1 and splits["train"]["ece"] == pytest.approx(1 - probability, abs=0.002)


def test_figures_of_the_labels(report):
    assert report.metrics["confusion_matrix"] == [[2, 0, 1], [0, 2, 1], [0, 0, 3]]
    assert report.metrics["per_label"]["red"] == {"precision": 0.6, "recall": 1, "f1": 0.75, "support": 3}
    assert list(report.metrics["per_label"]) == list(LABELS)


def test_figures_of_confidence_and_calibration(report):
    # Eight clear colours reach the threshold, the red one labelled blue among them; the grey one does not.
    assert report.metrics["confident"] == {"threshold": 0.6, "share": 8 / 9, "accuracy": 7 / 8}
    bins = report.metrics["calibration"]
    assert len(bins) == 15 and [row["count"] for row in bins if row["count"]] == [1, 8]
    assert bins[0] == {"count": 0, "confidence": None, "accuracy": None}


def test_figures_of_the_file(report):
    assert report.metrics["file_bytes"] == report.model.stat().st_size
    assert report.metrics["input_size"] == list(colour_model.SIZE)
    latency = report.metrics["latency"]
    assert latency["network_ms"] > 0 and latency["decode_ms"] > 0 and latency["threads"] == 1 and latency["cpu"]
    assert report.metrics["same_data"] is True
    assert report.metrics["record"]["flags"] == {"epochs": 3, "freeze": "<i>"}


def test_page_has_one_heading_and_each_section(report):
    assert [tag for tag, _ in report.page.tags].count("h1") == 1
    links = {attributes["href"][1:] for tag, attributes in report.page.tags if tag == "a"}
    assert links <= set(report.page.sections) and len(links) == 10
    assert "Test accuracy77.8 %7 of 9; 95 %: 45.3 to 93.7 %" in report.page.text.replace("\N{NO-BREAK SPACE}", " ")
    assert "Guo et al." in report.page.sections["calibration"].text


def test_page_is_self_contained(report):
    for tag, attributes in report.page.tags:
        assert tag not in ("script", "iframe", "object", "form")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "srcset", "href"):
                assert value.startswith("#" if tag == "a" else "data:")
    assert "url(" not in report.html and "@import" not in report.html and "http://" not in report.html
    pictures = [attributes["src"][:22] for tag, attributes in report.page.tags if tag == "img"]
    assert pictures.count("data:image/png;base64,") == 2 and len(pictures) == 2 + 3 + 10 + 9 + 2 + 1


def test_page_shows_the_mistakes_most_confident_first(report):
    text = report.page.sections["mistakes"].text
    assert text.index("✗\N{NO-BREAK SPACE}red") < text.index(NASTY) < text.index("is green") and LABELS[0] in text
    assert report.page.sections["mistakes"].images == 2


def test_page_shows_the_photos_whose_label_looks_wrong(report):
    suspects = report.page.sections["suspects"]
    assert "labelled green" in suspects.text and "looks like red" in suspects.text and "train/1/3.png" in suspects.text
    assert suspects.images == 1  # the other one is not in the index any more


@pytest.mark.parametrize("name", ["samples", "predictions", "mistakes", "suspects", "augmented", "curves",
                                  "curves-dark", "calibration", "calibration-dark"])
def test_pictures_lie_beside_the_page(report, name):
    with Image.open(report.folder / f"{name}.png") as image:
        assert image.format == "PNG" and len(set(image.convert("L").resize((50, 50)).tobytes())) > 2


def test_nothing_temporary_stays(report):
    assert len(list(report.folder.iterdir())) == 11


def test_a_bare_record_is_described_in_words(report, photos, tmp_path, capsys):
    output = tmp_path / "report.html"
    shutil.copy(report.folder / "curves.png", tmp_path)  # left by an earlier report
    model = colour_model.write(tmp_path / "model.tflite", LABELS, sharpness=9, data_digest="another")
    index = tmp_path / "index.csv"
    common.write_index(index, [photo for photo in common.read_index(photos / "index.csv")
                               if photo.split == "test" and photo.path.name != "9.png" and photo.path.name != NASTY])
    run(index, model, output)
    page = Page(output.read_text())
    assert "no history" in page.sections["training"].text and not (tmp_path / "curves.png").exists()
    assert "names none" in page.sections["suspects"].text
    assert "every test photo is labelled right" in page.sections["mistakes"].text
    assert "no training photo" in page.sections["augmented"].text
    assert "no confidence threshold" in page.text
    printed = capsys.readouterr().out
    for text in (page.text, printed):
        assert "trained with other photos" in text
    assert str(output) in printed and "100.0 %" in printed


@pytest.mark.parametrize("labels, said", [
    (("green", "red", "yellow"), f"only in the model: yellow; only in the photos: {LABELS[0]}"),
    (LABELS[:2], "only in the photos: red"),
])
def test_a_model_of_other_labels_is_refused(photos, tmp_path, labels, said):
    model = colour_model.write(tmp_path / "model.tflite", labels)
    with pytest.raises(SystemExit, match="different labels") as error:
        run(photos / "index.csv", model, tmp_path / "report" / "report.html")
    assert said in str(error.value) and not (tmp_path / "report").exists()


def gone(path):
    path.unlink()


def cut(path):
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize("damage, said", [(gone, "No such file"), (cut, "is the file complete")])
def test_a_photo_that_is_gone_or_broken_is_named(photos, tmp_path, damage, said):
    shutil.copytree(photos, tmp_path / "photos")
    damage(tmp_path / "photos" / "train" / "1" / "2.png")
    model = colour_model.write(tmp_path / "model.tflite", LABELS)
    with pytest.raises(SystemExit, match="train/1/2.png") as error:
        run(tmp_path / "photos" / "index.csv", model, tmp_path / "report.html")
    assert said in str(error.value) and "make data" in str(error.value) and not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("content", [None, b"", b"not a model"], ids=["missing", "empty", "text"])
def test_a_file_that_is_no_model_is_refused(photos, tmp_path, content):
    if content is not None:
        (tmp_path / "model.tflite").write_bytes(content)
    with pytest.raises(SystemExit, match="can't read the model .*make model.tflite"):
        run(photos / "index.csv", tmp_path / "model.tflite", tmp_path / "report.html")


def test_an_index_without_test_photos_is_refused(photos, tmp_path):
    with open(tmp_path / "index.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(common.Photo._fields)
        writer.writerows([photos / "train" / "0" / "0.png", label, "train", "0"] for label in LABELS)
    model = colour_model.write(tmp_path / "model.tflite", LABELS)
    with pytest.raises(SystemExit, match="no test photo"):
        run(tmp_path / "index.csv", model, tmp_path / "report.html")
