"""A benchmark on small shapes that tests share."""

from dataclasses import replace

import pytest

from batchnorm import bench
from batchnorm._pages import write_atomically
from batchnorm.bench._measurements import Measurement

CASES = (
    bench.Case("sites", "plain", (2, 4, 3, 3)),
    bench.Case("add-relu", "added", (4, 4, 8, 8), rectified=True, residual=True),
    bench.Case("tiny", "dense", (6, 5)),
)
NETWORK = bench.Network(blocks=(1, 1), width=8, classes=10, batch=4, side=32)


@pytest.fixture(scope="session")
def small_bench(tmp_path_factory, worker_id):
    """A benchmark of every direction, layout and dtype on three small cases, and its step.

    Of several test processes the first measures, and leaves it to those that come later.
    """
    base = tmp_path_factory.getbasetemp()
    left = (base if worker_id == "master" else base.parent) / "small-bench.json"
    if left.exists():
        return bench.from_json(left.read_text(encoding="utf-8"))
    settings = bench.Settings(
        CASES, network=NETWORK, peers=("torch", "onednn"), rounds=2, seconds=0.0
    )
    record = bench.run(settings)
    write_atomically(left, bench.to_json(record).encode())
    return record


EVEN = (
    Measurement(
        "sites", "even", (4, 2), "module", "float32", "contiguous", "forward", 1000, 3000,
        {"ours": (1.0, 1.1, 1.2), "torch": (3.0, 3.3, 3.6), "copy": (1.0, 1.0, 1.0)},
    ),
)  # fmt: skip


def busier(record, **facts):
    """Return a record of a machine of which other things are known."""
    return replace(record, machine={**record.machine, **facts})
