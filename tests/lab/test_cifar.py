import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from batchnorm.errors import DataError
from batchnorm.lab import tasks
from batchnorm.lab.tasks import _cifar

COUNT = 4  # images of a batch; the real ones have 10,000
NAMES = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]
RNG = np.random.default_rng(0)
PARTS = {
    name: (
        RNG.integers(0, 256, (COUNT, 3, 32, 32), dtype=np.uint8),
        RNG.integers(0, 10, COUNT, dtype=np.uint8),
    )
    for name in NAMES
}


def binary(images, labels):
    return b"".join(
        bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=True)
    )


def python(images, labels, names="numpy.core"):
    content = {b"data": images.reshape(len(images), -1), b"labels": labels.tolist()}
    # Protocol 3 names the functions as text, as the files of 2009 do, which know an older name.
    return pickle.dumps(content, protocol=3).replace(b"numpy._core", names.encode())


def write(folder, kind):
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in PARTS.items():
        path = folder / (f"{name}.bin" if kind is binary else name)
        path.write_bytes(kind(*part))
    return folder


def write_arrays(folder, **changes):
    train = [np.concatenate(parts) for parts in zip(*(PARTS[n] for n in NAMES[:5]), strict=True)]
    x_test, y_test = PARTS["test_batch"]
    arrays = {
        "x_train": np.moveaxis(train[0], 1, -1),
        "y_train": train[1][:, None],
        "x_test": np.moveaxis(x_test, 1, -1),
        "y_test": y_test,
    }
    np.savez(folder / "some.npz", **(arrays | changes))
    return folder


@pytest.fixture
def expected(tmp_path):
    return tasks.load("cifar10", write(tmp_path / "expected", binary))


def test_each_colour_is_centred_and_scaled_by_the_training_set(expected):
    pixels = np.concatenate([PARTS[name][0] for name in NAMES[:5]]).astype(np.float64)
    mean, std = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))
    scaled = (pixels - mean[:, None, None]) / std[:, None, None]
    assert expected.shape == (3, 32, 32)
    found = expected.train_x.reshape(-1, 3, 32, 32).double()
    torch.testing.assert_close(found, torch.from_numpy(scaled), rtol=0, atol=1e-5)
    assert expected.test_y.tolist() == PARTS["test_batch"][1].tolist()


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-py"])
@pytest.mark.parametrize("names", ["numpy.core", "numpy._core"])
def test_the_python_version_gives_the_same_without_being_unpickled(
    tmp_path, expected, inner, names
):
    folder = write(tmp_path / inner, lambda *part: python(*part, names=names))
    assert tasks.load("cifar10", tmp_path if inner else folder).digest() == expected.digest()


def test_arrays_of_images_last_give_the_same(tmp_path, expected):
    assert tasks.load("cifar10", write_arrays(tmp_path)).digest() == expected.digest()


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("touched"),)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps(Evil()), "it names .*, which no batch needs"),
        (pickle.dumps({b"data": Evil(), b"labels": []}), "it names"),
        (pickle.dumps(["not a batch"]), "is no batch"),
        (pickle.dumps({b"data": [1, 2], b"labels": [3]}), "its data are not an array"),
        (python(*PARTS[NAMES[0]])[:-30], "is no batch"),
        (python(PARTS[NAMES[0]][0].astype(np.int64), PARTS[NAMES[0]][1]), "not of unsigned bytes"),
        (python(*PARTS[NAMES[0]]).replace(b"labels", b"tables"), "labels"),
        (pickle.dumps({b"data": 0, b"labels": 10**9}), "is no batch"),
        (b"", "is no batch"),
    ],
)
def test_a_hostile_pickle_is_refused_and_calls_nothing(tmp_path, monkeypatch, content, words):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "data", python)
    (tmp_path / "data" / NAMES[0]).write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        tasks.load("cifar10", tmp_path / "data")
    assert NAMES[0] in str(caught.value)
    assert not (tmp_path / "touched").exists()


def test_damaged_and_missing_files_are_named(tmp_path):
    write(tmp_path, binary)
    (tmp_path / "data_batch_3.bin").write_bytes(b"short")
    with pytest.raises(DataError, match=r"data_batch_3\.bin is truncated"):
        tasks.load("cifar10", tmp_path)
    (tmp_path / "data_batch_3.bin").unlink()
    with pytest.raises(DataError, match=r"data_batch_3\.bin cannot be read"):
        tasks.load("cifar10", tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x_train": np.zeros((3, 8, 8, 3), np.uint8)}, "images of 3x32x32 pixels"),
        ({"y_test": np.zeros(COUNT + 1, np.uint8)}, "one label for each of 4 images"),
        ({"y_test": np.full(COUNT, 10)}, "labels from 0 to 9, got 10"),
        ({"x_test": np.zeros((1, 32, 32, 3))}, "needed integers in x_test, got float64"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, changes, words):
    with pytest.raises(DataError, match=words):
        tasks.load("cifar10", write_arrays(tmp_path, **changes))


def test_an_empty_folder_says_what_is_needed(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(DataError, match=r"data_batch_1\.bin .* found no batches and 0 such"):
        tasks.load("cifar10", tmp_path)


def archive():
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as file:
        for name, part in PARTS.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            data = binary(*part)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return content.getvalue()


def test_a_download_is_checked_and_kept(tmp_path, monkeypatch, expected):
    content, sent = archive(), []

    def send(url, timeout):
        sent.append(url)
        return io.BytesIO(content)

    monkeypatch.setattr("urllib.request.urlopen", send)
    monkeypatch.setattr("sklearn.datasets.get_data_home", lambda: str(tmp_path))
    with pytest.raises(DataError, match="needed the archive with the MD5 sum c32a1d4a"):
        tasks.load("cifar10")
    monkeypatch.setattr(_cifar, "MD5", hashlib.md5(content, usedforsecurity=False).hexdigest())
    for _ in range(2):
        assert tasks.load("cifar10").digest() == expected.digest()
    assert len(sent) == 2  # the refused one, and one that was kept


def test_without_network_it_fails_in_one_line(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", fail)
    monkeypatch.setattr("sklearn.datasets.get_data_home", lambda: str(tmp_path))
    with pytest.raises(DataError, match="could not be downloaded from https://") as caught:
        tasks.load("cifar10")
    assert "\n" not in str(caught.value)


def test_the_real_images_are_read(data):
    task = tasks.load("cifar10", data / "cifar10")
    assert len(task.train_x) >= 10_000
    assert torch.bincount(task.test_y).unique().numel() == 1  # as many of each class
    assert float(task.train_x.mean()) == pytest.approx(0, abs=1e-4)
    assert float(task.train_x.std()) == pytest.approx(1, abs=1e-3)
