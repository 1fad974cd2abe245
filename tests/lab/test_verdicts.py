import math

import numpy as np
import pytest

from batchnorm.lab.design import CLAIMS
from batchnorm.lab.judging import intervals
from batchnorm.lab.judging._estimates import Difference, Extreme, Level, Ratio
from batchnorm.lab.judging._findings import Effect
from batchnorm.lab.judging._verdicts import Condition, Readings, judge, outcome

READINGS = Readings("it holds", "it does not", "it depends")
ABOVE, AROUND, BELOW = (Ratio(v, v, v - 0.4, v + 0.4) for v in (2.0, 1.0, 0.5))
UNKNOWN = Ratio(0.0, math.inf, 0.0, math.inf)


def verdict(*estimates, **bounds):
    conditions = [
        Condition(Effect(f"effect {n}", e), **(bounds or {"above": 1}))
        for n, e in enumerate(estimates)
    ]
    return judge("C1", "Measured:", conditions, READINGS)


@pytest.mark.parametrize(
    ("estimates", "expected"),
    [
        ([ABOVE], "reproduced"),
        ([AROUND], "cannot be told"),  # not shown is not refuted
        ([BELOW], "contradicted"),
        ([ABOVE, ABOVE], "reproduced"),
        ([BELOW, BELOW], "contradicted"),
        ([ABOVE, BELOW], "mixed"),
        ([ABOVE, BELOW, AROUND], "mixed"),
        ([ABOVE, AROUND], "cannot be told"),
        ([BELOW, AROUND], "cannot be told"),
        ([ABOVE, UNKNOWN], "cannot be told"),
        ([UNKNOWN], "cannot be told"),
        ([None], "cannot be told"),
    ],
)
def test_a_verdict_follows_from_where_the_intervals_lie(estimates, expected):
    found = verdict(*estimates)
    assert found.outcome == expected
    reading = {"reproduced": "it holds", "contradicted": "it does not", "mixed": "it depends"}
    assert found.reading.startswith(reading.get(expected, "The trials of this run cannot tell."))
    assert (found.statement, found.source) == (CLAIMS["C1"].statement, CLAIMS["C1"].source)
    assert [effect.estimate for effect in found.effects] == estimates


@pytest.mark.parametrize("count", [1, 2, 6])
def test_several_conditions_have_to_hold_at_once(count):
    """Each alone would hold by chance once in 20 runs, so the intervals of several are widened."""
    first, second = np.random.default_rng(0).normal(0.5, 0.1, (2, 5))
    alone = intervals.difference(first, second)
    conditions = [Condition(Effect("e", alone), above=0)] * count
    found = judge("C1", "M:", conditions, READINGS, others=[Effect("o", alone)])
    wide = intervals.difference(first, second, confidence=1 - 0.05 / count)
    assert [effect.estimate for effect in found.effects] == [wide] * count + [alone]
    certain = [Condition(Effect("e", Extreme(0.0, 9)), below=1)]
    assert judge("C7", "M:", certain + conditions[:1], READINGS).effects[1].estimate == alone


def test_a_bound_can_lie_on_either_side():
    tiny = Extreme(1e-15, 40)
    assert verdict(tiny, below=1e-9).outcome == "reproduced"
    assert verdict(tiny, above=1e-9).outcome == "contradicted"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.01, 1.05, "supported"),  # small, and there
        (0.99, 1.05, "contradicted"),  # wholly short of what counts
        (0.5, 1.05, "contradicted"),
        (0.5, 0.9, "contradicted"),
        (0.99, 1.2, "cannot be told"),
        (0.5, 3.0, "cannot be told"),
    ],
)
def test_an_interval_wholly_short_of_the_margin_contradicts(low, high, expected):
    middle = math.sqrt(low * high)
    found = Effect("e", Ratio(middle, middle, low, high), above=1, margin=1.1)
    assert found.status == expected
    upside_down = Ratio(1 / middle, 1 / middle, 1 / high, 1 / low)
    assert Effect("e", upside_down, below=1, margin=1 / 1.1).status == expected


def test_without_a_margin_only_the_other_side_contradicts():
    assert Effect("e", Ratio(1, 1, 0.98, 1.05), above=1).status == "cannot be told"
    assert Effect("e", Ratio(1, 1, 0.9, 1.0), above=1).status == "contradicted"


def test_what_cannot_be_told_says_how_far_it_is_told():
    assert verdict(AROUND).reading == "The trials of this run cannot tell."
    words = "Of 3 conditions, 1 supported, and the rest open."
    assert verdict(ABOVE, AROUND, UNKNOWN).reading.endswith(words)
    assert "1 contradicted" in verdict(BELOW, AROUND).reading


@pytest.mark.parametrize("estimates", [[AROUND], [ABOVE, AROUND], [BELOW, AROUND], [None]])
def test_no_words_of_a_study_are_said_of_what_was_not_shown(estimates):
    assert not any(words in verdict(*estimates).reading for words in vars(READINGS).values())


def test_the_rule_says_what_is_calculated():
    several = verdict(ABOVE, AROUND).rule
    assert "“effect 0” lies above 1; “effect 1” lies above 1" in several
    assert "with its whole 97.5 % interval" in several
    assert "Bonferroni" in several
    assert "Bonferroni" not in verdict(ABOVE).rule
    proof = verdict(Extreme(1e-15, 40), below=1e-9).rule
    assert "“effect 0” lies below 1e-9," in proof
    assert "interval" not in proof
    assert "above -1 points" in verdict(Difference(0, 0, 0), above=-0.01).rule
    assert "what is neither cannot be told" in several
    assert "what is neither cannot be told" in verdict(ABOVE).rule
    counts = verdict(ABOVE, above=1, margin=1.1).rule
    assert "lies above 1 (counts from 1.1)" in counts
    assert "short of what counts as an effect" in counts
    assert "below 50%" in verdict(Level(0.1, 0.1, 0.1), below=0.5).rule


def test_what_was_measured_is_told_line_by_line():
    found = judge(
        "C7",
        "Measured:",
        [Condition(Effect("A", ABOVE), above=1)],
        READINGS,
        others=[Effect("B", None)],
        remarks=["And more."],
    )
    assert found.effect == (
        "Measured:",
        "A: 2x (95 % interval 1.6x to 2.4x).",
        "B: no shared seed.",
        "And more.",
    )


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["supported"], "reproduced"),
        (["contradicted"], "contradicted"),
        (["cannot be told", "contradicted", "supported"], "mixed"),
        (["contradicted", "cannot be told"], "cannot be told"),
        ([], "cannot be told"),
    ],
)
def test_the_outcome_of_conditions(statuses, expected):
    assert outcome(statuses) == expected


@pytest.mark.parametrize(
    ("estimate", "words", "brief"),
    [
        (
            intervals.difference([0.9] * 3, [0.4] * 3),
            "50 points (95 % interval 50 to 50)",
            "50 [50, 50]",
        ),
        (intervals.level([0.5, 0.5, 0.5]), "50% (95 % interval 50% to 50%)", "50% [50%, 50%]"),
        (
            Difference(-2e-17, -0.005, 0.01),
            "0 points (95 % interval -0.5 to 1)",
            "0 [-0.5, 1]",
        ),
        (
            Difference(-0.0001, -0.001, 0.0),
            "-0.01 points (95 % interval -0.1 to 0)",
            "-0.01 [-0.1, 0]",
        ),
        (
            intervals.offset([0.9, 0.7], [0.8, 0.6]),
            "0.1 (95 % interval 0.092 to 0.11)",
            "0.1 [0.092, 0.11]",
        ),
        (Extreme(3e-16, 7), "3e-16 (largest of 7 instances)", "3e-16"),
        (
            Ratio(2e7, 2e7, 999.4, 1e77),
            "2.0e7x (95 % interval 999x to 1.0e77x)",
            "2.0e7x [999, 1.0e77]",
        ),
    ],
)
def test_estimates_tell_their_size_and_interval(estimate, words, brief):
    assert (str(estimate), estimate.brief) == (words, brief)
