"""A model file is checked when it is loaded. The error names the file and what is wrong with it."""
import zipfile

import pytest

import colour_model
from model import Model

LABELS = "blue\ngreen\nred\n"


def load(path, labels=LABELS, metadata="{}") -> Model:
    path.write_bytes(colour_model.network(5))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", labels)
        archive.writestr("metadata.json", metadata)
    return Model(path)


@pytest.mark.parametrize("labels, metadata, words", [
    (LABELS, "[]", "not a model"), (LABELS, "{", "not a model"), (b"\xff", "{}", "not a model"),
    ("", "{}", "for 0 labels"),
    (LABELS, '{"confidence_threshold": "0.5"}', "confidence_threshold"),
    (LABELS, '{"familiarity_threshold": 50}', "familiarity_threshold"), (LABELS + "white\n", "{}", "for 4 labels")])
def test_a_file_with_a_wrong_record_is_refused_by_name(labels, metadata, words, tmp_path):
    with pytest.raises(ValueError, match=words) as raised:
        load(tmp_path / "model.tflite", labels, metadata)
    assert str(tmp_path / "model.tflite") in str(raised.value)


def test_a_file_without_thresholds_has_thresholds_of_0(tmp_path):
    model = load(tmp_path / "model.tflite", metadata='{"labels": 7}')  # labels.txt holds them
    assert (model.labels, model.size) == (["blue", "green", "red"], colour_model.SIZE)
    assert (model.record["confidence_threshold"], model.record["familiarity_threshold"]) == (0, 0)


def test_an_answer_is_confident_if_probability_and_familiarity_reach_their_thresholds(tmp_path):
    model = load(tmp_path / "model.tflite", metadata='{"confidence_threshold": 0.5, "familiarity_threshold": 0.7}')
    assert model.is_familiar(0.7) and not model.is_familiar(0.69)
    assert [model.is_confident(*each) for each in ((0.5, 0.7), (0.49, 1.0), (1.0, 0.69))] == [True, False, False]
