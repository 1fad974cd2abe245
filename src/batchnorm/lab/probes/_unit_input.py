"""Distribution of a nonlinearity's input, at each evaluation."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from batchnorm.lab.networks import last_nonlinearity
from batchnorm.lab.probes._contract import Moment


class UnitInput:
    """The distribution of the input to the last hidden layer's nonlinearity, over the test set.

    ``p15``, ``p50`` and ``p85`` are the percentiles of unit 0: units are exchangeable before
    training, so this is a choice made beforehand and not a pick. ``drift`` sums up all units: how
    far each median moved since the previous evaluation, in units of the present distance between
    the 15th and 85th percentile; the median over the units. It is `None` at the first evaluation.

    References:
        Ioffe and Szegedy (2015), figure 1 (b, c).
    """

    fields = ("p15", "p50", "p85", "drift")

    def __init__(self) -> None:
        self._seen: list[NDArray[np.float32]] = []
        self._medians: NDArray[np.float64] | None = None

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Keep what enters the last nonlinearity."""

        def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self._seen.append(inputs[0].detach().cpu().numpy())

        self._seen.clear()

        handle = last_nonlinearity(model).register_forward_pre_hook(keep)
        try:
            yield
        finally:
            handle.remove()

    def measure(self, moment: Moment) -> dict[str, Any]:  # noqa: ARG002  (see Probe)
        """Return the percentiles of unit 0 and the drift of the layer."""
        seen = np.concatenate([_units(part) for part in self._seen])
        with np.errstate(all="ignore"):  # an exploding network has infinite inputs; see _finite
            low, medians, high = np.percentile(seen, (15, 50, 85), axis=0).astype(np.float64)
            drift = None if self._medians is None else _drift(self._medians, medians, high - low)
        self._medians = medians
        return {
            "p15": _finite(low[0]),
            "p50": _finite(medians[0]),
            "p85": _finite(high[0]),
            "drift": drift,
        }

    def state(self) -> dict[str, Tensor]:
        """Return the medians, which the next drift is measured from."""
        return {} if self._medians is None else {"medians": torch.from_numpy(self._medians)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take the medians back."""
        self._medians = state["medians"].numpy() if "medians" in state else None


def _units(seen: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return one column for each unit; a unit of a convolution has many places in an image."""
    return np.moveaxis(seen, 1, -1).reshape(-1, seen.shape[1])


def _drift(
    before: NDArray[np.float64], now: NDArray[np.float64], spread: NDArray[np.float64]
) -> float | None:
    alive = spread > 0  # a unit that is constant over the test set has no scale to measure with
    if not alive.any():
        return None
    return _finite(np.median(np.abs(now - before)[alive] / spread[alive]))


def _finite(value: np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None
