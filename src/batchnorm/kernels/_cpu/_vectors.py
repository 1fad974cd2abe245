"""Vectors as a type of numba's: four registers wide, with the operators of a number.

What a kernel does to its values is written for a vector, and is what the processor then does:
nothing is left to LLVM's vectorizer, which gives up on conversions and orders sums as it likes.
Four registers make four independent sums, which hides the latency of an addition.

A function that takes a `mask` takes `None` for all lanes; the lanes outside a mask are neither
read nor written.
"""

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

from batchnorm.kernels._cpu._memory import FLOAT64, arithmetic, narrow, processor_has, widen

if processor_has("avx512f"):
    REGISTER = 64  # bytes
elif processor_has("avx2"):
    REGISTER = 32
else:
    REGISTER = 16


LINE = 64  # bytes of a cache line
_BYTES = ir.IntType(8).as_pointer()


def lanes(storage: Any) -> int:
    """Return how many values stored as `storage` a vector holds."""
    return 4 * REGISTER // (arithmetic(storage).bitwidth // 8)


MOST = lanes(types.float32)  # lanes of any vector


class Vector(types.Type):
    """A vector of values in the type of the arithmetic."""

    def __init__(self, element: Any, count: int) -> None:
        self.element, self.lanes = element, count
        super().__init__(f"Vector({element}, {count})")


class Mask(types.Type):
    """A boolean a lane."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(f"Mask({lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        element = ir.DoubleType() if kind.element is types.float64 else ir.FloatType()
        super().__init__(manager, kind, ir.VectorType(element, kind.lanes))


@register_model(Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, ir.VectorType(ir.IntType(1), kind.lanes))


def vector_of(base: Any) -> Any:
    """Return the type of the vectors at a pointer."""
    return Vector(arithmetic(base.dtype), lanes(base.dtype))


def stored(base: Any, context: Any) -> Any:
    """Return the LLVM type of the vectors at a pointer, as they are stored."""
    return ir.VectorType(context.get_value_type(base.dtype), lanes(base.dtype))


def place_of(builder: Any, base: Any, index: Any, vector: Any) -> Any:
    place = builder.gep(base, [index], inbounds=True)
    return builder.bitcast(place, vector.as_pointer())


def call(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    """Call one of LLVM's own functions on vectors."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def suffix(vector: Any) -> str:
    width = {ir.DoubleType(): "f64", ir.FloatType(): "f32"}.get(vector.element)
    return f"v{vector.count}{width or f'i{vector.element.width}'}"


def broadcast(builder: Any, value: Any, count: int) -> Any:
    vector = ir.VectorType(value.type, count)
    single = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), count), None)
    return builder.shuffle_vector(single, ir.Constant(vector, ir.Undefined), zeros)


@intrinsic
def width(typing: Any, base: Any) -> Any:
    """Return how many values a vector at `base` holds."""
    count = lanes(base.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.IntType(64)(count)

    return types.int64(base), generate


# ------------------------------------------------------------------------------------- memory


@intrinsic
def load(typing: Any, base: Any, index: Any, mask: Any, fill: Any) -> Any:
    """Return the values from ``base[index]`` on; `fill` outside the mask."""
    vector, storage = vector_of(base), base.dtype
    size = storage.bitwidth // 8

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        base_, index_, mask_, fill_ = arguments
        kind = stored(base, context)
        place = place_of(builder, base_, index_, kind)
        if mask is types.none:
            return widen(builder, builder.load(place, align=size), storage)
        same = kind == fill_.type
        beside = fill_ if same else ir.Constant(kind, None)
        align = ir.IntType(32)(size)
        name = f"llvm.masked.load.{suffix(kind)}.p0"
        found = call(builder, name, kind, place, align, mask_, beside)
        if same:
            return found
        return builder.select(mask_, widen(builder, found, storage), fill_)

    return vector(base, types.int64, mask, vector), generate


@intrinsic
def store(typing: Any, base: Any, index: Any, mask: Any, value: Any) -> Any:
    """Write values from ``base[index]`` on: rounds to nearest, ties to even."""
    vector, storage = vector_of(base), base.dtype
    size = storage.bitwidth // 8

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        base_, index_, mask_, value_ = arguments
        kind = stored(base, context)
        place = place_of(builder, base_, index_, kind)
        written = narrow(builder, value_, storage)
        if mask is types.none:
            builder.store(written, place, align=size)
        else:
            align = ir.IntType(32)(size)
            name = f"llvm.masked.store.{suffix(kind)}.p0"
            call(builder, name, ir.VoidType(), written, place, align, mask_)
        return context.get_dummy_value()

    return types.void(base, types.int64, mask, vector), generate


@intrinsic
def accumulate(typing: Any, base: Any, index: Any, value: Any) -> Any:
    """Add the values to the float64 from ``base[index]`` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        base_, index_, value_ = arguments
        more = _widest(builder, value_)
        place = place_of(builder, base_, index_, more.type)
        builder.store(builder.fadd(builder.load(place, align=8), more), place, align=8)
        return context.get_dummy_value()

    return types.void(types.CPointer(FLOAT64), types.int64, value), generate


@intrinsic
def prefetch(typing: Any, base: Any, index: Any) -> Any:
    """Ask for the cache lines of the vector at ``base[index]``, which need not exist."""
    size = lanes(base.dtype) * base.dtype.bitwidth // 8

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), _BYTES)
        word = ir.IntType(32)
        for line in range(0, size, LINE):
            there = builder.gep(place, [word(line)])
            to_read, near, data = word(0), word(3), word(1)
            call(builder, "llvm.prefetch.p0", ir.VoidType(), there, to_read, near, data)
        return context.get_dummy_value()

    return types.void(base, types.int64), generate


# --------------------------------------------------------------------------------- arithmetic


@intrinsic
def splat(typing: Any, base: Any, value: Any) -> Any:
    """Return a vector, of the kind at `base`, of one float64."""
    vector = vector_of(base)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        single = context.cast(builder, arguments[1], types.float64, vector.element)
        return broadcast(builder, single, vector.lanes)

    return vector(base, types.float64), generate


@intrinsic
def like(typing: Any, vector: Any, value: Any) -> Any:
    """Return a vector, of the kind of another, of one float64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        single = context.cast(builder, arguments[1], types.float64, vector.element)
        return broadcast(builder, single, vector.lanes)

    return vector(vector, types.float64), generate


def _define(symbol: Any, instruction: str) -> None:
    @intrinsic
    def operation(typing: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return getattr(builder, instruction)(*arguments)

        return a(a, a), generate

    @overload(symbol, jit_options={"forceinline": True})
    def _operator(a, b):
        if isinstance(a, Vector) and a == b:
            return lambda a, b: operation(a, b)  # noqa: PLW0108 -- numba wants these names
        return None


_define(operator.add, "fadd")
_define(operator.sub, "fsub")
_define(operator.mul, "fmul")
_define(operator.truediv, "fdiv")


@intrinsic
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """Return ``a * b + c``, rounded once where the processor can."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = arguments[0].type
        return call(builder, f"llvm.fmuladd.{suffix(kind)}", kind, *arguments)

    return a(a, a, a), generate


@intrinsic
def wide(typing: Any, vector: Any) -> Any:
    """Return the same values in float64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _widest(builder, arguments[0])

    return Vector(types.float64, vector.lanes)(vector), generate


def _widest(builder: Any, value: Any) -> Any:
    if value.type.element == ir.DoubleType():
        return value
    return builder.fpext(value, ir.VectorType(ir.DoubleType(), value.type.count))


@intrinsic
def total(typing: Any, vector: Any) -> Any:
    """Return the sum of all lanes in float64, always in the same order."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = _widest(builder, _halved(builder, arguments[0], vector.lanes // 4))
        return builder.extract_element(_halved(builder, value, 1), ir.IntType(32)(0))

    return types.float64(vector), generate


def _halved(builder: Any, value: Any, count: int) -> Any:
    """Add the upper half of a vector to the lower one until `count` lanes are left."""
    while value.type.count > count:
        half = value.type.count // 2
        kind = ir.VectorType(ir.IntType(32), half)
        low, high = (
            builder.shuffle_vector(
                value,
                ir.Constant(value.type, ir.Undefined),
                ir.Constant(kind, list(range(first, first + half))),
            )
            for first in (0, half)
        )
        value = builder.fadd(low, high)
    return value


@intrinsic
def exponential_in_float64(typing: Any, vector: Any) -> Any:
    """Return e to each of the values, by the C library."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = arguments[0].type
        return call(builder, f"llvm.exp.{suffix(kind)}", kind, *arguments)

    return vector(vector), generate


@intrinsic
def expm1_in_float64(typing: Any, vector: Any) -> Any:
    """Return e to each of the values, minus 1, by the C library."""
    return vector(vector), _lane_by_lane("expm1")


@intrinsic
def erfc_in_float64(typing: Any, vector: Any) -> Any:
    """Return the complementary error function of each of the values, by the C library."""
    return vector(vector), _lane_by_lane("erfc")


def _lane_by_lane(name: str) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        [value] = arguments
        found = value
        for lane in range(value.type.count):
            place = ir.IntType(32)(lane)
            single = builder.extract_element(value, place)
            found = builder.insert_element(found, call(builder, name, single.type, single), place)
        return found

    return generate


@intrinsic
def power_of_two(typing: Any, exponent: Any) -> Any:
    """Return ``2 ** exponent`` for whole float32 from -126 to 127."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        count = exponent.lanes
        word = ir.VectorType(ir.IntType(32), count)
        biased = builder.add(builder.fptosi(arguments[0], word), ir.Constant(word, [127] * count))
        shifted = builder.shl(biased, ir.Constant(word, [23] * count))
        return builder.bitcast(shifted, ir.VectorType(ir.FloatType(), count))

    return exponent(exponent), generate
