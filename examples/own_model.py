"""What does batch normalization do for *your* model, on *your* data?

Two functions are all that the lab needs: one that builds the model, one that gives batches. In the
folder of this file:

    batchnorm study run landscape --model own_model:network --data own_model:batches --quick
    batchnorm study run covariate-shift --model own_model:network --data own_model:batches --quick

Each trains the model with and without its batch normalization, five times, and writes a report.
"""

from collections.abc import Iterator

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn


def network() -> nn.Module:
    """A convolutional network as anybody might have it; its weights are drawn when it is built."""

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]

    return nn.Sequential(
        *block(1, 16), *block(16, 16), nn.MaxPool2d(2), *block(16, 32),
        nn.Flatten(), nn.Linear(32 * 4 * 4, 10),
    )  # fmt: skip


def batches() -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of inputs and targets; a ``DataLoader`` is one, too."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    yield from zip(images.split(100), torch.tensor(digits.target).split(100), strict=True)
