"""Distillation: students that learn a teacher's features."""
import argparse

import numpy as np
import pytest
from training.distillation import load_teacher
from training.fine_tuning import training_data
from training.index import read_index, write_index
from training.photos import load_split
from training.record import load_model
from training_runs import record_of, script, successful, train_arguments


@pytest.fixture(scope="module")
def teacher(photos, tmp_path_factory):
    """A model that takes larger photos than the student."""
    output = tmp_path_factory.mktemp("teacher") / "model.keras"
    successful(script("train.py", *train_arguments(photos, output, "--epochs", "2", "--size", "96x72")))
    return output


def test_the_teacher_sees_the_views_that_the_student_sees(photos, teacher):
    import tensorflow as tf
    rows = [photo for photo in read_index(photos / "index.csv") if photo.split == "train"]
    args, targets = argparse.Namespace(seed=1, batch=32), tf.zeros((len(rows), 10))
    loaded = load_teacher(teacher, record_of(teacher), rows, channels=32)
    images = tf.constant(load_split(rows, record_of(teacher)["labels"], (64, 48)).images)

    def epoch(images, teacher=None):
        return [np.concatenate(parts) for parts in zip(*training_data(images, targets, range(1, 2), args, teacher))]

    views, features, _ = epoch(images, loaded)
    np.testing.assert_array_equal(views, epoch(images)[0])
    wanted = loaded.network.predict(epoch(tf.constant(loaded.images))[0], verbose=0)
    np.testing.assert_allclose(features, wanted, atol=1e-4)


def test_a_student_learns_the_features_of_its_teacher(photos, teacher, tmp_path):
    import keras
    keras.utils.set_random_seed(4)
    untrained, output = tmp_path / "untrained.keras", tmp_path / "model.keras"
    keras.models.clone_model(load_model(photos / "backbone.keras")).save(untrained)
    flags = ["--epochs", "20", "--patience", "20", "--batch", "8", "--freeze", "0", "--lr", "2e-3"]
    successful(script("train.py", *train_arguments(photos, output, *flags, "--teacher", teacher, backbone=untrained)))
    record = record_of(output)
    assert record["teacher"]["fingerprint"] == record_of(teacher)["fingerprint"]
    assert record["history"][-1]["loss"] < 0.5 * record["history"][0]["loss"]


def test_a_killed_student_resumes(photos, teacher, tmp_path, monkeypatch):
    arguments = train_arguments(photos, tmp_path / "model.keras", "--epochs", "2", "--teacher", teacher)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("keras.callbacks.TensorBoard.on_epoch_end", interrupt)
        script("train.py", *arguments)
    assert "resuming after epoch 1" in successful(script("train.py", *arguments)).stdout
    history = record_of(tmp_path / "model.keras")["history"]
    assert [row["epoch"] for row in history] == [1, 2] and history[-1]["val_accuracy"] > 0.8


def interrupt(self, epoch, logs=None):
    raise KeyboardInterrupt


def test_a_teacher_of_other_photos_is_refused(photos, teacher, tmp_path):
    write_index(tmp_path / "index.csv", read_index(photos / "index.csv")[1:])
    arguments = train_arguments(photos, tmp_path / "model.keras", "--teacher", teacher, "--index", tmp_path / "index.csv")
    done = script("train.py", *arguments)
    assert done.returncode == 1 and "train it again" in done.stderr


def test_a_teacher_with_other_features_is_refused(photos, teacher, tmp_path):
    import keras
    backbone = load_model(photos / "backbone.keras")
    keras.Model(backbone.input, keras.layers.Conv2D(8, 1)(backbone.output)).save(tmp_path / "narrow.keras")
    arguments = train_arguments(photos, tmp_path / "model.keras", "--teacher", teacher, backbone=tmp_path / "narrow.keras")
    done = script("train.py", *arguments)
    assert done.returncode == 1 and "32 features" in done.stderr and "prune.py" in done.stderr
