"""``batchnorm recalibrate``: population statistics estimated anew."""

from enum import StrEnum
from typing import Annotated

import typer

from batchnorm.cli import _options as options


class Method(StrEnum):
    """What the statistics of the batches are made into."""

    EXACT = "exact"
    ALGORITHM_2 = "algorithm-2"


def recalibrate(
    model: options.Model,
    output: options.Output,
    data: Annotated[str, typer.Option(help="package.module:loader, the batches.")],
    weights: options.Weights = None,
    method: Annotated[
        Method, typer.Option(help="All values merged, or every batch alike.")
    ] = Method.EXACT,
    layer_by_layer: Annotated[
        bool, typer.Option("--layer-by-layer", help="One pass over the data per layer.")
    ] = False,
) -> None:
    """Estimate the population statistics of a model from data, and write the model."""
    from batchnorm import surgery
    from batchnorm._model import _entry_points
    from batchnorm.cli import _weights, _written
    from batchnorm.cli._progress import counting
    from batchnorm.cli._tables import say

    _written.check_output(output)
    network = _entry_points.model_of(model)
    taken = _weights.load(network, weights)
    batches = _entry_points.batches_of(data)
    example = _entry_points.example_of(data, []) if output.suffix == _written.PROGRAM else None
    with _entry_points.blaming(f"{model} or {data}"), counting("batches") as bar:
        record = surgery.recalibrate(
            network,
            batches,
            method=method.value,
            layer_by_layer=layer_by_layer,
            progress=lambda done, total: bar(done, total or done, "recalibrate"),
        )
    _written.write_model(network, output, record, model, example)
    say("\n".join(filter(None, (taken, str(record), f"Written: {output}"))))
