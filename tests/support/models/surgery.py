"""Small networks for the tests of surgery, and what must not change in a model."""

import torch
from torch import nn
from torch.nn import functional as F


def settle(model, seed=0):
    """Give every layer with running statistics values that make each term count; return the model.

    Values are drawn in float64 and rounded, so that a model of another dtype has the same ones.
    """
    g = torch.Generator().manual_seed(seed)

    def fill(tensor, scale, shift):
        if tensor is not None:
            values = torch.rand(tensor.shape, generator=g, dtype=torch.float64)
            tensor.copy_(values * scale + shift)

    with torch.no_grad():
        for module in model.modules():
            if getattr(module, "running_var", None) is not None:
                fill(module.running_mean, 2.0, -1.0)
                fill(module.running_var, 1.5, 0.5)
                fill(module.weight, 1.0, 0.5)
                fill(module.bias, 2.0, -1.0)
    return model


def snapshot(model):
    """Return what has to be the same, bit for bit and object for object, when nothing changed."""
    return {
        name: (
            id(module),
            type(module),
            module.training,
            list(module._modules),
            [_tensor(name, p) for name, p in module._parameters.items()],
            [_tensor(name, b) for name, b in module._buffers.items()],
            [len(hooks) for key, hooks in vars(module).items() if "_hooks" in key],
            sorted(vars(module)),
        )
        for name, module in model.named_modules(remove_duplicate=False)
    }


def _tensor(name, tensor):
    if tensor is None:
        return name, None
    bits = tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return name, id(tensor), bits, tensor.requires_grad, tensor.stride(), tensor.dtype


class FrozenBatchNorm2d(nn.Module):
    """Buffers and nothing else, as in torchvision and detectron2."""

    def __init__(self, channels, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x):
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)


class Residual(nn.Module):
    """Two branches that are added: functional relu, in place and not."""

    def __init__(self, channels, norm=nn.BatchNorm2d):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = norm(channels)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += x
        return torch.relu(y)


class UNet(nn.Module):
    """Two scales, joined by a transposed convolution and a concatenation."""

    def __init__(self, width=8, norm=nn.BatchNorm2d):
        super().__init__()
        self.down = self._block(3, width, norm)
        self.bottom = self._block(width, 2 * width, norm)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2, groups=2)
        self.up_norm = norm(width)
        self.head = self._block(2 * width, width, norm)
        self.classify = nn.Conv2d(width, 2, 1)

    @staticmethod
    def _block(before, after, norm):
        return nn.Sequential(
            nn.Conv2d(before, after, 3, padding=1), norm(after), nn.ReLU(inplace=True)
        )

    def forward(self, x):
        skip = self.down(x)
        y = self.bottom(F.max_pool2d(skip, 2))
        y = self.up_norm(self.up(y))
        return self.classify(self.head(torch.cat([skip, y], 1)))


class ByValue(nn.Module):
    """A forward that depends on values, so that it cannot be traced."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.bn(self.conv(x))
        return y if y.sum() > 0 else -y
