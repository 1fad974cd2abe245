"""Statistics passes: data through a borrowed model, and what reaches its batch-norm layers."""

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from batchnorm._model._borrow import Loan
from batchnorm._model._statistics import correction_of, set_buffers
from batchnorm.errors import CountError, NonFiniteError
from batchnorm.functional import Comoments
from batchnorm.nn._input import input_moments
from batchnorm.surgery._population._ranks import all_gather
from batchnorm.surgery._population._seen import Method, Parts, Seen, merged
from batchnorm.surgery._population._targets import Layers

OnCall = Callable[[str, Parts, int], None]
Progress = Callable[[int, int | None], object]


class StatisticsPass:
    """Passes of the same data through a borrowed model.

    Every pass starts from the same state of torch's random number generators, so that shuffling
    and augmentation do the same each time.

    Args:
        loan: of the model.
        feed: calls the model on a batch.
        batches: the data.
        method: what to keep of each batch.
        progress: called after each batch with the number done, and that of all where it is known.
        distributed: whether other processes have data, too.

    Attributes:
        batch: number of the current batch within its pass, from 0.
    """

    def __init__(
        self,
        loan: Loan,
        feed: Callable[[Any], object],
        batches: Iterable[Any],
        method: Method,
        progress: Progress | None,
        distributed: bool,
    ) -> None:
        self.batch = 0
        self._passes = 1
        self._done = 0
        self._loan = loan
        self._feed = feed
        self._batches = batches
        self._method = method
        self._progress = progress
        self._distributed = distributed

    def everywhere(self, layers: Layers, on_call: OnCall | None = None) -> dict[str, Seen]:
        """Return what each layer sees in one pass, in all processes together; on the CPU.

        Args:
            layers: by name.
            on_call: called with name, moments and rows of each call, before the layer computes.

        Raises:
            NonFiniteError: the input of a layer has a mean or variance that is not finite.
        """
        everyone = all_gather(lambda: self._collect(layers, on_call), distributed=self._distributed)
        return {name: Seen().merge(*(seen[name] for seen in everyone)) for name in layers}

    def under_batch_statistics(self, layers: Layers) -> dict[str, Seen]:
        """Return what each layer sees while all normalize with the statistics of their batch."""
        for layer in layers.values():
            # Documented by torch: without buffers, the batch. Nothing is updated, and a layer that
            # synchronizes in training does not wait for processes that have fewer batches.
            set_buffers(layer, None, None)
        return self.everywhere(layers, self.check_spread)

    def check_spread(self, name: str, moments: Parts, rows: int) -> None:
        """Refuse a batch whose own statistics cannot be normalized with."""
        if moments.count == 1:
            raise CountError(
                "normalizing with the statistics of a batch needs more than one value per channel, "
                f"but batch {self.batch} (from 0) gives layer {name!r} {rows}: join it with "
                "another or leave it out (or recalibrate with layer_by_layer=True); "
                "nothing was changed"
            )

    def order(self, layers: Layers) -> list[str]:
        """Return the names of the layers in order of their first call; that many passes follow."""
        everyone = all_gather(lambda: self._called(layers), distributed=self._distributed)
        order = list(dict.fromkeys(name for called in everyone for name in called))
        self._passes = len(order)
        return order

    def _called(self, layers: Layers) -> list[str]:
        called: dict[str, None] = {}

        def note(name: str, *_: object, **__: object) -> None:
            called.setdefault(name)

        with self._hooked(layers, note):
            for _ in self._fed():
                if len(called) == len(layers):
                    break
        return list(called)

    def _collect(self, layers: Layers, on_call: OnCall | None) -> dict[str, Seen]:
        calls: dict[str, list[tuple[Parts, int]]] = {name: [] for name in layers}
        seen = dict.fromkeys(layers, Seen())

        def read(name: str, input: Tensor, *_: object, **options: Any) -> None:  # noqa: A002 -- torch's name
            moments = input_moments(layers[name], input, options)
            if moments.count == 0:
                return
            self._check_finite(name, moments)
            calls[name].append((moments, input.shape[0]))
            if on_call is not None:
                on_call(name, moments, input.shape[0])

        with self._hooked(layers, read):
            for _ in self._fed():
                for name, made in calls.items():
                    if made:
                        seen[name] = seen[name].merge(self._of_batch(layers[name], made))
                        made.clear()
                self._tell()
        return {name: everything.to("cpu") for name, everything in seen.items()}

    def _fed(self) -> Iterator[None]:
        """Feed batch after batch."""
        self._loan.rewind()
        for number, batch in enumerate(self._batches):
            self.batch = number
            with torch.no_grad():
                self._feed(batch)
            yield

    @contextmanager
    def _hooked(self, layers: Layers, function: Callable[..., None]) -> Iterator[None]:
        hooks = [self._loan.hook(layer, partial(function, name)) for name, layer in layers.items()]
        yield
        for hook in hooks:  # after an exception the loan takes them off
            hook.remove()

    def _of_batch(self, layer: _BatchNorm, calls: list[tuple[Parts, int]]) -> Seen:
        """Return what a batch showed a layer, which it may have called several times."""
        first, *rest = (moments for moments, _ in calls)
        kept = self._method.keep(merged(first, *rest), correction_of(layer))
        return Seen(1, sum(rows for _, rows in calls), kept)

    def _check_finite(self, name: str, moments: Parts) -> None:
        each = moments.moments() if isinstance(moments, Comoments) else moments
        finite = torch.isfinite(each.mean + each.m2)
        if not finite.all():
            channels = finite.logical_not().nonzero().flatten().tolist()
            raise NonFiniteError(
                "the statistics of a layer's input need to be finite, got NaN or Inf in channels "
                f"{channels[:5]} of {len(finite)} of layer {name!r} in batch {self.batch} (from "
                "0): leave the batch out, or look for the cause in it; nothing was changed"
            )

    def _tell(self) -> None:
        self._done += 1
        if self._progress is not None:
            known = isinstance(self._batches, Sized)
            total = self._passes * len(self._batches) if known else None  # type: ignore[arg-type] # the line above
            self._progress(self._done, total)
