"""Dropout and batch normalization: does the one make the other superfluous?

References:
    Ioffe and Szegedy (2015), sections 3.4 and 4.2.1.
"""

from dataclasses import replace
from functools import partial

from torch import nn

from batchnorm.lab.design import Arm, Plan, by_task
from batchnorm.lab.judging import charts, comparison, wording
from batchnorm.lab.judging._estimates import Difference
from batchnorm.lab.judging._figures import Bars
from batchnorm.lab.judging._findings import Effect, Explanation, Findings
from batchnorm.lab.judging._results import Results, Study
from batchnorm.lab.judging._verdicts import Condition, Readings, above, judge
from batchnorm.lab.judging.comparison import Setting
from batchnorm.lab.networks import mlp
from batchnorm.lab.running._training import Training

_HEAVY = 0.4
_COUNTS = 0.005  # half a point of accuracy; less counts as none


def findings(results: Results) -> Findings:
    """Judge claim C5."""
    sizes = results.plan.grid["train"]
    verdict = judge(
        "C5",
        "Accuracy on the test set at the end, each at its best learning rate:",
        [condition for size in sizes for condition in _conditions(results, size)],
        _READINGS,
        others=[
            Effect(
                f"{size:g} examples, plain: no dropout minus dropout of {_HEAVY:.0%}",
                _difference(results, size, ("plain", 0), ("plain", _HEAVY)),
            )
            for size in sizes
        ],
    )
    return Findings(
        headline=verdict.reading,
        explanation=_EXPLANATION,
        verdicts=(verdict,),
        figures=tuple(_bars(results, size) for size in sizes),
        settings=wording.settings(results, _SETTINGS, "ImageNet"),
        notes=wording.notes(results, rule=wording.MOST_ACCURATE),
    )


def _conditions(results: Results, size: float) -> tuple[Condition, Condition]:
    return (
        above(
            0,
            f"{size:g} examples, no dropout: normalized minus plain",
            _difference(results, size, ("bn", 0), ("plain", 0)),
            _COUNTS,
        ),
        above(
            0,
            f"{size:g} examples, normalized: no dropout minus dropout of {_HEAVY:.0%}",
            _difference(results, size, ("bn", 0), ("bn", _HEAVY)),
            _COUNTS,
        ),
    )


def _best(results: Results, arm: str, size: float, dropout: float) -> Setting:
    where = {"train": size, "dropout": dropout}
    return comparison.best(results, arm, comparison.most_accurate, where)


def _difference(
    results: Results, size: float, first: tuple[str, float], second: tuple[str, float]
) -> Difference | None:
    """Return by how much more accurate the first is, an arm and its dropout, than the second."""
    ours, theirs = (
        comparison.picked_elsewhere(
            results, arm, comparison.most_accurate, {"train": size, "dropout": dropout}
        )
        for arm, dropout in (first, second)
    )
    return comparison.accuracy_difference(ours, theirs)


def _bars(results: Results, size: float) -> Bars:
    return charts.bars(
        results,
        [
            (f"dropout {share:.0%}", partial(_best, results, size=size, dropout=share))
            for share in results.plan.grid["dropout"]
        ],
        lambda trial: trial.final_accuracy,
        f"Accuracy by dropout, {size:,.0f} training examples",
        "Median over the seeds, with its interval, each at its best learning rate. The axis does "
        "not start at zero.",
        zoomed=True,
    )


_SETTINGS = (
    ("Network", "Inception", "3 hidden layers of 100 ReLU units"),
    ("Dropout", "40 % plain, 5 to 10 % or none with BN", "{dropout}"),
    ("Training examples", "1.2 million", "{train}"),
    ("Learning rate", wording.NOT_STATED, "{rate}"),
    ("Mini-batch", "32", "{batch}"),
    ("Steps", wording.NOT_STATED, "{steps}"),
)


_READINGS = Readings(
    reproduced="Batch normalization did what dropout is for: it generalizes better than the plain "
    "network, and heavy dropout on top of it costs accuracy.",
    mixed="Batch normalization takes dropout's place in some respects, and clearly not in others.",
    contradicted="Batch normalization did not take dropout's place: it generalizes no better than "
    "the plain network, and heavy dropout on top of it costs nothing.",
)
_EXPLANATION = Explanation(
    done="The same network was trained on few and on many examples, with and without batch "
    "normalization, and with no, little and heavy dropout.",
    see="Whether the normalized bars are higher without dropout, and whether dropout still raises "
    "them.",
    means="After adding batch normalization, try less dropout or none, and keep what does better "
    "on your data: how much regularization is needed hangs on the number of examples.",
)
_DIGITS = Plan(
    seeds=10,
    grid={"train": (150, 1_347), "dropout": (0, 0.1, _HEAVY), "rate": (0.1, 0.3)},
    fixed={"batch": 60},
    steps=400,
)
_LONG = replace(_DIGITS, seeds=15, steps=1_000)
_MNIST = replace(_DIGITS, grid={**_DIGITS.grid, "train": (1_000, 60_000)}, steps=1_000)
_IMAGES = (_MNIST, replace(_MNIST, seeds=9, steps=5_000))

REGULARIZATION = Study(
    name="regularization",
    title="Does batch normalization take the place of dropout?",
    question="Is dropout still of use in a network with batch normalization?",
    claims=("C5",),
    arms=(
        Arm("plain", "plain", partial(mlp, activation=nn.ReLU), dashed=True),
        Arm("bn", "BN", partial(mlp, activation=nn.ReLU, norm="batch")),
    ),
    axes={"train": "Training examples", "dropout": "Dropout", "rate": "Learning rate"},
    work=Training(),
    plans=by_task({"digits": (_DIGITS, _LONG), "mnist": _IMAGES, "fashion-mnist": _IMAGES}),
    findings=findings,
)
