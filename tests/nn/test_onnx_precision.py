"""ONNX in every precision: one float type for each operator, and the layer's own values.

The layers keep float32 statistics beside weights of 16 bits, which operators of ONNX do not mix.
"""

import pytest
import torch

from batchnorm import nn
from batchnorm.errors import OptionError
from support.models.onnx import Exported, quiet

pytestmark = quiet
CHANNELS = 4
CONVOLUTIONS = {1: torch.nn.Conv1d, 2: torch.nn.Conv2d, 3: torch.nn.Conv3d}


def per_sample(h):
    """Return a scale and shift for each sample that come with the input."""
    found = h.flatten(2).mean(2)
    return 1 + found, found


KINDS = {
    "1d": (1, lambda: nn.BatchNorm1d(CHANNELS), None),
    "2d": (2, lambda: nn.BatchNorm2d(CHANNELS), None),
    "3d": (3, lambda: nn.BatchNorm3d(CHANNELS), None),
    "relu": (2, lambda: nn.BatchNorm2d(CHANNELS, activation="relu"), None),
    "leaky_relu": (2, lambda: nn.BatchNorm2d(CHANNELS, activation="leaky_relu"), None),
    "silu": (2, lambda: nn.BatchNorm2d(CHANNELS, activation="silu"), None),
    "residual": (2, lambda: nn.BatchNorm2d(CHANNELS, activation="relu"), lambda h: (h,)),
    "affine=False": (2, lambda: nn.BatchNorm2d(CHANNELS, affine=False), None),
    "bias=False": (2, lambda: nn.BatchNorm2d(CHANNELS, bias=False), None),
    "debias": (2, lambda: nn.BatchNorm2d(CHANNELS, debias=True), None),
    "frozen": (2, lambda: nn.BatchNorm2d(CHANNELS).freeze(), None),
    "untracked": (2, lambda: nn.BatchNorm2d(CHANNELS, track_running_stats=False), None),
    "ghost": (2, lambda: nn.GhostBatchNorm2d(CHANNELS, 2), None),
    "renorm": (2, lambda: nn.BatchRenorm2d(CHANNELS), None),
    "domain": (2, lambda: nn.DomainBatchNorm2d(CHANNELS, 2), lambda _: (1,)),
    "domain, shared": (
        2,
        lambda: nn.DomainBatchNorm2d(CHANNELS, 2, shared_affine=True),
        lambda _: (1,),
    ),
    "conditional": (2, lambda: nn.ConditionalBatchNorm2d(CHANNELS), per_sample),
    "classes": (
        2,
        lambda: nn.ClassConditionalBatchNorm2d(CHANNELS, 3),
        lambda h: ((h[:, 0, 0, 0] > 0).long(),),
    ),
}


class Kind(torch.nn.Module):
    """A convolution and a layer of one kind."""

    def __init__(self, name, *, convolution):
        super().__init__()
        self.spatial, make, self.given = KINDS[name]
        kind = CONVOLUTIONS[self.spatial] if convolution else torch.nn.Identity
        self.before = kind(CHANNELS, CHANNELS, 1)
        self.layer = make()
        for parameter in self.layer.parameters():
            torch.nn.init.uniform_(parameter, 0.5, 1.5)

    def forward(self, x):
        x = {1: x.flatten(2), 2: x, 3: x.unsqueeze(2)}[self.spatial]
        h = self.before(x)
        return self.layer(h, *(self.given(h) if self.given else ()))


class Between(torch.nn.Module):
    """A part of another dtype in a model of float32."""

    def __init__(self, part, dtype):
        super().__init__()
        self.part, self.dtype = part.to(dtype), dtype

    def forward(self, x):
        return self.part(x.to(self.dtype)).float()


class Kinds(torch.nn.Module):
    """One of each kind, side by side."""

    def __init__(self, names, *, convolution=True):
        super().__init__()
        torch.manual_seed(0)
        self.names = names
        self.kinds = torch.nn.ModuleList(Kind(name, convolution=convolution) for name in names)
        for _ in range(3):
            self(inputs(8))
        self.eval()

    def forward(self, x):
        return [kind(x) for kind in self.kinds]


def inputs(count):
    return 3 * torch.randn(count, CHANNELS, 3, 3) + 5


BOUNDS = {
    torch.float16: {"rtol": 2e-3, "atol": 4e-3},
    torch.bfloat16: {"rtol": 2e-2, "atol": 4e-2},
    torch.float64: {"rtol": 1e-12, "atol": 1e-12},
}


def compare(exported, model, dtype, batches):
    for x in batches:
        found, wanted = exported.outputs(x), model(x)
        for name, y, expected in zip(model.names, found, wanted, strict=True):
            torch.testing.assert_close(
                y, expected.detach(), **BOUNDS[dtype], msg=lambda text, name=name: f"{name}: {text}"
            )


@pytest.mark.parametrize(
    ("dtype", "dynamo", "names"),
    [
        (torch.float16, False, KINDS),
        (torch.float16, True, ("relu", "bias=False")),
        pytest.param(torch.float64, False, KINDS, marks=pytest.mark.slow),
        *(
            pytest.param(dtype, True, KINDS, marks=pytest.mark.slow)
            for dtype in (torch.float16, torch.float64)
        ),
    ],
    ids=["half-script", "half-dynamo", "double-script", "half-dynamo-all", "double-dynamo-all"],
)
def test_every_kind_of_layer(dtype, dynamo, names):
    """Loads, and gives the layers' values; the batch of the export has as many samples as channels.

    Behind a convolution, with which an exporter joins what it can. Onnxruntime's CPU has none in
    float64, and no leaky ReLU.
    """
    double = dtype == torch.float64
    names = [name for name in names if not (double and name == "leaky_relu")]
    model = Kinds(names, convolution=not double).to(dtype)
    exported = Exported(model, inputs(CHANNELS).to(dtype), dynamo=dynamo)
    compare(exported, model, dtype, [inputs(size).to(dtype) for size in (2, 7)])


@pytest.mark.parametrize(
    "dtype", [torch.float16, pytest.param(torch.bfloat16, marks=pytest.mark.slow)], ids=str
)
def test_layers_of_16_bits_in_a_model_of_float32(dtype):
    """In bfloat16 onnxruntime's CPU has casts and no arithmetic, and a layer needs no more."""
    names = [name for name, (_, _, given) in KINDS.items() if given is None]
    model = Kinds(names, convolution=False)
    for kind in model.kinds:
        kind.layer = Between(kind.layer, dtype)
    x = inputs(CHANNELS)
    compare(Exported(model, x, dynamo=False), model, dtype, [inputs(2), inputs(7)])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_under_autocast(dtype):
    """What a linear layer gives has 16 bits there, and the parameters 32."""
    model = Kinds(["1d"], convolution=False)
    with torch.autocast("cpu", dtype):
        exported = Exported(Between(model.kinds[0], torch.float32), inputs(4), dynamo=False)
    x = inputs(2)
    torch.testing.assert_close(exported(x), model(x)[0].detach())


def test_a_program_of_torch_export_in_half():
    """The way in two steps, on which the exporter to ONNX finds torch's operator."""
    model = Kinds(["relu"]).half()
    x = inputs(4).half()
    program = torch.export.export(model, (x,))
    exported = Exported(program, dynamo=True)
    compare(exported, model, torch.float16, [x])


def test_variances_beyond_the_range_of_half():
    """That torch's layer, whose statistics are cast with the rest, makes infinite."""
    layer = nn.BatchNorm2d(CHANNELS)
    x = 1000 * inputs(16)
    layer(x)
    exported = Exported(layer.half().eval(), x.half(), dynamo=False)
    assert layer.running_var.max() > torch.finfo(torch.float16).max
    torch.testing.assert_close(exported(x.half()), layer(x.half()).detach(), rtol=2e-3, atol=4e-3)


# ------------------------------------------------------------------------------- decorrelated


@pytest.mark.parametrize("method", ["zca", "cholesky"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_a_decorrelated_layer_has_its_matrix_as_a_constant(dtype, method):
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, CHANNELS, 1), nn.DecorrelatedBatchNorm2d(CHANNELS, method=method)
    )
    for _ in range(20):
        model(torch.randn(8, 3, 5, 5))
    model.to(dtype).eval()
    exported = Exported(model, torch.randn(4, 3, 5, 5).to(dtype), dynamo=False)
    for size in (2, 7):
        x = torch.randn(size, 3, 5, 5).to(dtype)
        bound = 1e-5 if dtype == torch.float32 else 5e-3
        torch.testing.assert_close(exported(x), model(x).detach(), rtol=bound, atol=bound)


@pytest.mark.parametrize("dynamo", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_decorrelated_layer_that_has_to_decompose_a_matrix_is_refused(dynamo):
    layer, x = nn.DecorrelatedBatchNorm1d(3), torch.randn(8, 3)
    way = "got torch.onnx.export.dynamo=True.: give dynamo=False"
    message = way if dynamo else r"got that of each batch, .*: export after eval\(\)"
    with pytest.raises((OptionError, torch.onnx.OnnxExporterError), match=message):
        Exported(layer.train(not dynamo), x, dynamo=dynamo)
