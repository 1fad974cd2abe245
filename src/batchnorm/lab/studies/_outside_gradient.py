"""Normalization outside the gradient (section 2 of the paper).

References:
    Ioffe and Szegedy (2015), section 2: a layer adds b and subtracts the mean of u + b; if the
    gradient ignores that the mean depends on b, b grows without bound while the loss stands still.
"""

from dataclasses import replace

import numpy as np

from batchnorm.lab.design import Arm, Plan, by_task
from batchnorm.lab.judging import charts, comparison, intervals, wording
from batchnorm.lab.judging._figures import Axis, Curves
from batchnorm.lab.judging._findings import Explanation, Findings
from batchnorm.lab.judging._results import Results, Study, TrialResult
from batchnorm.lab.judging._verdicts import Condition, Readings, above, below, judge
from batchnorm.lab.measurements._outside import POINTS, train_layer
from batchnorm.lab.running._measuring import Measuring

_MEASURED = {"bias": "Size of b", "loss": "Training loss"}
_TOLERANCE = 1e-9
_PAPER = {"everything": 0, "scaled": 0}


def findings(results: Results) -> Findings:
    """Judge claim C16."""
    verdict = judge(
        "C16",
        "The paper's case: b alone is trained, and the layer is centred.",
        _conditions(results),
        _READINGS,
    )
    return Findings(
        headline=f"{verdict.reading} {_everything(results)}",
        explanation=_EXPLANATION,
        verdicts=(verdict,),
        figures=tuple(
            _course(results, key, everything) for everything in (0, 1) for key in _MEASURED
        ),
        settings=wording.settings(results, _SETTINGS, "none: an argument"),
        notes=(
            "Growth in proportion to the steps doubles b in the second half.",
            *wording.notes(results),
        ),
    )


def _conditions(results: Results) -> tuple[Condition, ...]:
    outside, inside = (comparison.only(results, arm, _PAPER) for arm in ("outside", "inside"))
    bias = np.array([trial.listed("bias") for trial in outside.trials])
    return (
        above(
            1.5,
            "b at the end over b half way there, outside",
            intervals.ratio(bias[:, -1], bias[:, POINTS // 2]),
        ),
        below(
            _TOLERANCE,
            "Relative change of the loss meanwhile, outside",
            comparison.largest(outside.trials, _change),
        ),
        below(
            _TOLERANCE,
            "Size of b, inside",
            comparison.largest(inside.trials, lambda trial: trial.listed("bias").max()),
        ),
    )


def _change(trial: TrialResult) -> float:
    loss = trial.listed("loss")
    return float(np.abs(loss / loss[0] - 1).max())


def _everything(results: Results) -> str:
    """Return what happened when everything was trained, centred and scaled."""
    where = {"everything": 1, "scaled": 1}
    ends = [
        comparison.only(results, arm.name, where).median(lambda t: t.listed("loss")[-1]).value
        for arm in results.study.arms
    ]
    return (
        f"Trained as a whole, the layer ends at a loss of {ends[0]:.3g} with the normalization "
        f"outside and of {ends[1]:.3g} with it inside."
    )


def _course(results: Results, key: str, everything: int) -> Curves:
    fixed = results.plan.fixed
    steps = np.linspace(0, fixed["steps"], POINTS + 1).tolist()
    curves = []
    for scaled, words in ((0, "centred"), (1, "scaled too")):
        for arm in results.study.arms:
            where = {"everything": everything, "scaled": scaled}
            setting = comparison.only(results, arm.name, where)
            curves.append(charts.listed(results, setting, key, steps, f"{arm.label}, {words}"))
    return Curves(
        f"{_MEASURED[key]}, {'everything' if everything else 'b alone'} trained",
        "Median over the seeds; band from the smallest to the largest.",
        Axis("Training steps"),
        Axis(_MEASURED[key]),
        tuple(curves),
    )


_SETTINGS = (
    ("Layer", "u + b, centred", "the same, 100 sigmoid units; also scaled"),
    ("Trained", "b", "b alone; also everything"),
    ("Learning rate", wording.NOT_STATED, "{rate}"),
    ("Steps", wording.NOT_STATED, "{steps}, full batch"),
)
_READINGS = Readings(
    reproduced="When the gradient does not know of the normalization, b grows step by step and "
    "changes nothing; when it does, b has no gradient and stays where it is.",
    mixed="Part of the argument shows and part does not.",
    contradicted="The argument fails: b does not grow, or not without effect, outside the "
    "gradient, and moves inside it.",
)
_EXPLANATION = Explanation(
    done="One hidden layer was normalized in two ways: with the statistics as part of what is "
    "differentiated, and with the statistics taken as constants by the gradient.",
    see="Outside the gradient b grows along a straight line while the loss does not move, because "
    "the next normalization takes away again what each step adds.",
    means="Use a layer that differentiates through its statistics. When you detach them, freeze "
    "them in the middle of training, or normalize between steps, watch for parameters that drift "
    "without effect.",
)
_QUICK = Plan(
    seeds=5,
    grid={"everything": (0, 1), "scaled": (0, 1)},
    fixed={"rate": 1.0, "steps": 200, "examples": 300},
)

OUTSIDE_GRADIENT = Study(
    name="outside-gradient",
    title="Must the gradient know of the normalization?",
    question="What happens when the gradient takes the statistics of a batch for constants?",
    claims=("C16",),
    arms=(Arm("outside", "outside", dashed=True), Arm("inside", "inside")),
    axes={"everything": "Everything is trained", "scaled": "Scaled too"},
    work=Measuring(train_layer, tuple(_MEASURED)),
    plans=by_task(
        {
            "digits": (_QUICK, replace(_QUICK, seeds=20, fixed={**_QUICK.fixed, "steps": 1_000})),
            "mnist": (_QUICK,),
            "fashion-mnist": (_QUICK,),
        }
    ),
    findings=findings,
)
