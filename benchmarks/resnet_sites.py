"""How fast: training batch normalization at the nine shapes of ResNet-50, ours beside torch's.

Batch 32, forward and backward, the operators themselves (no module around them), fresh outputs as
in ordinary calls; medians of interleaved rounds. GB/s count the least traffic there could be: the
input once and the output once forward, three tensors backward.

    python benchmarks/resnet_sites.py [float32|bfloat16 ...] [contiguous|channels_last ...]
"""

import math
import statistics
import sys
import time
from collections.abc import Callable

import torch

from batchnorm import kernels

SITES = [
    (64, 112), (64, 56), (256, 56), (128, 28), (512, 28),
    (256, 14), (1024, 14), (512, 7), (2048, 7),
]  # fmt: skip
BATCH, EPS, ROUNDS = 32, 1e-5, 7


def jobs(x: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Return the four things to time."""
    backend = kernels.current(x.device)
    channels = x.shape[1]
    weight, bias, dy = torch.rand(channels), torch.rand(channels), torch.randn_like(x)
    mean, var = torch.zeros(channels), torch.ones(channels)
    _, save_mean, save_invstd = torch.native_batch_norm(x, weight, bias, mean, var, True, 0.1, EPS)
    out = backend.forward(x, weight, bias, None, None, EPS)
    saved = kernels.Saved(x, weight, bias, None, out.mean, out.invstd, None)
    theirs = (dy, x, weight, mean, var, save_mean, save_invstd, True, EPS, [True] * 3)
    return {
        "ours forward": lambda: backend.forward(x, weight, bias, None, None, EPS),
        "torch forward": lambda: torch.native_batch_norm(
            x, weight, bias, mean, var, True, 0.1, EPS
        ),
        "ours backward": lambda: backend.backward(dy, saved, True),
        "torch backward": lambda: torch.ops.aten.native_batch_norm_backward(*theirs),
    }


def milliseconds(work: dict[str, Callable[[], object]], calls: int) -> dict[str, float]:
    """Return the median time of each job, the jobs taking turns."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, job in work.items():
            start = time.perf_counter()
            for _ in range(calls):
                job()
            times[name].append((time.perf_counter() - start) / calls * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def table(dtype: torch.dtype, layout: str) -> None:
    """Print a row a site and the geometric means."""
    print(f"\n{dtype}, {layout}, {torch.get_num_threads()} threads\n")
    print("| site | forward ms | x torch | GB/s | backward ms | x torch | GB/s |")
    print("|---|---|---|---|---|---|---|")
    ratios: list[tuple[float, float]] = []
    for channels, side in SITES:
        x = torch.randn(BATCH, channels, side, side).to(dtype)
        if layout == "channels_last":
            x = x.contiguous(memory_format=torch.channels_last)
        size = x.numel() * x.element_size()
        found = milliseconds(jobs(x), calls=max(2, 40_000_000 // size))
        forward, backward = found["ours forward"], found["ours backward"]
        ratios.append((found["torch forward"] / forward, found["torch backward"] / backward))
        print(
            f"| {channels}x{side}² | {forward:.2f} | {ratios[-1][0]:.2f} | "
            f"{2 * size / forward / 1e6:.0f} | {backward:.2f} | {ratios[-1][1]:.2f} | "
            f"{3 * size / backward / 1e6:.0f} |",
            flush=True,
        )
    means = [math.prod(column) ** (1 / len(ratios)) for column in zip(*ratios, strict=True)]
    print(f"| geometric mean | | **{means[0]:.2f}** | | | **{means[1]:.2f}** | |")


def main() -> None:
    """Print a table for each dtype and layout asked for."""
    words = sys.argv[1:]
    dtypes = [w for w in words if w in ("float32", "bfloat16")] or ["float32", "bfloat16"]
    layouts = [w for w in words if w in ("contiguous", "channels_last")]
    for dtype in dtypes:
        for layout in layouts or ["contiguous", "channels_last"]:
            table(getattr(torch, dtype), layout)


if __name__ == "__main__":
    main()
