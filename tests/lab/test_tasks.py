from pathlib import Path

import numpy as np
import pytest
import torch

from batchnorm.errors import DataError, OptionError
from batchnorm.lab import tasks


def test_digits_are_split_the_same_way_every_time_and_by_class():
    first, second = tasks.load("digits"), tasks.load("digits")
    assert first.digest() == second.digest()
    assert len(first.train_x) + len(first.test_x) == 1797
    shares = torch.bincount(first.test_y) / torch.bincount(first.train_y)
    assert (shares - 1 / 3).abs().max() < 0.02
    assert float(first.train_x.max()) == 1.0


def test_the_digest_sees_one_changed_label():
    task = tasks.load("digits")
    before = task.digest()
    task.test_y[0] = (task.test_y[0] + 1) % 10
    assert task.digest() != before


def test_mnist_has_its_known_size_and_classes(data):
    task = tasks.load("mnist", data / "mnist")
    assert task.train_x.shape == (60_000, 784)
    assert torch.bincount(task.test_y).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    assert "60,000 training and 10,000 test images" in task.describe()


@pytest.mark.parametrize(
    ("name", "folder", "words"),
    [("cifar", None, "task out of digits"), ("digits", Path("here"), "reads no folder")],
)
def test_a_wrong_choice_is_refused(name, folder, words):
    with pytest.raises(OptionError, match=words):
        tasks.load(name, folder)


def test_without_network_the_download_fails_in_one_line(monkeypatch):
    def fail(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fail)
    with pytest.raises(DataError, match="could not be downloaded") as caught:
        tasks.load("mnist")
    assert "\n" not in str(caught.value)


def test_the_download_is_split_as_published(monkeypatch):
    def send(name, **_):
        assert name == "mnist_784"
        pixels = np.zeros((70_000, 784), np.float64)
        pixels[60_000:] = 255
        return pixels, np.array(["7"] * 70_000)

    monkeypatch.setattr("sklearn.datasets.fetch_openml", send)
    task = tasks.load("mnist")
    assert float(task.train_x.max()) == 0.0
    assert float(task.test_x.min()) == 1.0
    assert task.test_y.unique().tolist() == [7]
