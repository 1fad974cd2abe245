"""Layers: torch's own constructors, buffers and `state_dict`, with exact arithmetic."""

from ._accumulate import accumulate_statistics as accumulate_statistics
from ._batchnorm import BatchNorm1d as BatchNorm1d
from ._batchnorm import BatchNorm2d as BatchNorm2d
from ._batchnorm import BatchNorm3d as BatchNorm3d
from ._lazy import LazyBatchNorm1d as LazyBatchNorm1d
from ._lazy import LazyBatchNorm2d as LazyBatchNorm2d
from ._lazy import LazyBatchNorm3d as LazyBatchNorm3d
