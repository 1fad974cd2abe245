"""Where a layer of torch goes wrong in training, and what ours does: numbers side by side.

Prints the table of ``docs/reference/beside-torch.md``. `tests/nn/test_beside_torch.py` runs the
same cases, and fails when torch's layer passes one of them one day.
"""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

import batchnorm
from batchnorm import reference
from batchnorm.functional import normalize


class Found(NamedTuple):
    """What a layer did: in words, and whether it is right."""

    words: str
    right: bool


class Case(NamedTuple):
    """A situation, where it was reported, and how each layer fares in it."""

    title: str
    source: str
    run: Callable[[str], Found]


def layer(whose: str, channels: int = 1, **options: object) -> nn.Module:
    """Return a fresh layer of ``torch`` or of ``batchnorm``."""
    kind = {"torch": nn.BatchNorm1d, "batchnorm": batchnorm.nn.BatchNorm1d}[whose]
    return kind(channels, **options)


def infinite_batch(whose: str) -> Found:
    """One batch with an Inf among good ones."""
    bn = layer(whose)
    g = torch.Generator().manual_seed(0)
    for step in range(100):
        x = 3.0 + torch.randn(64, 1, generator=g)
        if step == 50:
            x[7] = torch.inf
        bn(x)
    mean, var = bn.running_mean.item(), bn.running_var.item()
    skipped = f", {bn.batches_skipped.item()} batch skipped" if whose == "batchnorm" else ""
    right = abs(mean - 3.0) < 0.1 and abs(var - 1.0) < 0.2
    return Found(f"mean {mean:.3g}, variance {var:.3g}{skipped}", right)


def reduced_precision(whose: str) -> Found:
    """A layer converted to bfloat16, momentum 0.01, 2,000 batches of mean 10."""
    bn = layer(whose, momentum=0.01).bfloat16()
    g = torch.Generator().manual_seed(0)
    for _ in range(2000):
        bn((10.0 + torch.randn(64, 1, generator=g)).bfloat16())
    mean = bn.running_mean.item()
    return Found(f"running mean {mean:.3g} of 10", abs(mean - 10.0) < 0.1)


def checkpointing(whose: str) -> Found:
    """A training step under activation checkpointing."""
    bn, x = layer(whose), torch.randn(8, 1, requires_grad=True)
    torch.utils.checkpoint.checkpoint(bn, x, use_reentrant=False).sum().backward()
    count = bn.num_batches_tracked.item()
    return Found(f"{count} update{'s' if count > 1 else ''} a step", count == 1)


def frozen(whose: str) -> Found:
    """A layer that was frozen, and a training loop that calls `train()` every epoch."""
    bn = layer(whose)
    bn.freeze() if whose == "batchnorm" else bn.eval()
    bn.train()
    y = bn(5.0 + torch.randn(64, 1))
    drift = bn.running_mean.abs().item()
    return Found(
        f"statistics {'drift' if drift else 'kept'}, output mean {abs(y.mean().item()):.1f}",
        drift == 0 and y.mean().item() > 1,
    )


def cumulative_compiled(whose: str) -> Found:
    """`momentum=None` under ``torch.compile(fullgraph=True)``."""
    torch.compiler.reset()
    bn = layer(whose, momentum=None)
    compiled = torch.compile(bn, fullgraph=True, backend="eager")
    batches = [torch.randn(8, 1) + 2 for _ in range(3)]
    try:
        for x in batches:
            compiled(x)
    except RuntimeError:  # of the compiler
        return Found("cannot be compiled", False)
    mean = torch.cat(batches).mean()
    return Found("compiles", torch.allclose(bn.running_mean, mean, atol=1e-5))


def third_derivative(whose: str) -> Found:
    """The third derivative of ``sum(bn(x)**2 * c)`` along two directions, in float64."""
    g = torch.Generator().manual_seed(0)
    x, c, v = (torch.randn(6, 1, generator=g, dtype=torch.float64) for _ in range(3))
    bn = layer(whose, affine=False, track_running_stats=False).double()

    def plain(x: torch.Tensor) -> torch.Tensor:
        centred = x - x.mean(0)
        return centred / (centred.square().mean(0) + bn.eps).sqrt()

    def third(f: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        at = x.clone().requires_grad_()
        value = (f(at) ** 2 * c).sum()
        for _ in range(3):
            (grad,) = torch.autograd.grad(value, at, create_graph=True)
            value = (grad * v).sum()
        return grad.detach()

    exact = third(plain)
    error = ((third(bn) - exact).norm() / exact.norm()).item()
    return Found("exact" if error < 1e-12 else f"wrong by {error:.0%}", error < 1e-12)


def first_steps(whose: str) -> Found:
    """Evaluation after one batch of N(50, 10), as a debugging session does it."""
    bn = layer(whose, debias=True) if whose == "batchnorm" else layer(whose)
    x = 50.0 + 10.0 * torch.randn(4096, 1, generator=torch.Generator().manual_seed(0))
    bn(x)
    y = bn.eval()(x)
    mean, std = y.mean().item(), y.std().item()
    right = abs(mean) < 0.01 and abs(std - 1.0) < 0.01
    return Found(f"mean {abs(mean):.1f}, std {std:.2f}", right)


def transforms(whose: str) -> Found:
    """The gradient by ``torch.func.grad`` with the statistics of the batch tracked."""
    bn, x = layer(whose, 3), torch.randn(8, 3)
    wanted = torch.zeros(3).lerp(x.mean(0), 0.1)

    def loss(x: torch.Tensor) -> tuple[torch.Tensor, object]:
        if whose == "torch":
            return (bn(x) ** 3).sum(), None
        y, moments = normalize(x, bn.weight, bn.bias)
        return (y**3).sum(), moments

    try:
        _, moments = torch.func.grad(loss, has_aux=True)(x)
    except RuntimeError:
        return Found("raises RuntimeError", False)
    if whose == "batchnorm":
        batchnorm.functional.update_running_(bn.running_mean, bn.running_var, moments)
    return Found(
        "works, by `functional.normalize`", torch.allclose(bn.running_mean, wanted, atol=1e-6)
    )


def offset(whose: str) -> Found:
    """float32 in channels_last at |mean|/std = 10,000."""
    kind = {"torch": nn.BatchNorm2d, "batchnorm": batchnorm.nn.BatchNorm2d}[whose]
    g = torch.Generator().manual_seed(0)
    x = (1e4 + torch.randn(16, 32, 28, 28, generator=g)).to(memory_format=torch.channels_last)
    error = abs(kind(32)(x).detach().numpy() - reference.forward(x.numpy()).y).max()
    return Found(f"largest output error {error:.1g}", error < 2e-6)


PYTORCH = "pytorch#"
CASES = [
    Case("one Inf in 100 batches", PYTORCH + "88474", infinite_batch),
    Case("buffers in bfloat16", "", reduced_precision),
    Case("activation checkpointing", PYTORCH + "96136", checkpointing),
    Case("frozen, then `.train()`", PYTORCH + "66073", frozen),
    Case("`momentum=None` compiled, `fullgraph=True`", PYTORCH + "194504", cumulative_compiled),
    Case("third derivative", PYTORCH + "186256", third_derivative),
    Case("evaluation after one batch of N(50, 10)", "", first_steps),
    Case("`torch.func.grad`, statistics tracked", PYTORCH + "85533", transforms),
    Case("mean 10,000 times the spread, channels_last", "", offset),
]


def table() -> str:
    """Return the table, in Markdown."""
    lines = ["| situation | torch | batchnorm |", "|---|---|---|"]
    for case in CASES:
        torch.manual_seed(0)
        number = case.source.removeprefix(PYTORCH)
        link = f" ([{case.source}](https://github.com/pytorch/pytorch/issues/{number}))"
        title = case.title + (link if case.source else "")
        lines.append(f"| {title} | {case.run('torch').words} | {case.run('batchnorm').words} |")
    return "\n".join(lines)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(table())
