"""Every module of `batchnorm.nn`: how it is built, what it is compared with, and what it lacks.

Most relatives of batch normalization are the plain layer in some setting, or on some of the
samples; there the reference of the plain layer is theirs, too. What is only theirs is tested in
their own files.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from batchnorm import nn
from support.layers.subjects import Running, Subject, own_running


@dataclass(frozen=True)
class Entry:
    """A family of modules in one setting.

    Attributes:
        family: the name without 1d, 2d and 3d.
        setting: what it is compared in.
        subject: of a class of the family, how the laws see it.
        torch: torch's family with the same state, if there is one.
        unfit: laws and features of a case that do not apply, with the reason.
        same: why it computes just what the plain layer does, whose own tests take all cases; so
            a few of them are enough for it.
    """

    family: str
    setting: str
    subject: Callable[[type], Subject]
    torch: str | None = None
    unfit: dict[str, str] = field(default_factory=dict)
    same: str = ""

    def layer(self, spatial):
        return getattr(nn, f"{self.family}{spatial}d")

    def torch_layer(self, spatial):
        return None if self.torch is None else getattr(torch.nn, f"{self.torch}{spatial}d")

    def __str__(self):
        return f"{self.family}-{self.setting}"


class With(torch.nn.Module):
    """A module with what it is given beside its input, so that all are called alike.

    Args:
        layer: the module.
        given: what follows the input in its forward; floating tensors become parameters.
        each: whether they are of 12 samples, one each, or the same for any batch.
    """

    def __init__(self, layer, *given, each=False):
        super().__init__()
        self.layer = layer
        self.each = each
        learned = isinstance(given[0], torch.Tensor) and given[0].is_floating_point()
        self.given = torch.nn.ParameterList(given) if learned else given

    def forward(self, x, **companions):
        given = [values[: len(x)] if self.each else values for values in self.given]
        return self.layer(x, *(there(values, x.device) for values in given), **companions)


def there(values, device):
    """Return labels where the input is; the number of a domain is nowhere."""
    return values.to(device) if isinstance(values, torch.Tensor) else values


def inner_running(module, part):
    return own_running(module.layer, part)


def lazily(layer_type):
    """Make a lazy layer and show it an input."""
    shapes = {"1": (2,), "2": (2, 2), "3": (2, 2, 2)}[layer_type.__name__[-2]]

    def make(channels, device=None, **options):
        layer = layer_type(device=device, **options).eval()
        layer(torch.ones(2, channels, *shapes, dtype=options["dtype"], device=device))
        return layer.train()

    return Subject(make)


# ------------------------------------------------------------------------------------ ghost


def ghost(size):
    def subject(layer_type):
        return Subject(
            lambda channels, **options: layer_type(channels, size, **options),
            parts=lambda n, training: ghost_parts(n, size if training else n),
        )

    return subject


def ghost_parts(n, size):
    return torch.arange(n).tensor_split(max(n // max(size, 1), 1))


# -------------------------------------------------------------------------------- conditional


def conditional(each):
    """Given weights and biases, for each sample or for all."""

    def subject(layer_type):
        def make(channels, affine=True, bias=True, device=None, **options):
            shape = (12, channels) if each else (channels,)
            place = {"dtype": options["dtype"], "device": device}
            values = torch.ones(shape, **place), torch.zeros(shape, **place)
            return With(layer_type(channels, device=device, **options), *values, each=each)

        def affine(module, n):
            return [values[:n] if each else values.expand(n, -1) for values in module.given]

        return Subject(make, affine, running=inner_running)

    return subject


LABELS = torch.tensor([0, 3, 1, 1, 0, 2, 3, 3, 0, 1, 2, 2])


def classes(layer_type):
    def make(channels, affine=True, bias=True, **options):
        return With(layer_type(channels, 4, **options), LABELS, each=True)

    def affine(module, n):
        return module.layer.weight[LABELS[:n]], module.layer.bias[LABELS[:n]]

    return Subject(make, affine, running=inner_running)


# ------------------------------------------------------------------------------------ domains

DOMAINS = torch.tensor([2, 0, 0, 2, 0, 2, 2, 0, 2, 0, 0, 2])


def domains(mixed, shared):
    """Three domains, of which a batch has two, or one."""

    def subject(layer_type):
        def make(channels, **options):
            layer = layer_type(channels, 3, shared_affine=shared, **options)
            return With(layer, DOMAINS, each=True) if mixed else With(layer, 1)

        def parts(n, training):
            if not mixed:
                return [torch.arange(n)]
            return [(DOMAINS[:n] == domain).nonzero().flatten() for domain in (0, 2)]

        def running(module, part):
            return own_running(module.layer.domains[2 * part if mixed else 1], part)

        def affine(module, n):
            if shared:
                owners = [module.layer] * n
            else:
                owners = [module.layer.domains[d] for d in (DOMAINS[:n] if mixed else [1] * n)]
            return [
                None
                if getattr(owners[0], name) is None
                else torch.stack([getattr(owner, name) for owner in owners])
                for name in ("weight", "bias")
            ]

        return Subject(make, affine, parts, running)

    return subject


# ------------------------------------------------------------------------------- decorrelated


def fully_shrunk(layer_type):
    """Without the covariances between channels it is the plain layer."""

    def make(channels, **options):
        return layer_type(channels, shrinkage=1.0, **options)

    def running(module, part):
        variances = module.running_cov.diagonal(dim1=-2, dim2=-1)
        return Running(module.running_mean, variances, module.num_batches_tracked)

    return Subject(make, running=running)


GIVEN = {
    "affine": "scale and shift are given at the call",
    "bias": "scale and shift are given at the call",
}

TABLE = [
    Entry("BatchNorm", "plain", Subject, "BatchNorm"),
    Entry(
        "LazyBatchNorm",
        "materialized",
        lazily,
        "BatchNorm",
        same="it has become a plain layer, class and all",
    ),
    Entry(
        "GhostBatchNorm",
        "one part",
        ghost(100),
        "BatchNorm",
        same="a batch of one part goes straight to the plain layer",
    ),
    Entry("GhostBatchNorm", "parts", ghost(3), "BatchNorm"),
    Entry(
        "BatchRenorm",
        "plain phase",
        Subject,
        "BatchNorm",
        {"tracked": "there is nothing to renormalize to"},
    ),
    Entry(
        "DomainBatchNorm",
        "one domain",
        domains(mixed=False, shared=False),
        same="it calls the plain layer of that domain",
    ),
    Entry("DomainBatchNorm", "mixed", domains(mixed=True, shared=False)),
    Entry("DomainBatchNorm", "mixed, shared affine", domains(mixed=True, shared=True)),
    Entry("ConditionalBatchNorm", "for all", conditional(each=False), unfit=GIVEN),
    Entry("ConditionalBatchNorm", "for each sample", conditional(each=True), unfit=GIVEN),
    Entry(
        "ClassConditionalBatchNorm",
        "four classes",
        classes,
        unfit={"affine": "it is what the layer is for", "bias": "there always is one"},
    ),
    Entry(
        "DecorrelatedBatchNorm",
        "fully shrunk",
        fully_shrunk,
        unfit={
            "activation": "computes nothing behind the affine map",
            "with_residual": "adds nothing",
            "with_mask": "takes no mask",
        },
    ),
]
