"""Norms other than the standard deviation: L1, L2 and the largest value.

References:
    Santurkar et al. (2018), "How Does Batch Normalization Help Optimization?", section 3.3.
"""

from functools import partial

from torch import nn

from batchnorm.lab.design import Arm, Plan, on_images
from batchnorm.lab.judging import charts, comparison, step_charts, wording
from batchnorm.lab.judging._findings import Explanation, Findings
from batchnorm.lab.judging._results import Results, Study
from batchnorm.lab.judging._verdicts import Readings, above, judge
from batchnorm.lab.networks import mlp
from batchnorm.lab.running._training import Training

_MARGIN = 0.01
_FASTER = 1.1  # fewer steps by less count as none
_OTHERS = (("l1", "L1"), ("l2", "L2"), ("linf", "L-infinity"))


def findings(results: Results) -> Findings:
    """Judge claim C11."""
    target = results.plan.headline_target
    rank = comparison.fewest_steps(target)
    fastest, finest = (
        {arm.name: comparison.picked_elsewhere(results, arm.name, by) for arm in results.study.arms}
        for by in (rank, comparison.most_accurate)
    )
    as_good = [
        above(
            -_MARGIN,
            f"Accuracy at the end, {name} minus batch normalization",
            comparison.accuracy_difference(finest[arm], finest["bn"]),
        )
        for arm, name in _OTHERS
    ]
    faster = [
        above(
            1,
            f"Steps to {target:.0%}, plain over {name}",
            comparison.step_ratio(results, fastest["plain"], fastest[arm], target),
            _FASTER,
        )
        for arm, name in _OTHERS
    ]
    verdict = judge("C11", _MEASURED, [*as_good, *faster], _READINGS)
    return Findings(
        headline=verdict.reading,
        explanation=_EXPLANATION,
        verdicts=(verdict,),
        figures=(
            charts.accuracy_curves(results, rank, f"{target:.0%} accuracy"),
            charts.accuracy_sweep(
                results,
                "rate",
                "Accuracy at the end by learning rate",
                "Median over the seeds, with its interval. A diverged trial counts as chance.",
            ),
            step_charts.steps_to_targets(results),
        ),
        settings=wording.settings(results, _SETTINGS, "CIFAR-10; synthetic"),
        notes=wording.notes(
            results, comparison.best_of_each(results, rank).values(), comparison.RULE
        ),
    )


_MEASURED = (
    "No worse than batch normalization by a point, and faster than no normalization, each network "
    "at its best learning rate:"
)
_SETTINGS = (
    ("Network", "VGG; a deep linear network", "3 hidden layers of 100 ReLU units"),
    ("Norms", "L1, L2, L-infinity, before the mean is subtracted", "the same"),
    ("Learning rate", "0.1 and others", "{rate}"),
    ("Mini-batch", "128", "{batch}"),
    ("Steps", "15,000", "{steps}"),
)


_READINGS = Readings(
    reproduced="Dividing by the L1, L2 or L-infinity norm trains as well as dividing by the "
    "standard deviation.",
    mixed="The norms do as well as the standard deviation in some respects, and clearly worse in "
    "others.",
    contradicted="Each of the norms does clearly worse than the standard deviation, and trains no "
    "faster than no normalization.",
)
_EXPLANATION = Explanation(
    done="The same network was trained with batch normalization, with layers that divide by the "
    "L1, L2 or L-infinity norm of the batch in place of its standard deviation, and without any.",
    see="Whether the curves of the norms lie with that of batch normalization or with that of the "
    "plain network.",
    means="Where the norms do as well, nothing about the variance is special, and a cheaper norm "
    "will do. Santurkar et al. conclude it from their trials; whether these show it is the verdict "
    "above.",
)
_DIGITS = Plan(
    seeds=10,
    grid={"rate": (0.03, 0.1, 0.3, 1.0)},
    fixed={"batch": 60},
    steps=300,
    targets=(0.9, 0.95, 0.97),
)

NORMS = Study(
    name="norms",
    title="Is there anything special about the variance?",
    question="Do the L1, L2 and L-infinity norms serve as well as the standard deviation?",
    claims=("C11",),
    arms=(
        Arm("plain", "plain", partial(mlp, activation=nn.ReLU), dashed=True),
        Arm("bn", "BN", partial(mlp, activation=nn.ReLU, norm="batch")),
        *(Arm(name, label, partial(mlp, activation=nn.ReLU, norm=name)) for name, label in _OTHERS),
    ),
    axes={"rate": "Learning rate"},
    work=Training(),
    plans=on_images(_DIGITS, fashion_targets=(0.80, 0.84, 0.86)),
    findings=findings,
)
