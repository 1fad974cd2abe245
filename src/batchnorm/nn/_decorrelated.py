"""Decorrelated batch normalization layers: channels normalized jointly."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from batchnorm import functional
from batchnorm._moments import Moments
from batchnorm.errors import OptionError
from batchnorm.functional import Comoments
from batchnorm.functional._decorrelate import check_groups, check_shrinkage
from batchnorm.functional._whitening import check_method
from batchnorm.nn._layer import Device, check_accumulable, check_ndim, recomputing
from batchnorm.nn._layout import laid_out
from batchnorm.nn._modes import Modes
from batchnorm.nn._precision import FullPrecision
from batchnorm.nn._tools._guard import Guarded, is_start
from batchnorm.nn._tools._programs import check_exported, node, traced
from batchnorm.nn._tools._quantization import register_with_quantization


class DecorrelatedLayer(Guarded, Modes, FullPrecision, _BatchNorm):
    """The constructor and the forward; subclasses say what they take.

    An instance of torch's base, so that tools that reset or freeze batch normalization find it.
    """

    _like_torch = "never"

    _ndims: tuple[int, ...]
    _full_precision = ("running_mean", "running_cov")
    _accumulated: list[Comoments] | None = None

    weight: nn.Parameter | None  # type: ignore[assignment] # it may be `None` in torch's too
    bias: nn.Parameter | None  # type: ignore[assignment]
    running_mean: Tensor | None
    running_cov: Tensor | None
    num_batches_tracked: Tensor | None

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
        method: str = "zca",
        groups: int = 1,
        shrinkage: float = 0.0,
    ) -> None:
        check_method(method)
        check_groups(num_features, groups)
        check_shrinkage(shrinkage)
        nn.Module.__init__(self)  # not torch's base, which would make a running variance
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.method = method
        self.groups = groups
        self.shrinkage = shrinkage
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        for name, present in (("weight", affine), ("bias", affine and bias)):
            values = nn.Parameter(torch.empty(num_features, **place)) if present else None
            self.register_parameter(name, values)
        channels = num_features // groups
        for name, shape in (
            ("running_mean", (num_features,)),
            ("running_cov", (groups, channels, channels)),
        ):
            self.register_buffer(name, torch.empty(shape, **place) if track_running_stats else None)
        counter = torch.tensor(0, device=device) if track_running_stats else None
        self.register_buffer("num_batches_tracked", counter)
        self._restore_float32()
        self.reset_parameters()

    @property
    def running_var(self) -> Tensor | None:
        """Variance of each channel, the diagonal of the covariance, shape ``(C,)``."""
        cov = self.running_cov
        return None if cov is None else cov.diagonal(dim1=-2, dim2=-1).flatten()

    @running_var.setter
    def running_var(self, value: Tensor | None) -> None:
        if value is None:
            self.running_cov = None
            return
        if self.running_cov is None or not is_start(value, 1.0):
            raise OptionError(
                "the variances of a layer that decorrelates are part of its running_cov, got "
                "others to put in their place: set running_cov"
            )
        self._start_covariance(self.running_cov)

    def reset_running_stats(self) -> None:
        """Set the running statistics and the counter to their start, unless they are frozen."""
        if not self._starts_anew():
            return
        for buffer in (self.running_mean, self.num_batches_tracked):
            if buffer is not None:
                buffer.zero_()
        if self.running_cov is not None:
            self._start_covariance(self.running_cov)

    @staticmethod
    def _start_covariance(cov: Tensor) -> None:
        cov.zero_().diagonal(dim1=-2, dim2=-1).fill_(1.0)

    def reset_parameters(self) -> None:
        """Set the scale and shift to 1 and 0, and the running statistics to their start."""
        self.reset_running_stats()
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Decorrelate, and in training update the running statistics.

        Args:
            input: shape ``(N, C, *)`` with as many dimensions as the layer's name says.
        """
        if traced(self, input):
            return node(self, input)
        check_ndim(input, self._ndims)
        self._restore_float32()  # in case somebody has cast the buffers past the module
        training = self.training and not self.frozen
        if training:
            check_exported(self)
        use_batch = training or self.adapting or self.running_mean is None
        y, batch = functional.decorrelate(
            input,
            None if use_batch else self.running_mean,
            None if use_batch else self.running_cov,
            self.weight,
            self.bias,
            groups=self.groups,
            method=self.method,
            shrinkage=self.shrinkage,
            eps=self.eps,
        )
        if batch is not None and training and self.track_running_stats and not recomputing():
            if self._accumulated is not None:
                check_accumulable()
                self._accumulated.append(batch)
            else:
                self._update(batch)
        return laid_out(y, input)

    def _merge(self, parts: list[Any]) -> Any:
        return parts[0].merge(*parts[1:])

    def _update(self, batch: Comoments) -> None:
        """Move the running statistics as one batch with these comoments does."""
        if self.running_mean is None or self.running_cov is None:
            return
        functional.update_running_(
            self.running_mean,
            self.running_cov,
            Moments(*batch),  # a covariance enters as a variance does
            self.momentum,
            num_batches_tracked=self.num_batches_tracked,
        )

    def extra_repr(self) -> str:
        """Return the options."""
        names = ("eps", "momentum", "affine", "track_running_stats", "method", "groups")
        words = [str(self.num_features), *(f"{name}={getattr(self, name)}" for name in names)]
        words += [f"shrinkage={self.shrinkage}"] if self.shrinkage else []
        words += [f"{name}=True" for name in ("frozen", "adapting") if getattr(self, name)]
        return ", ".join(words)


class DecorrelatedBatchNorm1d(DecorrelatedLayer):
    r"""Batch normalization that also takes the correlation of the channels out.

    .. math::

        y = W (x - \mathrm{E}[x])\, w + b \qquad W \Sigma W^\top = I \qquad
        \Sigma = (1 - s)\, \mathrm{Cov}[x] + s\, \mathrm{diag}(\mathrm{Cov}[x]) + \epsilon I

    With ``method="zca"`` W is symmetric, and y of all decorrelated outputs the nearest to x; with
    ``method="cholesky"`` it is lower triangular, and a channel's output takes in only channels
    before it. Takes time and memory of order C² a value; for comparison more than for speed.

    Args:
        num_features: number of channels C.
        eps: added to the variances.
        momentum: weight of the new batch in the running statistics; `None` averages all
            batches so far with equal weight.
        affine: learn `weight` and `bias`, both ``(C,)``.
        track_running_stats: keep `running_mean` and `running_cov`, used in evaluation; without
            them evaluation uses the batch too.
        device: where the parameters and buffers are created.
        dtype: their dtype.
        bias: with `affine`, whether there is a `bias` beside the `weight`.
        method: ``zca`` or ``cholesky``.
        groups: G, a divisor of C; only channels of the same group, which are neighbours, are
            decorrelated.
        shrinkage: s, the share of the diagonal in the covariance, from 0 to 1, where it is
            `BatchNorm1d`. Above 0, fewer values than channels suffice.

    Raises:
        ShapeError: the input is not 2D or 3D.
        CountError: a training batch has, without shrinkage, no more values per channel than a
            group has channels.
        NonFiniteError: a training batch has a NaN or an Inf.
        OptionError: an option is out of range.

    Note:
        The buffers are `running_mean` ``(C,)``, `running_cov` ``(G, C / G, C / G)``, which takes in
        the unbiased covariance, and `num_batches_tracked`. Not a subclass of torch's layers, which
        have a `running_var` where this has a covariance. Arithmetic is float64, and the derivatives
        are exact at equal eigenvalues too. Both methods wait for the device.

    References:
        Huang et al. (2018), "Decorrelated Batch Normalization"; Siarohin, Sangineto and Sebe
        (2019), "Whitening and Coloring Batch Transform for GANs", for ``cholesky``.

    Example:
        >>> x = torch.randn(1000, 3) @ torch.tensor([[1.0, 2, 3], [0, 1, 2], [0, 0, 1]])
        >>> torch.corrcoef(x.T)[0, 2] > 0.5
        tensor(True)
        >>> y = DecorrelatedBatchNorm1d(3)(x)
        >>> torch.allclose(y.T @ y / 1000, torch.eye(3), atol=1e-3)
        True
    """

    _ndims = (2, 3)


class DecorrelatedBatchNorm2d(DecorrelatedLayer):
    """Decorrelated batch normalization of images ``(N, C, H, W)``.

    Arguments, conventions and formula as in `DecorrelatedBatchNorm1d`.

    Raises:
        ShapeError: the input is not 4D.

    Example:
        >>> DecorrelatedBatchNorm2d(16, groups=2)(torch.randn(8, 16, 7, 7)).shape
        torch.Size([8, 16, 7, 7])
    """

    _ndims = (4,)


class DecorrelatedBatchNorm3d(DecorrelatedLayer):
    """Decorrelated batch normalization of volumes or videos ``(N, C, D, H, W)``.

    Arguments, conventions and formula as in `DecorrelatedBatchNorm1d`.

    Raises:
        ShapeError: the input is not 5D.

    Example:
        >>> DecorrelatedBatchNorm3d(4)(torch.randn(2, 4, 3, 5, 5)).shape
        torch.Size([2, 4, 3, 5, 5])
    """

    _ndims = (5,)


register_with_quantization(
    DecorrelatedBatchNorm1d, DecorrelatedBatchNorm2d, DecorrelatedBatchNorm3d
)
