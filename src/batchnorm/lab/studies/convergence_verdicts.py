"""The rules by which the convergence study judges its claims."""

from itertools import product

import numpy as np

from .. import comparison, statistics
from ..comparison import Setting
from ..findings import Outcome, Verdict
from ..results import Results, TrialResult
from ..statistics import Ratio

_PLAIN, _NORMALIZED = "sigmoid", "sigmoid-bn"


def fewer_steps(results: Results) -> Verdict:
    """Judge C1: fewer training steps to the same accuracy."""
    ratios = [
        comparison.step_ratio(results, *_best_pair(results, target), target)
        for target in results.budget.targets
    ]
    known = [ratio for ratio in ratios if ratio is not None and ratio.determined]
    fewer = sum(ratio.above_one for ratio in known)
    effects = [
        f"To {target:.0%}: {ratio or 'no shared seed'}."
        for target, ratio in zip(results.budget.targets, ratios, strict=True)
    ]
    return Verdict(
        "C1",
        "A network with batch normalization needs fewer training steps to the same accuracy.",
        _outcome(reproduced=fewer == len(known), refuted=fewer == 0) if known else "not determined",
        (
            (
                "Steps of the plain sigmoid network over those of the normalized one, each at its "
                "best setting for that accuracy:"
            ),
            *effects,
        ),
        "Reproduced when the whole interval of the ratio lies above 1 at every target accuracy "
        "that one of the two networks reached, not reproduced when it does at none of them, mixed "
        "otherwise; not determined when neither reached any.",
        f"Of {len(known)} target accuracies that were reached, the plain sigmoid network clearly "
        f"needed more steps at {fewer}.",
    )


def trainable_sigmoid(results: Results) -> Verdict:
    """Judge C3: saturating nonlinearities become trainable."""
    target = results.budget.targets[0]
    plain, normalized = (_shares(results, arm, target) for arm in (_PLAIN, _NORMALIZED))
    seeds = sorted(plain.keys() & normalized.keys())
    wider = False
    effect: tuple[str, ...] = ("No seed has every setting of both networks.",)
    if seeds:
        gain = statistics.difference([normalized[s] for s in seeds], [plain[s] for s in seeds])
        wider = gain.low > 0
        with_bn, without = (
            float(np.mean([share[s] for s in seeds])) for share in (normalized, plain)
        )
        effect = (
            (
                "Share of the settings (learning rate and weight scale) that end with at least "
                f"{target:.0%} accuracy:"
            ),
            f"{with_bn:.0%} with batch normalization, {without:.0%} without.",
            (
                f"Difference {100 * gain.value:.0f} points (95 % interval {100 * gain.low:.0f} to "
                f"{100 * gain.high:.0f})."
            ),
        )
    trains_anyway = any(s.final_accuracy >= target for s in comparison.settings(results, _PLAIN))
    reading = (
        "The plain sigmoid network trains as well where its settings suit it"
        if trains_anyway
        else "The plain sigmoid network trained nowhere"
    )
    widened = (
        "; normalization widens the range of settings in which a sigmoid network trains."
        if wider
        else "; normalization did not clearly widen the range of settings that train."
    )
    return Verdict(
        "C3",
        "Networks with saturating nonlinearities, which cannot be trained without it, become "
        "trainable.",
        _outcome(reproduced=wider and not trains_anyway, refuted=not wider),
        effect,
        f"A setting trains when it ends with at least {target:.0%} accuracy. Reproduced when the "
        "normalized network trains in a larger share of the settings (interval above 0) and the "
        "plain one in none by its median; mixed when in a larger share, but the plain one trains "
        "as well; not reproduced otherwise. The share depends on the grid. The paper's evidence is "
        "a deep Inception network; this one has three hidden layers.",
        reading + widened,
    )


def stable_distribution(results: Results) -> Verdict:
    """Judge C4: the distribution of the input to a nonlinearity stays stable."""
    plain, normalized = _best_pair(results, results.budget.headline_target)
    at_best = comparison.ratio(plain, normalized, path_length)
    above, total = _equal_settings(results)
    clear = at_best is not None and at_best.above_one
    mostly = total > 0 and above > total / 2
    found = str(at_best) if at_best else "no shared seed"
    return Verdict(
        "C4",
        "The distribution of the input to a nonlinearity stays more stable during training.",
        _outcome(reproduced=clear and mostly, refuted=not clear and not mostly),
        (
            "How far the medians moved in all, plain over normalized:",
            f"{found} at each one's best setting.",
            f"Above 1 in {above} of {total} equal settings.",
        ),
        "Movement: the distance of each unit's median from its place at the previous evaluation, "
        "in units of its 15-to-85 percentile width; the median over the layer's units, summed "
        "over training. Reproduced when the interval of the ratio lies above 1 at the best "
        "settings and the ratio is above 1 in more than half of the equal settings; mixed when "
        "one of the two holds; not reproduced when neither does.",
        _drift_reading(at_best, above, total),
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
    plain, normalized = (
        {
            (s.scale, s.rate): s
            for s in comparison.settings(results, arm)
            if all(trial.diverged_at is None for trial in s.trials)
        }
        for arm in (_PLAIN, _NORMALIZED)
    )
    shared = plain.keys() & normalized.keys()
    ratios = [comparison.ratio(plain[key], normalized[key], path_length) for key in shared]
    known = [ratio for ratio in ratios if ratio is not None]
    return sum(ratio.least > 1 for ratio in known), len(known)


def _shares(results: Results, arm: str, target: float) -> dict[int, float]:
    """Return by seed the share of the settings that end at the target, for whole seeds."""
    grid = list(product(results.budget.scales, results.budget.rates))
    ends: dict[int, list[bool]] = {}
    for setting in comparison.settings(results, arm):
        for trial in setting.trials:
            ends.setdefault(trial.trial.seed, []).append(trial.final_accuracy >= target)
    return {seed: sum(e) / len(grid) for seed, e in ends.items() if len(e) == len(grid)}


def _points(share: float) -> str:
    return f"{100 * share:.0f}"


def _best_pair(results: Results, target: float) -> tuple[Setting, Setting]:
    return (
        comparison.best(results, _PLAIN, target),
        comparison.best(results, _NORMALIZED, target),
    )


def _outcome(*, reproduced: bool, refuted: bool) -> Outcome:
    if reproduced:
        return "reproduced"
    return "not reproduced" if refuted else "mixed"
