"""What is done to a run of consecutive values beside the arithmetic: masks and streaming stores."""

from numba import njit

from ._memory import address, copy, keep_words, offset, pack_words, put, rounded, stream

CHUNK = 1024  # values that stay in the first-level cache between two steps
WORD = 16  # values to a word of the mask
LINE = 64  # bytes of a cache line


@njit(forceinline=True)
def words(n):
    """Return the number of mask words for `n` values."""
    return (n + WORD - 1) // WORD


@njit(forceinline=True)
def pack(bits, values, n, spare):
    """Write the mask of `n` stored values, a bit for each that is above zero.

    `spare` has room for one word's values: what is left over is done there, so that nothing is read
    behind the end.
    """
    whole = n // WORD
    pack_words(bits, values, whole)
    if n % WORD:
        for i in range(n % WORD):
            copy(spare, i, values, whole * WORD + i)
        for i in range(n % WORD, WORD):
            put(spare, i, rounded(spare, 0.0))
        pack_words(offset(bits, whole), spare, 1)


@njit(forceinline=True)
def keep(target, source, bits, n, spare):
    """Copy `n` stored values, zero where their bit in the mask is not set."""
    whole = n // WORD
    keep_words(target, source, bits, whole)
    if n % WORD:
        for i in range(n % WORD):
            copy(spare, i, source, whole * WORD + i)
        keep_words(spare, spare, offset(bits, whole), 1)
        for i in range(n % WORD):
            copy(target, whole * WORD + i, spare, i)


@njit(forceinline=True)
def flush(target, buffer, n, size):
    """Move `n` values of `size` bytes from the buffer to memory, past the cache."""
    ahead = min(n, (-address(target) % LINE) // size)
    for i in range(ahead):
        copy(target, i, buffer, i)
    lines = (n - ahead) * size // LINE
    stream(address(target) + ahead * size, address(buffer) + ahead * size, lines)
    for i in range(ahead + lines * (LINE // size), n):
        copy(target, i, buffer, i)
