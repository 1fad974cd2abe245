"""Arguments and options that the commands of surgery share."""

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str, typer.Argument(help="package.module:factory, a function that returns the model.")
]
Output = Annotated[
    Path,
    typer.Option(
        "--output", "-o", help="Where to write: .safetensors or .pt (weights), .pt2 (program)."
    ),
]
Weights = Annotated[
    Path | None, typer.Option(help="Weights to load first: .safetensors, .pt, .pth, .bin or .ckpt.")
]
Data = Annotated[
    str | None,
    typer.Option(help="package.module:loader, batches or a function that returns them."),
]
Input = Annotated[
    list[str] | None,
    typer.Option(
        "--input", help="Shape of a random input, such as 8,3,32,32; repeat it for several."
    ),
]
