"""Modules that only wrap a model."""

from torch.nn import DataParallel, Module
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

_HOLDERS = (AveragedModel, DataParallel, DistributedDataParallel)


def unwrapped(model: Module) -> Module:
    """Return the model inside wrappers for averaging, data parallelism and compilation.

    They have a mode of their own, and those for data parallelism work on copies of the layers or
    overwrite buffers between processes.

    Example:
        >>> model = Module()
        >>> unwrapped(AveragedModel(DataParallel(model))).training
        True
    """
    inner = model.module if isinstance(model, _HOLDERS) else getattr(model, "_orig_mod", None)
    return unwrapped(inner) if isinstance(inner, Module) else model
