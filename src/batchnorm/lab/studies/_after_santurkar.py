"""Arms, plans and figures that the two studies after Santurkar et al. share.

References:
    Santurkar et al. (2018), "How Does Batch Normalization Help Optimization?", appendix A: VGG on
    CIFAR-10 (rate 0.1, batches of 128, 15,000 steps, no augmentation) and a deep linear network
    (25 layers of 10x10, 1,000 samples in one batch, rate 1e-6).
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from batchnorm.lab.design import Arm, Plan, Scale, Settings, by_task
from batchnorm.lab.judging import charts, comparison, wording
from batchnorm.lab.judging._figures import ACCURACY, Axis, Curves
from batchnorm.lab.judging._findings import SettingRow
from batchnorm.lab.judging._results import Results, TrialResult
from batchnorm.lab.judging.comparison import Setting, Value
from batchnorm.lab.networks import vgg_or_linear
from batchnorm.lab.tasks import OWN

ARMS: tuple[Arm, ...] = (
    Arm("plain", "without BN", vgg_or_linear, dashed=True),
    Arm("bn", "with BN", partial(vgg_or_linear, norm="batch")),
)
LINEAR_STEPS = Axis("Training steps")
_TRAINED = 2.5
AXES: Mapping[str, str] = {"rate": "Learning rate"}


def plans(classes: Settings, values: Settings) -> Mapping[tuple[str, Scale], Plan]:
    """Return the plans of a study.

    Args:
        classes: settings where there are classes, beside those of every study.
        values: settings where there are values to predict.
    """
    digits = Plan(
        seeds=5,
        grid={"rate": (0.03, 0.1)},
        fixed={"batch": 64, "width": 8, "stated": 0.1, **classes},
        steps=300,
        every=15,
    )
    images = replace(digits, fixed={**digits.fixed, "test": 1_000}, steps=200)
    longer = replace(images, fixed={**images.fixed, "width": 16}, steps=1_000, every=50)
    own = replace(
        digits,
        grid={"rate": (0.03, 0.1, 0.3)},
        fixed={"batch": 64, "momentum": 0.0, "decay": 0.0, **classes},
    )
    paper = replace(
        longer,
        grid={"rate": (0.1,)},
        fixed={"batch": 128, "width": 64, "stated": 0.1, **classes},
        steps=15_000,
    )
    linear = Plan(
        seeds=5,
        grid={"rate": (1e-6,)},
        fixed={"batch": 1_000, "stated": 1e-6, **values},
        steps=1_000,
        every=100,
    )
    return by_task(
        {
            "digits": (digits, replace(digits, seeds=9, steps=1_000)),
            "mnist": (images, longer),
            "fashion-mnist": (images, longer),
            "cifar10": (images, longer, paper),
            OWN: (own, replace(own, steps=1_000, every=50)),
            "linear-regression": (
                linear,
                replace(linear, seeds=9, steps=5_000),
                replace(linear, steps=10_000),
            ),
        }
    )


def over_training(key: str) -> Value:
    """Return what takes the median of a number over the evaluations of a trial.

    A number that was not finite counts as infinite: it overflowed.
    """

    def value(trial: TrialResult) -> float:
        found = [trial_value(record[key]) for record in trial.evaluations]
        return float(np.median(found))

    return value


def trial_value(value: float | None) -> float:
    """Return a recorded number, infinity where it was not finite."""
    return math.inf if value is None else float(value)


def decisive(results: Results) -> tuple[float, ...]:
    """Return the learning rates that decide: the one that the paper states, or all of the run.

    The others are shown. A setting that was chosen by the paper cannot have been chosen here.
    """
    rates, stated = results.plan.grid["rate"], results.plan.fixed.get("stated")
    return (stated,) if stated is not None and stated in rates else rates


def ordered(results: Results) -> tuple[float, ...]:
    """Return the learning rates, those that decide first."""
    first = decisive(results)
    return (*first, *(rate for rate in results.plan.grid["rate"] if rate not in first))


def pair(results: Results, rate: float) -> tuple[Setting, Setting]:
    """Return the plain and the normalized network at one learning rate."""
    plain, normalized = (
        comparison.only(results, arm.name, {"rate": rate}) for arm in results.study.arms
    )
    return plain, normalized


def curves(results: Results, rate: float, key: str, title: str, caption: str, axis: Axis) -> Curves:
    """Return a number by step for both networks at one learning rate."""
    return Curves(
        f"{title}, learning rate {rate:g}",
        f"{caption} Line: median over the seeds. Band: from the smallest to the largest.",
        LINEAR_STEPS,
        axis,
        tuple(charts.series(results, setting, key) for setting in pair(results, rate)),
    )


def ends(results: Results) -> tuple[str, ...]:
    """Return how well the networks were trained that the numbers are of, a line a rate."""
    lines = []
    for rate in ordered(results):
        found = (_end(results, setting) for setting in pair(results, rate))
        lines.append(f"Rate {rate:g}: {', '.join(found)}.")
    return (f"{_score(results)[1]} at the end of training:", *lines)


def _score(results: Results) -> tuple[str, str]:
    """Return the score of a network: its field and its name."""
    if results.config["chance"] is None:
        return "test_loss", "Test loss"
    return "test_accuracy", "Test accuracy"


def _end(results: Results, setting: Setting) -> str:
    label = results.study.arm(setting.arm).label
    if results.config["chance"] is None:
        return f"{label} {setting.median(lambda trial: trial['test_loss']).value:.3g}"
    return f"{label} {setting.final_accuracy:.0%}"


def progress(results: Results, rate: float) -> Curves:
    """Return how well both networks do by step, at one learning rate."""
    field, title = _score(results)
    axis = replace(ACCURACY, title=title) if field == "test_accuracy" else Axis(title)
    caption = "What the measurements above belong to."
    return curves(results, rate, field, f"{title} by step", caption, axis)


def untrained(results: Results) -> tuple[str, ...]:
    """Return a note on each network that hardly learned anything, so that little is said of it."""
    chance = results.config["chance"]
    return tuple(
        f"At the rate {rate:g} the network {results.study.arm(setting.arm).label} ends with "
        f"{setting.final_accuracy:.0%} accuracy, where guessing gives {chance:.0%}: it hardly "
        "trains, and its gradients are measured on a plateau, where little changes."
        for rate in ordered(results)
        for setting in pair(results, rate)
        if chance is not None and setting.final_accuracy < _TRAINED * chance
    )


def settings(results: Results, *rows: tuple[str, str, str]) -> tuple[SettingRow, ...]:
    """Return the table of settings, with those that both studies share.

    Args:
        results: the run.
        rows: further ones.
    """
    plan = results.plan
    optimizer = "without momentum or decay"
    if results.config["task"] == OWN:
        own = results.config["own"]["model"]
        network, data, rate, batch, steps = "VGG", "CIFAR-10", "0.1", "128", "15,000"
        here = f"{own}; without BN, its layers are their weight and bias alone"
        momentum, decay = plan.fixed["momentum"], plan.fixed["decay"]
        optimizer = f"momentum {momentum:g}, decay {decay:g}"
    elif results.config["task"] == "linear-regression":
        network, data = "25 linear maps of 10x10", "1,000 synthetic samples"
        rate, batch, steps, here = "1e-6", "1,000, all of them", wording.NOT_STATED, network
    else:
        network, data, rate, batch, steps = "VGG", "CIFAR-10", "0.1", "128", "15,000"
        here = f"after VGG, {plan.fixed.get('width', 16):g} channels in the first of its pairs"
    return wording.settings(
        results,
        (
            ("Network", network, here),
            ("Learning rate", rate, "{rate}"),
            ("Mini-batch", batch, "{batch}"),
            ("Optimizer", "SGD; momentum not stated", optimizer),
            ("Steps", steps, "{steps}"),
            *rows,
        ),
        data,
    )
