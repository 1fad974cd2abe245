"""``batchnorm insert``: a network without batch normalization gets it."""

from enum import StrEnum
from typing import Annotated, Literal

import typer

from batchnorm.cli import _options as options


class Where(StrEnum):
    """Where the layers go."""

    BEFORE = "before-activation"
    AFTER = "after-activation"


class Start(StrEnum):
    """What the layers start with."""

    STANDARD = "standard"
    DATA = "data"


_WHERE: dict[Where, Literal["before_activation", "after_activation"]] = {
    Where.BEFORE: "before_activation",
    Where.AFTER: "after_activation",
}


def insert(
    model: options.Model,
    output: options.Output,
    weights: options.Weights = None,
    data: options.Data = None,
    inputs: options.Input = None,
    where: Annotated[Where, typer.Option(help="Where the layers go.")] = Where.BEFORE,
    start: Annotated[
        Start, typer.Option(help="Weight 1 and bias 0, or such that nothing changes at first.")
    ] = Start.STANDARD,
) -> None:
    """Give a model batch normalization after its linear maps, and write it."""
    from batchnorm import surgery
    from batchnorm._model import _entry_points
    from batchnorm.cli import _weights, _written
    from batchnorm.cli._tables import say

    _written.check_output(output)
    network = _entry_points.model_of(model)
    taken = _weights.load(network, weights)
    example = _entry_points.example_of(data, inputs or [])
    with _entry_points.blaming(model):
        record = surgery.insert(network, example, where=_WHERE[where], start=start.value)
    _written.write_model(network, output, record, model, example)
    say("\n".join(filter(None, (taken, str(record), f"Written: {output}"))))
