"""Networks for the table of tools and options: a linear map, and a layer of ours behind it."""

import torch
from torch import nn

from batchnorm import nn as ours

OPTIONS = (
    "plain",
    "activation",
    "residual",
    "debias",
    "frozen",
    "ghost",
    "renorm",
    "domain",
    "conditional",
    "decorrelated",
)
_KINDS = {
    "activation": ("BatchNorm", {"activation": "relu"}),
    "residual": ("BatchNorm", {"activation": "relu"}),
    "debias": ("BatchNorm", {"debias": True}),
    "ghost": ("GhostBatchNorm", {"virtual_batch_size": 4}),
    "renorm": ("BatchRenorm", {"warmup": None}),
    "domain": ("DomainBatchNorm", {"num_domains": 2}),
    "conditional": ("ConditionalBatchNorm", {}),
    "decorrelated": ("DecorrelatedBatchNorm", {}),
}


class Each(nn.Module):
    """Zeros ``(N, 1)``, one for each sample."""

    def forward(self, x):
        return 0.0 * x.flatten(1).mean(1, keepdim=True)


class Net(nn.Module):
    """A convolution or a linear map, and a layer with what its calls need."""

    def __init__(self, option="plain", dims=2):
        super().__init__()
        kind, options = _KINDS.get(option, ("BatchNorm", {}))
        self.option = option
        self.map = self._map(dims)
        self.norm = getattr(ours, f"{kind}{dims}d")(4, **options)
        if option == "residual":
            self.skip = self._map(dims)
        if option == "conditional":
            self.each = Each()
            g = torch.Generator().manual_seed(5)
            self.register_buffer("scale", 1.0 + torch.rand(1, 4, generator=g))
            self.register_buffer("shift", torch.randn(1, 4, generator=g))

    @staticmethod
    def _map(dims):
        return nn.Linear(3, 4) if dims == 1 else nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        y = self.map(x)
        if self.option == "residual":
            return self.norm(y, self.skip(x))
        if self.option == "domain":
            return self.norm(y, 1)
        if self.option == "conditional":
            each = self.each(x)
            return self.norm(y, each + self.scale, each + self.shift)
        return self.norm(y)


def images(seed=0, samples=8, dims=2):
    shape = (samples, 3) if dims == 1 else (samples, 3, 5, 5)
    return 1.0 + 2.0 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def trained(option="plain", dims=2):
    """Return a network whose statistics and scale are not the start, in evaluation."""
    torch.manual_seed(0)
    net = Net(option, dims)
    for name, parameter in net.named_parameters():
        if name.startswith("norm"):
            nn.init.uniform_(parameter, 0.5, 1.5)
    for seed in range(3):
        net(images(seed, dims=dims))
    if option == "frozen":
        net.norm.freeze()
    return net.eval()
