"""Fine-tuning: which layers it trains, when it stops, and how a killed run resumes."""
import argparse
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from training import record as record_module
from training.fine_tuning import PATIENCE, training_data
from training.head import fit_head
from training.index import read_index, write_index
from training.record import load_model, new_record, save_model
from training_runs import SIZE, load, record_of, script, successful, train_arguments


def test_lower_layers_and_running_statistics_stay_as_they_were(photos, trained):
    import keras
    before = keras.models.load_model(photos / "backbone.keras").layers
    after = keras.models.load_model(trained).get_layer("backbone").layers
    changed = [not all(np.array_equal(*weights) for weights in zip(old.get_weights(), new.get_weights(), strict=True))
               for old, new in zip(before, after, strict=True)]
    for position, layer in enumerate(before):
        upper = position >= 0.4 * len(before)
        assert changed[position] == (upper and "Conv2D" in type(layer).__name__), layer.name


def test_the_head_is_fitted_again_to_the_features_of_the_fine_tuned_backbone(photos, trained):
    model, record, train = load_model(trained), record_of(trained), load(photos, "train")
    both = np.concatenate([train.images, train.images[:, :, ::-1]])
    features = model.get_layer("backbone").predict(both, verbose=0).mean((1, 2))
    wanted = fit_head(features, np.tile(train.targets, 2), np.ones(120))
    for own, fitted in zip(model.get_layer("logits").get_weights(), wanted):
        np.testing.assert_allclose(own * record["temperature"], fitted, atol=0.02 * np.abs(fitted).max())


def test_a_killed_training_resumes_after_its_last_epoch_and_ends_alike(photos, trained, tmp_path):
    arguments = train_arguments(photos, tmp_path / "model.keras", "--epochs", "3")
    command = [str(part) for part in (sys.executable, ROOT / "scripts/train.py", *arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        for line in process.stdout:
            if line.startswith("Epoch 3/3"):
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL and not (tmp_path / "model.keras").exists()
    done = successful(script("train.py", *arguments))
    assert "resuming after epoch 2" in done.stdout and "Epoch 2/3" not in done.stdout
    straight, resumed = record_of(trained)["history"], record_of(tmp_path / "model.keras")["history"]
    for key in ("epoch", "val_loss"):
        assert [row[key] for row in resumed] == pytest.approx([row[key] for row in straight], rel=1e-2), key


def test_a_checkpoint_of_another_recipe_is_not_resumed(photos, trained, tmp_path):
    import keras
    (tmp_path / "training").mkdir()
    record = record_of(trained) | {"fingerprint": "of another recipe"}
    save_model(keras.models.load_model(trained), record, tmp_path / "training/checkpoint.keras")
    done = successful(script("train.py", *train_arguments(photos, tmp_path / "model.keras", "--epochs", "1")))
    assert "resuming" not in done.stdout and len(record_of(tmp_path / "model.keras")["history"]) == 1


@pytest.mark.parametrize("source", ["scripts/train.py", "scripts/training/augmentation.py", "lambda/preprocess.py"])
def test_changed_source_code_is_another_recipe(photos, tmp_path, monkeypatch, source):
    for folder in ("scripts", "lambda"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.setattr(record_module, "ROOT", tmp_path)
    before = fingerprint(photos)
    assert fingerprint(photos) == before
    with open(tmp_path / source, "a") as file:
        file.write("# changed\n")
    assert fingerprint(photos) != before


def fingerprint(photos, **changes):
    args = argparse.Namespace(index=photos / "index.csv", backbone=photos / "backbone.keras", output="model.keras",
                              teacher=None, extra=None, size=SIZE, lr=1e-3)
    vars(args).update(changes)
    return new_record(args, read_index(args.index))["fingerprint"]


def test_changed_flags_photos_backbone_and_teacher_are_other_recipes(photos, tmp_path):
    other = tmp_path / "other file"
    other.write_bytes(b"other content")
    write_index(tmp_path / "index.csv", read_index(photos / "index.csv")[1:])
    variants = [{}, {"lr": 3e-4}, {"index": tmp_path / "index.csv"}, {"backbone": other}, {"teacher": other},
                {"extra": photos / "index.csv"}]
    assert len({fingerprint(photos, **changes) for changes in variants}) == len(variants)
    assert fingerprint(photos, output="another.keras") == fingerprint(photos)


def test_training_ends_early_if_validation_gains_no_more(photos, tmp_path):
    successful(script("train.py", *train_arguments(photos, tmp_path / "model.keras", "--epochs", "9", "--lr", "0")))
    assert len(record_of(tmp_path / "model.keras")["history"]) == 1 + PATIENCE


def test_an_epoch_has_the_same_data_in_every_run_and_other_data_than_the_next(photos):
    train = load(photos, "train")

    def batches(epoch, seed=1):
        data = training_data(train, 10, range(epoch, epoch + 1), seed)
        return [np.concatenate(parts) for parts in zip(*data.as_numpy_iterator())][:2]

    (images, targets), (again, targets_again) = batches(epoch=3), batches(epoch=3)
    np.testing.assert_array_equal(images, again)
    np.testing.assert_array_equal(targets, targets_again)
    for other, _ in (batches(epoch=4), batches(epoch=3, seed=2)):
        assert np.abs(images - other).mean() > 10


def test_a_mixed_example_has_targets_that_sum_to_1_and_the_mean_weight(photos):
    train = load(photos, "train")
    train = train._replace(weights=np.where(train.targets == 0, 0.5, 1).astype(np.float32))
    batches = training_data(train, 10, range(1), seed=1).as_numpy_iterator()
    mixed, weights = map(np.concatenate, list(zip(*batches))[1:])
    np.testing.assert_allclose(mixed.sum(1), 1, atol=1e-5)
    assert weights.min() < 0.6 and weights.max() > 0.99
    np.testing.assert_allclose(weights * mixed[:, 0], 1 - weights, atol=1e-5)  # as label 0 weighs half
