"""Tracing by `torch.fx`: a layer becomes one node of the graph, as torch's own layers do."""

from typing import Any

import torch
from torch import Tensor, nn

_PROXY: Any = torch.fx.Proxy  # what `torch.fx` calls a forward with, in place of tensors


def traced(module: nn.Module, x: Tensor) -> bool:
    """Say whether a tracer of `torch.fx` calls the module, inside a model."""
    return isinstance(x, _PROXY) and x.tracer.root is not module


def node(module: nn.Module, x: Any, *given: Any, **options: Any) -> Tensor:
    """Return the call as one node; options that are `None` are left out."""
    path = x.tracer.path_of_module(module)
    named = {name: value for name, value in options.items() if value is not None}
    made: Tensor = x.tracer.create_proxy("call_module", path, (x, *given), named)
    return made
