"""Our layers do what follows them, in the same pass over memory."""

from typing import Any

from torch import fx, nn

from ._behaviour import Behaviour, behaviour, check_error
from ._edit import Edit
from ._fuse_modules import fuse_modules
from ._fused import Fusion, is_plain
from ._fx import fuse_graph


def fuse_layers(
    model: nn.Module, example_inputs: Any, changes: Edit
) -> tuple[dict[nn.Module, Fusion], float | None]:
    """Let our layers do what follows them, and prove that the model does what it did.

    Args:
        model: the model, with layers of ours.
        example_inputs: as for `trace`.
        changes: undoes it.

    Returns:
        What became of every layer of ours that had no activation, and the largest relative error.
    """
    if not any(map(is_plain, model.modules())):
        return {}, None
    before = {mode: behaviour(model, example_inputs, training=mode) for mode in (True, False)}
    if isinstance(model, fx.GraphModule):
        found = fuse_graph(model, example_inputs, changes)
    else:
        found = fuse_modules(model, example_inputs, changes)
    if not any(fusion.done for fusion in found.values()):
        return found, None
    return found, max(_error(model, example_inputs, mode, before[mode]) for mode in before)


def _error(model: nn.Module, example_inputs: Any, training: bool, before: Behaviour) -> float:
    now = behaviour(model, example_inputs, training=training)
    return check_error(now.error(before), before.tolerance, training=training)
