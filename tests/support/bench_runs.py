"""A benchmark on small shapes that tests share."""

from dataclasses import replace

import pytest

from batchnorm import bench
from batchnorm.bench._measurements import Measurement

CASES = (
    bench.Case("sites", "plain", (2, 4, 3, 3)),
    bench.Case("add-relu", "added", (4, 4, 8, 8), rectified=True, residual=True),
    bench.Case("tiny", "dense", (6, 5)),
)
NETWORK = bench.Network(blocks=(1, 1), width=8, classes=10, batch=4, side=32)


@pytest.fixture(scope="session")
def small_bench():
    """A benchmark of every direction, layout and dtype on three small cases, and its step."""
    settings = bench.Settings(
        CASES, network=NETWORK, peers=("torch", "onednn"), rounds=2, seconds=0.0
    )
    return bench.run(settings)


EVEN = (
    Measurement(
        "sites", "even", (4, 2), "module", "float32", "contiguous", "forward", 1000, 3000,
        {"ours": (1.0, 1.1, 1.2), "torch": (3.0, 3.3, 3.6), "copy": (1.0, 1.0, 1.0)},
    ),
)  # fmt: skip


def busier(record, **facts):
    """Return a record of a machine of which other things are known."""
    return replace(record, machine={**record.machine, **facts})
