"""Model files that a command writes: weights or a program, read back before they count."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from batchnorm._model._call import arguments
from batchnorm._pages import obstacle, own_version, write_atomically
from batchnorm.errors import OptionError, RunError
from batchnorm.surgery import Record

_WEIGHTS = (".safetensors", ".pt")
PROGRAM, ONNX = ".pt2", ".onnx"


def check_output(path: Path, kinds: tuple[str, ...] = (*_WEIGHTS, PROGRAM)) -> None:
    """Refuse a file that could not be written, before there is any work.

    Raises:
        OptionError: its suffix says nothing, or the file cannot be written.
    """
    if path.suffix not in kinds:
        raise OptionError(
            f"the output needs to end in {' or '.join(kinds)}, got {path}: name it so"
        )
    why = obstacle(path)
    if why is not None:
        raise OptionError(
            f"the output needs a file in a folder that can be written, got {path} ({why}): "
            "give another file, or mend that"
        )


def write_model(model: nn.Module, path: Path, record: Record, name: str, example: Any) -> None:
    """Write a model so that it reloads: nothing is left if it does not.

    Args:
        model: what is written.
        path: ``.safetensors`` or ``.pt`` for the `state_dict`, ``.pt2`` for a program that
            `torch.export.load` runs without any code of the model.
        record: what was done, kept beside the weights in a ``.safetensors`` file.
        name: what made the model.
        example: inputs, for a program.

    Raises:
        RunError: it cannot be written, or does not come back as it was.
        OptionError: the model's weights do not go into such a file, or it cannot be exported.
    """
    if path.suffix == PROGRAM:
        content = _program(model, example)
    else:
        state = model.state_dict()
        if lazy := [name for name, value in state.items() if is_lazy(value)]:
            raise OptionError(
                f"a model whose tensors have sizes is needed, got the lazy {lazy[0]}: "
                "let the factory pass one batch through it first"
            )
        content = (_safetensors if path.suffix == ".safetensors" else _pickled)(state, record, name)
        _compare(state, content, path)
    write_atomically(path, content)


def write_onnx(model: nn.Module, path: Path, example: Any) -> None:
    """Write a model for other runtimes, in evaluation mode.

    Raises:
        RunError: it cannot be exported or written.
    """
    args, kwargs, free = _call(example)
    try:
        with _quiet():
            program = torch.onnx.export(
                model.eval(), args, kwargs=kwargs, dynamic_shapes=free, dynamo=True, verbose=False
            )
        assert program is not None  # noqa: S101 -- with dynamo=True it is not
        content = program.model_proto.SerializeToString()
    except Exception as error:
        words = " ".join(str(error).split())[:200]
        raise RunError(f"the model cannot be exported to ONNX ({words}): write .pt2") from error
    write_atomically(path, content)


def _safetensors(state: dict[str, torch.Tensor], record: Record, name: str) -> bytes:
    from safetensors.torch import save

    about = {"batchnorm": own_version(), "model": name, "record": json.dumps(record.as_dict())}
    tensors = {key: value.contiguous() for key, value in state.items()}
    try:
        return bytes(save(tensors, {"format": "pt", **about}))
    except RuntimeError as error:
        words = " ".join(str(error).split())[:200]
        raise OptionError(
            f"these weights do not go into .safetensors ({words}): write .pt"
        ) from error


def _pickled(state: dict[str, torch.Tensor], record: Record, name: str) -> bytes:
    del record, name
    held = io.BytesIO()
    torch.save(state, held)
    return held.getvalue()


def _compare(state: dict[str, torch.Tensor], content: bytes, path: Path) -> None:
    from safetensors.torch import load

    if path.suffix == ".safetensors":
        again = load(content)
    else:
        again = torch.load(io.BytesIO(content), weights_only=True)
    same = state.keys() == again.keys() and all(
        torch.equal(value.cpu().nan_to_num(), again[key].nan_to_num())
        for key, value in state.items()
    )
    if not same:
        raise RunError(f"what was to be written to {path} does not read back as it is: not written")


def _program(model: nn.Module, example: Any) -> bytes:
    args, kwargs, free = _call(example)
    held = io.BytesIO()
    try:
        with _quiet():
            program = torch.export.export(
                model.eval(), args, kwargs, dynamic_shapes=free, strict=False
            )
            torch.export.save(program, held)
            torch.export.load(io.BytesIO(held.getvalue()))
    except Exception as error:
        words = " ".join(str(error).split())[:200]
        raise RunError(f"the model cannot be exported ({words}): write .safetensors") from error
    return held.getvalue()


def _call(example: Any) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    """Return what to call the model with, and that the size of the batch is free if it can be."""
    args, kwargs = arguments(example)

    def free(value: Any) -> Any:
        batched = isinstance(value, torch.Tensor) and value.ndim > 0
        return {0: torch.export.Dim.AUTO} if batched else None

    shapes: Any = {key: free(value) for key, value in kwargs.items()}
    return args, kwargs, shapes or tuple(free(value) for value in args)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what the exporters tell of themselves."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
