"""A benchmark on small shapes that tests share."""

import pytest

from batchnorm import bench

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
