"""Batch renormalization layers: training normalizes nearly as evaluation does."""

import math
from collections import deque
from typing import Any, NamedTuple, Unpack

import torch
from torch import Tensor

from batchnorm import functional, ops
from batchnorm.errors import OptionError
from batchnorm.functional._apply import AffineParameters
from batchnorm.functional._batch import Batch
from batchnorm.functional._modulate import check_modulation
from batchnorm.functional._options import Options
from batchnorm.functional._renorm import check_renorm
from batchnorm.nn._layer import Device, Layer, LayerOptions, recomputing
from batchnorm.nn._tools._programs import check_exported
from batchnorm.nn._tools._quantization import register_with_quantization


class RenormWarmup(NamedTuple):
    """When the bounds of batch renormalization open, in batches.

    The defaults are those of the paper's experiments.

    Attributes:
        plain: so many batches are normalized plainly, with r = 1 and d = 0.
        r: the bound of r grows from there linearly and is `r_max` after so many batches in all.
        d: the bound of d likewise.
    """

    plain: int = 5_000
    r: int = 40_000
    d: int = 25_000


class _Renorm(Layer):
    _like_torch = "evaluation"
    _needs_statistics = True
    # What the last forwards found, for the backward pass that runs one of them again.
    _recent: deque[tuple[Tensor, Tensor, Tensor]] | None = None

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
        r_max: float = 3.0,
        d_max: float = 5.0,
        warmup: RenormWarmup | None = RenormWarmup(),  # noqa: B008 -- it cannot be changed
        **options: Unpack[LayerOptions],
    ) -> None:
        check_renorm(r_max, d_max)
        _check_warmup(warmup, r_max, d_max)
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, **options
        )
        if not self.track_running_stats:
            raise OptionError(
                "batch renormalization needs running statistics, got track_running_stats=False: "
                "leave it True, or take the plain layer"
            )
        self.r_max = r_max
        self.d_max = d_max
        self.warmup = warmup

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute, and validate it where it is an option."""
        if name in _BOUNDS:
            bounds = {own: getattr(self, own, usual) for own, usual in _BOUNDS.items()}
            bounds[name] = value
            check_renorm(bounds["r_max"], bounds["d_max"])
            _check_warmup(bounds["warmup"], bounds["r_max"], bounds["d_max"])
        super().__setattr__(name, value)

    def _normalize(self, batch: Batch, affine: AffineParameters, options: Options) -> Tensor:
        if self.training and not self.frozen and self.running_mean is not None:
            x, (weight, bias) = batch.x, affine
            self._check_input_dim(x)
            check_exported(self)
            check_modulation(x, weight, bias)
            r, d = self._corrections(batch)
            dtype = torch.promote_types(x.dtype, torch.float32)
            shift = d if weight is None else weight * d
            bias = (shift if bias is None else shift + bias).to(dtype)
            affine = (r if weight is None else weight * r).to(dtype), bias
        return super()._normalize(batch, affine, options)

    def _corrections(self, batch: Batch) -> tuple[Tensor, Tensor]:
        x, _, mask, sample_weight = batch
        mean, var, counter = self._statistics()
        mean, var = self._population(mean, var)
        r_max, d_max = self._bounds(counter)
        r, d, batch_mean = functional.renorm_corrections(
            x, mean, var, self.eps, r_max=r_max, d_max=d_max, mask=mask, sample_weight=sample_weight
        )
        if recomputing():
            return self._as_before(batch_mean, r, d)
        watched = torch.compiler.is_compiling() or ops.transformed_by_func()
        if self.track_running_stats and not watched:  # what those find is nothing outside
            if self._recent is None:
                self._recent = deque(maxlen=8)
            self._recent.append((batch_mean, r, d))
        return r, d

    def _bounds(self, counter: Tensor | None) -> tuple[float | Tensor, float | Tensor]:
        """Return r_max and d_max as they are after so many batches, without waiting for them."""
        if self.warmup is None:
            return self.r_max, self.d_max
        if counter is None:
            raise OptionError(
                "the warm-up of batch renormalization counts batches, got num_batches_tracked=None:"
                " leave the counter, or set warmup=None"
            )
        plain, *ends = self.warmup
        past = counter.double() - plain
        r, d = ((past / (end - plain)).clamp(0.0, 1.0) for end in ends)
        return 1.0 + (self.r_max - 1.0) * r, self.d_max * d

    def _as_before(self, batch_mean: Tensor, r: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
        """Return r and d of the forward that is run again: the running statistics have moved."""
        if not self._recent:
            return r, d
        means, *found = (torch.stack(kept) for kept in zip(*self._recent, strict=True))
        distance = (means - batch_mean).abs().sum(1).nan_to_num(nan=math.inf)
        nearest = distance.argmin(0, keepdim=True)
        r, d = (kept.index_select(0, nearest).squeeze(0) for kept in found)
        return r, d

    def __getstate__(self) -> dict[str, Any]:
        """Leave out of copies and files what the last forwards found."""
        return {name: value for name, value in super().__getstate__().items() if name != "_recent"}

    def extra_repr(self) -> str:
        """Return the plain layer's description, and the bounds."""
        bounds = f"r_max={self.r_max}, d_max={self.d_max}, warmup={self.warmup}"
        return f"{super().extra_repr()}, {bounds}"


_BOUNDS: dict[str, Any] = {"r_max": 3.0, "d_max": 5.0, "warmup": None}


def _check_warmup(warmup: RenormWarmup | None, r_max: float, d_max: float) -> None:
    if warmup is None:
        return
    if not 0 <= warmup.plain < min(warmup.r, warmup.d):
        raise OptionError(
            f"warmup needs 0 <= plain < r and d, got {warmup}: "
            "for no warm-up at all give warmup=None"
        )
    if math.isinf(r_max) or math.isinf(d_max):
        raise OptionError(
            f"a warm-up needs finite bounds to grow to, got r_max={r_max} and d_max={d_max}: "
            "give finite ones, or warmup=None"
        )


class BatchRenorm1d(_Renorm, torch.nn.BatchNorm1d):
    r"""Batch normalization whose training output is, within bounds, that of evaluation.

    .. math::

        y = \left(\frac{x - \mu_B}{\sigma_B}\, r + d\right) w + b \qquad
        r = \mathrm{clip}_{[1/r_\max,\, r_\max]}\left(\frac{\sigma_B}{\sigma}\right) \qquad
        d = \mathrm{clip}_{[-d_\max,\, d_\max]}\left(\frac{\mu_B - \mu}{\sigma}\right)

    with :math:`\mu_B, \sigma_B` of the batch and :math:`\mu, \sigma` the running statistics before
    the batch moves them. The gradient takes r and d as constants. For batches that are small or
    whose samples depend on each other. In evaluation it is `BatchNorm1d`.

    Args:
        num_features: number of channels C.
        eps: added to the variances, inside the square roots.
        momentum: weight of the new batch in the running statistics (the paper's 0.01 goes with
            its schedule); `None` averages all batches so far with equal weight.
        affine: learn `weight` and `bias`, both ``(C,)``.
        track_running_stats: has to be True.
        device: where the parameters and buffers are created.
        dtype: their dtype.
        r_max: bound of r, at least 1; ``inf`` is none.
        d_max: bound of d, not negative; ``inf`` is none.
        warmup: when the bounds open, driven by `num_batches_tracked` without waiting for the
            device. At first the running statistics are 0 and 1, and following them would be wrong.
            `None` opens the bounds from the first batch on.
        options: ``bias``, ``activation``, ``nonfinite`` and all others of `BatchNorm1d`. With
            ``debias=True`` r and d follow the debiased statistics, as evaluation does.

    Raises:
        ShapeError: the input is not 2D or 3D.
        OptionError: the bounds or the warm-up are out of range, `track_running_stats` is False, or
            as in `BatchNorm1d`.

    Note:
        The running statistics are those of `BatchNorm1d`, an average of variances; the paper
        averages standard deviations, and takes the biased ones. So this layer's state is that of
        a plain one, and :math:`\sigma^2` is `running_var` + `eps`. The forward pass reads the input
        twice. Where a backward pass runs a forward again, as under `torch.utils.checkpoint`, it
        takes the r and d of that forward, of which the last 8 are kept.

    References:
        Ioffe (2017), "Batch Renormalization: Towards Reducing Minibatch Dependence in
        Batch-Normalized Models", Algorithm 1, and section 4 for the bounds and their schedule.

    Example:
        >>> layer = BatchRenorm1d(3, r_max=float("inf"), d_max=float("inf"), warmup=None)
        >>> layer.track_running_stats = False  # so that training leaves them alone
        >>> x = 5 + torch.randn(4, 3)
        >>> torch.allclose(layer.train()(x), layer.eval()(x), atol=1e-5)
        True
    """

    _ndims = (2, 3)


class BatchRenorm2d(_Renorm, torch.nn.BatchNorm2d):
    """Batch renormalization of images ``(N, C, H, W)``.

    Arguments, conventions and formula as in `BatchRenorm1d`.

    Raises:
        ShapeError: the input is not 4D.

    Example:
        >>> BatchRenorm2d(16)(torch.randn(2, 16, 7, 7)).shape
        torch.Size([2, 16, 7, 7])
    """

    _ndims = (4,)


class BatchRenorm3d(_Renorm, torch.nn.BatchNorm3d):
    """Batch renormalization of volumes or videos ``(N, C, D, H, W)``.

    Arguments, conventions and formula as in `BatchRenorm1d`.

    Raises:
        ShapeError: the input is not 5D.

    Example:
        >>> BatchRenorm3d(4)(torch.randn(2, 4, 3, 5, 5)).shape
        torch.Size([2, 4, 3, 5, 5])
    """

    _ndims = (5,)


register_with_quantization(BatchRenorm1d, BatchRenorm2d, BatchRenorm3d)
