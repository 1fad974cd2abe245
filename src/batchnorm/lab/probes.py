"""What is measured inside a network at each evaluation."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from .models import last_nonlinearity


class Probe(Protocol):
    """Something that looks at the network while it is evaluated on the test set."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of what is measured."""

    def watching(self, model: nn.Module) -> AbstractContextManager[None]:
        """Return a context in which one forward pass is observed."""

    def measure(self) -> dict[str, float | None]:
        """Return the value of each of `fields` for the pass just observed."""

    def state(self) -> dict[str, torch.Tensor]:
        """Return what has to be kept for the next measurement."""

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Take back what `state` returned."""


class UnitInput:
    """The distribution of the input to the last hidden layer's nonlinearity, over the test set.

    ``p15``, ``p50`` and ``p85`` are the percentiles of unit 0: units are exchangeable before
    training, so this is a choice made beforehand and not a pick. ``drift`` sums up all units: how
    far each median moved since the previous evaluation, in units of the present distance between
    the 15th and 85th percentile; the median over the units. It is ``None`` at the first evaluation.

    References:
        Ioffe and Szegedy (2015), figure 1 (b, c).
    """

    fields = ("p15", "p50", "p85", "drift")

    def __init__(self) -> None:
        self._seen: NDArray[np.float32] | None = None
        self._medians: NDArray[np.float64] | None = None

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Keep what enters the last nonlinearity."""

        def keep(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            self._seen = inputs[0].detach().cpu().numpy()

        handle = last_nonlinearity(model).register_forward_pre_hook(keep)
        try:
            yield
        finally:
            handle.remove()

    def measure(self) -> dict[str, float | None]:
        """Return the percentiles of unit 0 and the drift of the layer."""
        seen = np.zeros((1, 1)) if self._seen is None else self._seen
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

    def state(self) -> dict[str, torch.Tensor]:
        """Return the medians, which the next drift is measured from."""
        return {} if self._medians is None else {"medians": torch.from_numpy(self._medians)}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Take the medians back."""
        self._medians = state["medians"].numpy() if "medians" in state else None


def _drift(
    before: NDArray[np.float64], now: NDArray[np.float64], spread: NDArray[np.float64]
) -> float | None:
    alive = spread > 0  # a unit that is constant over the test set has no scale to measure with
    if not alive.any():
        return None
    return _finite(np.median(np.abs(now - before)[alive] / spread[alive]))


def _finite(value: np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None
