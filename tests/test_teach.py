"""Soft labels: teacher probabilities for a student's views, and students that learn from them."""
import argparse

import numpy as np
import pytest
from model import Model
from training.fine_tuning import training_data
from training.index import read_index, write_index
from training.photos import load_split
from training_runs import record_of, script, successful, train_arguments


@pytest.fixture(scope="module")
def teacher(photos, tmp_path_factory):
    """An int8 file that takes larger photos than the student."""
    larger = tmp_path_factory.mktemp("teacher") / "larger.keras"
    output = larger.with_suffix(".tflite")
    successful(script("train.py", *train_arguments(photos, larger, "--epochs", "0", "--size", "96x72")))
    successful(script("convert.py", "--index", photos / "index.csv", "--model", larger, "--output", output))
    return output


def teach_arguments(photos, teacher, output, *flags):
    return ["--index", photos / "index.csv", "--teacher", teacher, "--epochs", "3", "--output", output, *flags]


@pytest.fixture(scope="module")
def soft_labels(photos, teacher):
    """A file with the teacher's probabilities for three epochs of views."""
    output = teacher.parent / "soft.npz"
    done = successful(script("teach.py", *teach_arguments(photos, teacher, output)))
    assert "accuracy" in done.stdout
    return output


def test_the_teacher_sees_the_views_that_the_student_sees(photos, teacher, soft_labels):
    import tensorflow as tf
    rows = [photo for photo in read_index(photos / "index.csv") if photo.split == "train"]
    labels = [f"hue {hue}" for hue in range(10)]
    args, targets = argparse.Namespace(seed=1, batch=32), tf.zeros((len(rows), 10))
    model = Model(teacher)
    images = tf.constant(load_split(rows, labels, model.size).images)
    views = np.concatenate([views for views, *_ in training_data(images, targets, range(1, 2), args)])
    wanted = [(model.predict(view)[0] + model.predict(np.fliplr(view))[0]) / 2 for view in views.astype(np.uint8)]
    np.testing.assert_allclose(np.load(soft_labels)["soft"][1].astype(np.float32), wanted, atol=1e-3)


def test_a_student_learns_from_its_teacher(photos, soft_labels, tmp_path):
    output = tmp_path / "model.keras"
    successful(script("train.py", *train_arguments(photos, output, "--epochs", "5", "--soft-labels", soft_labels)))
    record = record_of(output)
    assert record["teacher"]["size"] == [96, 72]
    assert record["history"][-1]["val_accuracy"] > 0.8


def test_a_teacher_of_other_photos_is_refused(photos, teacher, tmp_path):
    write_index(tmp_path / "index.csv", read_index(photos / "index.csv")[1:])
    arguments = teach_arguments(photos, teacher, tmp_path / "soft.npz", "--index", tmp_path / "index.csv")
    done = script("teach.py", *arguments)
    assert done.returncode == 1 and "train it again" in done.stderr
