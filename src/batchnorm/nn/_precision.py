"""Running statistics that keep their 24 bits in a layer of 16."""

from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer

REDUCED_PRECISION = (torch.float16, torch.bfloat16)


class FullPrecision(nn.Module):
    """A module some of whose buffers are never converted to 16 bits, where small steps are lost."""

    _full_precision: ClassVar[tuple[str, ...]] = (
        "running_mean",
        "running_var",
        "debias_state",
    )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move and convert, but leave the running statistics 24 bits and the counters whole."""
        statistics = {id(self._buffers.get(name)) for name in self._full_precision}

        def keep(tensor: Tensor) -> Tensor:
            found = fn(tensor)
            if id(tensor) in statistics and found.dtype in REDUCED_PRECISION:
                return tensor.to(device=found.device, dtype=torch.float32)
            if tensor.dtype == torch.int64 and found.dtype != torch.int64:
                return tensor.to(device=found.device)
            return found

        super()._apply(keep, recurse)  # type: ignore[no-untyped-call] # torch has no types here
        return self

    def _restore_float32(self) -> None:
        """Give running statistics of 16 bits back 32."""
        for name in self._full_precision:
            buffer = self._buffers.get(name)
            if buffer is not None and buffer.dtype in REDUCED_PRECISION:
                if isinstance(buffer, UninitializedBuffer):
                    place: dict[str, Any] = {"device": buffer.device, "dtype": torch.float32}
                    self._buffers[name] = UninitializedBuffer(**place)
                else:
                    self._buffers[name] = buffer.float()

    def _restore_int64(self, name: str) -> Tensor:
        """Give a counter that somebody has cast or averaged past the module its 64 bits back."""
        counter = self._buffers[name]
        assert counter is not None  # noqa: S101 -- the caller has it in its hands
        whole = counter.round() if counter.is_floating_point() else counter
        self._buffers[name] = restored = whole.to(torch.int64)
        return restored
