"""Vector steps of the kernels: normalize one vector, its gradient, a streaming store."""

from typing import Any, NamedTuple

from batchnorm.kernels._cpu._activations import IDENTITY, activate, backed
from batchnorm.kernels._cpu._masks import WORD, at_most, load_bits, not_, store_bits, where
from batchnorm.kernels._cpu._memory import address, copy, inlined, offset, stream
from batchnorm.kernels._cpu._values import apply_line
from batchnorm.kernels._cpu._vectors import LINE, fma, like, load, store, width


class Places(NamedTuple):
    """Pointers to the values at hand of what both directions read; those that are absent are 0."""

    x: Any
    residual: Any
    bits: Any


class Targets(NamedTuple):
    """Pointers to where the gradients of the input and of the residual go."""

    dx: Any
    dresidual: Any


class Tail(NamedTuple):
    """What follows the normalization. All but the slope `alpha` are constants of a kernel."""

    has_residual: bool
    masked: bool
    activation: int
    alpha: float


@inlined
def moved(places, step, words_on):
    """Return the places `step` values and `words_on` words of the mask further on."""
    return Places(
        offset(places.x, step), offset(places.residual, step), offset(places.bits, words_on)
    )


@inlined
def targets_at(targets, step):
    """Return the targets `step` values further on."""
    return Targets(offset(targets.dx, step), offset(targets.dresidual, step))


@inlined
def words(n):
    """Return the number of mask words for `n` values."""
    return (n + WORD - 1) // WORD


@inlined
def whole(x, n):
    """Return how many of `n` values are in whole vectors."""
    return n - n % width(x)


@inlined
def last_vector(x, n, tail):
    """Return where the last whole vector of `n` values begins, or -1 where a mask has to serve.

    It writes some values a second time, and the same: some processors take ten times as long over a
    store under a mask. The words of the mask that is kept begin elsewhere.
    """
    return -1 if tail.masked or n < width(x) else n - width(x)


@inlined
def normalize_at(i, mask, line, places, y, tail):
    """Normalize, add the residual, activate and store."""
    z = apply_line(load(places.x, i, mask, line[0]), line)
    if tail.has_residual:
        z = z + load(places.residual, i, mask, z)
    if tail.masked:
        # Not z > 0, so that the gradient passes where the output is NaN, as in torch.relu.
        store_bits(places.bits, i // WORD, mask, not_(at_most(z, like(z, 0.0))))
    store(y, i, mask, activate(z, tail.activation, tail.alpha))


@inlined
def gradient_at(i, mask, line, places, dy, tail):
    """Return the gradient before the activation, and the centred input; zeros outside the mask."""
    centre, scale, shift = line
    zero = like(centre, 0.0)
    d = load(places.x, i, mask, centre) - centre
    g = load(dy, i, mask, zero)
    if tail.masked:
        g = where(load_bits(dy, places.bits, i // WORD, mask), g, zero)
    elif tail.activation != IDENTITY:
        z = fma(d, scale, shift)
        if tail.has_residual:
            z = z + load(places.residual, i, mask, z)
        g = backed(g, z, tail.activation, tail.alpha)
    return g, d


@inlined
def input_gradient_at(i, mask, line, factors, flows, places, dy, targets, tail):
    """Store dx, whose gradient `flows` through the statistics or not, and dresidual if any."""
    g, d = gradient_at(i, mask, line, places, dy, tail)
    of_g, of_d, constant = factors
    if tail.has_residual:
        store(targets.dresidual, i, mask, g)
    if flows:
        store(targets.dx, i, mask, fma(of_g, g, fma(of_d, d, constant)))
    else:
        store(targets.dx, i, mask, of_g * g)


@inlined
def flush(target, buffer, n, size):
    """Move `n` values of `size` bytes from the buffer to memory, past the cache."""
    ahead = min(n, (-address(target) % LINE) // size)
    for i in range(ahead):
        copy(target, buffer, i)
    lines = (n - ahead) * size // LINE
    stream(address(target) + ahead * size, address(buffer) + ahead * size, lines)
    for i in range(ahead + lines * (LINE // size), n):
        copy(target, buffer, i)
