"""Noise behind batch normalization, so that no distribution is stable.

References:
    Santurkar et al. (2018), "How Does Batch Normalization Help Optimization?", section 2.1 and
    algorithm 1.
"""

from dataclasses import replace
from functools import partial

from torch import nn

from batchnorm.lab.design import Arm, Plan, on_images
from batchnorm.lab.judging import charts, comparison, wording
from batchnorm.lab.judging._figures import Curves
from batchnorm.lab.judging._findings import Explanation, Findings
from batchnorm.lab.judging._results import Results, Study
from batchnorm.lab.judging._verdicts import Condition, Readings, above, judge
from batchnorm.lab.networks import mlp
from batchnorm.lab.running._training import Training

_MARGIN = 0.01
_FASTER = 1.1  # fewer steps by less count as none


def findings(results: Results) -> Findings:
    """Judge claim C10."""
    target, depths = results.plan.headline_target, results.plan.grid["depth"]
    fastest = comparison.fewest_steps(target)
    conditions = [
        condition for depth in depths for condition in _conditions(results, target, depth)
    ]
    verdict = judge(
        "C10",
        "Networks of different depth, each at its best learning rate:",
        conditions,
        _READINGS,
    )
    best = [
        comparison.best(results, arm.name, fastest, {"depth": depth})
        for depth in depths
        for arm in results.study.arms
    ]
    return Findings(
        headline=verdict.reading,
        explanation=_EXPLANATION,
        verdicts=(verdict,),
        figures=(
            *(_curves(results, target, depth) for depth in depths),
            *(_sweep(results, depth) for depth in depths),
        ),
        settings=wording.settings(results, _SETTINGS, "CIFAR-10"),
        notes=wording.notes(results, best, comparison.RULE, given=("depth",)),
    )


def _conditions(results: Results, target: float, depth: float) -> tuple[Condition, Condition]:
    where = {"depth": depth}
    plain, noisy = (
        comparison.picked_elsewhere(results, arm, comparison.fewest_steps(target), where)
        for arm in ("plain", "noisy")
    )
    noisy_end, quiet_end = (
        comparison.picked_elsewhere(results, arm, comparison.most_accurate, where)
        for arm in ("noisy", "bn")
    )
    return (
        above(
            1,
            f"{depth:g} layers: steps to {target:.0%}, plain over noisy",
            comparison.step_ratio(results, plain, noisy, target),
            _FASTER,
        ),
        above(
            -_MARGIN,
            f"{depth:g} layers: accuracy at the end, noisy minus quiet",
            comparison.accuracy_difference(noisy_end, quiet_end),
        ),
    )


def _curves(results: Results, target: float, depth: float) -> Curves:
    found = charts.accuracy_curves(
        results, comparison.fewest_steps(target), f"{target:.0%} accuracy", {"depth": depth}
    )
    return replace(found, title=f"{found.title}, {depth:g} layers")


def _sweep(results: Results, depth: float) -> Curves:
    return charts.accuracy_sweep(
        results,
        "rate",
        f"Accuracy at the end by learning rate, {depth:g} layers",
        "Median over the seeds, with its interval. A diverged trial counts as chance.",
        where={"depth": depth},
    )


_SETTINGS = (
    ("Network", "VGG", "{depth} hidden layers of 100 ReLUs"),
    ("Noise", "new mean in ±0.5 and deviation in 1 to 1.25 at each step", "the same"),
    ("Learning rate", "0.1", "{rate}"),
    ("Mini-batch", "128", "{batch}"),
    ("Steps", "15,000", "{steps}"),
)
_READINGS = Readings(
    reproduced="Noise that shifts every layer's input at every step takes nothing away: the noisy "
    "network still trains faster than the plain one and ends as well as the quiet one.",
    mixed="The noisy network keeps part of what batch normalization gives, and clearly loses part.",
    contradicted="Noise that shifts every layer's input took away what batch normalization gives: "
    "the noisy network is no faster than the plain one, and ends clearly below the quiet one.",
)
_EXPLANATION = Explanation(
    done="Behind each batch normalization noise was added whose mean and size change at every "
    "step, so that the input of the next layer has no stable distribution. That network was "
    "compared with the quiet one and with one without normalization.",
    see="Whether the noisy curve lies with the normalized or with the plain one.",
    means="Where the noisy network trains as well, stable distributions cannot be why batch "
    "normalization helps. Where it does worse, these trials do not say why.",
)
_DIGITS = Plan(
    seeds=10,
    grid={"depth": (3, 8), "rate": (0.03, 0.1, 0.3, 1.0)},
    fixed={"batch": 60},
    steps=300,
    targets=(0.8, 0.9, 0.95),
)

NOISY = Study(
    name="noisy",
    title="Does batch normalization need stable distributions?",
    question="Does it still help when noise makes the distribution of activations unstable?",
    claims=("C10",),
    arms=(
        Arm("plain", "plain", partial(mlp, activation=nn.ReLU), dashed=True),
        Arm("bn", "BN", partial(mlp, activation=nn.ReLU, norm="batch")),
        Arm("noisy", "noisy BN", partial(mlp, activation=nn.ReLU, norm="noisy")),
    ),
    axes={"depth": "Hidden layers", "rate": "Learning rate"},
    work=Training(),
    plans=on_images(_DIGITS, fashion_targets=(0.75, 0.80, 0.84)),
    findings=findings,
)
