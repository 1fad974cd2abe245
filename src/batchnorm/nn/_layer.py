"""What every layer shares: the options, the state, and what becomes of a batch."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from batchnorm import functional
from batchnorm._moments import Moments
from batchnorm.errors import ShapeError

from ._modes import Modes
from ._precision import REDUCED_PRECISION, FullPrecision
from ._trace import node, traced

_USUAL = {
    "nonfinite": "skip",
    "debias": False,
    "correction": 1,
    "frozen": False,
    "affine_frozen": False,
    "adapting": False,
}


class Layer(Modes, FullPrecision, _BatchNorm):
    """The constructor and the forward; subclasses say what they take."""

    _ndims: tuple[int, ...]

    # Defaults for layers that were pickled before there was the option.
    nonfinite: str = "skip"
    debias: bool = False
    correction: int = 1
    _accumulated: list[Moments] | None = None

    def __init__(
        self,
        *arguments: Any,
        activation: str | None = None,
        negative_slope: float = 0.01,
        nonfinite: str = "skip",
        debias: bool = False,
        correction: int = 1,
        device: torch.device | str | int | None = None,
        **options: Any,
    ) -> None:
        functional.check_options(activation, negative_slope, nonfinite, correction)
        if device is not None:  # has a name of its own, because `skip_init` looks for it
            options["device"] = device
        super().__init__(*arguments, **options)
        self.activation = activation
        self.negative_slope = negative_slope
        self.nonfinite = nonfinite
        self.debias = debias
        self.correction = correction
        if self.track_running_stats:
            skipped = torch.zeros_like(self._buffers["num_batches_tracked"])  # type: ignore[arg-type]
            self.register_buffer("batches_skipped", skipped, persistent=False)
            self._restore_float32()

    def forward(
        self,
        input: Tensor,  # noqa: A002
        residual: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        sample_weight: Tensor | None = None,
    ) -> Tensor:
        """Normalize, and in training update the running statistics.

        Args:
            input: shape ``(N, C, *)`` with as many dimensions as the layer's name says.
            residual: added before the activation, shape of `input`.
            mask: which positions there are, a bool of shape ``(N, *)``; elsewhere the output is 0.
            sample_weight: how often each sample counts in the statistics, shape ``(N,)``.
        """
        if traced(self, input):
            return node(self, input, residual=residual, mask=mask, sample_weight=sample_weight)
        weight, bias = self._affine()
        return self._normalize(input, weight, bias, self.activation, residual, mask, sample_weight)

    def _normalize(
        self,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        activation: str | None,
        residual: Tensor | None,
        mask: Tensor | None,
        sample_weight: Tensor | None,
    ) -> Tensor:
        """Do what `forward` says with any scale, shift and activation."""
        self._check_input_dim(x)
        mean, var, counter = self._statistics()
        training = self.training and not self.frozen
        tracked = training and self.track_running_stats and not recomputing()
        if tracked and self._accumulated is not None:
            y, moments = functional.normalize(
                x,
                weight,
                bias,
                eps=self.eps,
                residual=residual,
                activation=activation,
                negative_slope=self.negative_slope,
                mask=mask,
                sample_weight=sample_weight,
            )
            self._accumulated.append(moments)
            return y
        batch = training or self.adapting or (mean is None and var is None)
        if batch and not tracked:
            mean = var = None
        elif not batch and self.debias and counter is not None:
            mean, var = functional.debiased(mean, var, counter, self.momentum)
        return functional.batch_norm(
            x,
            mean,
            var,
            weight,
            bias,
            batch,
            0.0 if self.momentum is None and counter is None else self.momentum,  # as torch
            self.eps,
            residual=residual,
            activation=activation,
            negative_slope=self.negative_slope,
            mask=mask,
            sample_weight=sample_weight,
            num_batches_tracked=counter if tracked else None,
            batches_skipped=self._buffers.get("batches_skipped") if tracked else None,
            nonfinite=self.nonfinite,
            correction=self.correction,
        )

    def _affine(self) -> tuple[Tensor | None, Tensor | None]:
        """Return the scale and shift, past `__getattr__`, which takes longer."""
        parameters = self._parameters
        try:
            return parameters["weight"], parameters["bias"]
        except KeyError:  # one has been made a property, as a parametrization does
            return self.weight, self.bias

    def _statistics(self) -> tuple[Any, ...]:
        """Return the running mean, the running variance and the counter."""
        buffers = self._buffers
        try:
            mean = buffers["running_mean"]
            if mean is not None and mean.dtype in REDUCED_PRECISION:
                self._restore_float32()  # somebody has cast the buffers past the module
                mean = buffers["running_mean"]
            return mean, buffers["running_var"], buffers["num_batches_tracked"]
        except KeyError:
            return self.running_mean, self.running_var, self.num_batches_tracked

    def _merge(self, parts: list[Any]) -> Any:
        """Return the moments of all parts together, and refuse what `nonfinite` refuses."""
        moments = parts[0].merge(*parts[1:])
        if self.nonfinite == "raise":
            functional.check_finite(moments.mean, moments.variance())
        return moments

    def _update(self, moments: Moments) -> None:
        """Move the running statistics as one batch with these moments would."""
        assert self.running_mean is not None  # noqa: S101 -- tracked, or there were no moments
        assert self.running_var is not None  # noqa: S101
        functional.update_running_(
            self.running_mean,
            self.running_var,
            moments,
            self.momentum,
            num_batches_tracked=self.num_batches_tracked,
            batches_skipped=self._buffers.get("batches_skipped"),
            nonfinite=self.nonfinite,
            correction=self.correction,
        )

    # ----------------------------------------------------------------------------- state

    def reset_running_stats(self) -> None:
        """Set the running statistics and the counters to their start."""
        super().reset_running_stats()
        skipped = self._buffers.get("batches_skipped")
        if skipped is not None:
            skipped.zero_()

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Load what torch's layer does, and count the batches skipped from here on."""
        super()._load_from_state_dict(state, prefix, *rest)
        skipped = self._buffers.get("batches_skipped")
        if skipped is None or prefix + "running_mean" not in state:
            return
        counter = self._buffers["num_batches_tracked"]
        if skipped.is_meta and counter is not None:  # assigned, to a layer that had no memory
            self._buffers["batches_skipped"] = torch.zeros_like(counter)
        else:
            skipped.zero_()

    def extra_repr(self) -> str:
        """Return torch's description, and what differs from a layer of torch's."""
        words = [super().extra_repr()]  # type: ignore[no-untyped-call] # torch has no types here
        if self.activation is not None:
            words.append(f"activation={self.activation!r}")
        if self.activation == "leaky_relu":
            words.append(f"negative_slope={self.negative_slope}")
        told = ("nonfinite", "debias", "correction", "frozen", "affine_frozen", "adapting")
        options = {name: getattr(self, name) for name in told}
        words += [f"{name}={value!r}" for name, value in options.items() if value != _USUAL[name]]
        return ", ".join(words)

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002
        check_ndim(input, self._ndims)


def check_ndim(x: Tensor, ndims: tuple[int, ...]) -> None:
    """Refuse an input with other dimensions than a layer's name says."""
    if x.ndim not in ndims:
        expected = " or ".join(f"{n}D" for n in ndims)
        raise ShapeError(
            f"expected {expected} input (got {x.ndim}D input) of shape (N, C, *), "
            f"got {tuple(x.shape)}: use the layer for 1d, 2d or 3d that fits"
        )


def recomputing() -> bool:
    """Whether a backward pass runs this forward again, as activation checkpointing does."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1  # noqa: SLF001
