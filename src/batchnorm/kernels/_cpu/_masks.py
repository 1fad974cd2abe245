"""Masks: a boolean a lane, and the bits that are kept for the backward pass."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from batchnorm.kernels._cpu._vectors import Mask, broadcast, call, lanes, place_of, suffix

WORD = 8  # lanes to a word of the bits that are kept


@intrinsic
def first(typing: Any, base: Any, count: Any) -> Any:
    """Return the mask of the first `count` lanes of a vector at `base`."""
    mask = Mask(lanes(base.dtype))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.VectorType(ir.IntType(32), mask.lanes)
        limit = broadcast(builder, builder.trunc(arguments[1], ir.IntType(32)), mask.lanes)
        return builder.icmp_signed("<", ir.Constant(word, list(range(mask.lanes))), limit)

    return mask(base, types.int64), generate


@intrinsic
def at_most(typing: Any, a: Any, b: Any) -> Any:
    """Return where ``a <= b``: nowhere where one is NaN."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fcmp_ordered("<=", *arguments)

    return Mask(a.lanes)(a, a), generate


@intrinsic
def where(typing: Any, mask: Any, a: Any, b: Any) -> Any:
    """Return `a` inside the mask and `b` outside."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(*arguments)

    return a(mask, a, a), generate


@intrinsic
def not_(typing: Any, mask: Any) -> Any:
    """Return the lanes outside a mask."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.not_(arguments[0])

    return mask(mask), generate


@intrinsic
def store_bits(typing: Any, bits: Any, word: Any, mask: Any, value: Any) -> Any:
    """Write a mask to ``bits[word]`` on, in words of 8 lanes; zeros outside `mask`."""
    words = value.lanes // WORD

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits_, word_, mask_, value_ = arguments
        kind = ir.VectorType(ir.IntType(WORD), words)
        place = place_of(builder, bits_, word_, kind)
        if mask is types.none:
            builder.store(builder.bitcast(value_, kind), place, align=1)
        else:
            written = builder.bitcast(builder.and_(value_, mask_), kind)
            some, align = _words_of(builder, mask_, words), ir.IntType(32)(1)
            name = f"llvm.masked.store.{suffix(kind)}.p0"
            call(builder, name, ir.VoidType(), written, place, align, some)
        return context.get_dummy_value()

    return types.void(bits, types.int64, mask, value), generate


@intrinsic
def load_bits(typing: Any, base: Any, bits: Any, word: Any, mask: Any) -> Any:
    """Return the mask at ``bits[word]`` on, for a vector at `base`."""
    found = Mask(lanes(base.dtype))
    words = found.lanes // WORD

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, bits_, word_, mask_ = arguments
        kind = ir.VectorType(ir.IntType(WORD), words)
        place = place_of(builder, bits_, word_, kind)
        if mask is types.none:
            value = builder.load(place, align=1)
        else:
            some, align = _words_of(builder, mask_, words), ir.IntType(32)(1)
            name = f"llvm.masked.load.{suffix(kind)}.p0"
            value = call(builder, name, kind, place, align, some, ir.Constant(kind, None))
        return builder.bitcast(value, ir.VectorType(ir.IntType(1), found.lanes))

    return found(base, bits, types.int64, mask), generate


def _words_of(builder: Any, mask: Any, words: int) -> Any:
    """Return which words a mask of the first lanes touches."""
    starts = ir.VectorType(ir.IntType(32), words)
    nothing = ir.Constant(mask.type, ir.Undefined)
    lanes = ir.Constant(starts, list(range(0, words * WORD, WORD)))
    return builder.shuffle_vector(mask, nothing, lanes)
