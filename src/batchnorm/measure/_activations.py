"""Activations: the distribution of the values that a module returns or takes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Module

from batchnorm._model._borrow import borrowed
from batchnorm._model._call import Forward, feeder, tensors
from batchnorm._model._find import check_initialized, unwrapped
from batchnorm._model._record import Record
from batchnorm.errors import MeasurementError, OptionError
from batchnorm.measure._layers import can_be_hooked, check_names
from batchnorm.measure._saturation import saturated

_PERCENTILES = (15.0, 50.0, 85.0)


@dataclass(frozen=True, eq=False)
class ModuleActivations(Record):
    """The values of one call of a module.

    Attributes:
        name: of the module.
        call: number of the call within the forward pass, from 0.
        mean: over all values.
        std: over all values.
        percentiles: of all values, in the order asked for.
        dead: share of the units whose value is the same everywhere in the batch.
        saturated: share of the values where the nonlinearity is flat; `None` where the module is no
            nonlinearity with a bound, or its input was measured.
        unit_percentiles: of every unit by itself, shape ``(percentiles, units)``.
    """

    name: str
    call: int
    mean: float
    std: float
    percentiles: tuple[float, ...]
    dead: float
    saturated: float | None
    unit_percentiles: Tensor

    def of_unit(self, unit: int) -> tuple[float, ...]:
        """Return the percentiles of one unit."""
        return tuple(self.unit_percentiles[:, unit].tolist())


@dataclass(frozen=True, eq=False)
class Activations(Record):
    """What `activations` found.

    Attributes:
        percentiles: which ones.
        modules: one for each call of each module, in the order of the calls.
    """

    percentiles: tuple[float, ...]
    modules: tuple[ModuleActivations, ...]

    def of(self, name: str, call: int = 0) -> ModuleActivations:
        """Return what was found for one call of a module.

        Raises:
            KeyError: there was no such call.
        """
        return {(module.name, module.call): module for module in self.modules}[name, call]


def activations(
    model: Module,
    batch: Any,
    names: Iterable[str] | None = None,
    *,
    percentiles: Sequence[float] = _PERCENTILES,
    of: Literal["output", "input"] = "output",
    unit_dim: int = 1,
    forward: Forward | None = None,
    training: bool | None = None,
) -> Activations:
    """Measure the distribution of the values that modules give or take.

    Args:
        model: any model.
        batch: a tensor; a tuple or list whose first item is the input; or a mapping, also as that
            first item, that is passed as keyword arguments.
        names: qualified names of the modules; `None` takes all that have no parts.
        percentiles: between 0 and 100; the paper shows the 15th, 50th and 85th.
        of: whether the output or the first argument of the modules counts.
        unit_dim: dimension of the units, such as 1 for ``(N, C, *)`` and -1 for ``(N, L, C)``.
            Values without one are one unit.
        forward: calls the model, which it is given first, on a batch of any other kind.
        training: whether to measure in training or in evaluation mode; `None` leaves every module
            the mode that it has.

    Returns:
        Mean, standard deviation, percentiles and the shares of dead units and saturated values.

    Raises:
        OptionError: a percentile is outside of 0 to 100, `of` is unknown, a name is no module's,
            or a value has no dimension `unit_dim`.
        MeasurementError: one of `names` is not called or has no values, nothing is, or a lazy
            module is uninitialized.
        DataError: `batch` is empty.

    Note:
        Saturated is a value that a smooth nonlinearity brings within 5 % of its range of a bound,
        where its slope is below a fifth of the steepest (sigmoid, tanh), or a piecewise linear one
        exactly to a bound (ReLU). The model is afterwards as it was.

    References:
        Ioffe and Szegedy (2015), section 4.1 and figure 1 (b, c).

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Identity(), torch.nn.ReLU())
        >>> print(activations(model, torch.tensor([[-2.0], [-1.0], [0.0], [1.0], [2.0]])))
        percentiles 15 50 85
        name  call  mean  std   percentiles  dead  saturated
        0     0     0     1.41  -1.4 0 1.4   0
        1     0     0.6   0.8   0 0 1.4      0     0.6
    """
    _check(percentiles, of)
    model = unwrapped(model)
    modules = dict(model.named_modules())
    wanted = check_names(names, modules, "modules of the model")
    if names is None:
        wanted = [name for name in wanted if not any(modules[name].children())]
    reader = _Reader(tuple(map(float, percentiles)), unit_dim)
    check_initialized(model, MeasurementError)
    with borrowed(model, training=training, parameters=True) as loan, torch.no_grad():
        for name in filter(lambda name: can_be_hooked(modules[name]), wanted):
            if of == "output":
                loan.watch(modules[name], partial(reader.output, name, modules[name]))
            else:
                loan.hook(modules[name], partial(reader.input, name))
        feeder(model, forward)(batch)
    reader.check_seen(() if names is None else wanted)
    return Activations(reader.percentiles, tuple(reader.found))


class _Reader:
    """Measures values while the forward pass runs, before anything changes them in place."""

    def __init__(self, percentiles: tuple[float, ...], unit_dim: int) -> None:
        self.percentiles = percentiles
        self.found: list[ModuleActivations] = []
        self._unit_dim = unit_dim

    def output(self, name: str, module: Module, value: Any) -> None:
        self._read(name, module, value)

    def input(self, name: str, *arguments: Any, **keywords: Any) -> None:
        self._read(name, None, (arguments, keywords))

    def check_seen(self, names: Iterable[str]) -> None:
        missing = sorted(set(names) - {found.name for found in self.found})
        if missing or not self.found:
            raise MeasurementError(
                "modules that the forward pass calls, that give or take floating-point values and "
                "that are not scripted are needed, got none for "
                f"{', '.join(map(repr, missing)) or 'the whole model'}: name others"
            )

    def _read(self, name: str, module: Module | None, holder: Any) -> None:
        values = next((v for v in tensors(holder) if v.is_floating_point() and v.numel()), None)
        if values is None:
            return
        call = sum(found.name == name for found in self.found)
        self.found.append(self._measured(name, call, module, values.detach()))

    def _measured(
        self, name: str, call: int, module: Module | None, values: Tensor
    ) -> ModuleActivations:
        var, mean = torch.var_mean(values.double(), correction=0)
        units = self._by_unit(name, values)
        with np.errstate(all="ignore"):  # an exploding network has infinite activations
            every = np.percentile(units, self.percentiles)
            each = np.percentile(units, self.percentiles, axis=1)
        return ModuleActivations(
            name,
            call,
            mean.item(),
            var.sqrt().item(),
            tuple(every.tolist()),
            float(np.mean(units.min(axis=1) == units.max(axis=1))),
            None if module is None else saturated(module, values),
            torch.from_numpy(each),
        )

    def _by_unit(self, name: str, values: Tensor) -> NDArray[np.floating]:
        """Return the values in shape ``(units, rest)``."""
        if values.ndim < 2:  # noqa: PLR2004 -- no dimension beside that of the batch
            values = values.reshape(-1, 1)
        if not -values.ndim <= self._unit_dim < values.ndim:
            raise OptionError(
                f"unit_dim must be a dimension of the values, got {self._unit_dim} for {name!r} of "
                f"shape {tuple(values.shape)}: choose another, or modules that have it"
            )
        units = values.movedim(self._unit_dim, 0).flatten(1).cpu()
        precise = units if units.dtype == torch.float64 else units.float()
        return precise.numpy()


def _check(percentiles: Sequence[float], of: str) -> None:
    if not len(percentiles) or not all(0 <= percentile <= 100 for percentile in percentiles):  # noqa: PLR2004
        raise OptionError(
            f"percentiles must be from 0 to 100, at least one, got {percentiles}: take (15, 50, 85)"
        )
    if of not in ("output", "input"):
        raise OptionError(f"of must be output or input, got {of!r}: choose one")
