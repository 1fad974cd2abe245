"""Settings of a benchmark, chosen from what the user asks for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from batchnorm.bench._cases import (
    DIRECTIONS,
    DTYPES,
    GROUPS,
    LAYOUTS,
    PLAIN_GROUPS,
    STEP,
    Case,
    members,
)
from batchnorm.bench._providers import LEVELS, OURS, PEERS, PROVIDERS
from batchnorm.bench._resnet import Network
from batchnorm.errors import OptionError

ROUNDS, QUICK_ROUNDS = 9, 3
TURN, QUICK_TURN = 0.02, 0.005


@dataclass(frozen=True)
class Settings:
    """Everything that decides what is measured.

    Args:
        cases: what is timed.
        network: what the training step trains, or `None` for no training step.
        directions: out of `cases.DIRECTIONS`.
        layouts: out of `cases.LAYOUTS`.
        dtypes: out of `cases.DTYPES`.
        peers: out of `providers.PEERS`; ours is always timed.
        level: ``module`` or ``operator``.
        threads: number of threads, or `None` for PyTorch's own choice.
        rounds: number of rounds.
        seconds: how long a turn is to last.
        compile_step: whether to compile the training step too.
        quick: whether the quick numbers were asked for.
        left_out: providers that were not asked for, and why.
    """

    cases: tuple[Case, ...] = ()
    network: Network | None = None
    directions: tuple[str, ...] = DIRECTIONS
    layouts: tuple[str, ...] = LAYOUTS
    dtypes: tuple[str, ...] = DTYPES
    peers: tuple[str, ...] = PEERS
    level: str = LEVELS[0]
    threads: int | None = None
    rounds: int = ROUNDS
    seconds: float = TURN
    compile_step: bool = False
    quick: bool = False
    left_out: dict[str, str] = field(default_factory=dict)


def choose(
    *,
    groups: Sequence[str] = (),
    directions: Sequence[str] = (),
    layouts: Sequence[str] = (),
    dtypes: Sequence[str] = (),
    providers: Sequence[str] = (),
    level: str = LEVELS[0],
    threads: int | None = None,
    rounds: int | None = None,
    quick: bool = False,
    compile_step: bool = False,
) -> Settings:
    """Return the settings for what the user asked; an empty option means all.

    Args:
        groups: out of `cases.GROUPS`.
        directions: out of `cases.DIRECTIONS`.
        layouts: out of `cases.LAYOUTS`.
        dtypes: out of `cases.DTYPES`.
        providers: out of `providers.PROVIDERS`.
        level: ``module`` or ``operator``.
        threads: number of threads.
        rounds: number of rounds.
        quick: few cases, few rounds, short turns; float32 and no compiler unless asked for.
        compile_step: whether to compile the training step too.

    Raises:
        OptionError: one is none of those.

    Example:
        >>> choose(groups=["tiny"], quick=True).peers
        ('torch', 'onednn')
    """
    _known("--level", [level], LEVELS)
    _known("--provider", providers, tuple(PROVIDERS))
    _at_least_one("--threads", threads)
    _at_least_one("--rounds", rounds)
    groups = _groups(groups, level)
    left_out: dict[str, str] = {}
    if quick and not providers:
        left_out["compile"] = "left out by --quick: ask for it with --provider compile"
    peers = tuple(p for p in PEERS if p not in left_out and (not providers or p in providers))
    return Settings(
        cases=tuple(case for group in groups for case in members(group, quick=quick)),
        network=Network() if STEP in groups else None,
        directions=_known("--direction", directions, DIRECTIONS),
        layouts=_known("--layout", layouts, LAYOUTS),
        dtypes=_known("--dtype", dtypes, DTYPES) if dtypes or not quick else ("float32",),
        peers=peers,
        level=level,
        threads=threads,
        rounds=rounds or (QUICK_ROUNDS if quick else ROUNDS),
        seconds=QUICK_TURN if quick else TURN,
        compile_step=compile_step,
        quick=quick,
        left_out=left_out,
    )


def _groups(groups: Sequence[str], level: str) -> tuple[str, ...]:
    chosen = _known("--cases", groups, GROUPS)
    if level == LEVELS[0]:
        return chosen
    fused = [group for group in chosen if group not in PLAIN_GROUPS]
    if groups and fused:
        raise OptionError(
            f"--level {level} needs cases out of {', '.join(PLAIN_GROUPS)}, got {fused[0]}: "
            "torch has no one operator for it; leave out --level"
        )
    return tuple(group for group in chosen if group in PLAIN_GROUPS)


def _known(option: str, words: Sequence[str], known: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words in the order of those that are known; all where none is given."""
    for word in words:
        if word not in known:
            raise OptionError(f"{option} needs one of {', '.join(known)}, got {word!r}")
    return tuple(word for word in known if word in words or not words)


def _at_least_one(option: str, value: int | None) -> None:
    if (math.inf if value is None else value) < 1:
        raise OptionError(f"{option} needs a number of at least 1, got {value}")


def names(settings: Settings) -> tuple[str, ...]:
    """Return the providers in the order of the tables, ours first."""
    return (OURS, *settings.peers)
