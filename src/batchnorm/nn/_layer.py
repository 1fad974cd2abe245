"""Layer: what all batch normalization layers of this package share: options, state, forward."""

from typing import Any, TypedDict

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from batchnorm import functional, ops
from batchnorm._moments import Moments
from batchnorm.errors import ShapeError, TransformError
from batchnorm.functional._apply import AffineParameters, evaluate, measure, train
from batchnorm.functional._batch import Batch
from batchnorm.functional._checks import (
    check_count,
    check_counter,
    check_eps,
    check_finite,
    check_input,
    check_statistics,
)
from batchnorm.functional._kinds import check_dense
from batchnorm.functional._options import Options, options_of
from batchnorm.kernels import RunningStats
from batchnorm.nn._debias import Debiasing
from batchnorm.nn._modes import Modes
from batchnorm.nn._precision import REDUCED_PRECISION, FullPrecision
from batchnorm.nn._tools._guard import Guarded
from batchnorm.nn._tools._programs import check_switchable, node, traced

_USUAL = {
    "nonfinite": "skip",
    "debias": False,
    "correction": 1,
    "frozen": False,
    "affine_frozen": False,
    "adapting": False,
}

Device = torch.device | str | int | None


class LayerOptions(TypedDict, total=False):
    """Keyword options that every layer takes; `BatchNorm1d` documents them."""

    bias: bool
    activation: str | None
    negative_slope: float
    nonfinite: str
    debias: bool
    correction: int


class Layer(Guarded, Modes, FullPrecision, Debiasing, _BatchNorm):
    """Base of all layers here but the decorrelated ones: for `isinstance`, not for use by itself.

    A `torch.nn.modules.batchnorm._BatchNorm` with the constructor, the forward and the state that
    `BatchNorm1d` documents; subclasses say which inputs they take.
    """

    _ndims: tuple[int, ...]
    _like_torch = "always"

    # Defaults for layers that were pickled before there was the option.
    activation: str | None = None
    negative_slope: float = 0.01
    nonfinite: str = "skip"
    correction: int = 1
    _accumulated: list[Moments] | None = None
    _origin: Any = None  # what `convert` found here, if it was of another package
    _known: tuple[tuple[Any, ...], Options] = ((), Options())  # the options, as last validated

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
        activation: str | None = None,
        negative_slope: float = 0.01,
        nonfinite: str = "skip",
        debias: bool = False,
        correction: int = 1,
    ) -> None:
        options = activation, negative_slope, nonfinite, correction
        options_of(*options)
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        if not bias:
            place["bias"] = False
        super().__init__(num_features, eps, momentum, affine, track_running_stats, **place)
        self._configure(options, debias)

    def _configure(self, options: tuple[Any, ...], debias: bool) -> None:
        """Set what this layer holds beyond torch's, whose constructor has run."""
        self.activation, self.negative_slope, self.nonfinite, self.correction = options
        self.debias = debias
        if self.track_running_stats:
            skipped = torch.zeros_like(self._buffers["num_batches_tracked"])  # type: ignore[arg-type]
            self.register_buffer("batches_skipped", skipped, persistent=False)
            self._restore_float32()

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute, and validate it where it is an option."""
        if name in _OPTIONS:
            key = tuple(value if name == own else getattr(self, own) for own in _OPTIONS)
            object.__setattr__(self, "_known", (key, options_of(*key)))
        super().__setattr__(name, value)
        if name == "debias" and value:
            self._infer_debias_state()

    def _options(self) -> Options:
        """Return the options, validated anew only where somebody has changed them past us."""
        key = self.activation, self.negative_slope, self.nonfinite, self.correction
        known, options = self._known
        if known != key:
            options = options_of(*key)
            if not torch.compiler.is_compiling():
                object.__setattr__(self, "_known", (key, options))
        return options

    def __getstate__(self) -> dict[str, Any]:
        """Leave out of copies and files what follows from the rest, and is of no public class."""
        return {name: value for name, value in vars(self).items() if name != "_known"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take in a copy or a pickle, also one that was made before `debias_state`."""
        super().__setstate__(state)  # type: ignore[no-untyped-call] # torch has no types here
        if self.debias and "debias_state" not in self._buffers:
            self._infer_debias_state()

    def forward(
        self,
        input: Tensor,  # noqa: A002
        residual: Tensor | None = None,
        # Not by keyword only: the older exporter to ONNX gives a model all arguments by position.
        mask: Tensor | None = None,
        sample_weight: Tensor | None = None,
    ) -> Tensor:
        """Normalize, and in training update the running statistics.

        Args:
            input: shape ``(N, C, *)`` with as many dimensions as the layer's name says.
            residual: added before the activation, shape of `input`.
            mask: which positions are data, a bool of shape ``(N, *)``; elsewhere the output is 0.
            sample_weight: how often each sample counts in the statistics, shape ``(N,)``.
        """
        if traced(self, input):
            return node(self, input, residual=residual, mask=mask, sample_weight=sample_weight)
        if not isinstance(input, _CALLED_WITH):
            check_dense(input)  # type: ignore[unreachable] # for callers who do not check types
        if residual is not None or mask is not None or sample_weight is not None:
            self._remember_call()
        batch = Batch(input, residual, mask, sample_weight)
        return self._normalize(batch, self._affine(), self._options())

    def _normalize(self, batch: Batch, affine: AffineParameters, options: Options) -> Tensor:
        """Do what `forward` documents with any scale, shift and activation."""
        x, eps = batch.x, self.eps
        if x.ndim not in self._ndims:
            self._check_input_dim(x)
        mean, var, _ = statistics = self._statistics()
        check_input(x, *affine)
        check_statistics(x, mean, var)
        batch = batch.checked()
        training = self.training and not self.frozen
        if training or self.adapting or (mean is None and var is None):
            check_eps(eps, training=True)
            count = check_count(x)
            if not (training and self.track_running_stats) or recomputing():
                return train(batch, affine, eps, None, options)
            if self._accumulated is not None:
                check_accumulable()
                y, moments = measure(batch, affine, eps, options.epilogue)
                self._accumulated.append(moments)
                return y
            if not count:
                return train(batch, affine, eps, None, options)
            if ops.recording_program():
                check_switchable(self, batch)
            running = self._running(x, statistics, options)
            before = self._before_batch(mean, var) if self.debias else None
            y = train(batch, affine, eps, running, options)
            if before is not None:
                self._remember(before)
            return y
        check_eps(eps, training=False)
        if self.debias and mean is not None and var is not None:
            mean, var = self._population(mean, var)
        return evaluate(batch, affine, mean, var, eps, options.epilogue)

    def _running(
        self, x: Tensor, statistics: tuple[Any, ...], options: Options
    ) -> RunningStats | None:
        """Return what a batch updates."""
        mean, var, counter = statistics
        if counter is not None and counter.dtype is not torch.int64:
            counter = self._restore_int64("num_batches_tracked")
        skipped = self._buffers.get("batches_skipped")
        if skipped is not None and skipped.dtype is not torch.int64:
            skipped = self._restore_int64("batches_skipped")
        check_counter(x, counter, "num_batches_tracked")
        check_counter(x, skipped, "batches_skipped")
        momentum = 0.0 if self.momentum is None and counter is None else self.momentum  # as torch
        return options.running(mean, var, counter, skipped, momentum)

    def _affine(self) -> AffineParameters:
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
            check_finite(moments.mean, moments.variance())
        return moments

    def _update(self, moments: Moments) -> None:
        """Move the running statistics as one batch with these moments would."""
        assert self.running_mean is not None  # noqa: S101 -- tracked, or there were no moments
        assert self.running_var is not None  # noqa: S101
        before = self._before_batch(self.running_mean, self.running_var)
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
        self._remember(before)

    # ----------------------------------------------------------------------------- state

    def reset_running_stats(self) -> None:
        """Set the running statistics and the counters to their start, unless they are frozen."""
        if not self._starts_anew():
            return
        super().reset_running_stats()
        skipped = self._buffers.get("batches_skipped")
        if skipped is not None:
            skipped.zero_()

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Load what torch's layer does, and count the batches skipped from here on."""
        super()._load_from_state_dict(state, prefix, *rest)
        self._take_over(rest[0])
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
        shown = ("nonfinite", "debias", "correction", "frozen", "affine_frozen", "adapting")
        options = {name: getattr(self, name) for name in shown}
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


def check_accumulable() -> None:
    """Refuse to keep moments that are nothing outside a transform.

    Raises:
        TransformError: a transform of `torch.func` is at work.
    """
    if ops.transformed_by_func():
        raise TransformError(
            "accumulate_statistics keeps the moments of every micro-batch, which a transform of "
            "torch.func gives nobody, got vmap, grad, vjp or jvp around the layer: take the "
            "moments that batchnorm.functional.normalize returns, and update_running_"
        )


_CALLED_WITH = (Tensor, torch.fx.Proxy)
_OPTIONS = ("activation", "negative_slope", "nonfinite", "correction")


def recomputing() -> bool:
    """Whether a backward pass runs this forward again, as activation checkpointing does."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1  # noqa: SLF001
