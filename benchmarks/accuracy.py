"""How exact: output error of training batch normalization, ours beside torch's, in one run.

Error against the float64 reference on the same float32 values, in units of the output's standard
deviation; the offset of the input is in units of its own. Prints the table of the README.
"""

from collections.abc import Callable

import numpy as np
import torch

import batchnorm
from batchnorm import reference

INPUTS = [
    ("contiguous", (32, 8, 56, 56), torch.contiguous_format),
    ("channels_last", (32, 8, 56, 56), torch.channels_last),
    ("dense", (2**20, 2), None),
]
OFFSETS = [0.0, 1e2, 1e4, 1e6]


def errors(function: Callable[..., torch.Tensor], x: torch.Tensor) -> tuple[float, float]:
    """Return the largest output error and the largest relative error of the running variance."""
    mean, var = torch.zeros(x.shape[1]), torch.ones(x.shape[1])
    y = function(x, mean, var, training=True, momentum=1.0)
    expected = reference.forward(x.numpy())
    unbiased = expected.statistics.var * expected.statistics.count / (expected.statistics.count - 1)
    output = np.abs(y.numpy() - expected.y).max()
    return float(output), float(np.abs(var.numpy() / unbiased - 1).max())


def main() -> None:
    """Print the table."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32\n")
    print("| input | offset / std | output error, torch | ours | running_var error, torch | ours |")
    print("|---|---|---|---|---|---|")
    for name, shape, memory_format in INPUTS:
        for offset in OFFSETS:
            torch.manual_seed(0)
            x = torch.randn(shape) + offset
            if memory_format is not None:
                x = x.contiguous(memory_format=memory_format)
            theirs = errors(torch.nn.functional.batch_norm, x)
            ours = errors(batchnorm.functional.batch_norm, x)
            cells = [f"{a:.1e}" for a in (theirs[0], ours[0], theirs[1], ours[1])]
            label = f"{name} {'x'.join(map(str, shape))}"
            print(f"| {label} | {offset:.0e} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
