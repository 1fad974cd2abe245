"""Training step of a network, timed: forward, cross entropy, backward, one step of SGD."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from batchnorm.bench._measurements import Skip, StepTimes
from batchnorm.bench._providers import FORMATS, Unsupported, compiler_missing, reason
from batchnorm.bench._resnet import VARIANTS, Network, ResNet
from batchnorm.bench._timing import interleaved
from batchnorm.errors import RunError

RATE, SGD_MOMENTUM = 0.01, 0.9
CHECKED_STEPS, TOLERANCE = 3, 1e-3
COMPILED = "compile"

Train = Callable[[], float]


def training(
    model: nn.Module, network: Network, layout: str, graph: Callable[..., Tensor] | None = None
) -> Train:
    """Return a function that trains for one step on the same data each time.

    Args:
        model: it is changed.
        network: decides the shape of the data.
        layout: one of `cases.LAYOUTS`.
        graph: what computes the logits, or `None` for the model itself.

    Returns:
        The function, which returns the loss.
    """
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(network.shape, generator=generator)
    images = images.contiguous(memory_format=FORMATS[layout])
    labels = torch.randint(network.classes, (network.batch,), generator=generator)
    forward = model if graph is None else graph
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=SGD_MOMENTUM)

    def train() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(forward(images), labels)
        loss.backward()  # type: ignore[no-untyped-call] # torch has no types here
        optimizer.step()
        return loss.item()

    return train


def measure(
    network: Network, layout: str, rounds: int, seconds: float, *, compiled: bool
) -> Iterator[StepTimes | Skip]:
    """Time a step of every variant, after a check that they train alike.

    All start from the same weights and see the same data. The losses of the first steps have to
    agree before anything is timed.

    Args:
        network: what is trained.
        layout: memory format of images and weights.
        rounds: number of rounds.
        seconds: how long a turn is to last; a step is longer on most machines.
        compiled: whether to time torch.compile of torch's variant too, which takes minutes.

    Yields:
        What was measured, and what was left out.

    Raises:
        RunError: ours and torch's losses differ.
    """
    steps = _variants(network, layout)
    losses = {name: _losses(train) for name, train in steps.items()}
    _agree(losses)
    if compiled:
        train, why = _compiled(network, layout)
        if train is None:
            yield Skip(COMPILED, why, (f"step {layout}",))
        else:
            steps[COMPILED] = train
            losses[COMPILED] = _losses(train)
    times = interleaved(steps, rounds, seconds)
    yield StepTimes(layout, network.shape, times, losses, TOLERANCE)


def _variants(network: Network, layout: str) -> dict[str, Train]:
    models = {variant: _model(network, variant, layout) for variant in VARIANTS}
    for model in models.values():
        model.load_state_dict(models["torch"].state_dict())
    return {variant: training(model, network, layout) for variant, model in models.items()}


def _model(network: Network, variant: str, layout: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ResNet(network, variant).to(memory_format=FORMATS[layout])  # type: ignore[call-overload,no-any-return] # the stubs miss it


def _compiled(network: Network, layout: str) -> tuple[Train | None, str]:
    why = compiler_missing()
    if why is not None:
        return None, why
    torch._dynamo.reset()  # noqa: SLF001 -- the documented way, else shapes become dynamic
    model = _model(network, "torch", layout)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    graph = torch.compile(model, dynamic=False)
    try:
        training(model, network, layout, graph)()
    except Unsupported as error:
        return None, reason(error)
    model.load_state_dict(start)
    return training(model, network, layout, graph), ""


def _losses(train: Train) -> tuple[float, ...]:
    return tuple(train() for _ in range(CHECKED_STEPS))


def _agree(losses: dict[str, tuple[float, ...]]) -> None:
    expected = losses["torch"]
    for variant, found in losses.items():
        close = all(abs(a - b) <= TOLERANCE * abs(b) for a, b in zip(found, expected, strict=True))
        if not close:
            raise RunError(
                f"the variants of the training step need the same losses, got {found} from "
                f"{variant} and {expected} from torch: this is a defect of batchnorm, please "
                "report it"
            )
