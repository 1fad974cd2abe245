"""Scalar loads and stores on raw pointers, and calls: kernels get addresses, not arrays.

bfloat16 and float16 are converted on the way.
"""

import functools
from typing import Any

from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils, config
from numba.extending import intrinsic

# The element type of a pointer says how a value is stored: numba has no half precisions.
FLOAT64, FLOAT32, BFLOAT16, FLOAT16 = types.float64, types.float32, types.uint16, types.int16
BITS, INTEGER = types.uint8, types.int64

# Numpy's rules for errors: a division by zero gives an infinity, as the reference has it.
inlined = njit(forceinline=True, error_model="numpy")


def arithmetic(storage: Any) -> Any:
    """Return the type that values stored as `storage` are computed in."""
    return types.float64 if storage is FLOAT64 else types.float32


@intrinsic
def pointer(typing: Any, address: Any, storage: Any) -> Any:
    """Return an integer address as a pointer to `storage`."""
    signature = types.CPointer(storage.dtype)(types.int64, storage)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return signature, generate


@intrinsic
def address(typing: Any, base: Any) -> Any:
    """Return a pointer as an integer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ptrtoint(arguments[0], ir.IntType(64))

    return types.int64(base), generate


@intrinsic
def offset(typing: Any, base: Any, index: Any) -> Any:
    """Return ``base + index``, in elements."""
    signature = base(base, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.gep(arguments[0], [arguments[1]], inbounds=True)

    return signature, generate


@intrinsic
def real(typing: Any, bits: Any) -> Any:
    """Return the float64 whose bits an integer holds."""
    signature = types.float64(types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return signature, generate


@intrinsic
def rounded(typing: Any, base: Any, value: Any) -> Any:
    """Return a float64 in the type that values at `base` are computed in."""
    signature = arithmetic(base.dtype)(base, types.float64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.cast(builder, arguments[1], types.float64, signature.return_type)

    return signature, generate


@intrinsic
def get(typing: Any, base: Any, index: Any) -> Any:
    """Return ``base[index]``, in the type of the arithmetic."""
    storage = base.dtype

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = builder.load(builder.gep(arguments[0], [arguments[1]], inbounds=True))
        return widen(builder, value, storage)

    return arithmetic(storage)(base, types.int64), generate


@intrinsic
def put(typing: Any, base: Any, index: Any, value: Any) -> Any:
    """Set ``base[index]``: rounds to nearest, ties to even."""
    storage = base.dtype

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        base, index, value = arguments
        place = builder.gep(base, [index], inbounds=True)
        builder.store(narrow(builder, value, storage), place)
        return context.get_dummy_value()

    return types.void(base, types.int64, arithmetic(storage)), generate


@intrinsic
def add_to(typing: Any, base: Any, value: Any) -> Any:
    """Add to the integer at `base`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        base, value = arguments
        builder.store(builder.add(builder.load(base), value), base)
        return context.get_dummy_value()

    return types.void(base, types.int64), generate


@intrinsic
def copy(typing: Any, target: Any, source: Any, index: Any) -> Any:
    """Copy the stored value ``source[index]`` to ``target[index]``."""
    signature = types.void(target, source, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, source, index = arguments
        builder.store(builder.load(builder.gep(source, [index])), builder.gep(target, [index]))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def stream(typing: Any, target: Any, source: Any, count: Any) -> Any:
    """Copy `count` cache lines of 64 bytes past the cache; `target` is aligned to 64 bytes."""
    signature = types.void(types.int64, types.int64, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        line = ir.VectorType(ir.IntType(64), 8)
        target, source = (builder.inttoptr(a, line.as_pointer()) for a in arguments[:2])
        with cgutils.for_range(builder, arguments[2]) as loop:
            value = builder.load(builder.gep(source, [loop.index]), align=8)
            written = builder.store(value, builder.gep(target, [loop.index]), align=64)
            one = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
            written.set_metadata("nontemporal", one)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def run_kernel(typing: Any, address: Any, context: Any) -> Any:
    """Run the one task of another kernel, by its address."""
    signature = types.int64(types.int64, context)

    def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address_, context_ = arguments
        word = ir.IntType(64)
        kind = ir.FunctionType(word, [word, word, context_.type])
        kernel = builder.inttoptr(address_, kind.as_pointer())
        return builder.call(kernel, [word(0), word(1), context_])

    return signature, generate


def widen(builder: Any, value: Any, storage: Any) -> Any:
    """Return a stored value, or a vector of them, in the type of the arithmetic."""
    if storage is BFLOAT16:
        word = _like(value, ir.IntType(32))
        bits = builder.shl(builder.zext(value, word), _splat(word, 16))
        return builder.bitcast(bits, _like(value, ir.FloatType()))
    if storage is FLOAT16:
        half = builder.bitcast(value, _like(value, ir.HalfType()))
        return builder.fpext(half, _like(value, ir.FloatType()))
    return value


def narrow(builder: Any, value: Any, storage: Any) -> Any:
    """Return a value of the arithmetic, or a vector of them, as it is stored."""
    if storage is BFLOAT16:
        return _round_to_bfloat16(builder, value)
    if storage is FLOAT16:
        half = builder.fptrunc(value, _like(value, ir.HalfType()))
        return builder.bitcast(half, _like(value, ir.IntType(16)))
    return value


def _like(value: Any, element: Any) -> Any:
    """Return the type with `element` in the place of a value's, scalar or vector."""
    if isinstance(value.type, ir.VectorType):
        return ir.VectorType(element, value.type.count)
    return element


def _splat(kind: Any, number: int) -> Any:
    if isinstance(kind, ir.VectorType):
        return ir.Constant(kind, [number] * kind.count)
    return ir.Constant(kind, number)


class _BFloat16(ir.Type):
    """LLVM's own type, which llvmlite leaves out."""

    def __str__(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat16)

    def __hash__(self) -> int:
        return hash(_BFloat16)


@functools.cache
def processor_has(feature: str) -> bool:
    """Whether the processor that numba compiles for has an instruction set, by LLVM's name.

    NUMBA_CPU_NAME and NUMBA_CPU_FEATURES choose another processor than this one.
    """
    name, features = vars(config)["CPU_NAME"], vars(config)["CPU_FEATURES"]
    if name is not None or features is not None:
        return f"+{feature}" in (features or "").split(",")
    return bool(binding.get_host_cpu_features().get(feature, False))


def _round_to_bfloat16(builder: Any, value: Any) -> Any:
    short, word = _like(value, ir.IntType(16)), _like(value, ir.IntType(32))
    if processor_has("avx512bf16"):
        return builder.bitcast(builder.fptrunc(value, _like(value, _BFloat16())), short)
    bits = builder.bitcast(value, word)
    sixteen = _splat(word, 16)
    odd = builder.and_(builder.lshr(bits, sixteen), _splat(word, 1))
    raised = builder.add(bits, builder.add(odd, _splat(word, 0x7FFF)))
    # Adding to the bits of a NaN could make it an infinity.
    quiet = builder.or_(bits, _splat(word, 0x400000))
    unordered = builder.fcmp_unordered("uno", value, value)
    return builder.trunc(builder.lshr(builder.select(unordered, quiet, raised), sixteen), short)
