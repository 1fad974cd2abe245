"""Domain of a whole model's forward, as a context."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from batchnorm.errors import OptionError
from batchnorm.nn._domain import DomainLayer
from batchnorm.nn._modes import check_model


@contextmanager
def use_domain(model: nn.Module, domain: int | Tensor) -> Iterator[None]:
    """Let all domain-specific layers of a model take this domain inside the ``with`` block.

    For models that pass their layers nothing but the input, such as `torch.nn.Sequential`.

    Args:
        model: any module with layers like `DomainBatchNorm2d`.
        domain: as in their forward.

    Raises:
        OptionError: the model has no such layer.

    Note:
        A backward pass that runs a forward again, as under `torch.utils.checkpoint`, has to run
        inside the block too.

    Example:
        >>> import torch
        >>> from batchnorm.nn import DomainBatchNorm1d
        >>> model = nn.Sequential(nn.Linear(4, 3), DomainBatchNorm1d(3, num_domains=2))
        >>> with use_domain(model, 1):
        ...     y = model(torch.randn(8, 4))
        >>> [layer.num_batches_tracked.item() for layer in model[1].domains]
        [0, 1]
    """
    check_model(model)
    layers = [module for module in model.modules() if isinstance(module, DomainLayer)]
    if not layers:
        raise OptionError(
            "use_domain needs a model with layers like DomainBatchNorm2d, got none: "
            "put them in first"
        )
    before = [layer.domain for layer in layers]
    try:
        for layer in layers:
            layer.domain = domain
        yield
    finally:
        for layer, was in zip(layers, before, strict=True):
            layer.domain = was
