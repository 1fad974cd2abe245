"""Cases that are timed, and the groups under which the command line names them."""

from dataclasses import dataclass

BATCH = 32
# Channels and side of the nine batch normalizations of ResNet-50 that differ in shape.
RESNET_50 = (
    (64, 112), (64, 56), (256, 56), (128, 28), (512, 28),
    (256, 14), (1024, 14), (512, 7), (2048, 7),
)  # fmt: skip
_QUICK = ((64, 56), (256, 14), (2048, 7))

STEP = "step"
GROUPS = ("sites", "tiny", "relu", "add-relu", "large", STEP)
PLAIN_GROUPS = ("sites", "tiny", "large")
TRAINING = ("forward", "backward", "forward-backward")
DIRECTIONS = (*TRAINING, "inference")
LAYOUTS = ("contiguous", "channels_last")
DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class Case:
    """One normalization to time.

    Args:
        group: one of `GROUPS`.
        name: how tables call it.
        shape: shape of the input, ``(N, C)`` or ``(N, C, H, W)``.
        rectified: whether a ReLU follows.
        residual: whether a residual is added before it.
    """

    group: str
    name: str
    shape: tuple[int, ...]
    rectified: bool = False
    residual: bool = False

    @property
    def layouts(self) -> tuple[str, ...]:
        """The memory formats that the input can have: a matrix has one."""
        return LAYOUTS if len(self.shape) == 4 else LAYOUTS[:1]  # noqa: PLR2004 -- N, C, H and W

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes that are timed."""
        return DTYPES[:1] if self.group == "large" else DTYPES


def members(group: str, *, quick: bool = False) -> tuple[Case, ...]:
    """Return the cases of a group.

    Args:
        group: one of `GROUPS`; the training step has no case.
        quick: whether to take few of them.

    Example:
        >>> [case.name for case in members("tiny")]
        ['60x100', '2x8x4x4']
        >>> len(members("add-relu")), len(members("add-relu", quick=True))
        (9, 3)
    """
    if group == STEP:
        return ()
    if group == "tiny":
        return (Case(group, "60x100", (60, 100)), Case(group, "2x8x4x4", (2, 8, 4, 4)))
    sites: tuple[tuple[int, int], ...] = _QUICK if quick else RESNET_50
    if group == "large":
        sites = RESNET_50[:1] if quick else (RESNET_50[0], RESNET_50[2])
    residual = group == "add-relu"
    return tuple(
        Case(
            group,
            f"{channels}x{side}²",
            (BATCH, channels, side, side),
            rectified=residual or group == "relu",
            residual=residual,
        )
        for channels, side in sites
    )
