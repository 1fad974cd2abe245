import gzip
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from batchnorm.errors import DataError
from batchnorm.lab import tasks
from batchnorm.lab.tasks import _idx


def encode(array):
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim)
    return head + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=1, max_dims=3)), st.booleans())
def test_what_is_written_is_read(tmp_path_factory, array, packed):
    path = tmp_path_factory.mktemp("idx") / ("file.gz" if packed else "file")
    path.write_bytes(gzip.compress(encode(array)) if packed else encode(array))
    got = _idx.read(path, array.ndim)
    assert got.shape == array.shape
    assert np.array_equal(got, array)


GOOD = encode(np.arange(6, dtype=np.uint8))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is truncated: needed a header of 8 bytes, got 0"),
        (GOOD[:-1], "is truncated: its header declares 6 values"),
        (GOOD + b"x", "is too long: its header declares 6 values"),
        (b"\x00\x00\x0d\x01" + GOOD[4:], "wrong magic number: needed 00000801"),
        (b"\x1f\x8b" + GOOD[2:], "wrong magic number"),
    ],
)
def test_a_hostile_file_is_named(tmp_path, content, words):
    path = tmp_path / "labels"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        _idx.read(path, 1)
    assert str(path) in str(caught.value)


TORN = gzip.compress(GOOD, mtime=0)[:-9]


@pytest.mark.parametrize("content", [b"no gzip", TORN, b""], ids=["other", "torn", "empty"])
def test_a_damaged_archive_is_named(tmp_path, content):
    path = tmp_path / "labels.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"labels\.gz"):
        _idx.read(path, 1)


def test_a_huge_declared_shape_takes_no_memory(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(struct.pack(">BBBB3I", 0, 0, 8, 3, *[2**32 - 1] * 3))
    with pytest.raises(DataError, match="is truncated"):
        _idx.read(path, 3)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte or .*found neither"):
        tasks.load("mnist", tmp_path)


def write_set(folder, train=6, labels=6, side=28, last=9):
    rng = np.random.default_rng(0)
    for prefix, count in (("train", train), ("t10k", 3)):
        images = rng.integers(0, 256, (count, side, side), dtype=np.uint8)
        marks = np.full(labels if prefix == "train" else 3, last, np.uint8)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(encode(images))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(encode(marks))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"labels": 5}, "6 images .* 5 labels"),
        ({"side": 27}, "images of 28x28 pixels"),
        ({"last": 10}, "labels from 0 to 9, got 10"),
        ({"train": 0, "labels": 0}, "one or more images"),
    ],
)
def test_a_set_that_does_not_fit_is_refused(tmp_path, options, words):
    write_set(tmp_path, **options)
    with pytest.raises(DataError, match=words):
        tasks.load("mnist", tmp_path)


def test_mnist_is_binary_and_fashion_is_grey(tmp_path):
    write_set(tmp_path)
    binary, grey = (tasks.load(name, tmp_path).train_x for name in ("mnist", "fashion-mnist"))
    assert set(binary.unique().tolist()) == {0.0, 1.0}
    assert len(grey.unique()) > 200
    assert ((grey > 0.5) == (binary == 1)).all()
