import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from batchnorm.lab.judging import intervals

STEPS = st.lists(
    st.one_of(st.integers(1, 3000).map(float), st.just(math.inf)), min_size=1, max_size=9
)
SEEDS, CONFIDENCES = (5, 10), (0.95, 1 - 0.05 / 4)


# ----------------------------------------------------------------- what an interval has to be


def test_the_interval_of_a_difference_is_students():
    first, second = np.random.default_rng(0).uniform(size=(2, 7))
    found = intervals.difference(first, second, confidence=0.9)
    expected = stats.ttest_rel(first, second).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.value == pytest.approx(np.mean(first - second))


def test_the_interval_of_a_share_is_that_of_clopper_and_pearson():
    for hits in range(8):
        found = intervals.share([True] * hits + [False] * (7 - hits), confidence=0.9)
        expected = stats.binomtest(hits, 7).proportion_ci(0.9, "exact")
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
        assert found.value == hits / 7


def test_the_interval_of_a_ratio_is_students_on_logarithms():
    above, below = np.random.default_rng(1).lognormal(size=(2, 6))
    found = intervals.ratio(above, below)
    expected = stats.ttest_rel(np.log(above), np.log(below)).confidence_interval(0.95)
    ends = math.exp(expected.low), math.exp(expected.high)
    assert (found.low, found.high) == pytest.approx(ends)
    assert found.least == found.most == pytest.approx(stats.gmean(above / below))


@pytest.mark.parametrize("seeds", range(1, 30))
def test_the_interval_of_a_median_leaves_out_as_many_as_it_may(seeds):
    found = intervals.median(np.arange(seeds, dtype=float))
    left_out = int(found.low)
    assert found.high == seeds - 1 - left_out
    covered = 1 - 2 * stats.binom.cdf(left_out, seeds, 0.5)
    assert intervals.coverage(seeds) == pytest.approx(covered)
    assert covered >= 0.95 or left_out == 0
    assert 1 - 2 * stats.binom.cdf(left_out + 1, seeds, 0.5) < 0.95


@pytest.mark.parametrize("seeds", [2, 5, 10])
def test_equal_seeds_leave_room_for_another_one(seeds):
    other = 1 - 0.025 ** (1 / seeds)
    same = [0.5] * seeds
    found = intervals.difference(same, [0.4] * seeds, step=0.01)
    assert (found.low, found.high) == pytest.approx((0.1 - 0.01 * other, 0.1 + 0.01 * other))
    for estimate in (
        intervals.difference(same, same),
        intervals.offset(same, same),
        intervals.offset([0.0] * seeds, [0.0] * seeds),
        intervals.level(same),
        intervals.ratio(same, same),
        intervals.share([True] * seeds),
        intervals.share_difference([True] * seeds, [False] * seeds),
        intervals.share_difference([True] * seeds, [True] * seeds),
    ):
        assert estimate.low < estimate.high


def test_five_of_five_is_48_percent_at_least():
    assert str(intervals.share([True] * 5)) == "100% (95 % interval 48% to 100%)"
    assert intervals.share_difference([True] * 5, [False] * 5).low < 0  # too few to be sure
    assert intervals.share_difference([True] * 6, [False] * 6).low > 0


def test_one_seed_alone_tells_nothing():
    one = [0.5]
    difference, ratio = intervals.difference(one, [0.4]), intervals.ratio(one, [0.4])
    assert (difference.low, difference.high) == (-1, 1)
    assert (ratio.low, ratio.high) == (0, math.inf)
    assert "without limit" in str(intervals.offset(one, [0.4]))
    assert intervals.offset(one, [0.4]).brief == "0.1 [-∞, ∞]"


@pytest.mark.parametrize(
    "estimate",
    [
        intervals.difference([0.9, 0.8, 1.0], [0.4, 0.2, 0.5]),
        intervals.offset([9.0, 8.0, 1.0], [0.4, 0.2, 0.5]),
        intervals.level([0.9, 0.8, 0.7]),
        intervals.ratio([9.0, 8.0, math.inf], [0.4, 0.2, 0.5], 20),
        intervals.share([True, False, True]),
        intervals.share_difference([True, False, True], [False] * 3),
    ],
)
def test_more_confidence_takes_more_room_and_is_told(estimate):
    wider = estimate.at(0.99)
    assert wider.low <= estimate.low < estimate.high <= wider.high
    assert (wider.low, wider.high) != (estimate.low, estimate.high)
    assert "(99 % interval" in str(wider)
    assert wider.at(0.95) == estimate


# ----------------------------------------------------------------- how often it holds the truth


def held(make, truth, draws):
    """How often the intervals of draws hold the truth."""
    found = [make(draw) for draw in draws]
    return np.mean([one.low <= truth <= one.high for one in found])


def accuracies(rng, seeds, spread):
    """Accuracies of two arms, each with its own spread and a common part, to an image of 450."""
    common = rng.normal(0.9, 0.01, seeds)
    arms = common + rng.normal(0, [[spread], [spread / 3]], (2, seeds))
    return np.round(arms * 450) / 450


def difference_of_accuracies(rng, seeds, confidence):
    spread = rng.choice([0.001, 0.005, 0.02])
    first, second = accuracies(rng, seeds, spread)
    return intervals.difference(first, second, confidence=confidence)


def offset_of_numbers(rng, seeds, confidence):
    first, second = rng.normal(0, [[2.0], [0.5]], (2, seeds)) + rng.normal(size=seeds)
    return intervals.offset(first, second, confidence=confidence)


def level_of_accuracies(rng, seeds, confidence):
    data = np.round(rng.normal(0.9, 0.01, seeds) * 450) / 450
    return intervals.level(data, confidence=confidence)


def ratio_of_numbers(rng, seeds, confidence):
    common = rng.normal(size=seeds)
    above, below = np.exp(common + rng.normal(0, [[0.6], [0.2]], (2, seeds)))
    return intervals.ratio(above, below, confidence=confidence)


def ratio_of_steps(rng, seeds, confidence):
    """Steps that are seen every fifth step, of which some are censored."""
    steps = np.exp(rng.normal(math.log(100), [[0.5], [0.3]], (2, seeds)))
    seen = np.ceil(steps / 5) * 5
    seen[seen > 150] = math.inf
    gap = math.log(1 + 5 / 40)
    return intervals.ratio(*seen, 150, step=gap, confidence=confidence)


def share_of_settings(rng, seeds, confidence):
    first, second = rng.binomial(10, [[0.8], [0.4]], (2, seeds)) / 10
    return intervals.difference(first, second, step=0.1, confidence=confidence)


KINDS = {
    difference_of_accuracies: 0.0,
    offset_of_numbers: 0.0,
    level_of_accuracies: 0.9,
    ratio_of_numbers: 1.0,
    ratio_of_steps: 1.0,
    share_of_settings: 0.4,
}


def coverage_of(kind, seeds, confidence, count):
    rng = np.random.default_rng([seeds, count])
    return held(lambda _: kind(rng, seeds, confidence), KINDS[kind], range(count))


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_interval_of_95_percent_holds_the_truth(kind, seeds):
    assert coverage_of(kind, seeds, 0.95, 2_000) >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize("confidence", CONFIDENCES)
@pytest.mark.parametrize("seeds", [*SEEDS, 15])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_intervals_hold_the_truth_as_often_as_they_say(kind, seeds, confidence):
    """Within a quarter of their misses: steps and accuracies come in jumps."""
    assert 1 - coverage_of(kind, seeds, confidence, 10_000) <= 1.25 * (1 - confidence)


@pytest.mark.parametrize("confidence", CONFIDENCES)
@pytest.mark.parametrize("seeds", SEEDS)
def test_the_interval_of_a_share_holds_it_whatever_it_is(seeds, confidence):
    """Calculated and not drawn: every number of hits with its chance."""
    hits = np.arange(seeds + 1)
    found = [intervals.share([*[True] * n, *[False] * (seeds - n)], confidence) for n in hits]
    for share in np.linspace(0, 1, 201):
        holds = [one.low - 1e-12 <= share <= one.high + 1e-12 for one in found]
        assert stats.binom.pmf(hits, seeds, share) @ holds >= confidence


@pytest.mark.parametrize("confidence", CONFIDENCES)
@pytest.mark.parametrize("seeds", SEEDS)
def test_the_interval_of_paired_shares_holds_their_difference(seeds, confidence):
    """Calculated over all outcomes: seeds that only one of the arms has, and those of the other."""
    pairs = [(i, j) for i in range(seeds + 1) for j in range(seeds + 1 - i)]
    found = [
        intervals.share_difference(
            [*[True] * i, *[False] * (seeds - i)],
            [*[False] * i, *[True] * j, *[False] * (seeds - i - j)],
            confidence,
        )
        for i, j in pairs
    ]
    low, high = np.array([(one.low - 1e-12, one.high + 1e-12) for one in found]).T
    counts = np.array([(i, j, seeds - i - j) for i, j in pairs])
    for ours in np.linspace(0, 1, 21):
        for theirs in np.linspace(0, 1 - ours, 11):
            chances = [ours, theirs, max(1 - ours - theirs, 0)]
            weights = stats.multinomial.pmf(counts, seeds, np.array(chances) / sum(chances))
            holds = (low <= ours - theirs) & (ours - theirs <= high)
            assert weights @ holds >= confidence


@pytest.mark.parametrize("seeds", SEEDS)
def test_the_interval_of_a_median_holds_it(seeds):
    rng = np.random.default_rng(seeds)
    draws = rng.lognormal(size=(2_000, seeds))
    assert held(intervals.median, 1.0, draws) >= 0.93


# ----------------------------------------------------------------- censored trials


@given(STEPS)
def test_a_median_lies_in_its_interval_and_counts_its_censored(values):
    found = intervals.median(values)
    assert found.low <= found.value <= found.high
    assert found.censored == sum(map(math.isinf, values))
    assert math.isinf(found.value) == (sorted(values)[len(values) // 2] == math.inf)


def test_a_minority_of_censored_trials_leaves_the_median_known():
    found = intervals.median([10.0, 20.0, math.inf])
    assert (found.value, found.censored, found.high) == (20.0, 1, math.inf)


def test_paired_seeds_with_one_factor_have_the_width_of_a_step_alone():
    slow = np.array([30.0, 60.0, 90.0, 120.0, 150.0])
    found = intervals.ratio(slow, slow / 3, 3000, step=0.1)
    room = math.exp(0.1 * (1 - 0.025 ** (1 / 5)))
    ends = (found.least, found.most, found.low, found.high)
    assert ends == pytest.approx((3.0, 3.0, 3.0 / room, 3.0 * room))


def test_a_censored_numerator_makes_a_lower_bound():
    found = intervals.ratio([math.inf] * 5, [100.0] * 5, 3000)
    assert (found.least, found.low) == pytest.approx((30.0, 30.0), rel=0.01)
    assert (found.most, found.high) == (math.inf, math.inf)
    assert str(found) == "more than 30x (95 % interval 29.8x to no upper limit)"
    assert found.above_one


def test_a_censored_denominator_makes_an_upper_bound():
    found = intervals.ratio([100.0] * 5, [math.inf] * 5, 200)
    assert (found.least, found.most) == pytest.approx((0.0, 0.5))
    assert found.brief == "< 0.5x [0, 0.503]"
    assert found.below_one


def test_one_censored_trial_opens_its_side_alone():
    above, below = [200.0, 210.0, 190.0, 205.0, math.inf], [100.0, 95.0, 105.0, 99.0, 101.0]
    found = intervals.ratio(above, below, 300)
    assert 1 < found.low < found.least < found.most == found.high == math.inf
    known = intervals.ratio([*above[:4], 300.0], below)  # the least that it can be
    assert (found.low, found.least) == pytest.approx((known.low, known.least))


def test_two_censored_medians_determine_nothing():
    found = intervals.ratio([math.inf] * 3, [math.inf] * 3, 3000)
    assert "not determined" in str(found)
    assert not found.above_one
    assert not found.below_one


@pytest.mark.parametrize("value", [0.0, math.inf])
def test_a_number_that_is_0_or_overflowed_bounds_a_ratio(value):
    odd, ones = [value] * 5, [1.0] * 5
    over, under = intervals.ratio(odd, ones), intervals.ratio(ones, odd)
    assert (over.low > 1, under.high < 1) == ((True, True) if value else (False, False))
    assert (over.high < 1, under.low > 1) == ((False, False) if value else (True, True))
    once = intervals.ratio([value, 3.0, 3.1, 2.9, 3.0], ones)
    assert (once.low > 1) == (value > 0)  # an overflow is larger than what was seen


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
    assert found.value == pytest.approx(0.5)
    assert found.high - found.low < 0.01
