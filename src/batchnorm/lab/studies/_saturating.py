"""Deep networks of sigmoids, which gradients hardly pass.

References:
    Ioffe and Szegedy (2015), section 4.2.2: an Inception network with sigmoids reaches 69.8 % with
    batch normalization; without it, it never gets better than chance.
"""

from dataclasses import replace
from functools import partial

from torch import nn

from batchnorm.lab.design import Arm, Plan, by_task
from batchnorm.lab.judging import charts, comparison, step_charts, summaries, wording
from batchnorm.lab.judging._findings import Explanation, Findings
from batchnorm.lab.judging._results import Results, Study
from batchnorm.lab.judging._verdicts import Condition, Readings, above, judge
from batchnorm.lab.networks import inception, mlp
from batchnorm.lab.running._training import Training

_COUNTS = 0.2  # of the settings; a smaller gain counts as none
_PAIRS = (("mlp", "mlp-bn", "MLP"), ("inception", "inception-bn", "Inception"))


def findings(results: Results) -> Findings:
    """Judge claim C3 on deep networks."""
    target = results.plan.headline_target
    best = comparison.best_of_each(results, comparison.most_accurate)
    verdict = judge(
        "C3",
        f"A setting trains when it ends, over its last evaluations, with at least {target:.0%} "
        "accuracy. Far behind is by more "
        "than such a network is above a guess:",
        _conditions(results, target),
        _READINGS,
    )
    ends = "; ".join(
        f"{results.study.arm(name).label} {setting.final_accuracy:.0%}"
        for name, setting in best.items()
    )
    return Findings(
        headline=verdict.reading,
        summary=(f"Accuracy at the end, each at its best setting: {ends}.",),
        explanation=_EXPLANATION,
        verdicts=(verdict,),
        figures=(
            charts.accuracy_curves(results, comparison.most_accurate, "accuracy at the end"),
            step_charts.grids(results, target, "scale", "rate"),
        ),
        settings=wording.settings(results, _SETTINGS, "ImageNet"),
        notes=(
            wording.SETTLED,
            *wording.notes(results, best.values(), wording.MOST_ACCURATE),
        ),
    )


def _conditions(results: Results, target: float) -> list[Condition]:
    trains, points = summaries.reaches(target), len([*results.plan.points()])
    shares = {arm.name: summaries.shares(results, arm.name, trains) for arm in results.study.arms}
    found = []
    for plain, normalized, name in _PAIRS:
        best = (
            comparison.picked_elsewhere(results, arm, comparison.most_accurate)
            for arm in (normalized, plain)
        )
        found += [
            above(
                0,
                f"{name}: share of settings that train, normalized minus plain",
                summaries.difference(shares[normalized], shares[plain], points),
                _COUNTS,
            ),
            above(
                target - results.trials[0].chance,
                f"{name}: accuracy at the end at each one's best setting, normalized minus plain",
                comparison.accuracy_difference(*best),
            ),
        ]
    return found


_DEEP = 10
_SETTINGS = (
    (
        "Network",
        "Inception with sigmoids",
        f"{_DEEP:g} hidden layers of 100 sigmoids; a small Inception with sigmoids",
    ),
    ("Initial weights", wording.NOT_STATED, "{scale}"),
    ("Learning rate", "0.0075", "{rate}"),
    ("Mini-batch", "32", "{batch}"),
    ("Steps", wording.NOT_STATED, "{steps}"),
)
_READINGS = Readings(
    reproduced="Deep networks of sigmoids train in more settings with batch normalization, and "
    "even at its best setting the plain one stays far behind.",
    mixed="Batch normalization makes the difference in some respects, and in others it does not: "
    "more settings that train, or a better network at its best setting.",
    contradicted="Deep networks of sigmoids train in no more settings with batch normalization, "
    "and are not far behind without it at their best setting.",
)
_EXPLANATION = Explanation(
    done="A deep network of sigmoid layers and a small Inception network with sigmoids were "
    "trained with and without batch normalization, over learning rates and scales of the initial "
    "weights.",
    see="Which curves leave the line of chance at the bottom, and in which settings.",
    means="If you need sigmoids or tanh in a deep network, compare it with and without batch "
    "normalization in front of them, over several learning rates and scales of the weights. The "
    "paper's reason, inputs that stay where a sigmoid has a slope, was not measured here.",
)
_DIGITS = Plan(
    seeds=5,
    grid={"scale": (0.3, 1.0), "rate": (0.3, 3.0)},
    fixed={"batch": 60},
    steps=150,
    every=15,
    targets=(0.5,),
)
_LONG = replace(_DIGITS, grid={"scale": (0.1, 0.3, 1.0), "rate": (0.1, 0.3, 1.0, 3.0)}, steps=1_000)
_TESTED = {**_DIGITS.fixed, "test": 2_000}
_IMAGES = (
    replace(_DIGITS, fixed=_TESTED, steps=300, every=30),
    replace(_LONG, fixed=_TESTED, every=50),
)

SATURATING = Study(
    name="saturating",
    title="Can a deep network of sigmoids be trained?",
    question="Do deep networks of sigmoids train, with and without batch normalization?",
    claims=("C3",),
    arms=tuple(
        Arm(f"{name}{suffix}", f"{label}{words}", partial(network, **kind), settings, not suffix)
        for name, label, network, settings in (
            ("mlp", "MLP", mlp, {"depth": _DEEP}),
            ("inception", "Inception", inception, {}),
        )
        for suffix, words, kind in (
            ("", "", {"activation": nn.Sigmoid}),
            ("-bn", " + BN", {"activation": nn.Sigmoid, "norm": "batch"}),
        )
    ),
    axes={"scale": "Weight scale", "rate": "Learning rate"},
    work=Training(),
    plans=by_task(
        {
            "digits": (_DIGITS, _LONG),
            "mnist": _IMAGES,
            "fashion-mnist": _IMAGES,
            "cifar10": [replace(plan, targets=(0.25,)) for plan in _IMAGES],
        }
    ),
    findings=findings,
)
