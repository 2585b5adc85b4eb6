"""Distillation: students that learn a teacher's probabilities."""
import numpy as np
import pytest
from training.fine_tuning import load_teacher, training_data
from training.index import read_index, write_index
from training_runs import load, record_of, script, successful, train_arguments


@pytest.fixture(scope="module")
def teacher(photos, tmp_path_factory):
    """A model that takes larger photos than the student."""
    output = tmp_path_factory.mktemp("teacher") / "model.keras"
    successful(script("train.py", *train_arguments(photos, output, "--epochs", "2", "--size", "96x72")))
    return output


def test_the_teacher_sees_the_views_that_the_student_sees(photos, teacher):
    train = load(photos, "train")
    network, images = load_teacher(teacher, record_of(teacher), train.photos)

    def epoch(train, teacher=None):
        return [np.concatenate(parts) for parts in zip(*training_data(train, 10, range(1, 2), 1, teacher))]

    views, probabilities, _ = epoch(train, (network, images))
    np.testing.assert_array_equal(views, epoch(train)[0])
    wanted, _ = network.predict(epoch(train._replace(images=images))[0], verbose=0)
    np.testing.assert_allclose(probabilities, wanted, atol=1e-4)


def test_a_student_learns_and_resumes_after_a_kill(photos, teacher, tmp_path, monkeypatch):
    arguments = train_arguments(photos, tmp_path / "model.keras", "--epochs", "2", "--teacher", teacher)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("keras.callbacks.TensorBoard.on_epoch_end", interrupt)
        script("train.py", *arguments)
    assert "resuming after epoch 1" in successful(script("train.py", *arguments)).stdout
    record = record_of(tmp_path / "model.keras")
    assert [row["epoch"] for row in record["history"]] == [1, 2] and record["history"][-1]["val_accuracy"] > 0.8
    assert record["teacher"]["fingerprint"] == record_of(teacher)["fingerprint"]


def interrupt(self, epoch, logs=None):
    raise KeyboardInterrupt


def test_a_teacher_of_other_photos_is_refused(photos, teacher, tmp_path):
    write_index(tmp_path / "index.csv", read_index(photos / "index.csv")[1:])
    flags = ["--teacher", teacher, "--index", tmp_path / "index.csv"]
    done = script("train.py", *train_arguments(photos, tmp_path / "model.keras", *flags))
    assert done.returncode == 1 and "train it again" in done.stderr
