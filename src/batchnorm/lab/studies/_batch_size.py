"""Mini-batch size, at equal numbers of examples seen.

References:
    Wu and He (2018), "Group Normalization", figure 1; Ioffe (2017), "Batch Renormalization";
    Hoffer, Hubara and Soudry (2017) for ghost batches.
"""

from dataclasses import replace
from functools import partial

from torch import nn

from batchnorm.lab.design import Arm, Plan, by_task
from batchnorm.lab.judging import charts, comparison, wording
from batchnorm.lab.judging._estimates import Difference
from batchnorm.lab.judging._figures import Table
from batchnorm.lab.judging._findings import Effect, Explanation, Findings, Verdict
from batchnorm.lab.judging._results import Results, Study
from batchnorm.lab.judging._verdicts import Readings, above, judge
from batchnorm.lab.judging.comparison import Setting
from batchnorm.lab.networks import mlp
from batchnorm.lab.running._training import Training

_USUAL = 32
_COUNTS = 0.01  # a point of accuracy; less counts as none


def findings(results: Results) -> Findings:
    """Judge claim C12."""
    small = min(results.plan.grid["batch"])
    best = {
        (arm.name, batch): _best(results, arm.name, batch)
        for arm in results.study.arms
        for batch in results.plan.grid["batch"]
    }
    verdict = _verdict(results)
    return Findings(
        headline=f"{verdict.reading} With a batch of {small:g} it ends at "
        f"{best['bn', small].final_accuracy:.0%}, with {_USUAL} at "
        f"{best['bn', _USUAL].final_accuracy:.0%}.",
        explanation=_EXPLANATION,
        verdicts=(verdict,),
        figures=(
            charts.accuracy_sweep(
                results,
                "batch",
                "Accuracy at the end by mini-batch",
                "Median over the seeds, with its interval, each at its best learning rate for "
                f"that batch, after {results.plan.examples:,} training examples. Ghost "
                "batches hold 16: up to there ghost BN is BN.",
            ),
            _table(results),
        ),
        settings=wording.settings(results, _SETTINGS, "ImageNet"),
        notes=(
            _EQUAL,
            *wording.notes(results, best.values(), wording.MOST_ACCURATE, given=("batch",)),
        ),
    )


def _verdict(results: Results) -> Verdict:
    """Judge by the best setting of each arm for each mini-batch."""
    batches = results.plan.grid["batch"]
    small, large = min(batches), max(batches)

    def gain(first: tuple[str, float], second: tuple[str, float]) -> Difference | None:
        ours, theirs = (
            comparison.picked_elsewhere(results, arm, comparison.most_accurate, {"batch": batch})
            for arm, batch in (first, second)
        )
        return comparison.accuracy_difference(ours, theirs)

    return judge(
        "C12",
        "Accuracy at the end, each network at its best learning rate for its batch:",
        (
            above(
                0,
                f"BN, batch {_USUAL} minus batch {small:g}",
                gain(("bn", _USUAL), ("bn", small)),
                _COUNTS,
            ),
            above(
                0,
                f"Batch {small:g}, group minus BN",
                gain(("group", small), ("bn", small)),
                _COUNTS,
            ),
        ),
        _READINGS,
        others=[
            Effect(name, gain(first, second))
            for name, first, second in (
                (
                    f"Plain, batch {_USUAL} minus batch {small:g}",
                    ("plain", _USUAL),
                    ("plain", small),
                ),
                (f"Batch {small:g}, renormalized minus BN", ("renorm", small), ("bn", small)),
                (f"Batch {large:g}, ghost minus BN", ("ghost", large), ("bn", large)),
            )
        ],
    )


def _best(results: Results, arm: str, batch: float) -> Setting:
    return comparison.best(results, arm, comparison.most_accurate, {"batch": batch})


def _table(results: Results) -> Table:
    rows = [
        (
            f"{batch:g}",
            *(
                f"{s.final_accuracy:.1%} (rate {s.at['rate']:g})"
                for s in (_best(results, arm.name, batch) for arm in results.study.arms)
            ),
        )
        for batch in results.plan.grid["batch"]
    ]
    return Table(
        "Every mini-batch",
        "Median accuracy at the end and the learning rate that gave it.",
        ("Mini-batch", *(arm.label for arm in results.study.arms)),
        tuple(rows),
    )


_SETTINGS = (
    ("Network", "ResNet-50", "3 hidden layers of 100 ReLU units"),
    ("Mini-batch", "2 to 32 on each device", "{batch}"),
    ("Learning rate", "in proportion to the batch", "the same; {rate} at a batch of {rate_batch}"),
    ("Length", "100 epochs", "{examples} examples"),
    ("Group normalization", "32 groups", "groups of 10 units"),
    ("Ghost batches", "not compared", "of 16"),
)
_EQUAL = (
    "Every trial sees the same number of examples, so a large batch takes few steps: compare "
    "networks at one batch, and batches with care."
)
_READINGS = Readings(
    reproduced="Batch normalization gets clearly worse with a very small mini-batch, where "
    "normalization that does not look at the batch does not.",
    mixed="A very small mini-batch costs batch normalization something by one comparison, and "
    "nothing by the other.",
    contradicted="Batch normalization did not suffer from a very small mini-batch: it loses "
    "nothing, and group normalization does no better.",
)
_EXPLANATION = Explanation(
    done="The same network was trained with mini-batches from very small to large, with batch "
    "normalization, with its variants for small and large batches, with group normalization and "
    "with none.",
    see="Where the curve of batch normalization leaves the others as the batch shrinks.",
    means="The fewer values a statistic is taken over, the noisier it is. Where a small batch "
    "costs you something, synchronize the statistics over devices, accumulate them over "
    "micro-batches, renormalize, or use group normalization.",
)
_DIGITS = Plan(
    seeds=10,
    grid={"batch": (2, 4, 8, 32, 256), "rate": (0.1, 0.3)},
    fixed={"rate_batch": 64},
    examples=5_000,
)
_LONG = replace(
    _DIGITS,
    seeds=9,
    grid={"batch": (2, 4, 8, 16, 32, 64, 128, 256), "rate": (0.03, 0.1, 0.3, 1.0)},
    examples=20_000,
)
_IMAGES = (replace(_DIGITS, examples=20_000), replace(_LONG, examples=120_000))

BATCH_SIZE = Study(
    name="batch-size",
    title="How small may the mini-batch be?",
    question="What does a small mini-batch cost, and which normalization bears it?",
    claims=("C12",),
    arms=(
        Arm("plain", "plain", partial(mlp, activation=nn.ReLU), dashed=True),
        *(
            Arm(name, label, partial(mlp, activation=nn.ReLU, norm=norm))
            for name, label, norm in (
                ("bn", "BN", "batch"),
                ("ghost", "ghost BN", "ghost"),
                ("renorm", "renormalized", "renorm"),
                ("group", "group", "group"),
            )
        ),
    ),
    axes={"batch": "Mini-batch", "rate": "Learning rate"},
    work=Training(),
    plans=by_task({"digits": (_DIGITS, _LONG), "mnist": _IMAGES, "fashion-mnist": _IMAGES}),
    findings=findings,
)
