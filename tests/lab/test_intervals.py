import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchnorm.lab.judging import intervals

STEPS = st.lists(
    st.one_of(st.integers(1, 3000).map(float), st.just(math.inf)), min_size=1, max_size=9
)


def exact_interval(values, pick):
    """The percentile interval over every possible draw, each equally likely."""
    draws = sorted(pick(draw) for draw in product(values, repeat=len(values)))
    last = len(draws) - 1
    return draws[int(last * 0.025)], draws[last - int(last * 0.025)]


def test_the_interval_is_that_of_all_draws():
    values = [1.0, 2.0, 5.0, 11.0, 30.0]
    found = intervals.median(values)
    assert (found.low, found.high) == exact_interval(values, np.median)
    assert found.value == 5.0


def test_the_interval_of_a_mean_is_as_wide_as_that_of_a_normal_variable():
    values = np.random.default_rng(0).normal(size=400)
    found = intervals.difference(values, np.zeros(400))
    error = values.std() / math.sqrt(400)  # 1.96 of them are 95 % to both sides, 1.64 are 90 %
    assert (found.high - found.value) / error == pytest.approx(1.96, rel=0.05)
    assert (found.value - found.low) / error == pytest.approx(1.96, rel=0.05)


def test_constant_values_have_no_width():
    found = intervals.median([7.0] * 5)
    assert (found.value, found.low, found.high, found.censored) == (7.0, 7.0, 7.0, 0)


@given(STEPS)
def test_a_median_lies_in_its_interval_and_counts_its_censored(values):
    found = intervals.median(values)
    assert found.low <= found.value <= found.high
    assert found.censored == sum(map(math.isinf, values))
    assert math.isinf(found.value) == (sorted(values)[len(values) // 2] == math.inf)


def test_a_minority_of_censored_trials_leaves_the_median_known():
    found = intervals.median([10.0, 20.0, math.inf])
    assert (found.value, found.censored, found.high) == (20.0, 1, math.inf)


def test_a_ratio_of_paired_seeds_with_one_factor_has_no_width():
    slow = np.array([30.0, 60.0, 90.0, 120.0, 150.0])
    found = intervals.ratio(slow, slow / 3, 3000)
    assert (found.least, found.most, found.low, found.high) == (3.0, 3.0, 3.0, 3.0)
    assert str(found) == "3x (95 % interval 3x to 3x)"


def test_a_censored_numerator_makes_a_lower_bound():
    found = intervals.ratio([math.inf] * 5, [100.0] * 5, 3000)
    assert (found.least, found.most, found.low, found.high) == (30.0, math.inf, 30.0, math.inf)
    assert str(found) == "more than 30x (95 % interval 30x to no upper limit)"
    assert found.above_one


def test_a_censored_denominator_makes_an_upper_bound():
    found = intervals.ratio([100.0] * 5, [math.inf] * 5, 200)
    assert (found.least, found.most, found.high) == (0.0, 0.5, 0.5)
    assert found.brief == "< 0.5x [0x, 0.5x]".replace("0x,", "0,").replace("0.5x]", "0.5]")
    assert found.below_one


def test_two_censored_medians_determine_nothing():
    found = intervals.ratio([math.inf] * 3, [math.inf] * 3, 3000)
    assert "not determined" in str(found)
    assert not found.above_one
    assert not found.below_one


@given(STEPS, st.integers(0, 2**32 - 1))
def test_a_ratio_lies_within_its_bounds(values, seed):
    other = np.random.default_rng(seed).integers(1, 3000, len(values)).astype(float)
    found = intervals.ratio(values, other, 3000)
    assert found.low <= found.least <= found.most <= found.high


def test_the_width_shrinks_as_one_over_root_n():
    rng = np.random.default_rng(3)
    few, many = (intervals.median(rng.normal(100, 10, n)) for n in (100, 1600))
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(4, rel=0.5)


def test_a_difference_is_a_mean_of_pairs():
    found = intervals.difference([0.9, 0.8, 1.0], [0.4, 0.3, 0.5])
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
