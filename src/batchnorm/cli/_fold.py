"""``batchnorm fold``: batch normalization becomes part of the linear maps beside it."""

from pathlib import Path
from typing import Annotated

import typer

from batchnorm.cli import _options as options


def fold(
    model: options.Model,
    output: options.Output,
    weights: options.Weights = None,
    data: options.Data = None,
    inputs: options.Input = None,
    pair: Annotated[
        list[str] | None,
        typer.Option(help="Neighbours to fold, as in conv1,bn1, where tracing is impossible."),
    ] = None,
    onnx: Annotated[Path | None, typer.Option(help="Also write the folded model as .onnx.")] = None,
) -> None:
    """Fold the batch normalization of a model for inference, prove it by numbers, and write it."""
    from batchnorm import surgery
    from batchnorm._model import _entry_points
    from batchnorm.cli import _weights, _written
    from batchnorm.cli._tables import say

    _written.check_output(output)
    if onnx is not None:
        _written.check_output(onnx, (_written.ONNX,))
    pairs = None if pair is None else [_entry_points.pair_of(text) for text in pair]
    network = _entry_points.model_of(model).eval()
    taken = _weights.load(network, weights)
    example = _entry_points.example_of(data, inputs or [])
    with _entry_points.blaming(model):
        record = surgery.fold(network, example, pairs=pairs)
    _written.write_model(network, output, record, model, example)
    say("\n".join(filter(None, (taken, str(record), f"Written: {output}"))))
    if onnx is not None:
        _written.write_onnx(network, onnx, example)
        say(f"Written: {onnx}")
