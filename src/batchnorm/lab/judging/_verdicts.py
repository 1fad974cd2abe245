"""Verdicts from effects, by a rule that is calculated and put into words in one place."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from batchnorm.lab.design import CLAIMS
from batchnorm.lab.judging._estimates import CONFIDENCE, Estimate, Extreme
from batchnorm.lab.judging._findings import Effect, Outcome, Status, Verdict

_CORRECTED = (
    "Several decide together, so their intervals are widened until all of them hold at once with "
    "95 % (Bonferroni). "
)


@dataclass(frozen=True)
class Readings:
    """What each outcome means, in plain words.

    What was not shown was not refuted: when it cannot be told, no words of a study are used.

    Args:
        reproduced: every condition is supported.
        contradicted: every condition is contradicted.
        mixed: some are supported and some contradicted; needed where there are several.
    """

    reproduced: str
    contradicted: str
    mixed: str = ""

    def of(self, found: Outcome, statuses: Sequence[Status]) -> str:
        """Return the words for an outcome.

        Args:
            found: the outcome.
            statuses: what became of each condition.
        """
        if found == "cannot be told":
            return "The trials of this run cannot tell." + _tally(statuses)
        words = {
            "reproduced": self.reproduced,
            "contradicted": self.contradicted,
            "mixed": self.mixed,
        }
        return words[found]


def _tally(statuses: Sequence[Status]) -> str:
    """Return how many conditions are told, where some are and some are not."""
    known = [(kind, statuses.count(kind)) for kind in ("supported", "contradicted")]
    told = " and ".join(f"{count} {kind}" for kind, count in known if count)
    return f" Of {len(statuses)} conditions, {told}, and the rest open." if told else ""


@dataclass(frozen=True)
class Condition:
    """What an effect has to be for the claim to hold: its whole interval on one side of a bound.

    It is contradicted when the whole interval lies on the other side, or short of the margin; what
    is neither cannot be told.

    Args:
        effect: the effect.
        above: what the interval must lie above, or `None`.
        below: what it must lie below, or `None`.
        margin: the smallest value that counts as an effect, set before the trials; `None` is the
            bound itself.
    """

    effect: Effect
    above: float | None = None
    below: float | None = None
    margin: float | None = None

    @property
    def bounded(self) -> Effect:
        """The effect with its bounds."""
        return replace(self.effect, above=self.above, below=self.below, margin=self.margin)

    def __str__(self) -> str:
        sides = (("above", self.above), ("below", self.below))
        words = (f"{side} {self._words(bound)}" for side, bound in sides if bound is not None)
        counts = "" if self.margin is None else f" (counts from {self._words(self.margin)})"
        return f"“{self.effect.name}” lies {' and '.join(words)}{counts}"

    def _words(self, bound: float) -> str:
        found = self.effect.estimate
        return f"{bound:g}" if found is None else found.bound(bound)


def above(
    bound: float, name: str, estimate: Estimate | None, margin: float | None = None
) -> Condition:
    """Return the condition that an effect lies above a bound.

    Args:
        bound: the bound.
        name: what is compared.
        estimate: how large the effect is; `None` when the trials cannot be compared.
        margin: the smallest value that counts as an effect; `None` is the bound itself.
    """
    return Condition(Effect(name, estimate), above=bound, margin=margin)


def below(
    bound: float, name: str, estimate: Estimate | None, margin: float | None = None
) -> Condition:
    """Return the condition that an effect lies below a bound; see `above`."""
    return Condition(Effect(name, estimate), below=bound, margin=margin)


def outcome(statuses: Iterable[Status]) -> Outcome:
    """Return the outcome of conditions, by what became of each.

    Example:
        >>> outcome(["supported", "supported"]), outcome(["supported", "contradicted"])
        ('reproduced', 'mixed')
        >>> outcome(["contradicted"]), outcome(["supported", "cannot be told"])
        ('contradicted', 'cannot be told')
    """
    found = set(statuses)
    if found == {"supported"}:
        return "reproduced"
    if found == {"contradicted"}:
        return "contradicted"
    return "mixed" if {"supported", "contradicted"} <= found else "cannot be told"


def judge(
    claim: str,
    measured: str,
    conditions: Sequence[Condition],
    readings: Readings,
    *,
    others: Sequence[Effect] = (),
    remarks: Sequence[str] = (),
    figure: int = 0,
) -> Verdict:
    """Return the verdict on a claim.

    Args:
        claim: a number out of `claims.CLAIMS`.
        measured: what was measured, in words.
        conditions: what has to hold; the intervals of several are widened, so that all of them
            together are right in 95 % of runs (Bonferroni).
        readings: what each outcome means, in plain words.
        others: effects that are shown and decide nothing.
        remarks: further results in words.
        figure: which of the study's figures shows the claim.
    """
    conditions = _together(conditions)
    bounded = [condition.bounded for condition in conditions]
    statuses = [effect.status for effect in bounded]
    found = outcome(statuses)
    return Verdict(
        claim,
        CLAIMS[claim].statement,
        CLAIMS[claim].source,
        found,
        measured,
        (*bounded, *others),
        _rule(conditions),
        readings.of(found, statuses),
        tuple(remarks),
        figure,
    )


def _together(conditions: Sequence[Condition]) -> list[Condition]:
    """Return the conditions with intervals that hold all at once with 95 %."""
    confidence = _confidence(conditions)
    found = []
    for one in conditions:
        estimate = one.effect.estimate
        widened = None if estimate is None else estimate.at(confidence)
        found.append(replace(one, effect=replace(one.effect, estimate=widened)))
    return found


def _confidence(conditions: Sequence[Condition]) -> float:
    chances = sum(not isinstance(one.effect.estimate, Extreme) for one in conditions)
    return 1 - (1 - CONFIDENCE) / max(chances, 1)


def _rule(conditions: Sequence[Condition]) -> str:
    sure = all(isinstance(condition.effect.estimate, Extreme) for condition in conditions)
    level = f"{100 * _confidence(conditions):.3g} %"
    whole = "" if sure else f" with its whole {level} interval"
    margin = any(condition.margin is not None for condition in conditions)
    other = "on the other side of the bound" if not margin else "short of what counts as an effect"
    against = f"{'it lies' if sure else 'the whole interval lies'} {other}"
    if sure and len(conditions) == 1:
        return f"Reproduced when {conditions[0]}, contradicted otherwise."
    if len(conditions) == 1:
        return (
            f"Reproduced when {conditions[0]}{whole}; contradicted when {against}; what is neither "
            "cannot be told."
        )
    listed = "; ".join(map(str, conditions))
    return (
        f"Conditions, each supported{whole}: {listed}. {_CORRECTED * (not sure)}A "
        f"condition is contradicted when {against}; what is neither cannot be told. Reproduced "
        "when all are supported, contradicted when all are contradicted, mixed when some are "
        "supported and some contradicted; otherwise it cannot be told."
    )
