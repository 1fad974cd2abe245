"""Deep chain of linear maps: what one gradient step promises, and what it does.

References:
    Goodfellow, Bengio and Courville (2016), "Deep Learning", section 8.7.1.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from batchnorm._pages import number
from batchnorm.lab.design import Arm, Plan, Settings, by_task
from batchnorm.lab.judging import charts, comparison, intervals, summaries, wording
from batchnorm.lab.judging._estimates import Ratio
from batchnorm.lab.judging._figures import Axis, Curves, Table
from batchnorm.lab.judging._findings import Explanation, Findings
from batchnorm.lab.judging._results import Results, Study, TrialResult
from batchnorm.lab.judging._verdicts import Condition, Readings, above, judge
from batchnorm.lab.measurements._chains import step_in_chain
from batchnorm.lab.running._measuring import Measuring

_COUNTS = 1.1  # a ratio of less counts as none


def findings(results: Results) -> Findings:
    """Judge claim C15."""
    deepest, gains = max(results.plan.grid["depth"]), results.plan.grid["gain"]
    verdict = judge(
        "C15",
        f"The first two in chains of {deepest:g} maps that enlarge by {max(gains):g}; the third "
        "over all depths and gains:",
        _conditions(results, {"depth": deepest, "gain": max(gains)}),
        _READINGS,
    )
    return Findings(
        headline=f"{verdict.reading} {_safe_words(results)}",
        explanation=_EXPLANATION,
        verdicts=(verdict,),
        figures=(_safe(results, gains), _orders(results, deepest), _table(results)),
        settings=wording.settings(results, _SETTINGS, "none: an argument"),
        notes=(_PROMISE, *wording.notes(results)),
    )


def _conditions(results: Results, steepest: Settings) -> tuple[Condition, ...]:
    plain, normalized = (comparison.only(results, arm, steepest) for arm in ("plain", "bn"))
    ones = [1.0] * len(plain.trials)
    return (
        above(
            1,
            "Terms of higher order over that of first order, plain",
            intervals.ratio([_higher(t) for t in plain.trials], ones),
        ),
        above(
            1,
            "Error of the promise, plain over normalized",
            comparison.ratio(plain, normalized, _error),
            _COUNTS,
        ),
        above(
            1,
            "Spread of the largest safe rate, plain over normalized",
            _spread(results),
            _COUNTS,
        ),
    )


def _safe_rate(trial: TrialResult) -> float:
    return trial["safe_rate"]


def _error(trial: TrialResult) -> float:
    """Return the error of the promise; infinite when it overflowed."""
    return math.inf if math.isnan(trial["error"]) else trial["error"]


def _higher(trial: TrialResult) -> float:
    """Return how large the terms of higher order are together; infinite when one overflowed."""
    return float(np.nan_to_num(np.linalg.norm(trial.listed("terms")[1:]), nan=math.inf))


def _spread(results: Results) -> Ratio | None:
    """Return how much wider the largest safe rates of plain chains are spread."""
    spreads = (
        {s: max(v) / min(v) for s, v in summaries.by_seed(results, arm, _safe_rate).items()}
        for arm in ("plain", "bn")
    )
    return summaries.ratio(*spreads)


def _safe_words(results: Results) -> str:
    ends = []
    for arm in ("plain", "bn"):
        rates = [s.median(_safe_rate).value for s in comparison.settings(results, arm)]
        ends.append(f"{number(min(rates), 1)} to {number(max(rates), 1)}")
    return f"The largest rate that lowers the loss is {ends[0]} plain and {ends[1]} normalized."


def _safe(results: Results, gains: Sequence[float]) -> Curves:
    curves = [
        replace(curve, label=f"{curve.label}, gain {gain:g}")
        for gain in gains
        for curve in charts.sweep(
            results,
            "depth",
            _safe_rate,
            rank=lambda _: (0.0,),
            where={"gain": gain},
        )
    ]
    return Curves(
        "The largest learning rate that lowers the loss",
        "One step from random weights; median over the seeds, with its interval. The lines of "
        "the plain chains fan out with depth: which rate is right depends on all layers at once.",
        Axis("Depth"),
        Axis("Largest safe learning rate (logarithmic)", log=True),
        tuple(curves),
    )


def _orders(results: Results, depth: float) -> Curves:
    orders = range(1, int(depth) + 1)
    return Curves(
        f"The step of a plain chain of {depth:g} maps, order by order",
        "How large the change of each order in the learning rate is, beside the first order, which "
        "is all that a gradient knows of. Median and range over the seeds.",
        Axis("Order in the learning rate"),
        Axis("Size beside the first order (logarithmic)", log=True),
        tuple(
            charts.listed(results, setting, "terms", orders, f"gain {setting.at['gain']:g}")
            for setting in comparison.settings(results, "plain", {"depth": depth})
        ),
        (1.0,),
    )


def _table(results: Results) -> Table:
    values = {"error": _error, "safe rate": _safe_rate}
    rows = []
    for point in results.plan.points():
        medians = (
            comparison.only(results, arm.name, point).median(value).value
            for arm in results.study.arms
            for value in values.values()
        )
        rows.append((*(f"{v:g}" for v in point.values()), *(number(v, 2) for v in medians)))
    names = (f"{arm.label}: {key}" for arm in results.study.arms for key in values)
    return Table(
        "Every setting",
        "Error: how far the fall of the loss is from the promise, beside it, at the rate "
        f"{results.plan.fixed['rate']:g}. Safe rate: the largest that lowers the loss. Medians.",
        (*results.study.axes.values(), *names),
        tuple(rows),
    )


_SETTINGS = (
    ("Chain", "y = x w1 w2 ... wn, scalars", "matrices of 10x10, the loss quadratic"),
    ("Depth n", "any", "{depth}"),
    ("Gain of a map", "above 1 for the explosion", "{gain}"),
    ("Learning rate", "any", "{rate}, and a search"),
)
_READINGS = Readings(
    reproduced="In a deep plain chain the layers' changes multiply, and a step does something "
    "else than its gradient promised; with batch normalization the same step stays tame.",
    mixed="The explosion and its taming show in some respects and not in others.",
    contradicted="In these chains a step does what its gradient promised, with and without batch "
    "normalization.",
)
_PROMISE = (
    "The promise is the learning rate times the squared norm of the gradient: what the loss would "
    "fall by if it were linear."
)
_EXPLANATION = Explanation(
    done="Chains of linear maps with random weights took one step of gradient descent, and the "
    "fall of the loss was compared with what the gradient had promised. In the normalized chains "
    "each map but the last is followed by batch normalization.",
    see="How the learning rate that is safe depends on depth and on the size of the weights, and "
    "which orders of the step outgrow the first.",
    means="The further a step is from what its gradient promised, the less the gradient says "
    "which learning rate is right. How far the safe rates of plain and of normalized chains are "
    "spread over depths and weights, the verdict says; it is of one step from random weights.",
)
_QUICK = Plan(
    seeds=9,
    grid={"depth": (2, 5, 10, 25), "gain": (0.8, 1.0, 1.25)},
    fixed={"width": 10, "samples": 100, "rate": 0.01},
)

DEEP_CHAIN = Study(
    name="deep-chain",
    title="Does a gradient step do what it promises in a deep chain?",
    question="How do the higher orders of a gradient step grow with depth?",
    claims=("C15",),
    arms=(Arm("plain", "plain", dashed=True), Arm("bn", "BN")),
    axes={"depth": "Depth", "gain": "Gain of a map"},
    work=Measuring(step_in_chain, ("error", "safe_rate", "terms")),
    plans=by_task({"drawn": (_QUICK, replace(_QUICK, seeds=50))}),
    findings=findings,
)
