from itertools import pairwise

import pytest

from batchnorm.bench import Case, _ratio_bars, _ratios, _traffic
from batchnorm.bench._measurements import Benchmark, Measurement, Memory, StepTimes
from batchnorm.bench._ratio_bars import RatioAxis

OURS = (0.001, 0.002, 0.004)


def measurement(case="a", direction="forward", **seconds):
    times = {"ours": OURS, "copy": (0.0005, 0.001, 0.002), **seconds}
    return Measurement(
        "sites", case, (4, 2), "module", "float32", "contiguous", direction, 1000, 3000, times
    )


def record(*measurements):
    return Benchmark({}, {}, measurements, (), (), ())


def test_a_ratio_is_the_median_within_rounds_and_not_of_the_medians():
    # Medians: 0.008 over 0.002 is 4. Within the rounds: 8, 1 and 2.
    row = _ratios.row(measurement(torch=(0.008, 0.002, 0.008)))
    assert row.ratios == {"torch": pytest.approx(2.0)}


def test_times_percentiles_and_bandwidth():
    row = _ratios.row(measurement())
    assert row.milliseconds == pytest.approx(2.0)
    assert (row.low, row.high) == (pytest.approx(1.2), pytest.approx(3.6))
    assert row.gigabytes == pytest.approx(3000 / 0.002 / 1e9)
    # A copy moves 2000 bytes in half the time: 3000 bytes in one are three quarters of its speed.
    assert row.share == pytest.approx(0.75)
    assert row.ratios == {}


def test_tables_are_by_group_and_direction_with_means_and_minima():
    found = _ratios.tables(
        record(
            measurement("a", torch=(0.002, 0.004, 0.008)),
            measurement("a", "backward"),
            measurement("b", torch=(0.0005, 0.001, 0.002), onednn=(0.004, 0.008, 0.016)),
        )
    )
    assert [(t.direction, [r.case for r in t.rows]) for t in found] == [
        ("forward", ["a", "b"]),
        ("backward", ["a"]),
    ]
    assert found[0].peers == ("torch", "onednn")
    assert found[0].means == {"torch": pytest.approx(1.0), "onednn": pytest.approx(4.0)}
    assert found[0].least == {"torch": pytest.approx(0.5), "onednn": pytest.approx(4.0)}
    assert found[1].peers == ()


def test_a_step_is_compared_with_torch():
    step = StepTimes("contiguous", (1,), {"torch": (2.0, 4.0), "fused": (1.0, 2.0)}, {}, 1e-3)
    assert _ratios.step_ratios(step) == {"fused": 2.0}


@pytest.mark.parametrize(
    ("residual", "expected"),
    [
        (False, {"forward": 2, "backward": 3, "forward-backward": 5, "inference": 2}),
        (True, {"forward": 3, "backward": 4, "forward-backward": 7, "inference": 3}),
    ],
)
@pytest.mark.parametrize("rectified", [False, True])
def test_the_least_bytes(rectified, residual, expected):
    case = Case("sites", "a", (4, 2), rectified, residual)
    assert {d: _traffic.minimal_bytes(case, d, 32) // 32 for d in expected} == expected


def test_bars_begin_at_one_and_losses_go_to_the_left():
    axis = RatioAxis([0.3, 7.0])
    win, loss, even = (axis.bar("torch", ratio) for ratio in (7.0, 0.3, 1.0))
    assert win.left == axis.one
    assert loss.left + loss.width == pytest.approx(axis.one)
    assert even.width == 0
    assert (win.loses, loss.loses, even.loses) == (False, True, False)
    assert loss.left >= 0
    assert win.left + win.width <= 100


@pytest.mark.parametrize("low", [0.1, 0.25, 0.9, 1.0])
@pytest.mark.parametrize("high", [1.0, 1.7, 4.9, 12, 30, 99, 433, 2_500, 10_000])
@pytest.mark.parametrize("track", [_ratio_bars.NARROWEST, 900.0])
def test_the_labels_of_an_axis_do_not_touch(low, high, track):
    """Extents in pixels, of labels centred on their ticks, a letter at most seven wide."""
    axis = RatioAxis([low, high])
    ends = [
        (place / 100 * track - 3.5 * len(label), place / 100 * track + 3.5 * len(label))
        for label, place in axis.ticks
    ]
    assert all(left[1] < right[0] for left, right in pairwise(ends)), axis.ticks
    assert ("1", axis.one) in axis.ticks
    assert len(axis.ticks) >= 2
    assert all(0 <= place <= 100 for _, place in axis.ticks)
    for ratio in (low, high):
        assert 0 <= axis.place(ratio) <= 100


def test_memory_is_kept_apart_from_times():
    memory = Memory("sites", "a", "float32", "contiguous", 10, {"ours": 1}, {"ours": 2})
    assert _ratios.tables(Benchmark({}, {}, (), (memory,), (), ())) == ()
