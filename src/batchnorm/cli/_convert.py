"""``batchnorm convert``: another package's batch normalization becomes ours."""

from typing import Annotated

import typer

from batchnorm.cli import _options as options


def convert(
    model: options.Model,
    output: options.Output,
    weights: options.Weights = None,
    data: options.Data = None,
    inputs: options.Input = None,
    fuse: Annotated[
        bool, typer.Option("--fuse", help="Let a layer do the activation behind it, too.")
    ] = False,
) -> None:
    """Turn the batch normalization of a model into this package's, and write the model."""
    from batchnorm import surgery
    from batchnorm._model import _entry_points
    from batchnorm.cli import _weights, _written
    from batchnorm.cli._tables import say

    _written.check_output(output)
    network = _entry_points.model_of(model)
    taken = _weights.load(network, weights)
    needed = fuse or output.suffix == _written.PROGRAM
    example = _entry_points.example_of(data, inputs or []) if needed else None
    with _entry_points.blaming(model):
        record = surgery.convert(network, fuse=fuse, example_inputs=example)
    _written.write_model(network, output, record, model, example)
    say("\n".join(filter(None, (taken, str(record), f"Written: {output}"))))
