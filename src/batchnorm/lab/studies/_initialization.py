"""Initialization: how much care the initial weights need, over four decades of their scale.

References:
    Ioffe and Szegedy (2015), sections 1 and 3.3: "less careful about initialization".
"""

from dataclasses import replace
from functools import partial

import numpy as np
from torch import nn

from batchnorm.lab.design import Arm, Plan, by_task
from batchnorm.lab.judging import charts, comparison, step_charts, summaries, wording
from batchnorm.lab.judging._findings import Explanation, Findings
from batchnorm.lab.judging._results import Results, Study
from batchnorm.lab.judging._verdicts import Condition, Readings, above, judge
from batchnorm.lab.judging.summaries import Trains
from batchnorm.lab.networks import mlp
from batchnorm.lab.running._training import Training

_COUNTS = 0.1  # of the settings; a smaller gain counts as none
_PAIRS = (("relu", "relu-bn", "ReLU"), ("sigmoid", "sigmoid-bn", "Sigmoid"))


def findings(results: Results) -> Findings:
    """Judge claim C21."""
    target = results.plan.headline_target
    scales = [_decades(results, arm.name, arm.label, target) for arm in results.study.arms]
    verdict = judge(
        "C21",
        "Share of the settings (weight scale and learning rate) that end with at least "
        f"{target:.0%} accuracy, normalized minus plain:",
        _conditions(results, summaries.reaches(target)),
        _READINGS,
        remarks=(_SCALES, *scales),
    )
    best = comparison.best_of_each(results, comparison.fewest_steps(target))
    return Findings(
        headline=verdict.reading,
        summary=(_SCALES, *scales),
        explanation=_EXPLANATION,
        verdicts=(verdict,),
        figures=(
            charts.accuracy_sweep(
                results,
                "scale",
                "Accuracy at the end by the scale of the initial weights",
                "Median over the seeds, with its interval, each at its best learning rate for "
                f"that scale. The dotted line at {target:.0%} is what counts as trained.",
                marks=(target,),
            ),
            step_charts.grids(results, target, "rate", "scale"),
        ),
        settings=wording.settings(results, _SETTINGS, "ImageNet"),
        notes=(wording.SETTLED, *wording.notes(results, best.values())),
    )


def _conditions(results: Results, trains: Trains) -> list[Condition]:
    shares = {arm.name: summaries.shares(results, arm.name, trains) for arm in results.study.arms}
    points = len([*results.plan.points()])
    return [
        above(0, name, summaries.difference(shares[normalized], shares[plain], points), _COUNTS)
        for plain, normalized, name in _PAIRS
    ]


def _decades(results: Results, arm: str, label: str, target: float) -> str:
    """Return at which scales an arm trains, by its median at the best rate."""
    scales = [
        scale
        for scale in results.plan.grid["scale"]
        if any(
            np.median([trial.settled_accuracy for trial in setting.trials]) >= target
            for setting in comparison.settings(results, arm, {"scale": scale})
        )
    ]
    if not scales:
        return f"{label}: none of {len(results.plan.grid['scale'])}."
    return f"{label}: {', '.join(f'{scale:g}' for scale in scales)}."


_SCALES = "Weight scales at which a network trains:"
_SETTINGS = (
    ("Network", "Inception", "3 hidden layers of 100 units, ReLU and sigmoid"),
    ("Initial weights", "not varied", "Gaussian, {scale}"),
    ("Learning rate", "not varied", "{rate}"),
    ("Mini-batch", "32", "{batch}"),
    ("Steps", wording.NOT_STATED, "{steps}"),
)
_READINGS = Readings(
    reproduced="With batch normalization the network trains from initial weights of far more "
    "scales than without.",
    mixed="Normalization widens the range of initial weights that train for one nonlinearity and "
    "not for the other.",
    contradicted="Normalization did not widen the range of initial weights that train.",
)
_EXPLANATION = Explanation(
    done="The same network was started from Gaussian weights whose standard deviation covers four "
    "powers of ten, with and without batch normalization.",
    see="Over which scales of the initial weights each curve stays high. A plain network has a "
    "narrow place where it trains.",
    means="Where a curve is flat, the scale of the initial weights needs no care. Large weights "
    "shrink the gradients of a normalized layer in proportion (the study scale-invariance), so "
    "even there look at the ends.",
)
_DIGITS = Plan(
    seeds=5,
    grid={"scale": (0.001, 0.01, 0.1, 1, 10), "rate": (0.1, 1.0)},
    fixed={"batch": 60},
    steps=300,
    targets=(0.9,),
)
_LONG = replace(
    _DIGITS,
    seeds=9,
    grid={"scale": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10), "rate": (0.03, 0.1, 0.3, 1.0)},
    steps=1_000,
)
_MNIST = (replace(_DIGITS, steps=1_000), replace(_LONG, seeds=5, steps=2_500))

INITIALIZATION = Study(
    name="initialization",
    title="How much care do the initial weights need?",
    question="From which scales of the initial weights does a network train?",
    claims=("C21",),
    arms=(
        Arm("relu", "ReLU", partial(mlp, activation=nn.ReLU), dashed=True),
        Arm("relu-bn", "ReLU + BN", partial(mlp, activation=nn.ReLU, norm="batch")),
        Arm("sigmoid", "sigmoid", partial(mlp, activation=nn.Sigmoid), dashed=True),
        Arm("sigmoid-bn", "sigmoid + BN", partial(mlp, activation=nn.Sigmoid, norm="batch")),
    ),
    axes={"scale": "Weight scale", "rate": "Learning rate"},
    work=Training(),
    plans=by_task(
        {
            "digits": (_DIGITS, _LONG),
            "mnist": _MNIST,
            "fashion-mnist": [replace(plan, targets=(0.8,)) for plan in _MNIST],
        }
    ),
    findings=findings,
)
