"""How right: population statistics by three tools on the same data, and what they leave behind.

`batchnorm.surgery.recalibrate` beside `torch.optim.swa_utils.update_bn` and fvcore's
`update_bn_stats`. Prints the table of docs/howto/recalibrate.md.
"""

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from batchnorm.surgery import recalibrate

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # fvcore scripts a function on import
    from fvcore.nn.precise_bn import update_bn_stats

Tool = Callable[[nn.Module, Any], object]

TOOLS: dict[str, Tool] = {
    "recalibrate": recalibrate,
    "update_bn": lambda model, data: update_bn(data, model),
    "update_bn_stats": lambda model, data: update_bn_stats(
        model, data, num_iters=len(data) if isinstance(data, list) else 4
    ),
}


class Row(NamedTuple):
    """One line of the table: the answer that is right, then those of the tools."""

    case: str
    right: str
    found: list[str]


def draw(*means: float, std: float = 1.0, rows: Iterable[int] = (64, 64, 64, 64)) -> list[Tensor]:
    """Return batches of one feature."""
    torch.manual_seed(0)
    return [mean + std * torch.randn(n, 1) for mean, n in zip(means, rows, strict=True)]


def statistics(model: nn.Module) -> str:
    """Return mean and variance of the last batch-norm layer."""
    layer = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)][-1]
    return words(layer.running_mean, layer.running_var)


def words(mean: Tensor, var: Tensor) -> str:
    """Return a mean and a variance as they stand in the table."""
    return f"{mean.item():z.2f}, {var.item():z.2f}"


def truth(data: list[Tensor]) -> str:
    """Return mean and variance of all values, in float64."""
    values = torch.cat(data).double()
    return words(values.mean(), values.var())


def is_right(found: str, right: str) -> bool:
    """Whether an answer is right: numbers to 1 % of the standard deviation and variance."""
    try:
        mean, var, right_mean, right_var = map(float, f"{found}, {right}".split(", "))
    except ValueError:  # words
        return found == right
    near_mean = abs(mean - right_mean) <= 0.01 * right_var**0.5 + 0.01
    return near_mean and abs(var - right_var) <= 0.01 * right_var + 0.01


def answer(tool: Tool, model: nn.Module, data: object, look: Callable[[nn.Module], str]) -> str:
    """Return what `look` finds after the tool, or the error that it raised."""
    torch.manual_seed(1)
    try:
        tool(model, data)
    except Exception as error:  # noqa: BLE001 -- an answer, too
        return type(error).__name__
    return look(model)


def row(
    case: str,
    right: str,
    data: object,
    build: Callable[[], nn.Module] = lambda: nn.Sequential(nn.BatchNorm1d(1)),
    look: Callable[[nn.Module], str] = statistics,
) -> Row:
    """Return one line."""
    return Row(case, right, [answer(tool, build(), data, look) for tool in TOOLS.values()])


class Twice(nn.Module):
    """Calls its layer on both halves of a batch, as siamese networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the halves again."""
        return torch.cat([self.norm(half) for half in x.tensor_split(2)])


class Named(nn.Sequential):
    """Takes its input by name."""

    def forward(self, values: Tensor) -> Tensor:  # type: ignore[override] # another name
        """Call the layers."""
        return super().forward(values)


def frozen() -> nn.Module:
    """Return a model that trains, but for its last layer."""
    model = nn.Sequential(nn.BatchNorm1d(1), nn.BatchNorm1d(1))
    model[1].running_mean.fill_(7.0)
    model[1].eval()
    return model


def broken_off(data: list[Tensor]) -> Iterator[Tensor]:
    """Raise after two batches."""
    yield from itertools.islice(data, 2)
    raise OSError("the disk is gone")


def left_behind(tool: Tool) -> str:
    """Return what is no longer as it was after the data have raised."""
    model = nn.Sequential(nn.BatchNorm1d(1)).eval()
    model[0].train()
    before = statistics(model)
    try:
        tool(model, broken_off(draw(5, 5, 5, 5)))
    except OSError:
        changed = {
            "statistics": statistics(model) != before,
            "momentum": model[0].momentum != 0.1,
            "mode": model.training,
            "hooks": bool(model[0]._forward_pre_hooks),  # noqa: SLF001 -- nothing else tells
        }
        return ", ".join(name for name, is_so in changed.items() if is_so) or "nothing"
    return "no error"


def rows() -> list[Row]:
    """Return all lines."""
    ragged = draw(5, -5, rows=(64, 4))
    apart, far = draw(-5, 5, -5, 5), draw(*[1e4] * 4)
    plain = draw(3, 3, 3, 3)
    halves = [torch.cat([x, x + 4]) for x in plain]
    return [
        row("64 rows at +5, then 4 at -5", truth(ragged), ragged),
        row("batches at -5, +5, -5, +5", truth(apart), apart),
        row("mean 1e4", truth(far), far),
        row("a dropout before the layer", truth(plain), plain,
            lambda: nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(1))),
        row("a layer called twice", truth(halves), halves, Twice),
        row("a frozen layer", "7.00, 1.00", plain, frozen),
        row("batches (input, label)", truth(plain), [(x, 0) for x in plain]),
        row("batches {name: input}", truth(plain), [{"values": x} for x in plain],
            lambda: Named(nn.BatchNorm1d(1))),
        Row("changed after an exception", "nothing", [left_behind(t) for t in TOOLS.values()]),
    ]  # fmt: skip


def main() -> None:
    """Print the table: mean and variance, or the error; what is wrong is bold."""
    print(f"| mean, variance | right | {' | '.join(f'`{name}`' for name in TOOLS)} |")
    print("|---|---|---|---|---|")
    for case, right, found in rows():
        cells = [cell if is_right(cell, right) else f"**{cell}**" for cell in found]
        print(f"| {case} | {right} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
