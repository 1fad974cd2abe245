"""How much care the initial weights need: four decades of their scale.

References:
    Ioffe and Szegedy (2015), sections 1 and 3.3: "less careful about initialization".
"""

from dataclasses import replace
from functools import partial

from torch import nn

from batchnorm.lab.design import Arm, Plan
from batchnorm.lab.judging import charts, comparison, summaries, wording
from batchnorm.lab.judging.findings import ACCURACY, Curves, Effect, Explanation, Findings
from batchnorm.lab.judging.results import Results, Study, TrialResult
from batchnorm.lab.judging.verdicts import Condition, Readings, judge
from batchnorm.lab.networks import mlp
from batchnorm.lab.running.training import Training

_PAIRS = (("relu", "relu-bn", "ReLU"), ("sigmoid", "sigmoid-bn", "Sigmoid"))


def findings(results: Results) -> Findings:
    """Judge claim C21."""
    target = results.plan.headline_target

    def trains(trial: TrialResult) -> bool:
        return trial.final_accuracy >= target

    shares = {arm.name: summaries.shares(results, arm.name, trains) for arm in results.study.arms}
    conditions = [
        Condition(Effect(name, summaries.difference(shares[normalized], shares[plain])), above=0)
        for plain, normalized, name in _PAIRS
    ]
    scales = [_decades(results, arm.name, arm.label, target) for arm in results.study.arms]
    verdict = judge(
        "C21",
        "Share of the settings (weight scale and learning rate) that end with at least "
        f"{target:.0%} accuracy, normalized minus plain:",
        conditions,
        _READINGS,
        remarks=(_SCALES, *scales),
    )
    rank = comparison.fewest_steps(target)
    best = [comparison.best(results, arm.name, rank) for arm in results.study.arms]
    return Findings(
        headline=verdict.reading,
        summary=(_SCALES, *scales),
        explanation=_EXPLANATION,
        verdicts=(verdict,),
        figures=(
            Curves(
                "Accuracy at the end by the scale of the initial weights",
                "Median over the seeds, with 95 % interval, each at its best learning rate for "
                f"that scale. The dotted line at {target:.0%} is what counts as trained.",
                charts.log_axis(results, "scale"),
                ACCURACY,
                charts.sweep(results, "scale", lambda trial: trial.final_accuracy),
                (target,),
            ),
            charts.grids(results, target, "rate", "scale"),
        ),
        settings=wording.settings(
            results,
            (
                ("Network", "Inception", "3 hidden layers of 100 units, ReLU and sigmoid"),
                ("Initial weights", "not varied", f"Gaussian, {wording.swept(results, 'scale')}"),
                ("Learning rate", "not varied", wording.swept(results, "rate")),
                ("Mini-batch", "32", f"{results.plan.fixed['batch']:g}"),
                ("Steps", wording.NOT_STATED, f"{results.plan.steps:,}"),
            ),
            "ImageNet",
        ),
        notes=wording.notes(results, best),
    )


def _decades(results: Results, arm: str, label: str, target: float) -> str:
    """Return at which scales an arm trains, by its median at the best rate."""
    scales = [
        scale
        for scale in results.plan.grid["scale"]
        if any(
            setting.final_accuracy >= target
            for setting in comparison.settings(results, arm, {"scale": scale})
        )
    ]
    if not scales:
        return f"{label}: none of {len(results.plan.grid['scale'])}."
    return f"{label}: {', '.join(f'{scale:g}' for scale in scales)}."


_SCALES = "Weight scales at which a network trains:"
_READINGS = Readings(
    reproduced="With batch normalization the network trains from initial weights of far more "
    "scales than without.",
    mixed="Normalization widens the range of initial weights that train for one nonlinearity and "
    "not clearly for the other.",
    refuted="Normalization did not clearly widen the range of initial weights that train.",
)
_EXPLANATION = Explanation(
    done="The same network was started from Gaussian weights whose standard deviation covers four "
    "powers of ten, with and without batch normalization.",
    see="Over which scales of the initial weights each curve stays high. A plain network has a "
    "narrow place where it trains.",
    means="With batch normalization before each nonlinearity a wrong scale of the initial weights "
    "costs little. It is not free of it: large weights make the normalized network slow, because "
    "its gradients shrink in proportion.",
)
_DIGITS = Plan(
    seeds=5,
    grid={"scale": (0.001, 0.01, 0.1, 1, 10), "rate": (0.1, 1.0)},
    fixed={"batch": 60},
    steps=300,
    targets=(0.9,),
)
_LONG = replace(
    _DIGITS,
    seeds=9,
    grid={"scale": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10), "rate": (0.03, 0.1, 0.3, 1.0)},
    steps=1_000,
)
_MNIST = replace(_DIGITS, steps=1_000)

INITIALIZATION = Study(
    name="initialization",
    title="How much care do the initial weights need?",
    question="From which scales of the initial weights does a network train?",
    claims=("C21",),
    arms=(
        Arm("relu", "ReLU", partial(mlp, activation=nn.ReLU), dashed=True),
        Arm("relu-bn", "ReLU + BN", partial(mlp, activation=nn.ReLU, norm="batch")),
        Arm("sigmoid", "sigmoid", partial(mlp, activation=nn.Sigmoid), dashed=True),
        Arm("sigmoid-bn", "sigmoid + BN", partial(mlp, activation=nn.Sigmoid, norm="batch")),
    ),
    axes={"scale": "Weight scale", "rate": "Learning rate"},
    work=Training(),
    plans={
        ("digits", "quick"): _DIGITS,
        ("digits", "default"): _LONG,
        ("mnist", "quick"): _MNIST,
        ("mnist", "default"): replace(_LONG, seeds=5, steps=2_500),
        ("fashion-mnist", "quick"): replace(_MNIST, targets=(0.8,)),
        ("fashion-mnist", "default"): replace(_LONG, seeds=5, steps=2_500, targets=(0.8,)),
    },
    findings=findings,
)
