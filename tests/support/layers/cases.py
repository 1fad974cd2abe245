"""The case table: every law runs over it."""

from dataclasses import dataclass, fields, replace

import torch

from batchnorm import kernels
from batchnorm.kernels import _select

# Largest |error| relative to max(1, |value|): a few roundings of the result's own precision.
TOLERANCE = {
    torch.float64: 1e-12,
    torch.float32: 2e-6,
    torch.float16: 2**-11 + 2e-6,
    torch.bfloat16: 2**-8 + 2e-6,
}

_device = torch.device("cpu")


def run_on(device: torch.device) -> None:
    """Run every case on `device` from here on."""
    global _device  # noqa: PLW0603 -- chosen once, before the tests are collected
    _device = device


def backends() -> list[str]:
    """Return the backends that serve the device of the cases."""
    serves = _select._SERVES
    return [
        name for name in kernels.available() if serves[name] is None or _device.type in serves[name]
    ]


@dataclass(frozen=True)
class Case:
    shape: tuple[int, ...]
    layout: str = "contiguous"
    dtype: torch.dtype = torch.float64
    affine: bool = True
    bias: bool = True
    tracked: bool = True
    momentum: float | None = 0.1
    eps: float = 1e-5
    offset: float = 0.0
    activation: str | None = None
    with_residual: bool = False
    with_mask: bool = False

    @property
    def channels(self) -> int:
        return self.shape[1]

    @property
    def device(self) -> torch.device:
        return _device

    @property
    def empty(self) -> bool:
        return 0 in self.shape

    @property
    def spatial(self) -> int:
        """The number in the layer's name."""
        return max(len(self.shape) - 2, 1)

    @property
    def parameter_dtype(self) -> torch.dtype:
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    def options(self) -> dict:
        return {
            "eps": self.eps,
            "momentum": self.momentum,
            "affine": self.affine,
            "track_running_stats": self.tracked,
            "device": self.device,
            "dtype": self.parameter_dtype,
            "bias": self.bias,
            **({"activation": self.activation} if self.activation else {}),
        }

    def x(self, seed: int = 0) -> torch.Tensor:
        """Return an input whose channels differ in mean and scale."""
        g = torch.Generator().manual_seed(seed)
        x = torch.randn(self.shape, generator=g, dtype=torch.float64)
        column = (1, -1, *(1,) * (len(self.shape) - 2))
        scale = torch.linspace(0.5, 2.0, self.channels, dtype=torch.float64).reshape(column)
        shift = torch.linspace(-1.0, 1.0, self.channels, dtype=torch.float64).reshape(column)
        values = x * scale + shift + self.offset
        return lay_out(values.to(self.device, self.dtype), self.layout)

    def dy(self, seed: int = 1) -> torch.Tensor:
        g = torch.Generator().manual_seed(seed)
        values = torch.randn(self.shape, generator=g, dtype=torch.float64)
        return values.to(self.device, self.dtype)

    def companions(self, seed: int = 3) -> dict:
        """Return what goes with an input: a residual and a mask, where the case has them."""
        found = {}
        if self.with_residual:
            found["residual"] = lay_out(self.dy(seed), self.layout)
        if self.with_mask:
            found["mask"] = self.mask(seed)
        return found

    def mask(self, seed: int = 3) -> torch.Tensor:
        """Return a mask that leaves at least two values to any two samples that are neighbours."""
        g = torch.Generator().manual_seed(seed)
        there = torch.rand(self.shape[0], *self.shape[2:], generator=g) < 0.7
        if there.ndim > 1:
            there[..., 0] = True
        else:
            there[:] = torch.arange(self.shape[0]) % 4 != 3
        return there.to(self.device)

    def __str__(self) -> str:
        words = ["x".join(map(str, self.shape)), str(self.dtype).removeprefix("torch.")]
        plain = Case(self.shape, dtype=self.dtype)
        changed = (
            f"{field.name}={getattr(self, field.name)}"
            for field in fields(self)
            if getattr(self, field.name) != getattr(plain, field.name)
        )
        return "-".join([*words, *changed])


def lay_out(x: torch.Tensor, layout: str) -> torch.Tensor:
    """Return `x` with the same values in another memory layout."""
    match layout:
        case "contiguous":
            return x.contiguous()
        case "channels_last":
            return x.contiguous(
                memory_format=torch.channels_last if x.ndim == 4 else torch.channels_last_3d
            )
        case "transposed":  # dense, but in an order that is neither of the two
            return x.transpose(0, -1).contiguous().transpose(0, -1)
        case "strided":  # with gaps
            wide = x.new_full((*x.shape[:-1], 2 * x.shape[-1]), torch.nan)
            wide[..., ::2] = x
            return wide[..., ::2]
    raise ValueError(layout)


SHAPES = [(6, 3), (4, 3, 5), (3, 4, 5, 6), (2, 3, 2, 3, 4)]

CASES = (
    [Case(shape, dtype=dtype) for shape in SHAPES for dtype in TOLERANCE]
    + [
        Case(shape, layout=layout, dtype=dtype)
        for shape in SHAPES
        for layout in ("channels_last", "transposed", "strided")
        for dtype in (torch.float64, torch.float32, torch.bfloat16)
        if layout != "channels_last" or len(shape) > 3
    ]
    + [
        replace(Case(shape), **option)
        for shape in SHAPES
        for option in (
            {"affine": False},
            {"bias": False},
            {"tracked": False},
            {"momentum": None},
            {"momentum": 1.0},
            {"momentum": 0.0},
            {"eps": 1e-3},
            {"offset": 1e2},
            {"offset": 1e4, "dtype": torch.float32},
        )
    ]
    + [Case((0, 3)), Case((0, 3, 4)), Case((2, 3, 0)), Case((0, 3, 2, 2)), Case((2, 3, 0, 2, 2))]
    + [Case((2, 1)), Case((1, 3, 2)), Case((1, 2, 1, 2)), Case((64, 1, 1, 1))]
)

NOT_EMPTY = [case for case in CASES if not case.empty]
EXACT = [case for case in NOT_EMPTY if case.dtype == torch.float64]
