"""Loss landscape: is the loss smoother along its gradient?

References:
    Santurkar et al. (2018), "How Does Batch Normalization Help Optimization?", section 3.1 and
    figures 4 (VGG) and 9 (deep linear network).
"""

from batchnorm.lab.judging import charts, comparison, wording
from batchnorm.lab.judging._figures import Axis, Figure, Panels
from batchnorm.lab.judging._findings import Effect, Explanation, Findings
from batchnorm.lab.judging._results import Results, Study
from batchnorm.lab.judging._verdicts import Condition, Readings, judge
from batchnorm.lab.probes import Landscape
from batchnorm.lab.running._training import Training
from batchnorm.lab.studies import _after_santurkar as shared

_COUNTS = 1.1  # a change of less than a tenth counts as none
_MEASURED = {
    "smoothness": "effective smoothness",
    "loss_range": "range of the loss",
    "predictiveness": "largest change of the gradient",
}


def findings(results: Results) -> Findings:
    """Judge claim C9."""
    rates, decisive = results.plan.grid["rate"], shared.decisive(results)
    effects = {rate: _effects(results, rate) for rate in rates}
    verdict = judge(
        "C9",
        "At equal learning rates, the median over a training, along the gradient of each network:",
        [
            Condition(effect, above=1, margin=_COUNTS)
            for rate in decisive
            for effect in effects[rate]
        ],
        _READINGS,
        others=[one for rate in rates if rate not in decisive for one in effects[rate]],
    )
    main = effects[decisive[0]][0]
    return Findings(
        headline=f"{verdict.reading} At the rate {decisive[0]:g} the plain network's gradient "
        f"changes {main.estimate} as much over the same distance.",
        explanation=_EXPLANATION,
        verdicts=(verdict,),
        figures=tuple(
            figure for rate in shared.ordered(results) for figure in _figures(results, rate)
        ),
        settings=shared.settings(
            results,
            (
                "Steps along the gradient",
                "1/2 to 4 times the rate (VGG), 1/100 to 30 times (linear)",
                "{nearest} to {farthest} times the rate, at 8 points",
            ),
        ),
        summary=shared.ends(results),
        notes=(*shared.untrained(results), _ABSOLUTE, *wording.notes(results)),
    )


def _effects(results: Results, rate: float) -> list[Effect]:
    return [
        Effect(
            f"Rate {rate:g}: {name}, plain over normalized",
            comparison.ratio(*shared.pair(results, rate), shared.over_training(key)),
        )
        for key, name in _MEASURED.items()
    ]


def _figures(results: Results, rate: float) -> tuple[Figure, ...]:
    return (
        shared.curves(
            results,
            rate,
            "smoothness",
            "Effective smoothness by step",
            "The largest change of the gradient over the distance moved; the lower, the smoother.",
            Axis("Change of the gradient over distance (logarithmic)", log=True),
        ),
        shared.curves(
            results,
            rate,
            "predictiveness",
            "How far the gradient holds",
            "The largest change of the gradient along it; the lower, the further it holds.",
            Axis("Change of the gradient (logarithmic)", log=True),
        ),
        Panels(
            f"The loss along the gradient, learning rate {rate:g}",
            "With seed 0. Line: the loss of a mini-batch. Band: its range over the steps along its "
            "gradient. A band below the line means that every step that was tried helps.",
            shared.LINEAR_STEPS,
            Axis("Loss (logarithmic)", log=True),
            tuple(
                charts.bands(results, setting, ("loss", "loss_low", "loss_high"))
                for setting in shared.pair(results, rate)
            ),
            ("lowest", "loss", "highest"),
        ),
        shared.progress(results, rate),
    )


_ABSOLUTE = (
    "The smoothness is measured in the space of the parameters, as the paper does. The networks "
    "with and without normalization differ in the size of their gradients, too, so the range of "
    "the loss is the fairer comparison of the two."
)
_READINGS = Readings(
    reproduced="The loss of the normalized network is smoother along its gradient by every "
    "measure.",
    mixed="The loss of the normalized network is smoother along its gradient by some measures, "
    "and not by others.",
    contradicted="The loss of the normalized network is no smoother along its gradient, by any "
    "measure.",
)
_EXPLANATION = Explanation(
    done="While a network trained with and without batch normalization, steps of several lengths "
    "were tried along its gradient, and taken back: how does the loss change, and how far does the "
    "gradient stay what it is?",
    see="The lower a curve, the smoother the loss. In the panels, a band that reaches far above "
    "the line means that a longer step would have made the loss worse.",
    means="Where the loss is smooth along the gradient, a longer step still does what the gradient "
    "promises; Santurkar et al. explain higher learning rates by it, which was not measured here. "
    "If raising the rate breaks your training, measure this on your own model: --model and --data.",
)

LANDSCAPE = Study(
    name="landscape",
    title="Does batch normalization smooth the loss?",
    question="How far can the gradient be trusted, with and without batch normalization?",
    claims=("C9",),
    arms=shared.ARMS,
    axes=shared.AXES,
    work=Training(Landscape),
    plans=shared.plans({"nearest": 0.5, "farthest": 4.0}, {"nearest": 0.01, "farthest": 30.0}),
    findings=findings,
)
