import math

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
        ([AROUND], "not reproduced"),
        ([BELOW], "not reproduced"),
        ([ABOVE, ABOVE], "reproduced"),
        ([ABOVE, AROUND], "mixed"),
        ([BELOW, AROUND], "not reproduced"),
        ([ABOVE, UNKNOWN], "reproduced"),
        ([UNKNOWN], "not determined"),
        ([None], "not determined"),
    ],
)
def test_a_verdict_follows_from_where_the_intervals_lie(estimates, expected):
    found = verdict(*estimates)
    assert found.outcome == expected
    reading = {"reproduced": "it holds", "not reproduced": "it does not", "mixed": "it depends"}
    assert found.reading == reading.get(expected, "The trials of this run cannot tell.")
    assert (found.statement, found.source) == (CLAIMS["C1"].statement, CLAIMS["C1"].source)
    assert [effect.estimate for effect in found.effects] == estimates


def test_a_bound_can_lie_on_either_side():
    tiny = Extreme(1e-15, 40)
    assert verdict(tiny, below=1e-9).outcome == "reproduced"
    assert verdict(tiny, above=1e-9).outcome == "not reproduced"


def test_the_rule_says_what_is_calculated():
    several = verdict(ABOVE, AROUND).rule
    assert "“effect 0” lies above 1; “effect 1” lies above 1" in several
    assert "with its whole 95 % interval" in several
    proof = verdict(Extreme(1e-15, 40), below=1e-9).rule
    assert "“effect 0” lies below 1e-9," in proof
    assert "interval" not in proof
    assert "above -1 points" in verdict(Difference(0, 0, 0), above=-0.01).rule
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
    ("met", "expected"),
    [
        ([True], "reproduced"),
        ([False], "not reproduced"),
        ([None, False, True], "mixed"),
        ([], "not determined"),
    ],
)
def test_the_outcome_of_conditions(met, expected):
    assert outcome(met) == expected


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
            "0.1 (95 % interval 0.1 to 0.1)",
            "0.1 [0.1, 0.1]",
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
