"""Learning rates 5 and 30 times higher, and up to divergence (section 4.2 of the paper).

References:
    Ioffe and Szegedy (2015), section 4.2.1 and figure 2 (BN-x5, BN-x30).
"""

from functools import partial

from torch import nn

from batchnorm.lab.design import Arm, Plan, on_images
from batchnorm.lab.judging import charts, comparison, step_charts, summaries, wording
from batchnorm.lab.judging._findings import Effect, Explanation, Findings, Verdict
from batchnorm.lab.judging._results import Results, Study
from batchnorm.lab.judging._verdicts import Readings, above, judge
from batchnorm.lab.judging.summaries import Trains
from batchnorm.lab.networks import mlp
from batchnorm.lab.running._training import Training

_TIMES = (5, 30)
_MOST = 0.5  # of the seeds
_COUNTS = 1.5  # about the distance of the rates; a lesser gain counts as none
_MULTIPLES = (0.2, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 100)


def _plan(base: float, steps: int, seeds: int, target: float) -> Plan:
    """Return the plan around the learning rate that suits the plain network best."""
    return Plan(
        seeds=seeds,
        grid={"rate": tuple(base * times for times in _MULTIPLES)},
        fixed={"base": base, "batch": 60},
        steps=steps,
        targets=(target,),
    )


def findings(results: Results) -> Findings:
    """Judge claim C2."""
    target = results.plan.headline_target
    trains = summaries.reaches(target)
    verdict = _verdict(results, trains)
    ratio = verdict.effects[0].estimate or "not known to be any multiple of"
    rank = comparison.fewest_steps(target)
    return Findings(
        headline=f"The highest learning rate that trains the normalized network is {ratio} that "
        f"of the plain one. {verdict.reading}",
        explanation=_EXPLANATION,
        verdicts=(verdict,),
        figures=(
            charts.accuracy_sweep(
                results,
                "rate",
                "Accuracy at the end by learning rate",
                f"Median over the seeds, with its interval, after {results.plan.steps:,} steps. "
                f"The dotted line at {target:.0%} is what counts as trained. A diverged trial "
                "counts as chance.",
                marks=(target,),
            ),
            charts.accuracy_curves(results, rank, f"{target:.0%} accuracy"),
            step_charts.equal_settings(results, target, (("plain", "bn"),)),
        ),
        settings=wording.settings(results, _SETTINGS, "ImageNet"),
        notes=(
            wording.SETTLED,
            *wording.notes(
                results, comparison.best_of_each(results, rank).values(), comparison.RULE
            ),
        ),
    )


def _verdict(results: Results, trains: Trains) -> Verdict:
    base = results.plan.fixed["base"]
    return judge(
        "C2",
        f"Which rates train, to at least {results.plan.headline_target:.0%} accuracy; and the "
        f"share of the seeds that train at multiples of the base rate {base:g}, which was chosen "
        "for the plain network:",
        [
            above(
                1,
                "Highest rate that trains, normalized over plain",
                summaries.highest_ratio(results, "bn", "plain", "rate", trains),
                _COUNTS,
            ),
            *(
                above(
                    _MOST,
                    f"At {times} times the base rate, normalized",
                    summaries.share_of_seeds(results, "bn", trains, {"rate": times * base}),
                )
                for times in _TIMES
            ),
        ],
        _READINGS,
        others=[_gain(results, trains, times, times * base) for times in _TIMES],
    )


def _gain(results: Results, trains: Trains, times: float, rate: float) -> Effect:
    """Return by how much more of the seeds train with normalization at a rate."""
    return Effect(
        f"At {times:g} times the base rate, normalized minus plain",
        summaries.difference_of_seeds(results, "bn", "plain", trains, {"rate": rate}),
    )


_SETTINGS = (
    ("Network", "Inception", "3 hidden layers of 100 ReLU units"),
    ("Base rate", "0.0015, that of the plain Inception network", "{base}"),
    ("Multiples", "1, 5 and 30", "{rate} as rates"),
    ("Optimizer", "with momentum", "without momentum or decay"),
    ("Mini-batch", "32", "{batch}"),
    ("Steps", "2.1 to 31 million", "{steps}"),
)
_READINGS = Readings(
    reproduced="With batch normalization higher rates train than without, and most networks train "
    "at 5 and at 30 times the base rate.",
    mixed="Part of the claim holds and part does not: higher rates than without, 5 times the base "
    "rate, 30 times.",
    contradicted="With batch normalization no higher rates train than without, and most networks "
    "fail at 5 and at 30 times the base rate.",
)
_EXPLANATION = Explanation(
    done="The same network was trained with and without batch normalization at learning rates from "
    "a fifth of the one that suits the plain network to 100 times it.",
    see="Each curve is the accuracy that is left at the end as the learning rate grows. Where it "
    "falls, the rate is too high for that network.",
    means="After adding batch normalization, try higher learning rates than before. How much "
    "higher depends on the network: look where its curve falls.",
)
_DIGITS = _plan(base=0.2, steps=300, seeds=10, target=0.9)

LEARNING_RATE = Study(
    name="learning-rate",
    title="Does batch normalization allow higher learning rates?",
    question="How far can the learning rate be raised, with and without batch normalization?",
    claims=("C2",),
    arms=(
        Arm("plain", "ReLU", partial(mlp, activation=nn.ReLU), dashed=True),
        Arm("bn", "ReLU + BN", partial(mlp, activation=nn.ReLU, norm="batch")),
    ),
    axes={"rate": "Learning rate"},
    work=Training(),
    plans=on_images(_DIGITS, fashion_targets=(0.8,)),
    findings=findings,
)
