"""Plan of a study: the grid of settings, the seeds, and the trials that they make."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import product
from typing import Any, Literal

from batchnorm.errors import OptionError

Settings = Mapping[str, float]
Scale = Literal["quick", "default", "paper"]
SCALES: tuple[Scale, ...] = ("quick", "default", "paper")


def scale(name: str | None, *, quick: bool = False) -> Scale:
    """Return the scale that is asked for.

    Args:
        name: one of `SCALES`, or `None`.
        quick: another way to ask for ``quick``.

    Raises:
        OptionError: there is no such scale, or two are asked for.
    """
    known: dict[str | None, Scale] = {word: word for word in SCALES}
    if name is not None and name not in known:
        raise OptionError(f"--scale needs one of {', '.join(SCALES)}, got {name!r}: choose one")
    if quick and name not in {None, "quick"}:
        raise OptionError(f"--quick and --scale {name} ask for two scales: give one of them")
    return "quick" if quick else known.get(name, "default")


@dataclass(frozen=True)
class Trial:
    """One arm at one point of the grid with one seed.

    Args:
        arm: name of the arm.
        at: its point of the grid: the settings that are swept.
        seed: decides everything that is drawn.
        fixed: the settings that are not swept.

    Example:
        >>> trial = Trial("plain", {"rate": 0.1}, 3, {"batch": 60})
        >>> trial.id, trial["batch"]
        ('plain_rate0.1_seed3', 60)
    """

    arm: str
    at: Settings
    seed: int
    fixed: Settings = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Name of the trial and of its files."""
        point = (f"{name}{value:g}" for name, value in self.at.items())
        return "_".join((self.arm, *point, f"seed{self.seed}"))

    @property
    def settings(self) -> Settings:
        """All settings, swept or not."""
        return {**self.fixed, **self.at}

    def __getitem__(self, name: str) -> float:
        return self.at[name] if name in self.at else self.fixed[name]


@dataclass(frozen=True)
class Plan:
    """How much is done, and the targets that steps are counted to.

    Args:
        seeds: number of seeds; they are 0, 1, 2, ...
        grid: the values of each setting that is swept, the same ones for every arm.
        fixed: settings that all trials share.
        steps: steps of a trial, or `None` where it takes none or `examples` decides.
        examples: training examples that a trial sees, whatever the mini-batch.
        targets: test accuracies, ascending; the middle one gives the headline.
        every: smallest number of steps between two evaluations.
    """

    seeds: int
    grid: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    fixed: Settings = field(default_factory=dict)
    steps: int | None = None
    examples: int | None = None
    targets: tuple[float, ...] = ()
    every: int = 5

    @property
    def headline_target(self) -> float:
        """The target that the headline speaks of."""
        return self.targets[len(self.targets) // 2]

    def points(self) -> Iterator[dict[str, float]]:
        """Yield every point of the grid, the last setting changing fastest."""
        for values in product(*self.grid.values()):
            yield dict(zip(self.grid, values, strict=True))

    def steps_of(self, trial: Trial) -> int:
        """Return the number of steps of a trial; 0 where trials do not take steps."""
        if self.examples is not None:
            return max(1, round(self.examples / trial["batch"]))
        return self.steps or 0

    def changed(self, changes: Mapping[str, tuple[float, ...]]) -> "Plan":
        """Return the plan with other values of some settings.

        Args:
            changes: values by name: one for a fixed setting, any number for one that is swept.

        Raises:
            OptionError: there is no such setting, or it takes one value and has several.

        Example:
            >>> Plan(1, {"rate": (0.1, 1.0)}, {"batch": 60.0}).changed({"rate": (0.3,)}).grid
            {'rate': (0.3,)}
        """
        grid, fixed = dict(self.grid), dict(self.fixed)
        for name, values in changes.items():
            if len(set(values)) < len(values):
                raise OptionError(f"--set needs values of {name} that differ, got {values}")
            if name in grid:
                grid[name] = values
            elif name not in fixed:
                known = ", ".join((*grid, *fixed)) or "none, for it has no settings"
                raise OptionError(f"--set needs a setting out of {known}, got {name!r}")
            elif len(values) > 1:
                raise OptionError(
                    f"--set needs one value of {name}, which is not swept, got {len(values)}: "
                    "give one"
                )
            else:
                fixed[name] = values[0]
        return replace(self, grid=grid, fixed=fixed)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Plan":
        """Return the plan that `to_json` wrote; other keys are left alone.

        Raises:
            ValueError: a part is missing, or not what it was.
        """
        for part in fields(cls):
            if part.name not in content:
                raise ValueError(f"it has no {part.name}")
            if not _PARTS[part.name](content[part.name]):
                raise ValueError(f"{part.name} cannot be {content[part.name]!r:.60}")
        values = {part.name: content[part.name] for part in fields(cls)}
        grid = {name: tuple(swept) for name, swept in values["grid"].items()}
        return cls(**{**values, "grid": grid, "targets": tuple(values["targets"])})


_MOST = 10**12  # of anything that is counted
_LARGEST = sys.float_info.max


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _is_count(value: Any) -> bool:
    return type(value) is int and 1 <= value <= _MOST


def _is_count_or_none(value: Any) -> bool:
    return value is None or _is_count(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_number, value))


def _is_table(value: Any, is_fitting: Callable[[Any], bool]) -> bool:
    names = isinstance(value, dict) and all(name.isidentifier() for name in value)
    return names and all(map(is_fitting, value.values()))


_PARTS: Mapping[str, Callable[[Any], bool]] = {
    "seeds": _is_count,
    "grid": lambda value: _is_table(value, lambda swept: _is_list(swept) and bool(swept)),
    "fixed": lambda value: _is_table(value, _is_number),
    "steps": _is_count_or_none,
    "examples": _is_count_or_none,
    "targets": _is_list,
    "every": _is_count,
}


def by_task(plans: Mapping[str, Sequence[Plan]]) -> Mapping[tuple[str, Scale], Plan]:
    """Return the plans of a study by task and scale.

    Args:
        plans: for each task its plans, in the order of `SCALES`; those at the end may be missing.

    Example:
        >>> [*by_task({"digits": (Plan(5), Plan(9)), "mnist": (Plan(3),)})]
        [('digits', 'quick'), ('digits', 'default'), ('mnist', 'quick')]
    """
    return {
        (task, scale): plan
        for task, row in plans.items()
        for scale, plan in zip(SCALES, row, strict=False)
    }


def on_images(digits: Plan, fashion_targets: tuple[float, ...]) -> Mapping[tuple[str, Scale], Plan]:
    """Return the plans of a study that takes the same settings on digits, MNIST and Fashion-MNIST.

    Args:
        digits: the quick one on digits.
        fashion_targets: accuracies on Fashion-MNIST, which is harder.
    """
    mnist = (replace(digits, steps=1_000), replace(digits, seeds=9, steps=5_000))
    return by_task(
        {
            "digits": (digits, replace(digits, seeds=9, steps=1_000)),
            "mnist": mnist,
            "fashion-mnist": [replace(plan, targets=fashion_targets) for plan in mnist],
        }
    )
