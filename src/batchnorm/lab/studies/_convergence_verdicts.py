"""Verdicts of the convergence study, and their rules."""

import numpy as np

from batchnorm.lab.design import CLAIMS
from batchnorm.lab.judging import comparison, summaries
from batchnorm.lab.judging._estimates import Ratio
from batchnorm.lab.judging._findings import Effect, Outcome, Verdict
from batchnorm.lab.judging._results import Results, TrialResult
from batchnorm.lab.judging._verdicts import Condition, Readings, judge, outcome
from batchnorm.lab.judging.comparison import Setting

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
    return judge(
        "C1",
        "Steps of the plain sigmoid network over those of the normalized one, each at its best "
        "setting for that accuracy:",
        [Condition(effect, above=1) for effect in effects],
        Readings(
            reproduced="The plain sigmoid network clearly needed more steps to every accuracy "
            "that was reached.",
            mixed="The plain sigmoid network clearly needed more steps to some of the accuracies, "
            "and not to others.",
            refuted="At its best setting the plain sigmoid network did not clearly need more "
            "steps to any of the accuracies.",
        ),
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


def trainable_sigmoid(results: Results) -> Verdict:
    """Judge C3: saturating nonlinearities become trainable."""
    target = results.plan.targets[0]

    def trains(trial: TrialResult) -> bool:
        return trial.final_accuracy >= target

    normalized, plain = (summaries.shares(results, arm, trains) for arm in (_NORMALIZED, _PLAIN))
    gain = summaries.difference(normalized, plain)
    wider = gain is not None and gain.low > 0
    trains_anyway = any(s.final_accuracy >= target for s in comparison.settings(results, _PLAIN))
    with_bn, without = (
        f"{np.mean([*s.values()]):.0%}" if s else "unknown" for s in (normalized, plain)
    )
    found: Outcome = "mixed" if trains_anyway else "reproduced"
    return Verdict(
        "C3",
        CLAIMS["C3"].statement,
        CLAIMS["C3"].source,
        found if wider else "not reproduced",
        "Share of the settings (learning rate and weight scale) that end with at least "
        f"{target:.0%} accuracy: {with_bn} with batch normalization, {without} without.",
        (Effect("Difference", gain, above=0),),
        f"A setting trains when it ends with at least {target:.0%} accuracy. Reproduced when the "
        "normalized network trains in a larger share of the settings (interval above 0) and the "
        "plain one in none by its median; mixed when in a larger share, but the plain one trains "
        "as well; not reproduced otherwise. The share depends on the grid. The paper's evidence is "
        "a deep Inception network; this one has three hidden layers.",
        _width_reading(wider=wider, trains_anyway=trains_anyway),
        figure=3,
    )


def _width_reading(*, wider: bool, trains_anyway: bool) -> str:
    plain = "as well where its settings suit it" if trains_anyway else "nowhere"
    effect = (
        "normalization widens the range of settings in which a sigmoid network trains"
        if wider
        else "normalization did not clearly widen the range of settings that train"
    )
    return f"The plain sigmoid network trains {plain}; {effect}."


def stable_distribution(results: Results) -> Verdict:
    """Judge C4: the distribution of the input to a nonlinearity stays stable."""
    plain, normalized = _best_pair(results, results.plan.headline_target)
    at_best = comparison.ratio(plain, normalized, path_length)
    above, total = _equal_settings(results)
    clear = at_best is not None and at_best.above_one
    mostly = total > 0 and above > total / 2
    return Verdict(
        "C4",
        CLAIMS["C4"].statement,
        CLAIMS["C4"].source,
        outcome((clear, mostly)),
        "How far the medians moved in all, plain over normalized:",
        (Effect("At each one's best setting", at_best, above=1),),
        "Movement: the distance of each unit's median from its place at the previous evaluation, "
        "in units of its 15-to-85 percentile width; the median over the layer's units, summed "
        "over training. Reproduced when the interval of the ratio lies above 1 at the best "
        "settings and the ratio is above 1 in more than half of the equal settings; mixed when "
        "one of the two holds; not reproduced when neither does.",
        _drift_reading(at_best, above, total),
        (f"Above 1 in {above} of {total} equal settings.",),
        figure=2,
    )


def path_length(trial: TrialResult) -> float:
    """Return how far the layer's medians moved in all, in widths."""
    return float(sum(e["drift"] for e in trial.evaluations if e["drift"] is not None))


def _drift_reading(at_best: Ratio | None, above: int, total: int) -> str:
    if at_best is None:
        return "The two networks have no seed in common, so they cannot be compared."
    if at_best.above_one:
        word = "moved more"
    elif at_best.below_one:
        word = "moved less"
    else:
        word = "moved neither clearly more nor clearly less"
    return (
        f"At the best settings the inputs to the plain network's sigmoids {word} than the "
        f"normalized network's; at equal settings they moved more in {above} of {total}."
    )


def _equal_settings(results: Results) -> tuple[int, int]:
    """Return in how many settings the plain network moved more, of those that none diverged in."""
    ratios = [
        comparison.ratio(plain, normalized, path_length)
        for plain, normalized in _same_settings(results)
        if all(trial.diverged_at is None for trial in (*plain.trials, *normalized.trials))
    ]
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
        comparison.best(results, arm, comparison.fewest_steps(target))
        for arm in (_PLAIN, _NORMALIZED)
    )
    return plain, normalized
