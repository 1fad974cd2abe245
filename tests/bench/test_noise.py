"""The noise of a machine: counted while a benchmark runs, and said before any ratio."""

import subprocess
import sys
import time

import pytest

from batchnorm import bench
from batchnorm.bench import _noise
from batchnorm.bench._measurements import Benchmark, Measurement
from support.bench_runs import EVEN, busier

QUIET = {"load": "1.0", "cores": 2, "threads": 2, "waited_percent": 1, "stolen_percent": 0}
RECORD = Benchmark(QUIET, {}, EVEN, (), (), ())
BUSY = "Busy machine: these figures are not a comparison"


def timed(*ours):
    even = EVEN[0]
    seconds = {"ours": ours, "torch": tuple(433 * t for t in ours), "copy": ours}
    return Measurement(*(getattr(even, name) for name in FIELDS), seconds)


FIELDS = (
    "group", "case", "shape", "level", "dtype", "layout", "direction", "tensor_bytes",
    "minimal_bytes",
)  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"load": "16.0"}, "16 processes wanted its 2 cores"),
        ({"load": "2.1"}, "2.1 processes wanted"),
        ({"waited_percent": 30}, "waited 30 % of the time for a core"),
        ({"stolen_percent": 12}, "other virtual machines had 12 %"),
        ({"load": "2.0"}, None),
        ({"load": "unknown"}, None),
        ({"load": None, "waited_percent": "much"}, None),
        ({"waited_percent": 60, "threads": 8}, None),  # more threads than cores wait for each other
    ],
)
def test_a_busy_machine_is_known_by_what_it_counted(facts, reason):
    found = bench.headline(busier(RECORD, **facts))
    if reason is None:
        assert found == "Ours is faster than torch in 1 of 1 timed cases."
    else:
        assert found.startswith(BUSY)
        assert reason in found
        assert "faster" not in found


def test_rounds_far_apart_are_noise_whatever_the_machine_says():
    wide = Benchmark({}, {}, (timed(1.0, 1.2, 4.0), timed(1.0, 5.0, 3.0)), (), (), ())
    assert bench.headline(wide).startswith(BUSY)
    assert "433" not in bench.headline(wide)
    even = Benchmark({}, {}, (timed(1.0, 1.1, 1.2),) * 2 + (timed(1.0, 9.0, 2.0),), (), (), ())
    assert bench.headline(even).startswith("Ours is faster")


def test_an_empty_record_compares_nothing():
    assert bench.headline(Benchmark(QUIET | {"load": "16"}, {}, (), (), (), ())) == (
        "Nothing was compared."
    )


@pytest.mark.skipif(_noise.usage().ran == 0, reason="needs the scheduler's counts of Linux")
def test_time_that_others_had_is_counted():
    burn = "import time\nprint(flush=True)\nend = time.time() + 20\nwhile time.time() < end: pass"
    command = [sys.executable, "-c", burn]
    others = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3 * _cores())]
    try:
        for other in others:
            other.stdout.readline()  # it has begun
        before, end = _noise.usage(), time.monotonic() + 1
        while time.monotonic() < end:
            pass
        assert _noise.since(before)[_noise.WAITED] > 20
    finally:
        for other in others:
            other.kill()
            other.communicate()


def _cores():
    from batchnorm._pages import cores

    return cores()


def test_a_system_that_counts_nothing_says_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(_noise, "_THREADS", tmp_path / "none")
    monkeypatch.setattr(_noise, "_SYSTEM", tmp_path / "none")
    assert _noise.usage() == _noise.Usage()
    assert _noise.since(_noise.Usage()) == {}
