"""Domain-specific batch normalization layers: statistics for each of several domains."""

from typing import Any, Unpack, cast

import torch
from torch import Tensor, nn

from batchnorm.errors import CountError, DTypeError, OptionError, ShapeError
from batchnorm.functional._batch import Batch
from batchnorm.nn._batchnorm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from batchnorm.nn._conditional import (
    ConditionalBatchNorm1d,
    ConditionalBatchNorm2d,
    ConditionalBatchNorm3d,
)
from batchnorm.nn._layer import Device, Layer, LayerOptions, check_ndim
from batchnorm.nn._layout import laid_out
from batchnorm.nn._tools._guard import Guarded
from batchnorm.nn._tools._programs import node, traced
from batchnorm.nn._tools._quantization import register_with_quantization


class DomainLayer(Guarded):
    """The constructor and the forward; subclasses say what they take."""

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    _own_affine: type[Layer]
    _no_affine: type[Layer]

    def __init__(
        self,
        num_features: int,
        num_domains: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        shared_affine: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        if num_domains < 1:
            raise OptionError(
                f"num_domains must be positive, got {num_domains}: give the number of domains"
            )
        super().__init__()
        self.num_features = num_features
        self.num_domains = num_domains
        self.shared_affine = shared_affine
        self.domain: int | Tensor | None = None
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        described: dict[str, Any] = {
            **options, "eps": eps, "momentum": momentum, "track_running_stats": track_running_stats,
        }  # fmt: skip
        kind = self._no_affine if shared_affine else self._own_affine
        if not shared_affine:
            described["affine"] = affine
        self.domains = nn.ModuleList(
            kind(num_features, **described, **place) for _ in range(num_domains)
        )
        for layer in self._layers():
            layer._one_of_several = num_domains > 1  # noqa: SLF001 -- a part of this module
        has_weight = shared_affine and affine
        has_bias = has_weight and options.get("bias", True)
        for name, present in (("weight", has_weight), ("bias", has_bias)):
            values = nn.Parameter(torch.empty(num_features, **place)) if present else None
            self.register_parameter(name, values)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the scale and shift to 1 and 0, and all running statistics to their start."""
        for layer in self._layers():
            layer.reset_parameters()
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def _layers(self) -> list[Layer]:
        return cast("list[Layer]", list(self.domains))

    def forward(
        self,
        input: Tensor,  # noqa: A002
        domain: int | Tensor | None = None,
        residual: Tensor | None = None,
        mask: Tensor | None = None,
        sample_weight: Tensor | None = None,
    ) -> Tensor:
        """Normalize each domain's samples together, and in training update its statistics.

        Args:
            input: shape ``(N, C, *)`` with as many dimensions as the layer's name says.
            domain: that of the whole batch, or of each sample, an int64 tensor of shape ``(N,)``,
                which takes a look at its values and so waits for the device; `None` takes that of
                the `use_domain` block around the call.
            residual: added before the activation, shape of `input`.
            mask: which positions are data, a bool of shape ``(N, *)``; elsewhere the output is 0.
            sample_weight: how often each sample counts in the statistics, shape ``(N,)``.
        """
        if traced(self, input):
            options = {"mask": mask, "sample_weight": sample_weight}
            return node(self, input, domain, residual=residual, **options)
        check_ndim(input, self._own_affine._ndims)  # noqa: SLF001 -- a part of this module
        if domain is None:
            domain = self.domain
        batch = Batch(input, residual, mask, sample_weight)
        if not isinstance(domain, Tensor):
            return self._in_one(batch, self._checked(domain))
        counts = self._counts(input, domain)
        present = [number for number, count in enumerate(counts) if count]
        if len(present) < 2:  # noqa: PLR2004 -- nothing to take apart
            return self._in_one(batch, present[0] if present else 0)
        self._check_each(input, counts)
        order = domain.argsort(stable=True)
        parts = enumerate(batch.checked().select(order, counts))
        y = torch.cat([self._in_one(part, k) for k, part in parts if counts[k]])
        return laid_out(y.index_select(0, order.argsort()), input)

    def _in_one(self, batch: Batch, domain: int) -> Tensor:
        affine = (self.weight, self.bias) if self.shared_affine else ()
        # A plain layer of torch, where somebody has put one in, takes no more than the input.
        x, *companions = batch
        names = Batch._fields[1:]
        given = {
            name: values
            for name, values in zip(names, companions, strict=True)
            if values is not None
        }
        y: Tensor = self.domains[domain](x, *affine, **given)
        return y

    def _checked(self, domain: int | None) -> int:
        if domain is None:
            raise OptionError(
                "a domain is needed, got None: give it as layer(x, domain), or call the model "
                "inside use_domain(model, domain)"
            )
        if not 0 <= domain < self.num_domains:
            raise self._unknown(domain, domain)
        return domain

    def _counts(self, x: Tensor, domain: Tensor) -> list[int]:
        """Return how many samples there are of each domain; waits for the device."""
        if domain.shape != x.shape[:1]:
            raise ShapeError(
                f"domain needs shape {tuple(x.shape[:1])}, one for each sample of x "
                f"{tuple(x.shape)}, got {tuple(domain.shape)}: give an int for a batch of one"
            )
        if domain.dtype != torch.int64:
            raise DTypeError(
                f"domain needs dtype int64, got {domain.dtype}: convert it, as in domain.long()"
            )
        if domain.numel() == 0:
            return [0] * self.num_domains
        low, high = (int(bound) for bound in domain.aminmax())
        if low < 0 or high >= self.num_domains:
            raise self._unknown(low, high)
        counts: list[int] = domain.bincount(minlength=self.num_domains).tolist()
        return counts

    def _unknown(self, low: int, high: int) -> OptionError:
        got = low if low == high else f"{low} to {high}"
        return OptionError(
            f"domain must be from 0 to {self.num_domains - 1}, got {got}: "
            "num_domains is the number of them"
        )

    def _check_each(self, x: Tensor, counts: list[int]) -> None:
        """Refuse a domain of one value before another has moved its statistics."""
        alone = [
            k
            for k, (layer, count) in enumerate(zip(self._layers(), counts, strict=True))
            if layer.training
            and not getattr(layer, "frozen", False)
            and x[:count].numel() == x.shape[1]
        ]
        if alone:
            raise CountError(
                "every domain in a batch needs more than 1 value per channel when training, "
                f"got input size {tuple(x.shape)} with one sample of domain {alone[0]}: use a "
                "larger batch, or leave the sample out"
            )

    def extra_repr(self) -> str:
        """Return how many channels and domains there are."""
        return (
            f"{self.num_features}, num_domains={self.num_domains}, "
            f"shared_affine={self.shared_affine}"
        )


class DomainBatchNorm1d(DomainLayer):
    r"""Batch normalization of several domains, each with its own statistics.

    For sources and targets, clean and adversarial examples, or real and generated ones: a batch
    of two distributions has the statistics of neither. `domains[k]` is a `BatchNorm1d` of domain
    k's own; a batch may be of one domain or mixed, and then each domain's samples are normalized
    together and stay where they were.

    Args:
        num_features: number of channels C.
        num_domains: number of domains K.
        eps: added to the variance, inside the square root.
        momentum: weight of the new batch in the running statistics; `None` averages all
            batches so far with equal weight.
        affine: learn `weight` and `bias`, both ``(C,)``.
        track_running_stats: keep `running_mean` and `running_var` of each domain.
        device: where the parameters and buffers are created.
        dtype: their dtype.
        shared_affine: whether there is one `weight` and `bias` for all domains, of this module;
            otherwise each of `domains` has its own.
        bias: with `affine`, whether there is a `bias` beside the `weight`.
        options: ``activation``, ``nonfinite`` and all others of `BatchNorm1d`.

    Raises:
        ShapeError: the input is not 2D or 3D, or a tensor of domains not one for each sample.
        DTypeError: a tensor of domains is not int64.
        CountError: a domain has one value per channel in a training batch.
        OptionError: a domain is unknown or missing, or `num_domains` is not positive.

    Note:
        To start from a trained plain layer, load its `state_dict` into each of `domains`. What is
        done to plain layers (`freeze`, recalibration, one learning rate for all weights) can be
        done to those in `domains`. A domain that is not in the batch gets no gradient;
        `DistributedDataParallel` then needs ``find_unused_parameters=True``.

    References:
        Chang et al. (2019), "Domain-Specific Batch Normalization for Unsupervised Domain
        Adaptation"; Xie et al. (2020), "Adversarial Examples Improve Image Recognition", section
        4, for an auxiliary batch normalization.

    Example:
        >>> layer = DomainBatchNorm1d(3, num_domains=2)
        >>> x = torch.cat([torch.randn(4, 3), 50 + torch.randn(4, 3)])
        >>> y = layer(x, torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]))
        >>> y.split(4)[1].mean().abs().item() < 1e-5
        True
        >>> layer(x[:4], 0).shape
        torch.Size([4, 3])
    """

    _own_affine = BatchNorm1d
    _no_affine = ConditionalBatchNorm1d


class DomainBatchNorm2d(DomainLayer):
    """Domain-specific batch normalization of images ``(N, C, H, W)``.

    Arguments and conventions as in `DomainBatchNorm1d`.

    Raises:
        ShapeError: the input is not 4D.

    Example:
        >>> layer = DomainBatchNorm2d(16, num_domains=2, shared_affine=True)
        >>> layer(torch.randn(8, 16, 7, 7), 1).shape, layer.weight.shape
        (torch.Size([8, 16, 7, 7]), torch.Size([16]))
    """

    _own_affine = BatchNorm2d
    _no_affine = ConditionalBatchNorm2d


class DomainBatchNorm3d(DomainLayer):
    """Domain-specific batch normalization of volumes or videos ``(N, C, D, H, W)``.

    Arguments and conventions as in `DomainBatchNorm1d`.

    Raises:
        ShapeError: the input is not 5D.

    Example:
        >>> DomainBatchNorm3d(4, 2)(torch.randn(2, 4, 3, 5, 5), 0).shape
        torch.Size([2, 4, 3, 5, 5])
    """

    _own_affine = BatchNorm3d
    _no_affine = ConditionalBatchNorm3d


register_with_quantization(DomainBatchNorm1d, DomainBatchNorm2d, DomainBatchNorm3d)
