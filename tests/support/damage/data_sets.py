"""Small data sets in the formats that the tasks read."""

import gzip
import pickle
import struct

import numpy as np

COUNT = 30


def idx(folder):
    draw = np.random.default_rng(0)
    for part in ("train", "t10k"):
        images = draw.integers(0, 256, (COUNT, 28, 28), np.uint8)
        head = struct.pack(">4B3I", 0, 0, 8, 3, *images.shape)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        head = struct.pack(">4BI", 0, 0, 8, 1, COUNT)
        labels = draw.integers(0, 10, COUNT, np.uint8)
        content = gzip.compress(head + labels.tobytes(), mtime=0)
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(content)


def _names():
    return (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")


def binary(folder):
    draw = np.random.default_rng(0)
    for name in _names():
        rows = draw.integers(0, 256, (COUNT, 3073), np.uint8)
        rows[:, 0] %= 10
        (folder / f"{name}.bin").write_bytes(rows.tobytes())


def pickled(folder):
    draw = np.random.default_rng(0)
    for name in _names():
        rows, labels = draw.integers(0, 256, (COUNT, 3072), np.uint8), [3] * COUNT
        (folder / name).write_bytes(pickle.dumps({b"data": rows, b"labels": labels}, protocol=2))


def arrays(folder, **changes):
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (COUNT, 32, 32, 3), np.uint8)
    labels = draw.integers(0, 10, (COUNT, 1), np.uint8)
    found = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
    np.savez_compressed(folder / "c.npz", **{**found, **changes})


FORMATS = {"mnist": (idx,), "cifar10": (binary, pickled, arrays)}
