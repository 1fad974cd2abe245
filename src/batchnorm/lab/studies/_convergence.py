"""Convergence: fewer steps to the same accuracy, stable distributions (section 4.1 of the paper).

References:
    Ioffe and Szegedy (2015), section 4.1 and figure 1.
"""

from dataclasses import replace
from functools import partial

from torch import nn

from batchnorm.lab.design import Arm, Plan, by_task
from batchnorm.lab.judging import charts, comparison, step_charts, wording
from batchnorm.lab.judging._figures import STEPS, Axis, Panels
from batchnorm.lab.judging._findings import Explanation, Findings
from batchnorm.lab.judging._results import Results, Study
from batchnorm.lab.judging.comparison import Setting
from batchnorm.lab.networks import mlp
from batchnorm.lab.probes import UnitInput
from batchnorm.lab.running._training import Training
from batchnorm.lab.studies._convergence_verdicts import (
    fewer_steps,
    stable_distribution,
    trained_shares,
)

_DIGITS = Plan(
    seeds=5,
    grid={"scale": (0.1, 0.3, 1.0), "rate": (0.1, 0.3, 1.0, 3.0, 10.0)},
    fixed={"batch": 60},
    steps=600,
    targets=(0.90, 0.95, 0.97),
)
_DIGITS_LONG = replace(
    _DIGITS,
    seeds=9,
    grid={"scale": (0.01, 0.03, 0.1, 0.3, 1.0), "rate": (0.03, 0.1, 0.3, 1, 3, 10)},
    steps=5_000,
)
_MNIST_QUICK = replace(
    _DIGITS,
    seeds=3,
    grid={"scale": (0.1, 0.3), "rate": (0.3, 1.0, 3.0, 10.0)},
    steps=2_500,
    targets=(0.90, 0.95, 0.96),
)
_MNIST_LONG = replace(_MNIST_QUICK, seeds=5, steps=10_000, targets=(0.95, 0.96, 0.97))
_MNIST_PAPER = replace(
    _DIGITS_LONG,
    seeds=5,
    grid={"scale": (0.01, 0.1, 0.3), "rate": (0.03, 0.1, 0.3, 1, 3, 10)},
    steps=50_000,
    targets=(0.95, 0.97, 0.98),
)
_MNIST = (_MNIST_QUICK, _MNIST_LONG, _MNIST_PAPER)
_PAIRS = (("sigmoid", "sigmoid-bn", "sigmoid"), ("relu", "relu-bn", "ReLU"))


def findings(results: Results) -> Findings:
    """Judge claims C1 and C4."""
    target = results.plan.headline_target
    best = comparison.best_of_each(results, comparison.fewest_steps(target))
    return Findings(
        headline=_headline(results, best["sigmoid"], best["sigmoid-bn"]),
        summary=_summary(results),
        explanation=_EXPLANATION,
        verdicts=(
            fewer_steps(results),
            stable_distribution(results),
        ),
        figures=(
            charts.accuracy_curves(
                results, comparison.fewest_steps(target), f"{target:.0%} accuracy"
            ),
            step_charts.steps_to_targets(results),
            Panels(
                "What enters the last hidden layer's sigmoid",
                "The 15th, 50th and 85th percentile over the test images of the input to the "
                "nonlinearity of unit 0 of the last hidden layer, with seed 0, each network at "
                "its best setting. The unit was fixed before training: units are exchangeable "
                "then, so it is a choice and not a pick. The first few evaluations of the "
                "normalized network also show its running averages leaving their starting values.",
                STEPS,
                Axis("Input to the sigmoid"),
                tuple(charts.unit_bands(results, best[arm]) for arm in ("sigmoid", "sigmoid-bn")),
            ),
            step_charts.grids(results, target, "scale", "rate"),
            step_charts.equal_settings(
                results, target, tuple((plain, normalized) for plain, normalized, _ in _PAIRS)
            ),
        ),
        settings=wording.settings(results, _SETTINGS, "MNIST, binary 28x28 images"),
        notes=wording.notes(results, best.values(), comparison.RULE),
    )


_EXPLANATION = Explanation(
    done="The network of the paper's first experiment was trained with and without batch "
    "normalization, with sigmoids and with ReLUs, over a grid of learning rates and initial "
    "weights. Both get the same weights and the same order of examples for each seed.",
    see="The curves show how fast each network learns at its own best setting; the grids show "
    "every setting, and the table compares both at equal ones. The bands show what enters a "
    "sigmoid while its layers below are still changing.",
    means="At the best settings of each network the ratio of steps says what normalization saves "
    "you once both are tuned. The grids and the table say what it saves where they are not.",
)


def _best(results: Results, arm: str, target: float) -> Setting:
    return comparison.picked_elsewhere(results, arm, comparison.fewest_steps(target))


def _headline(results: Results, plain: Setting, normalized: Setting) -> str:
    target, limit = results.plan.headline_target, results.plan.steps or 0
    ours, theirs = (_best(results, setting.arm, target) for setting in (plain, normalized))
    found = comparison.step_ratio(results, ours, theirs, target)
    if found is None or not found.determined:
        return (
            f"Neither sigmoid network reached {target:.0%} accuracy within "
            f"{limit:,} steps, so this run cannot say which needs fewer."
        )
    if found.low <= 1 <= found.high:
        return (
            f"To {target:.0%} accuracy, batch normalization made no clear difference in steps for "
            f"the sigmoid network: {found}."
        )
    steps = step_charts.steps_text(normalized.steps_to(target).value, limit)
    before = step_charts.steps_text(plain.steps_to(target).value, limit)
    word = "fewer" if found.above_one else "more"
    return (
        f"With batch normalization the sigmoid network reached {target:.0%} accuracy in {word} "
        f"steps: {steps} instead of {before}. The plain network needs {found} the steps."
    )


def _summary(results: Results) -> tuple[str, ...]:
    lines = []
    for target in results.plan.targets:
        found = []
        for plain, normalized, name in _PAIRS:
            above, below = (_best(results, arm, target) for arm in (plain, normalized))
            ratio = comparison.step_ratio(results, above, below, target)
            found.append(f"{name} {ratio or 'not comparable'}")
        lines.append(f"To {target:.0%}: {', '.join(found)}.")
    return (
        "Steps of the plain network over the normalized one's, each at its best setting:",
        *lines,
        trained_shares(results),
    )


_SETTINGS = (
    ("Network", "3 hidden layers of 100 sigmoid units, 10 outputs", "the same; also ReLU"),
    ("Batch normalization", "on every hidden layer, before the nonlinearity", "the same"),
    ("Initial weights", "small random Gaussian; scale not stated", "swept: {scale}"),
    ("Learning rate", wording.NOT_STATED, "swept, the same for every arm: {rate}"),
    ("Optimizer", wording.NOT_STATED, "stochastic gradient descent without momentum or decay"),
    ("Mini-batch", "60", "{batch}"),
    ("Steps", "50,000", "{steps}"),
    ("Inference statistics", "population estimates", "running averages, momentum 0.1"),
)
CONVERGENCE = Study(
    name="convergence",
    title="Does batch normalization train faster?",
    question="How many steps to the same accuracy, with and without batch normalization?",
    claims=("C1", "C4"),
    arms=(
        Arm("sigmoid", "sigmoid", partial(mlp, activation=nn.Sigmoid), dashed=True),
        Arm("sigmoid-bn", "sigmoid + BN", partial(mlp, activation=nn.Sigmoid, norm="batch")),
        Arm("relu", "ReLU", partial(mlp, activation=nn.ReLU), dashed=True),
        Arm("relu-bn", "ReLU + BN", partial(mlp, activation=nn.ReLU, norm="batch")),
    ),
    axes={"scale": "Weight scale", "rate": "Learning rate"},
    work=Training(UnitInput),
    plans=by_task(
        {
            "digits": (_DIGITS, _DIGITS_LONG),
            "mnist": _MNIST,
            "fashion-mnist": [replace(plan, targets=(0.80, 0.84, 0.86)) for plan in _MNIST],
        }
    ),
    findings=findings,
)
