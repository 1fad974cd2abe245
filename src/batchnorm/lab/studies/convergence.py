"""Fewer steps, trainable sigmoids, stable distributions: section 4.1 of the paper, measured.

References:
    Ioffe and Szegedy (2015), section 4.1 and figure 1.
"""

from dataclasses import replace
from functools import partial

from torch import nn

from .. import charts, comparison
from ..findings import Findings, Panels
from ..findings import Setting as Row
from ..models import mlp
from ..probes import UnitInput
from ..results import Results
from ..study import Arm, Budget, Study
from .convergence_verdicts import fewer_steps, stable_distribution, trainable_sigmoid

_DIGITS = Budget(
    steps=600,
    seeds=5,
    scales=(0.1, 0.3, 1.0),
    rates=(0.1, 0.3, 1.0, 3.0, 10.0),
    targets=(0.90, 0.95, 0.97),
)
_DIGITS_FULL = replace(
    _DIGITS,
    steps=5_000,
    seeds=9,
    scales=(0.01, 0.03, 0.1, 0.3, 1.0),
    rates=(0.03, 0.1, 0.3, 1, 3, 10),
)
_MNIST = replace(
    _DIGITS,
    steps=2_500,
    seeds=3,
    scales=(0.1, 0.3),
    rates=(0.3, 1.0, 3.0, 10.0),
    targets=(0.90, 0.95, 0.96),
)
_MNIST_FULL = replace(
    _DIGITS_FULL, steps=50_000, seeds=5, scales=(0.01, 0.1, 0.3), targets=(0.95, 0.97, 0.98)
)
_FASHION = (0.80, 0.84, 0.86)


def findings(results: Results) -> Findings:
    """Judge claims C1, C3 and C4."""
    target = results.budget.headline_target
    plain, normalized = (comparison.best(results, arm, target) for arm in ("sigmoid", "sigmoid-bn"))
    return Findings(
        headline=_headline(results),
        summary=_summary(results),
        verdicts=(
            fewer_steps(results),
            trainable_sigmoid(results),
            stable_distribution(results),
        ),
        figures=(
            charts.accuracy_curves(results, target),
            charts.steps_to_targets(results),
            Panels(
                "What enters the last hidden layer's sigmoid",
                "The 15th, 50th and 85th percentile over the test images of the input to the "
                "nonlinearity of unit 0 of the last hidden layer, with seed 0, each network at "
                "its best setting. The unit was fixed before training: units are exchangeable "
                "then, so it is a choice and not a pick. The first few evaluations of the "
                "normalized network also show its running averages leaving their starting values.",
                "Input to the sigmoid",
                (charts.unit_bands(results, plain), charts.unit_bands(results, normalized)),
            ),
            charts.grids(results, target),
            charts.equal_settings(
                results, target, (("sigmoid", "sigmoid-bn"), ("relu", "relu-bn"))
            ),
        ),
        settings=_settings(results),
        notes=_notes(results),
    )


def _headline(results: Results) -> str:
    target = results.budget.headline_target
    plain, normalized = (comparison.best(results, arm, target) for arm in ("sigmoid", "sigmoid-bn"))
    found = comparison.step_ratio(results, plain, normalized, target)
    if found is None or not found.determined:
        return (
            f"Neither sigmoid network reached {target:.0%} accuracy within "
            f"{results.budget.steps:,} steps, so this run cannot say which needs fewer."
        )
    if found.low <= 1 <= found.high:
        return (
            f"To {target:.0%} accuracy, batch normalization made no clear difference in steps for "
            f"the sigmoid network: {found}."
        )
    steps = charts.steps_text(normalized.steps_to(target).value, results.budget.steps)
    before = charts.steps_text(plain.steps_to(target).value, results.budget.steps)
    word = "fewer" if found.above_one else "more"
    return (
        f"With batch normalization the sigmoid network reached {target:.0%} accuracy in {word} "
        f"steps: {steps} instead of {before}. The plain network needs {found} the steps."
    )


def _summary(results: Results) -> tuple[str, ...]:
    lines = []
    for target in results.budget.targets:
        words = []
        for plain, normalized, name in (
            ("sigmoid", "sigmoid-bn", "sigmoid"),
            ("relu", "relu-bn", "ReLU"),
        ):
            above, below = (comparison.best(results, arm, target) for arm in (plain, normalized))
            found = comparison.step_ratio(results, above, below, target)
            words.append(f"{name} {found or 'not comparable'}")
        lines.append(f"To {target:.0%}: {', '.join(words)}.")
    return (
        "Steps of the plain network over the normalized one's, each at its best setting:",
        *lines,
    )


def _settings(results: Results) -> tuple[Row, ...]:
    budget = results.budget
    left_open = "not stated"
    swept = ", ".join(f"{rate:g}" for rate in budget.rates)
    scales = ", ".join(f"{scale:g}" for scale in budget.scales)
    return (
        Row("Data", "MNIST, binary 28x28 images", f"{results.config['task']}, as described above"),
        Row("Network", "3 hidden layers of 100 sigmoid units, 10 outputs", "the same; also ReLU"),
        Row("Batch normalization", "on every hidden layer, before the nonlinearity", "the same"),
        Row("Initial weights", "small random Gaussian; scale not stated", f"swept: {scales}"),
        Row("Learning rate", left_open, f"swept, the same for every arm: {swept}"),
        Row("Optimizer", left_open, "stochastic gradient descent without momentum or decay"),
        Row("Mini-batch", "60", str(budget.batch)),
        Row("Steps", "50,000", f"{budget.steps:,}"),
        Row("Repetitions", left_open, f"{budget.seeds} seeds, shared by all arms"),
        Row("Inference statistics", "population estimates", "running averages, momentum 0.1"),
    )


def _notes(results: Results) -> tuple[str, ...]:
    notes = [
        comparison.RULE,
        (
            "The best setting is picked on the same seeds as are then reported. That flatters "
            "every arm, and in the same way; the table of equal settings has no such choice."
        ),
        (
            "Intervals are 95 % percentile-bootstrap intervals over the seeds; the arms share "
            "initial weights and data order. "
            f"With {results.budget.seeds} seeds the intervals are rough."
        ),
        "The steps to an accuracy are counted at the evaluations, which lie 5 steps or 5 % apart.",
        (
            "A trial that did not reach a target within its steps is censored: it stays in the "
            "median as 'more than' its steps, and a ratio with a censored median is a bound."
        ),
    ]
    for arm in results.study.arms:
        setting = comparison.best(results, arm.name, results.budget.headline_target)
        beyond = comparison.edges(results, setting)
        if beyond:
            notes.append(
                f"The best setting of {arm.label} lies on the edge of the grid "
                f"({' and '.join(beyond)}): a better one may lie outside it."
            )
    return tuple(notes)


CONVERGENCE = Study(
    name="convergence",
    title="Does batch normalization train faster?",
    question="How many steps to the same accuracy, with and without batch normalization?",
    claims=("C1", "C3", "C4"),
    arms=(
        Arm("sigmoid", "sigmoid", partial(mlp, activation=nn.Sigmoid, normalized=False)),
        Arm("sigmoid-bn", "sigmoid + BN", partial(mlp, activation=nn.Sigmoid, normalized=True)),
        Arm("relu", "ReLU", partial(mlp, activation=nn.ReLU, normalized=False)),
        Arm("relu-bn", "ReLU + BN", partial(mlp, activation=nn.ReLU, normalized=True)),
    ),
    probe=UnitInput,
    budgets={
        ("digits", True): _DIGITS,
        ("digits", False): _DIGITS_FULL,
        ("mnist", True): _MNIST,
        ("mnist", False): _MNIST_FULL,
        ("fashion-mnist", True): replace(_MNIST, targets=_FASHION),
        ("fashion-mnist", False): replace(_MNIST_FULL, targets=_FASHION),
    },
    findings=findings,
)
