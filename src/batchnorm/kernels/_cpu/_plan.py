"""Plan of the work, cut into tasks: made once for each shape, layout and thread count."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from batchnorm.kernels._cpu import _context as at
from batchnorm.kernels._cpu import _pool
from batchnorm.kernels._cpu._masks import WORD
from batchnorm.kernels._cpu._planes import CHUNK
from batchnorm.kernels._cpu._vectors import MOST

LONG = 32  # values of a plane from which on vectors fill it well
SHORT = 64  # columns below which several rows are put side by side
ALONE = 16_384  # values below which a second thread costs more than it brings
STRIP = 32  # rows whose sums are taken in the type of the arithmetic


class Plan(NamedTuple):
    """What to run.

    Attributes:
        layout: ``planes`` or ``rows``.
        channels: number of channels.
        tasks: number of tasks in each phase.
        phases: the plan's words of the context, for each phase.
        scratch: float64 values that the tasks hand on.
        mask: bytes that a bit a value takes, a row of memory beginning a byte.
    """

    layout: str
    channels: int
    tasks: int
    phases: tuple[bytes, ...]
    scratch: int
    mask: int


def plan(
    shape: tuple[int, ...], stride: tuple[int, ...], size: int, threads: int, *, whole: bool = False
) -> Plan | None:
    """Return the plan for an input, or `None` where its memory has to be put in order first.

    Args:
        shape: shape of the input.
        stride: its strides.
        size: bytes of a value.
        threads: number of threads.
        whole: take all channels at once, in the order of memory: where the input is read once only,
            or stays in the last-level cache.
    """
    rows, channels, positions = shape[0], shape[1], math.prod(shape[2:])
    order = _order(shape, stride)
    if order is None:
        return None
    if order == "channels_last" or positions == 1:
        return _rows(rows * positions, channels, 1, size, threads)
    if positions >= LONG:
        return _planes(rows, channels, positions, size, threads, whole=whole)
    return _rows(rows, channels, positions, size, threads)


def _order(shape: tuple[int, ...], stride: tuple[int, ...]) -> str | None:
    if _dense(shape, stride, range(len(shape))):
        return "contiguous"
    if _dense(shape, stride, (0, *range(2, len(shape)), 1)):
        return "channels_last"
    return None


def _dense(shape: tuple[int, ...], stride: tuple[int, ...], order: Iterable[int]) -> bool:
    """Whether memory goes through the dimensions in `order`, the last one fastest."""
    expected = 1
    for dimension in reversed(tuple(order)):
        if shape[dimension] != 1 and stride[dimension] != expected:
            return False
        expected *= shape[dimension]
    return True


def _planes(rows: int, channels: int, length: int, size: int, threads: int, *, whole: bool) -> Plan:
    if rows * channels * length <= ALONE:
        whole, threads = True, 1
    # Channels that are few do not come out even.
    shares = threads if whole or channels < 4 * threads else 1
    pieces = -(-length // CHUNK)
    chunk = -(-length // pieces // MOST) * MOST
    if whole:
        group = channels
    else:
        group = 1 if shares > 1 else _group(rows, channels, length, size, threads)
    tasks = shares * -(-channels // group)
    words = {
        at.ROWS: rows,
        at.CHANNELS: channels,
        at.LENGTH: length,
        at.SHARES: shares,
        at.COUNT: rows * length,
        at.GROUP: group,
        at.CHUNK: chunk,
        at.PIECES: -(-length // chunk),
        at.STRIP: max(CHUNK // chunk, 1) if pieces == 1 else 1,
    }
    mask = rows * channels * -(-length // WORD)
    scratch = 2 * group * tasks if shares > 1 else 0
    return _finish("planes", tasks, words, scratch, mask)


def _group(rows: int, channels: int, length: int, size: int, threads: int) -> int:
    """Return how many channels make a task: a core's own cache holds them, and tasks are even."""
    fits = _pool.cache_sizes()[0] // 4 // (rows * length * size)
    group = max(min(fits, channels // threads), 1)
    tasks = -(-channels // group)
    return -(-channels // (-(-tasks // threads) * threads))


def _rows(rows: int, channels: int, length: int, size: int, threads: int) -> Plan:
    count, columns, tail = rows * length, channels * length, 0
    if columns < SHORT:
        beside = min(-(-2 * SHORT // columns), rows)
        tail = rows % beside * columns
        rows, columns = rows // beside, columns * beside
    alone = threads == 1 or rows * columns <= ALONE
    width, shares = columns, 1
    if columns == channels * length:
        step = length * WORD // math.gcd(WORD, length)
        width = _block(rows, columns, step, size, 1 if alone else threads)
    if width == columns and not alone:
        shares = min(threads, max(rows // 8, 1))
    words = {
        at.ROWS: rows,
        at.CHANNELS: channels,
        at.LENGTH: length,
        at.COLUMNS: columns,
        at.TAIL: tail,
        at.SHARES: shares,
        at.WIDTH: width,
        at.COUNT: count,
        at.STRIP: STRIP,
    }
    tasks = shares if shares > 1 else -(-columns // width)
    mask = (rows + (tail > 0)) * -(-columns // WORD)
    scratch = 2 * -(-columns // MOST) * MOST * shares if shares > 1 else 0
    return _finish("rows", tasks, words, scratch, mask)


def _block(rows: int, columns: int, step: int, size: int, blocks: int) -> int:
    """Return the width of blocks of columns, or all columns where blocks would not serve.

    A block is a multiple of `step`: whole channels, and whole words of the mask. All its rows stay
    in a core's own cache, and it is wide enough to be read in long runs.
    """
    fits = _pool.cache_sizes()[0] // 4 // (rows * size)
    width = min(fits, columns // blocks) // step * step
    if width == 0 and step <= fits:
        width = step
    return width if width >= 2 * SHORT else columns


def _finish(layout: str, tasks: int, words: dict[int, int], scratch: int, mask: int) -> Plan:
    both = at.SUM | at.APPLY
    phases = (both,) if words[at.SHARES] == 1 else (at.SUM, at.APPLY)
    return Plan(
        layout=layout,
        channels=words[at.CHANNELS],
        tasks=tasks,
        phases=tuple(
            at.pack_plan(*({**words, at.PHASE: phase}.get(word, 0) for word in at.PLAN))
            for phase in phases
        ),
        scratch=scratch,
        mask=mask,
    )
