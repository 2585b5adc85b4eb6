"""Training and conversion on photos of ten colours with a tiny backbone: resuming, bad input, what the files hold."""
import colorsys
import itertools
import json
import resource
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from PIL import Image
from conftest import ROOT
from training.index import Photo, read_index, write_index

TRAIN, CONVERT = ROOT / "scripts/train.py", ROOT / "scripts/convert.py"
RUNTIMES = {name: ROOT / ".venv" / name / "bin/python" for name in ("ai-edge-litert", "tflite-runtime")}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder with index.csv of coloured photos and backbone.keras, a small untrained network."""
    import keras
    from keras import layers
    folder = tmp_path_factory.mktemp("inputs")
    photos, noise = [], np.random.default_rng(0)
    for hue, number in itertools.product(range(10), range(10)):
        split = "train" if number < 6 else "validation" if number < 8 else "test"
        path = folder / f"{split}-{hue}-{number}.jpg"
        colour = np.array(colorsys.hsv_to_rgb(hue / 10, 1, 0.8)) * 255
        Image.fromarray((colour + noise.normal(0, 12, (64, 48, 3))).clip(0, 255).astype(np.uint8)).save(path)
        photos.append(Photo(path, f"hue {hue}", split, f"{hue}-{number}"))
    write_index(folder / "index.csv", photos)
    keras.utils.set_random_seed(3)
    pixels = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 128, offset=-127 / 128)(pixels)
    for channels in (8, 16, 32):
        x = layers.Conv2D(channels, 3, 2, "same", use_bias=False)(x)
        x = layers.ReLU(6)(layers.BatchNormalization()(x))
        x = layers.ReLU(6)(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(x)))
    keras.Model(pixels, x).save(folder / "backbone.keras")
    return folder


def command(inputs, output, *flags, index=None, backbone=None):
    return [str(part) for part in (
        sys.executable, TRAIN, "--index", index or inputs / "index.csv", "--backbone",
        backbone or inputs / "backbone.keras", "--output", output, "--size", "64x48", *flags)]


def run(arguments, **options):
    return subprocess.run([str(part) for part in arguments], capture_output=True, text=True, timeout=300, **options)


def record_of(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("record.json"))


@pytest.fixture(scope="module")
def trained(inputs, tmp_path_factory):
    """A model of three epochs, trained in one go."""
    output = tmp_path_factory.mktemp("trained") / "model.keras"
    done = run(command(inputs, output, "--epochs", "3"))
    assert done.returncode == 0, done.stderr
    return output


def test_the_model_carries_its_record(inputs, trained):
    record = record_of(trained)
    assert len(record["labels"]) == 10 and record["flags"]["epochs"] == 3
    assert [row["epoch"] for row in record["history"]] == [1, 2, 3]
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= set(record["history"][0])
    assert all(doubt["label"] != doubt["suggested"] for doubt in record["suspects"])
    assert not list(trained.parent.rglob("checkpoint*"))
    assert list((trained.parent / "training").glob("events*"))  # for TensorBoard


def test_the_head_is_fitted_to_what_the_trained_backbone_sees(inputs, trained):
    from training.index import load_photos
    from training.head import fit_head
    import keras
    photos = [photo for photo in read_index(inputs / "index.csv") if photo.split == "train"]
    model, record, images = keras.models.load_model(trained), record_of(trained), load_photos(photos, (64, 48))
    targets = np.array([record["labels"].index(photo.label) for photo in photos] * 2)
    seen = model.get_layer("backbone").predict(np.concatenate([images, images[:, :, ::-1]]), verbose=0).mean((1, 2))
    for own, fitted in zip(model.get_layer("logits").get_weights(), fit_head(seen, targets, 10)):
        np.testing.assert_allclose(own * record["temperature"], fitted, atol=0.02 * np.abs(fitted).max())


def test_a_killed_training_goes_on_after_its_last_epoch_and_ends_alike(inputs, trained, tmp_path):
    arguments = command(inputs, tmp_path / "model.keras", "--epochs", "3")
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        for line in process.stdout:
            if line.startswith("epoch 2"):
                process.send_signal(signal.SIGKILL)
                break
    assert not (tmp_path / "model.keras").exists()
    done = run(arguments)
    assert done.returncode == 0 and "going on after epoch " in done.stdout
    straight, resumed = record_of(trained)["history"], record_of(tmp_path / "model.keras")["history"]
    assert [row["val_loss"] for row in resumed] == pytest.approx([row["val_loss"] for row in straight], rel=1e-2)


def test_a_checkpoint_of_other_flags_is_not_gone_on_with(inputs, trained, tmp_path):
    from training.fine_tuning import save
    import keras
    folder = tmp_path / "training"
    folder.mkdir()
    save(keras.models.load_model(trained), record_of(trained) | {"fingerprint": "of another run"},
         folder / "checkpoint.keras")
    done = run(command(inputs, tmp_path / "model.keras", "--epochs", "1"))
    assert done.returncode == 0 and "going on" not in done.stdout


def test_training_goes_on_from_a_model_trained_before_at_another_size(inputs, trained, tmp_path):
    done = run(command(inputs, tmp_path / "model.keras", "--epochs", "0", "--size", "96x72", backbone=trained))
    assert done.returncode == 0, done.stderr
    record, before = record_of(tmp_path / "model.keras"), record_of(trained)
    assert record["backbone"] == before["backbone"] == "backbone" and record["size"] == [96, 72]
    import keras
    networks = [keras.models.load_model(path).get_layer("backbone") for path in (trained, tmp_path / "model.keras")]
    for old, new in zip(*(network.get_weights() for network in networks), strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_test_split_is_never_read(inputs, tmp_path):
    rows = [photo._replace(path=tmp_path / "gone.jpg") if photo.split == "test" else photo
            for photo in read_index(inputs / "index.csv")]
    write_index(tmp_path / "index.csv", rows)
    done = run(command(inputs, tmp_path / "model.keras", "--epochs", "0", index=tmp_path / "index.csv"))
    assert done.returncode == 0, done.stderr
    assert record_of(tmp_path / "model.keras")["history"] == []


def spoilt(inputs, folder, name, content):
    """An index in which one training photo has other content."""
    photos = read_index(inputs / "index.csv")
    position = next(i for i, photo in enumerate(photos) if photo.split == "train")
    (folder / name).write_bytes(content(photos[position].path.read_bytes()))
    photos[position] = photos[position]._replace(path=folder / name)
    write_index(folder / "index.csv", photos)
    return folder / "index.csv"


@pytest.mark.parametrize("content", [lambda data: data[:len(data) // 2], lambda data: b"", lambda data: b"<html>"])
def test_a_photo_that_cannot_be_read_is_named(inputs, tmp_path, content):
    index = spoilt(inputs, tmp_path, "broken photo.jpg", content)
    done = run(command(inputs, tmp_path / "model.keras", "--epochs", "0", index=index))
    assert done.returncode == 1 and "broken photo.jpg" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "model.keras").exists()


@pytest.mark.parametrize("flags, words", [
    (["--lr", "1e30", "--epochs", "2"], "lower the learning rate"),
    (["--size", "300"], "invalid image_size value"),
    (["--size", "8x8"], "invalid image_size value"),
    (["--epochs", "many"], "invalid int value"),
    (["--index", "absent.csv"], "`make data` writes it"),
])
def test_bad_flags_are_named_and_nothing_is_written(inputs, tmp_path, flags, words):
    done = run(command(inputs, tmp_path / "model.keras", *flags))
    assert done.returncode != 0 and words in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "model.keras").exists()


def test_a_full_disk_leaves_no_half_model(inputs, tmp_path):
    # No file may grow past 8 KB: the same error at the same place as on a full disk.
    done = run(command(inputs, tmp_path / "model.keras", "--epochs", "0"),
               preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)))
    assert done.returncode == 1 and "room on the disk" in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def teach(inputs, teachers, output, *flags):
    return [str(part) for part in (sys.executable, ROOT / "scripts/teach.py", "--index", inputs / "index.csv",
                                   "--teachers", *teachers, "--epochs", "3", "--output", output, *flags)]


@pytest.fixture(scope="module")
def teachers(inputs, trained, tmp_path_factory):
    """Two int8 files, the second of a larger input."""
    folder = tmp_path_factory.mktemp("teachers")
    done = run(command(inputs, folder / "larger.keras", "--epochs", "1", "--size", "96x72"))
    assert done.returncode == 0, done.stderr
    for keras_model, name in ((trained, "teacher.tflite"), (folder / "larger.keras", "larger.tflite")):
        done = convert(inputs, keras_model, folder / name)
        assert done.returncode == 0, done.stderr
    return [folder / "teacher.tflite", folder / "larger.tflite"]


@pytest.fixture(scope="module")
def soft_labels(inputs, teachers):
    """What the teachers say about three epochs of views."""
    done = run(teach(inputs, teachers, teachers[0].parent / "soft.npz"))
    assert done.returncode == 0 and "accuracy" in done.stdout, done.stderr
    return teachers[0].parent / "soft.npz"


def test_teachers_speak_about_the_views_that_the_student_sees(inputs, teachers, soft_labels):
    import tensorflow as tf
    from argparse import Namespace
    from training.index import load_photos
    from training.fine_tuning import training_data
    from model import Model
    photos = [photo for photo in read_index(inputs / "index.csv") if photo.split == "train"]
    soft = np.load(soft_labels)["soft"].astype(np.float32)
    args, one_hot = Namespace(seed=1, batch=32), tf.zeros((len(photos), 10))
    wanted = np.zeros((len(photos), 10), np.float32)
    for teacher in map(Model, teachers):
        images = tf.constant(load_photos(photos, teacher.size))
        views = np.concatenate([views for views, _ in training_data(images, one_hot, 1, args)]).astype("uint8")
        for row, view in enumerate(views):  # a quarter each: of two teachers, for the view and for its mirror image
            wanted[row] += (teacher.predict(view) + teacher.predict(np.fliplr(view))) / 4
    np.testing.assert_allclose(soft[1], wanted, atol=1e-3)
    for epoch, side in ((1, 1), (1 + 3, -1), (1 + 6, 1)):  # three epochs of views, then their mirror images, and again
        seen, said = map(np.concatenate, zip(*training_data(images, one_hot, epoch, args, soft)))
        np.testing.assert_array_equal(said, soft[1])
        np.testing.assert_array_equal(np.uint8(seen[:, :, ::side]), views)


def test_a_tenth_of_the_photos_is_turned():
    """A picture whose upper half is white: where the light is afterwards says how it was turned."""
    from training.augmentation import TURN_CHANCE, augment
    images = np.zeros((900, 20, 20, 3), np.uint8)
    images[:, :10] = 255
    light = augment(images, 3).numpy().mean(3)
    down = light[:, :10].mean((1, 2)) - light[:, 10:].mean((1, 2))
    right = np.abs(light[:, :, :10].mean((1, 2)) - light[:, :, 10:].mean((1, 2)))
    sideways, upside_down = (right > np.abs(down)).mean(), ((down < 0) & (right < -down)).mean()
    assert sideways == pytest.approx(TURN_CHANCE * 2 / 3, abs=0.03)
    assert upside_down == pytest.approx(TURN_CHANCE / 3, abs=0.02)


def test_a_view_is_the_same_picture_at_every_size():
    from training.augmentation import augment
    photo = np.random.default_rng(0).uniform(0, 255, (4, 8, 6, 3)).astype(np.float32)
    small, large = (np.kron(photo, np.ones((1, times, times, 1))) for times in (8, 16))
    small, large = augment(small, 5).numpy(), augment(large, 5).numpy()
    halved = large.reshape(4, 64, 2, 48, 2, 3).mean((2, 4))
    assert np.median(np.abs(small - halved)) < 4 and np.median(np.abs(small - halved[::-1])) > 30


def test_a_student_learns_from_its_teachers(inputs, soft_labels, tmp_path):
    arguments = command(inputs, tmp_path / "model.keras", "--epochs", "5", "--soft-labels", soft_labels)
    done = run(arguments)
    assert done.returncode == 0, done.stderr
    record = record_of(tmp_path / "model.keras")
    assert [teacher["size"] for teacher in record["teachers"]] == [[64, 48], [96, 72]]
    assert record["history"][-1]["val_accuracy"] > 0.8


@pytest.mark.parametrize("flags", [["--seed", "2"], ["--batch", "16"], ["--limit", "30"]])
def test_soft_labels_of_other_views_are_refused(inputs, soft_labels, tmp_path, flags):
    done = run(command(inputs, tmp_path / "model.keras", "--soft-labels", soft_labels, *flags))
    assert done.returncode == 1 and "run scripts/teach.py again" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_killed_teachers_go_on_after_their_last_epoch(inputs, teachers, tmp_path):
    arguments = teach(inputs, teachers[:1], tmp_path / "soft.npz", "--epochs", "200")
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (tmp_path / "soft.partial.npz").exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "soft.npz").exists()
    done = run(teach(inputs, teachers[:1], tmp_path / "soft.npz"))
    assert done.returncode == 0 and "going on after epoch " in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["soft.npz"]
    soft = np.load(tmp_path / "soft.npz")["soft"]
    assert soft.shape == (3, 60, 10) and (soft.sum(2) > 0.98).all()


def test_teachers_of_other_photos_are_refused(inputs, teachers, tmp_path):
    write_index(tmp_path / "index.csv", read_index(inputs / "index.csv")[1:])
    done = run(teach(inputs, teachers, tmp_path / "soft.npz", "--index", tmp_path / "index.csv"))
    assert done.returncode == 1 and "train it again" in done.stderr


def convert(inputs, model, output, *flags, index=None):
    return run([sys.executable, CONVERT, "--index", index or inputs / "index.csv", "--model", model, "--output", output,
                *flags])


@pytest.fixture(scope="module")
def converted(inputs, trained, tmp_path_factory):
    """The trained model in its three number formats."""
    folder = tmp_path_factory.mktemp("converted")
    for quantize in ("int8", "float16", "float32"):
        done = convert(inputs, trained, folder / f"{quantize}.tflite", "--quantize", quantize)
        assert done.returncode == 0, done.stderr
    return folder


LOOK = """
import sys, json; sys.path.insert(0, sys.argv[1])
import numpy as np, model
m = model.Model(sys.argv[2])
image = np.random.default_rng(1).integers(0, 256, (*m.size, 3), np.uint8)
details = [m._interpreter.get_input_details()[0]["dtype"], m._interpreter.get_output_details()[0]["dtype"]]
kinds = [str(np.dtype(kind)) for kind in details]
print(json.dumps([kinds, m.labels, m.size, m.predict(image).tolist(), m.record["quantize"]]))
"""


@pytest.mark.parametrize("quantize", ["int8", "float16", "float32"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_format_loads_in_both_runtimes(converted, trained, runtime, quantize):
    if not RUNTIMES[runtime].exists():
        pytest.skip(f"{runtime} has no wheel for this Python; `make test PYTHON=python3.11` tests it")
    done = run([RUNTIMES[runtime], "-c", LOOK, ROOT / "lambda", converted / f"{quantize}.tflite"])
    assert done.returncode == 0, done.stderr
    kinds, labels, size, probabilities, recorded = json.loads(done.stdout)
    assert kinds == ["uint8", "float32"] and size == [64, 48] and recorded == quantize
    assert labels == record_of(trained)["labels"] and sum(probabilities) == pytest.approx(1, abs=0.03)


def test_the_formats_agree_with_keras(inputs, converted, trained):
    import keras
    from training.index import load_photos
    from model import Model
    images = load_photos([photo for photo in read_index(inputs / "index.csv") if photo.split == "validation"], (64, 48))
    wanted = keras.models.load_model(trained).predict(images.astype("float32"), verbose=0)
    for quantize, tolerance in (("float32", 1e-4), ("float16", 1e-2), ("int8", 0.25)):
        model = Model(converted / f"{quantize}.tflite")
        np.testing.assert_allclose(np.stack([model.predict(image) for image in images]), wanted, atol=tolerance)


def test_the_record_of_a_converted_model(converted):
    from model import read_record
    record = read_record(converted / "int8.tflite")
    assert {"created", "dataset", "data_digest", "commit", "backbone", "flags", "quantize", "temperature", "history",
            "suspects", "confidence_threshold"} <= set(record)
    assert 0 < record["confidence_threshold"] < 1 and record["metrics"]["validation"]["agreement"] >= 0.97
    sizes = {path.stem: path.stat().st_size for path in converted.iterdir()}
    assert sizes["int8"] < sizes["float32"]


@pytest.mark.parametrize("quantize", ["int8", "float16", "float32"])
def test_a_file_holds_equal_vectors_once_and_its_weights_are_aligned(converted, quantize):
    from tensorflow.lite.python.schema_py_generated import Model
    content = (converted / f"{quantize}.tflite").read_bytes()
    model = Model.GetRootAs(content)
    buffers = [model.Buffers(number) for number in range(model.BuffersLength())]
    # 4 is the place of `data` among the fields of a buffer, 10 that of `zero_point` in a tensor's quantization.
    places = [buffer._tab.Vector(buffer._tab.Offset(4)) for buffer in buffers if buffer.DataLength()]
    assert places and all(place % 16 == 0 for place in places)
    tensors = [model.Subgraphs(0).Tensors(number) for number in range(model.Subgraphs(0).TensorsLength())]
    scales = [tensor.Quantization() for tensor in tensors if tensor.Quantization()]
    zeros = {(each.ZeroPointLength(), each._tab.Vector(each._tab.Offset(10))) for each in scales
             if each.ZeroPointLength() > 1}
    assert len(zeros) == len({length for length, _ in zeros}) and (len(zeros) > 2 or quantize != "int8")


def test_a_conversion_that_changes_the_answers_writes_nothing(inputs, trained, tmp_path):
    import keras
    from training.fine_tuning import save
    model = keras.models.load_model(trained)
    head = model.get_layer("logits")
    weights, bias = head.get_weights()
    head.set_weights([weights, bias + 3000])  # the same answers, too far from zero for eight bits to tell apart
    save(model, record_of(trained), tmp_path / "model.keras")
    (tmp_path / "model.tflite").write_bytes(b"the model before")
    done = convert(inputs, tmp_path / "model.keras", tmp_path / "model.tflite")
    assert done.returncode == 1 and "try QUANTIZE=float16" in done.stderr
    assert (tmp_path / "model.tflite").read_bytes() == b"the model before"
    assert {path.name for path in tmp_path.iterdir()} == {"model.keras", "model.tflite"}


def test_a_model_of_other_labels_is_refused(inputs, trained, tmp_path):
    photos = [photo for photo in read_index(inputs / "index.csv") if photo.label != "hue 3"]
    write_index(tmp_path / "index.csv", photos)
    done = convert(inputs, trained, tmp_path / "model.tflite", index=tmp_path / "index.csv")
    assert done.returncode == 1 and "was trained on the labels" in done.stderr
