"""How much faster inference is without batch normalization, and what folding changes.

Architectures of transformers with random weights and statistics, and a U-Net with transposed
convolutions: as they are, with our layers in the place of torch's, and folded. All three are timed
in turn, in one run, in CPU seconds of one thread, which other programs on the machine disturb
little; a ratio is the median of the ratios within the rounds. Prints one table.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Mapping

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F

from batchnorm.bench import interleaved
from batchnorm.surgery import convert, fold

SECONDS = 0.1  # of a turn: short, so that a machine that slows down slows all three


class UNet(nn.Module):
    """Three scales, joined by transposed convolutions and concatenations."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width]
        self.down = nn.ModuleList(map(self._block, [3, *widths[:-1]], widths))
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(2 * w, w, 2, stride=2), nn.BatchNorm2d(w))
            for w in widths[-2::-1]
        )
        self.merge = nn.ModuleList(self._block(2 * w, w) for w in widths[-2::-1])
        self.classify = nn.Conv2d(width, 2, 1)

    @staticmethod
    def _block(before: int, after: int) -> nn.Module:
        parts: list[nn.Module] = []
        for channels in (before, after):
            parts += [nn.Conv2d(channels, after, 3, padding=1, bias=False)]
            parts += [nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        return nn.Sequential(*parts)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Return two scores for every pixel."""
        skips = [self.down[0](pixel_values)]
        for block in self.down[1:]:
            skips += [block(F.max_pool2d(skips[-1], 2))]
        y = skips[-1]
        for up, merge, skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
            y = merge(torch.cat([skip, up(y)], 1))
        return self.classify(y)


MODELS: Mapping[str, tuple[Callable[[], nn.Module], int]] = {
    "ResNet-50": (lambda: transformers.ResNetModel(transformers.ResNetConfig()), 224),
    "RegNet": (lambda: transformers.RegNetModel(transformers.RegNetConfig()), 224),
    "MobileNetV2": (lambda: transformers.MobileNetV2Model(transformers.MobileNetV2Config()), 224),
    "EfficientNet": (
        lambda: transformers.EfficientNetModel(
            transformers.EfficientNetConfig(
                width_coefficient=1.0, depth_coefficient=1.0, image_size=224, hidden_dim=1280
            )
        ),
        224,
    ),
    "U-Net": (UNet, 128),
}


def settled(model: nn.Module) -> nn.Module:
    """Give the layers statistics as training leaves them, other than the initial 0 and 1."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1.0, 1.0)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -1.0, 1.0)
    return model.eval()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=61)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"torch {torch.__version__}, one thread, float32, batch {arguments.batch}, "
        f"{arguments.rounds} rounds\n"
    )
    print(
        "| model | folded | left | error float32 | float64 | as it is | folded | ratio | ", end=""
    )
    print("ratio to our layers |\n|---|---|---|---|---|---|---|---|---|")
    for name in arguments.models:
        build, size = MODELS[name]
        cells = row(build, (arguments.batch, 3, size, size), arguments.rounds)
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def row(build: Callable[[], nn.Module], shape: tuple[int, ...], rounds: int) -> list[str]:
    """Measure one model."""
    torch.manual_seed(0)
    model, inputs = settled(build()), {"pixel_values": torch.randn(shape)}
    ours, folded, exact = (copy.deepcopy(model) for _ in range(3))
    convert(ours)
    record = fold(folded, inputs)
    in_double = fold(exact.double(), {name: x.double() for name, x in inputs.items()})
    with torch.inference_mode():
        jobs = {"as it is": model, "ours": ours, "folded": folded}
        calls = {name: (lambda job=job: job(**inputs)) for name, job in jobs.items()}
        seconds = interleaved(calls, rounds, SECONDS, time.process_time)
    plain, mine, bare = (seconds[name] for name in jobs)
    return [
        str(len(record.done)),
        str(len(record.left)),
        f"{record.largest_error:.0e}",
        f"{in_double.largest_error:.0e}",
        f"{1e3 * statistics.median(plain):.1f} ms",
        f"{1e3 * statistics.median(bare):.1f} ms",
        f"{ratio(plain, bare):.2f}",
        f"{ratio(mine, bare):.2f}",
    ]


def ratio(times: tuple[float, ...], base: tuple[float, ...]) -> float:
    """Return the median of the ratios within the rounds."""
    return statistics.median(a / b for a, b in zip(times, base, strict=True))


if __name__ == "__main__":
    main()
