"""The method on a clock that only moves when a job says so."""

import gc
from collections import Counter
from itertools import pairwise

import pytest

from batchnorm.bench import _timing


class Bench:
    """Jobs of known cost, and a note of the order in which they ran."""

    def __init__(self, **costs):
        self.now, self.ran = 0.0, []
        self.jobs = {name: self._job(name, cost) for name, cost in costs.items()}

    def _job(self, name, cost):
        costs = iter(cost) if isinstance(cost, tuple) else None

        def run():
            self.now += next(costs) if costs else cost
            self.ran.append(name)

        return run

    def time(self, rounds, seconds):
        return _timing.interleaved(self.jobs, rounds, seconds, clock=lambda: self.now)


def test_each_round_holds_the_time_of_one_call():
    found = Bench(fast=0.001, slow=0.5).time(rounds=4, seconds=0.02)
    assert found["fast"] == pytest.approx((0.001,) * 4)
    assert found["slow"] == (0.5,) * 4


def test_a_turn_lasts_as_asked_and_a_slow_job_is_called_once():
    turn = 20 / 1024
    bench = Bench(fast=1 / 1024, slow=0.5)
    bench.time(rounds=1, seconds=turn)
    before = Counter(bench.ran)
    bench.ran.clear()
    bench.time(rounds=3, seconds=turn)
    turns = Counter(bench.ran)
    assert turns["fast"] - before["fast"] == 2 * 20
    assert turns["slow"] - before["slow"] == 2


def test_the_first_call_is_not_timed():
    costs = (9.0, *(1.0,) * 10)
    assert Bench(cold=costs).time(rounds=2, seconds=0.5)["cold"] == (1.0, 1.0)


def test_a_job_that_takes_no_time_ends_the_search():
    assert Bench(nothing=0.0).time(rounds=1, seconds=0.1) == {"nothing": (0.0,)}


def test_every_round_runs_all_and_the_order_changes_and_is_the_same_in_every_run():
    orders = []
    for _ in range(2):
        bench = Bench(a=1.0, b=1.0, c=1.0)
        bench.time(rounds=8, seconds=0.5)
        turns = bench.ran[-8 * 3 :]
        orders.append([tuple(turns[at : at + 3]) for at in range(0, 24, 3)])
    assert orders[0] == orders[1]
    assert all(sorted(order) == ["a", "b", "c"] for order in orders[0])
    assert any(first != second for first, second in pairwise(orders[0]))
    for block in (orders[0][:3], orders[0][3:6]):
        assert {order[0] for order in block} == {"a", "b", "c"}, "nobody always goes first"


def test_the_collector_is_given_back_even_after_an_error():
    def fail():
        assert not gc.isenabled()
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        _timing.interleaved({"a": fail}, 1, 0.1)
    assert gc.isenabled()
