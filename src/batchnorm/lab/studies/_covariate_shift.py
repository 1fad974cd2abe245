"""Internal covariate shift: does batch normalization reduce it?

References:
    Santurkar et al. (2018), "How Does Batch Normalization Help Optimization?", section 2.2,
    Definition 2.1 and figure 3.
"""

import math
from itertools import zip_longest

import numpy as np

from batchnorm.lab.judging import comparison, wording
from batchnorm.lab.judging._figures import Axis, Figure, Table
from batchnorm.lab.judging._findings import Effect, Explanation, Findings
from batchnorm.lab.judging._results import Results, Study
from batchnorm.lab.judging._verdicts import Condition, Readings, judge
from batchnorm.lab.judging.comparison import Setting
from batchnorm.lab.probes import Shift
from batchnorm.lab.running._training import Training
from batchnorm.lab.studies import _after_santurkar as shared

_LESS, _STRAIGHTER = 0.9, 0.05


def findings(results: Results) -> Findings:
    """Judge claim C8."""
    rates, decisive = results.plan.grid["rate"], shared.decisive(results)
    conditions = [one for rate in decisive for one in _conditions(results, rate)]
    others = [
        one.effect for rate in rates if rate not in decisive for one in _conditions(results, rate)
    ]
    relative = [
        Effect(
            f"Rate {rate:g}: distance relative to the gradient, normalized over plain",
            comparison.ratio(*_swapped(results, rate), shared.over_training("relative")),
        )
        for rate in rates
    ]
    verdict = judge(
        "C8",
        "At equal learning rates, the median over the layers and over a training, of the gradient "
        "of a layer before and after the layers below it took their step:",
        conditions,
        _READINGS,
        others=(*others, *relative),
    )
    return Findings(
        headline=f"{verdict.reading} At the rate {decisive[0]:g} the gradient of a layer moves "
        f"{conditions[0].effect.estimate} as far in the normalized network as in the plain one.",
        explanation=_EXPLANATION,
        verdicts=(verdict,),
        figures=(
            *(figure for rate in shared.ordered(results) for figure in _figures(results, rate)),
            _by_layer(results, rates),
        ),
        settings=shared.settings(
            results, ("Step of the lower layers", "that of training", "the same, on the same batch")
        ),
        summary=shared.ends(results),
        notes=(*shared.untrained(results), *wording.notes(results)),
    )


def _swapped(results: Results, rate: float) -> tuple[Setting, Setting]:
    plain, normalized = shared.pair(results, rate)
    return normalized, plain


def _conditions(results: Results, rate: float) -> tuple[Condition, Condition]:
    return (
        Condition(
            Effect(
                f"Rate {rate:g}: distance of the gradients, normalized over plain",
                comparison.ratio(*_swapped(results, rate), shared.over_training("distance")),
            ),
            above=_LESS,
        ),
        Condition(
            Effect(
                f"Rate {rate:g}: cosine of the gradients, normalized minus plain",
                comparison.offset(*_swapped(results, rate), shared.over_training("cosine")),
            ),
            below=_STRAIGHTER,
        ),
    )


def _figures(results: Results, rate: float) -> tuple[Figure, ...]:
    return (
        shared.curves(
            results,
            rate,
            "distance",
            "Internal covariate shift by step",
            "The distance between the gradients of a layer before and after the layers below it "
            "took their step, the median over the layers; the higher, the more shift.",
            Axis("Distance of the gradients (logarithmic)", log=True),
        ),
        shared.curves(
            results,
            rate,
            "cosine",
            "Direction of the gradients",
            "The cosine between the two gradients, the median over the layers; the lower, the more "
            "shift.",
            Axis("Cosine"),
        ),
        shared.progress(results, rate),
    )


def _by_layer(results: Results, rates: tuple[float, ...]) -> Table:
    return Table(
        "Layer by layer",
        "The median over a training and over the seeds. The first layer has none below it, and is "
        "left out.",
        ("Layer", *(f"{name}, rate {rate:g}" for rate in rates for name in _columns(results))),
        tuple(
            (str(number), *cells)
            for number, cells in enumerate(
                zip_longest(
                    *(column for rate in rates for column in _cells(results, rate)),
                    fillvalue="no number",  # where a gradient was never finite
                ),
                start=2,
            )
        ),
    )


def _columns(results: Results) -> list[str]:
    return [f"{key} {arm.label}" for key in ("distance", "cosine") for arm in results.study.arms]


def _cells(results: Results, rate: float) -> list[list[str]]:
    return [
        [f"{value:.2g}" for value in _layers(setting, key)]
        for key in ("distances", "cosines")
        for setting in shared.pair(results, rate)
    ]


def _layers(setting: Setting, key: str) -> list[float]:
    """Return a number by layer, the median over the evaluations and the seeds."""
    rows = [
        [math.nan if value is None else value for value in record[key]]
        for trial in setting.trials
        for record in trial.evaluations
        if record[key] is not None
    ]
    return [float(np.nanmedian(layer)) for layer in zip(*rows, strict=True)]


_READINGS = Readings(
    reproduced="Batch normalization did not reduce internal covariate shift, though that is what "
    "it was made for.",
    mixed="By some of the measures batch normalization clearly reduced internal covariate shift, "
    "and by others it did not.",
    contradicted="Batch normalization clearly reduced internal covariate shift by every measure.",
)
_EXPLANATION = Explanation(
    done="While a network trained with and without batch normalization, each layer's gradient was "
    "computed twice on the same batch: as it is, and as it is once the layers below have taken "
    "their step.",
    see="How far the two gradients lie apart, and whether they point the same way. If "
    "normalization worked by holding still what a layer has to learn from, its curve would lie "
    "clearly below in the first figure, and above in the second.",
    means="Why batch normalization helps is not settled by the name that it was given: what a "
    "layer has to follow depends on the learning rate, too. The smoothness of the loss (the study "
    "landscape) is the other explanation; --model and --data measure both on your own model.",
)

COVARIATE_SHIFT = Study(
    name="covariate-shift",
    title="Does batch normalization reduce internal covariate shift?",
    question="How much does each layer's gradient move when the layers below it take their step?",
    claims=("C8",),
    arms=shared.ARMS,
    axes=shared.AXES,
    work=Training(Shift),
    plans=shared.plans({}, {}),
    findings=findings,
)
