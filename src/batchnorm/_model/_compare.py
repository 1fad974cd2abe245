"""Comparison of a model before and after a change: one proof for fuse, fold and insert.

The changed model has to give what it gave before, but for rounding. An ill-conditioned network is
judged beside itself in float64: it may be as far from that as it was before. A mistake cannot hide
in such a bound, because the change is then also made on the copy in float64, where rounding is
small.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from batchnorm._model._behaviour import Behaviour, Error, Pass, largest
from batchnorm._model._copy import copied
from batchnorm._model._edit import Edit
from batchnorm.errors import SurgeryError

_MORE_THAN_BEFORE = 4.0  # times the distance from float64 that the model has already

Change = Callable[[nn.Module, Edit], object]


class Proof:
    """What a model gives before it is changed, to be compared with what it gives afterwards.

    Args:
        model: the model, which is not touched; a copy of it is computed in float64.
        change: makes the change on the model that it is given.
        passes: what is compared.
        advice: what its owner can do when the proof fails.
        change_in_double: makes the change on the copy in float64; `None` is `change`.
        tolerance: largest relative error; `None` is the square root of the machine epsilon, or four
            times the error that the model has before, whichever is larger.
        always_in_double: make the change in float64 in any case; otherwise only where the model's
            own dtype does not suffice.

    Raises:
        SurgeryError: the model cannot be copied; or, with `always_in_double`, it does not run in
            float64 or gives no floating tensors, or the change is wrong there.
    """

    def __init__(
        self,
        model: nn.Module,
        change: Change,
        passes: Sequence[Pass],
        *,
        advice: str,
        change_in_double: Change | None = None,
        tolerance: float | None = None,
        always_in_double: bool = False,
    ) -> None:
        self._change = change_in_double or change
        self._passes = passes
        self._advice = advice
        self._tolerance = tolerance
        self._copy = copied(model)
        self._truth = self._in_double() if always_in_double else None
        self._before = [one.of(model) for one in passes]
        if self._truth is not None:
            self._try_in_double(self._truth)

    def check(self, model: nn.Module) -> float:
        """Return the largest relative error of the changed model.

        Args:
            model: the model, after the change.

        Raises:
            SurgeryError: the error is too large.
        """
        found = [one.of(model) for one in self._passes]
        if self._truth is None:
            try:
                return self._check(found, self._before)
            except SurgeryError as refused:
                try:
                    self._truth = self._in_double()
                except SurgeryError:
                    raise refused from None  # nothing is known that would excuse the error
                self._try_in_double(self._truth)
        return self._check(found, self._truth, self._before)

    def _try_in_double(self, truth: list[Behaviour]) -> None:
        """Make the change on the copy in float64: mistakes show there, rounding hardly."""
        self._change(self._copy, Edit(self._copy))
        try:
            found = [one.in_double().of(self._copy) for one in self._passes]
        except Exception as error:
            raise SurgeryError(
                "a forward that does without what the change takes away is needed, got "
                f"{type(error).__name__} ({error}): {self._advice}"
            ) from error
        self._check(found, truth)
        del self._copy

    def _check(
        self,
        found: list[Behaviour],
        expected: list[Behaviour],
        before: list[Behaviour] | None = None,
    ) -> float:
        """Return the largest error; what was `before` excuses errors of its own size."""
        sizes = []
        for number, (one, truth) in enumerate(zip(found, expected, strict=True)):
            errors = one.errors(truth)
            excuses = [error.size for error in before[number].errors(truth)] if before else []
            for error, excuse in zip(errors, excuses or [0.0] * len(errors), strict=True):
                self._check_one(error, excuse, self._passes[number].training)
                sizes.append(error.size)
        return largest(sizes)

    def _check_one(self, error: Error, excuse: float, training: bool | None) -> None:
        limit = self._tolerance
        if limit is None:
            limit = max(torch.finfo(error.dtype).eps ** 0.5, _MORE_THAN_BEFORE * excuse)
        if not error.size <= limit:  # so that NaN is refused too
            mode = {True: " in training", False: " in evaluation", None: ""}[training]
            raise SurgeryError(
                f"{error.part} within {limit:.1g} of the model's before (relative) is needed, got "
                f"{error.size:.1g} in {error.dtype}{mode}: the model is as it was; {self._advice}"
            )

    def _in_double(self) -> list[Behaviour]:
        try:
            found = [one.in_double().of(self._copy.double()) for one in self._passes]
        except Exception as error:
            raise SurgeryError(
                "a model that also runs in float64, and on random inputs, is needed for the proof, "
                f"got {type(error).__name__} ({error}): let its forward take the dtype from its "
                "input, or leave the random inputs out with random_inputs=False"
            ) from error
        if not any(one.outputs for one in found):
            raise SurgeryError(
                "a model that returns floating tensors is needed for the proof, got none: "
                "change the part of it that does"
            )
        return found
