"""What one call costs on a small input, where the arithmetic hardly counts: ours beside torch's."""

import statistics
import time
from collections.abc import Callable

import torch

import batchnorm

SHAPE = (60, 100)
ROUNDS, CALLS = 21, 300


def microseconds(call: Callable[[], object]) -> float:
    """Return the mean time of one call over `CALLS` of them."""
    start = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - start) / CALLS * 1e6


def main() -> None:
    """Print medians of interleaved rounds, and the ratio."""
    x = torch.randn(SHAPE, requires_grad=True)
    dy = torch.randn(SHAPE)
    layers = {"torch": torch.nn.BatchNorm1d(SHAPE[1]), "ours": batchnorm.nn.BatchNorm1d(SHAPE[1])}
    jobs = {
        "forward": lambda layer: lambda: layer(x),
        "forward and backward": lambda layer: lambda: layer(x).backward(dy),
    }
    print(f"BatchNorm1d on {SHAPE[0]}x{SHAPE[1]} float32, microseconds a call\n")
    print("| | torch | ours | ours / torch |")
    print("|---|---|---|---|")
    for name, job in jobs.items():
        times: dict[str, list[float]] = {"torch": [], "ours": []}
        for _ in range(ROUNDS):
            for who, layer in layers.items():
                times[who].append(microseconds(job(layer)))
        medians = {who: statistics.median(values) for who, values in times.items()}
        ratio = statistics.median(a / b for a, b in zip(times["ours"], times["torch"], strict=True))
        print(f"| {name} | {medians['torch']:.1f} | {medians['ours']:.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
