"""What is done at one place of memory: a vector normalized, a gradient, a streaming store."""

from ._masks import WORD, at_most, load_bits, not_, store_bits, where
from ._memory import address, copy, inlined, stream
from ._values import IDENTITY, activate, apply_line, backed
from ._vectors import LINE, fma, like, load, store, width


@inlined
def words(n):
    """Return the number of mask words for `n` values."""
    return (n + WORD - 1) // WORD


@inlined
def whole(x, n):
    """Return how many of `n` values are in whole vectors."""
    return n - n % width(x)


@inlined
def normalize_at(i, mask, line, x, residual, y, bits, has_residual, masked, activation, alpha):
    """Normalize, add the residual, activate and store."""
    z = apply_line(load(x, i, mask, line[0]), line)
    if has_residual:
        z = z + load(residual, i, mask, z)
    if masked:
        # Not z > 0, so that the gradient passes where the output is NaN, as in torch.relu.
        store_bits(bits, i // WORD, mask, not_(at_most(z, like(z, 0.0))))
    store(y, i, mask, activate(z, activation, alpha))


@inlined
def gradient_at(i, mask, line, x, residual, dy, bits, has_residual, masked, activation, alpha):
    """Return the gradient before the activation, and the centred input; zeros outside the mask."""
    centre, scale, shift = line
    zero = like(centre, 0.0)
    d = load(x, i, mask, centre) - centre
    g = load(dy, i, mask, zero)
    if masked:
        g = where(load_bits(dy, bits, i // WORD, mask), g, zero)
    elif activation != IDENTITY:
        z = fma(d, scale, shift)
        if has_residual:
            z = z + load(residual, i, mask, z)
        g = backed(g, z, activation, alpha)
    return g, d


@inlined
def input_gradient_at(
    i, mask, line, factors, flows, x, residual, dy, bits, dx, dresidual, has_residual, masked,
    activation, alpha,
):  # fmt: skip
    """Store dx, whose gradient `flows` through the statistics or not, and dresidual if any."""
    g, d = gradient_at(
        i, mask, line, x, residual, dy, bits, has_residual, masked, activation, alpha
    )
    of_g, of_d, constant = factors
    if has_residual:
        store(dresidual, i, mask, g)
    if flows:
        store(dx, i, mask, fma(of_g, g, fma(of_d, d, constant)))
    else:
        store(dx, i, mask, of_g * g)


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
