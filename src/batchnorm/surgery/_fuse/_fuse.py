"""Fusion: our layers do what follows them, in the same pass over memory."""

from functools import partial
from typing import Any

from torch import fx, nn

from batchnorm._model._behaviour import Pass
from batchnorm._model._compare import Proof
from batchnorm._model._edit import Edit
from batchnorm.errors import BatchNormError, SurgeryError
from batchnorm.surgery._fuse._fused import Fusion, is_plain
from batchnorm.surgery._fuse._fx import fuse_graph, shapes_of
from batchnorm.surgery._fuse._modules import fuse_modules, plan_of


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
    if isinstance(model, fx.GraphModule):
        change = partial(fuse_graph, shapes_of(model, example_inputs))
    else:
        change = partial(fuse_modules, plan_of(model, example_inputs))
    passes = [Pass(example_inputs, training=True), Pass(example_inputs, False, outputs_only=True)]
    try:
        proof = Proof(model, change, passes, advice="convert it without fuse=True")
    except BatchNormError:
        raise
    except RuntimeError as error:  # torch's, of a model that cannot be differentiated
        words = " ".join(str(error).split())[:120]
        raise SurgeryError(
            f"a model that can be differentiated is needed to prove a fusion, got: {words}: "
            "the model is as it was; convert it without fuse=True"
        ) from error
    found = change(model, changes)
    if not any(fusion.done for fusion in found.values()):
        return found, None
    return found, proof.check(model)
