"""Scale invariance: a normalized layer does not depend on the scale of its weights.

References:
    Ioffe and Szegedy (2015), section 3.3: BN(Wu) = BN((aW)u), the same gradient of u, and 1/a of
    the gradient of W.
"""

from dataclasses import replace

from batchnorm._pages import number
from batchnorm.lab.design import Arm, Plan, by_task
from batchnorm.lab.judging import charts, comparison, wording
from batchnorm.lab.judging._estimates import Extreme
from batchnorm.lab.judging._figures import Axis, Curves, Table
from batchnorm.lab.judging._findings import Explanation, Findings
from batchnorm.lab.judging._results import Results, Study
from batchnorm.lab.judging._verdicts import Readings, below, judge
from batchnorm.lab.measurements._scales import compare_scales
from batchnorm.lab.running._measuring import Measuring

_EXACT, _DEFAULT, _TOLERANCE = 1e-300, 1e-5, 1e-9
_MEASURED = {
    "output": "Deviation of the output",
    "input_gradient": "Deviation of the input's gradient",
    "weight_gradient": "Deviation of the weights' gradient from 1/a of what it was",
    "radial": "Part of the weights' gradient along the weights",
}


def findings(results: Results) -> Findings:
    """Judge claim C7."""
    default = _largest(results, "output", _DEFAULT)
    verdict = judge(
        "C7",
        "Largest relative deviation in float64 with an eps too small to matter:",
        [
            below(_TOLERANCE, name, _largest(results, key, _EXACT))
            for key, name in _MEASURED.items()
        ],
        _READINGS,
        remarks=(
            f"With the usual eps of {number(_DEFAULT)} the output deviates by up to {default}.",
        ),
    )
    return Findings(
        headline=verdict.reading,
        explanation=_EXPLANATION,
        verdicts=(verdict,),
        figures=(
            Curves(
                "What eps does to it",
                f"Largest deviation of the output with eps = {number(_DEFAULT)}, relative to the "
                "largest output; median over the seeds, with its interval. The identity is exact "
                "only while the variance is large beside eps: small weights feel it.",
                charts.log_axis(results, "factor"),
                Axis("Deviation of the output (logarithmic)", log=True),
                charts.sweep(
                    results,
                    "factor",
                    lambda trial: trial["output"],
                    rank=lambda _: (0.0,),
                    where={"eps": _DEFAULT},
                ),
            ),
            _table(results),
        ),
        settings=wording.settings(results, _SETTINGS, "none: a calculation"),
        notes=("A proof by numbers: chance decides only which weights and inputs are tried.",),
    )


def _largest(results: Results, key: str, eps: float) -> Extreme | None:
    trials = [trial for trial in results.trials if trial.trial["eps"] == eps]
    return comparison.largest(trials, lambda trial: trial[key])


def _table(results: Results) -> Table:
    rows = [
        (
            results.study.arm(setting.arm).label,
            f"{setting.at['factor']:g}",
            number(setting.at["eps"]),
            *(f"{max(trial[key] for trial in setting.trials):.1e}" for key in _MEASURED),
        )
        for arm in results.study.arms
        for setting in comparison.settings(results, arm.name)
    ]
    return Table(
        "Every setting",
        "The largest value over the seeds.",
        ("Layer", "Factor", "eps", *_MEASURED.values()),
        tuple(rows),
    )


_SETTINGS = (
    ("Arithmetic", wording.NOT_STATED, "float64"),
    ("Factor a", "any", "{factor}"),
    ("eps", "left out of the argument", "{eps}"),
)
_READINGS = Readings(
    reproduced="The layer does not see the scale of its weights: output and input gradient stay, "
    "the gradient of the weights shrinks by the factor that they grow by.",
    mixed="Some of the identities hold to rounding, others do not.",
    contradicted="None of the identities holds to rounding.",
)
_EXPLANATION = Explanation(
    done="Linear and convolutional layers with random weights were normalized twice, once with "
    "their weights and once with the weights multiplied by a factor, and everything that comes out "
    "was compared.",
    see="The deviations are at the level of rounding when eps is negligible. The figure shows from "
    "which scale of the weights on the usual eps can be felt.",
    means="Where the identities hold, weight decay cannot make a normalized layer simpler by "
    "making its weights small, and weights that have grown get smaller gradients. What follows "
    "for the learning rate was not measured here; see van Laarhoven (2017).",
)
_QUICK = Plan(seeds=5, grid={"factor": (0.01, 0.1, 10, 100), "eps": (_EXACT, _DEFAULT)})

SCALE_INVARIANCE = Study(
    name="scale-invariance",
    title="Does a normalized layer see the scale of its weights?",
    question="What changes when the weights before a normalization are multiplied by a factor?",
    claims=("C7",),
    arms=(Arm("linear", "linear"), Arm("convolution", "convolution")),
    axes={"factor": "Factor on the weights", "eps": "eps"},
    work=Measuring(compare_scales, tuple(_MEASURED)),
    plans=by_task({"drawn": (_QUICK, replace(_QUICK, seeds=50))}),
    findings=findings,
)
