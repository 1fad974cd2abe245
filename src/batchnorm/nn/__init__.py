"""Layers: torch's own constructors, buffers and `state_dict`, with exact arithmetic."""

from batchnorm.nn._accumulate import accumulate_statistics as accumulate_statistics
from batchnorm.nn._batchnorm import BatchNorm1d as BatchNorm1d
from batchnorm.nn._batchnorm import BatchNorm2d as BatchNorm2d
from batchnorm.nn._batchnorm import BatchNorm3d as BatchNorm3d
from batchnorm.nn._class_conditional import (
    ClassConditionalBatchNorm1d as ClassConditionalBatchNorm1d,
)
from batchnorm.nn._class_conditional import (
    ClassConditionalBatchNorm2d as ClassConditionalBatchNorm2d,
)
from batchnorm.nn._class_conditional import (
    ClassConditionalBatchNorm3d as ClassConditionalBatchNorm3d,
)
from batchnorm.nn._conditional import ConditionalBatchNorm1d as ConditionalBatchNorm1d
from batchnorm.nn._conditional import ConditionalBatchNorm2d as ConditionalBatchNorm2d
from batchnorm.nn._conditional import ConditionalBatchNorm3d as ConditionalBatchNorm3d
from batchnorm.nn._decorrelated import DecorrelatedBatchNorm1d as DecorrelatedBatchNorm1d
from batchnorm.nn._decorrelated import DecorrelatedBatchNorm2d as DecorrelatedBatchNorm2d
from batchnorm.nn._decorrelated import DecorrelatedBatchNorm3d as DecorrelatedBatchNorm3d
from batchnorm.nn._domain import DomainBatchNorm1d as DomainBatchNorm1d
from batchnorm.nn._domain import DomainBatchNorm2d as DomainBatchNorm2d
from batchnorm.nn._domain import DomainBatchNorm3d as DomainBatchNorm3d
from batchnorm.nn._ghost import GhostBatchNorm1d as GhostBatchNorm1d
from batchnorm.nn._ghost import GhostBatchNorm2d as GhostBatchNorm2d
from batchnorm.nn._ghost import GhostBatchNorm3d as GhostBatchNorm3d
from batchnorm.nn._layer import Layer as Layer
from batchnorm.nn._lazy import LazyBatchNorm1d as LazyBatchNorm1d
from batchnorm.nn._lazy import LazyBatchNorm2d as LazyBatchNorm2d
from batchnorm.nn._lazy import LazyBatchNorm3d as LazyBatchNorm3d
from batchnorm.nn._renorm import BatchRenorm1d as BatchRenorm1d
from batchnorm.nn._renorm import BatchRenorm2d as BatchRenorm2d
from batchnorm.nn._renorm import BatchRenorm3d as BatchRenorm3d
from batchnorm.nn._renorm import RenormWarmup as RenormWarmup
from batchnorm.nn._use_domain import use_domain as use_domain
