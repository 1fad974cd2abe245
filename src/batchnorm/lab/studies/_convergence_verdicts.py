"""Verdicts of the convergence study, and their rules."""

from collections.abc import Sequence

import numpy as np

from batchnorm.lab.judging import comparison, summaries
from batchnorm.lab.judging._findings import Effect, Verdict
from batchnorm.lab.judging._results import Results, TrialResult
from batchnorm.lab.judging._verdicts import Condition, Readings, judge
from batchnorm.lab.judging.comparison import Setting

_COUNTS = 1.1  # more steps by less than a tenth count as none
_PLAIN, _NORMALIZED = "sigmoid", "sigmoid-bn"


def fewer_steps(results: Results) -> Verdict:
    """Judge C1: fewer training steps to the same accuracy."""
    effects = [
        Effect(
            f"To {target:.0%}",
            comparison.step_ratio(results, *_best_pair(results, target), target),
        )
        for target in results.plan.targets
    ]
    reached = [one for one in effects if one.estimate is not None and one.estimate.determined]
    return judge(
        "C1",
        "Steps of the plain sigmoid network over those of the normalized one, each at its best "
        "setting for that accuracy:",
        [Condition(effect, above=1, margin=_COUNTS) for effect in reached or effects],
        Readings(
            reproduced="The plain sigmoid network clearly needed more steps to every accuracy "
            "that was reached.",
            mixed="The plain sigmoid network clearly needed more steps to some of the accuracies, "
            "and no more to others.",
            contradicted="At its best setting the plain sigmoid network needed no more steps to "
            "any of the accuracies that were reached.",
        ),
        others=[effect for effect in effects if reached and effect not in reached],
        remarks=(_at_equal_settings(results),),
        figure=1,
    )


def _at_equal_settings(results: Results) -> str:
    """Return in how many equal settings each of the two needs fewer steps, in words."""
    target = results.plan.headline_target
    ratios = [
        comparison.step_ratio(results, plain, normalized, target)
        for plain, normalized in _same_settings(results)
    ]
    known = [ratio for ratio in ratios if ratio is not None and ratio.determined]
    fewer, more = sum(r.above_one for r in known), sum(r.below_one for r in known)
    return (
        f"At equal settings, to {target:.0%}: the normalized network needs clearly fewer steps in "
        f"{fewer} of {len(known)} settings in which one of them gets there, and clearly more in "
        f"{more}."
    )


def trained_shares(results: Results) -> str:
    """Return in how many settings each sigmoid network trains, in words; it judges nothing."""
    target = results.plan.targets[0]
    found = (
        summaries.shares(results, arm, summaries.reaches(target)) for arm in (_NORMALIZED, _PLAIN)
    )
    normalized, plain = (f"{np.mean([*s.values()]):.0%}" if s else "unknown" for s in found)
    return (
        f"Settings (learning rate and weight scale) in which the sigmoid network ends with at "
        f"least {target:.0%} accuracy: {normalized} with batch normalization, {plain} without. "
        "The share depends on the grid."
    )


def stable_distribution(results: Results) -> Verdict:
    """Judge C4: the distribution of the input to a nonlinearity stays stable."""
    plain, normalized = _best_pair(results, results.plan.headline_target)
    above, total = _count_of_settings(results)
    return judge(
        "C4",
        "How far the medians moved in all, plain over normalized. Movement is the distance of each "
        "unit's median from its place at the previous evaluation, in units of its 15-to-85 "
        "percentile width; the median over the layer's units, summed over training:",
        [
            Condition(Effect(name, estimate), above=1, margin=_COUNTS)
            for name, estimate in (
                (
                    "At each one's best setting",
                    comparison.ratio(plain, normalized, path_length),
                ),
                (
                    "At equal settings, the mean over those in which none diverged",
                    summaries.ratio(*_paths(results)),
                ),
            )
        ],
        Readings(
            reproduced="The inputs to the plain network's sigmoids moved more than the normalized "
            "network's, at the best settings and at equal ones.",
            mixed="The inputs to the plain network's sigmoids moved more by one of the "
            "comparisons, and no more by the other.",
            contradicted="The inputs to the plain network's sigmoids moved no more than the "
            "normalized network's, at the best settings and at equal ones.",
        ),
        remarks=(f"Above 1 in {above} of {total} equal settings.",),
        figure=2,
    )


def path_length(trial: TrialResult) -> float:
    """Return how far the layer's medians moved in all, in widths."""
    return float(sum(e["drift"] for e in trial.evaluations if e["drift"] is not None))


def _paths(results: Results) -> tuple[dict[int, float], dict[int, float]]:
    """Return by seed the geometric mean of the movement over equal settings, of either network."""
    pairs = _whole_pairs(results)
    seeds = sorted({trial.trial.seed for pair in pairs for s in pair for trial in s.trials})
    found: tuple[dict[int, float], dict[int, float]] = ({}, {})
    for seed in seeds:
        paths = [
            [path_length(t) for s in pair for t in s.trials if t.trial.seed == seed]
            for pair in pairs
        ]
        if all(len(both) == len(found) for both in paths):
            for side, numbers in zip(found, zip(*paths, strict=True), strict=True):
                side[seed] = _geometric_mean(numbers)
    return found


def _geometric_mean(numbers: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(numbers)))) if all(numbers) else 0.0


def _whole_pairs(results: Results) -> list[tuple[Setting, Setting]]:
    """Return both networks at each setting in which no trial diverged."""
    return [
        pair
        for pair in _same_settings(results)
        if all(trial.diverged_at is None for setting in pair for trial in setting.trials)
    ]


def _count_of_settings(results: Results) -> tuple[int, int]:
    """Return in how many settings the plain network moved more, of those that none diverged in."""
    ratios = [comparison.ratio(*pair, path_length) for pair in _whole_pairs(results)]
    known = [ratio for ratio in ratios if ratio is not None]
    return sum(ratio.least > 1 for ratio in known), len(known)


def _same_settings(results: Results) -> list[tuple[Setting, Setting]]:
    """Return both networks at each setting that both have."""
    plain, normalized = (
        {tuple(setting.at.items()): setting for setting in comparison.settings(results, arm)}
        for arm in (_PLAIN, _NORMALIZED)
    )
    return [(plain[at], normalized[at]) for at in plain if at in normalized]


def _best_pair(results: Results, target: float) -> tuple[Setting, Setting]:
    plain, normalized = (
        comparison.picked_elsewhere(results, arm, comparison.fewest_steps(target))
        for arm in (_PLAIN, _NORMALIZED)
    )
    return plain, normalized
