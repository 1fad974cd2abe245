"""Verdicts from effects, by a rule that is calculated and put into words in one place."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from batchnorm.lab.design import CLAIMS
from batchnorm.lab.judging._estimates import Estimate, Extreme
from batchnorm.lab.judging._findings import Effect, Outcome, Verdict


@dataclass(frozen=True)
class Readings:
    """What each outcome means, in plain words.

    Args:
        reproduced: the claim holds here.
        refuted: it does not.
        mixed: some conditions hold; needed where there are several.
    """

    reproduced: str
    refuted: str
    mixed: str = ""

    def of(self, found: Outcome) -> str:
        """Return the words for an outcome."""
        words = {"reproduced": self.reproduced, "not reproduced": self.refuted, "mixed": self.mixed}
        return words.get(found, "The trials of this run cannot tell.")


@dataclass(frozen=True)
class Condition:
    """What an effect has to be for the claim to hold: its whole interval on one side of a bound.

    Args:
        effect: the effect.
        above: what the interval must lie above, or `None`.
        below: what it must lie below, or `None`.
    """

    effect: Effect
    above: float | None = None
    below: float | None = None

    @property
    def bounded(self) -> Effect:
        """The effect with its bounds."""
        return replace(self.effect, above=self.above, below=self.below)

    def __str__(self) -> str:
        sides = (("above", self.above), ("below", self.below))
        words = (f"{side} {self._words(bound)}" for side, bound in sides if bound is not None)
        return f"“{self.effect.name}” lies {' and '.join(words)}"

    def _words(self, bound: float) -> str:
        found = self.effect.estimate
        return f"{bound:g}" if found is None else found.bound(bound)


def above(bound: float, name: str, estimate: Estimate | None) -> Condition:
    """Return the condition that an effect lies above a bound.

    Args:
        bound: the bound.
        name: what is compared.
        estimate: how large the effect is; `None` when the trials cannot be compared.
    """
    return Condition(Effect(name, estimate), above=bound)


def below(bound: float, name: str, estimate: Estimate | None) -> Condition:
    """Return the condition that an effect lies below a bound; see `above`."""
    return Condition(Effect(name, estimate), below=bound)


def outcome(met: Iterable[bool | None]) -> Outcome:
    """Return the outcome of conditions that are met, not met, or unknown.

    Example:
        >>> outcome([True, None, True]), outcome([True, False]), outcome([None])
        ('reproduced', 'mixed', 'not determined')
    """
    known = [one for one in met if one is not None]
    if not known:
        return "not determined"
    if all(known):
        return "reproduced"
    return "mixed" if any(known) else "not reproduced"


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
        conditions: what has to hold.
        readings: what each outcome means, in plain words.
        others: effects that are shown and decide nothing.
        remarks: further results in words.
        figure: which of the study's figures shows the claim.
    """
    bounded = [condition.bounded for condition in conditions]
    found = outcome(effect.met for effect in bounded)
    return Verdict(
        claim,
        CLAIMS[claim].statement,
        CLAIMS[claim].source,
        found,
        measured,
        (*bounded, *others),
        _rule(conditions),
        readings.of(found),
        tuple(remarks),
        figure,
    )


def _rule(conditions: Sequence[Condition]) -> str:
    sure = all(isinstance(condition.effect.estimate, Extreme) for condition in conditions)
    whole = "" if sure else " with its whole 95 % interval"
    if len(conditions) == 1:
        return (
            f"Reproduced when {conditions[0]}{whole}, not reproduced otherwise; not "
            "determined when no trial can tell."
        )
    listed = "; ".join(map(str, conditions))
    return (
        f"Conditions, each to be met{whole}: {listed}. Reproduced when all are met, mixed when "
        "some are, not reproduced when none is. What no trial can tell is left out, and when "
        "nothing is left the outcome is not determined."
    )
