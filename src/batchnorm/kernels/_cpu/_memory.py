"""Loads and stores on raw addresses, as LLVM likes them.

Kernels get addresses, not arrays. Three kinds of memory never overlap, and LLVM is told so, so that
it vectorizes without checks at run time: inputs (`load`), outputs (`store`) and a kernel's own
scratch (`get`, `put`). bfloat16 and float16 are converted on the way.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

# The element type of a pointer says how a value is stored: numba has no half precisions.
FLOAT64, FLOAT32, BFLOAT16, FLOAT16 = types.float64, types.float32, types.uint16, types.int16


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
def like(typing: Any, value: Any, number: Any) -> Any:
    """Return a float64 in the type of `value`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.cast(builder, arguments[1], types.float64, signature.return_type)

    return value(value, types.float64), generate


@intrinsic
def power_of_two(typing: Any, exponent: Any) -> Any:
    """Return ``2 ** exponent`` for a whole float32 from -126 to 127."""
    signature = types.float32(types.float32)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        biased = builder.add(builder.fptosi(arguments[0], word), word(127))
        return builder.bitcast(builder.shl(biased, word(23)), ir.FloatType())

    return signature, generate


@intrinsic
def pack_words(typing: Any, bits: Any, values: Any, words: Any) -> Any:
    """Write whether each of ``16 * words`` stored values is above zero, one bit each."""
    storage = values.dtype
    signature = types.void(bits, values, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(context.get_value_type(storage), 16)
        source = builder.bitcast(arguments[1], vector.as_pointer())
        with cgutils.for_range(builder, arguments[2]) as loop:
            value = builder.load(builder.gep(source, [loop.index]), align=2)
            zero = ir.Constant(vector, None)
            if storage in (BFLOAT16, FLOAT16):  # sign and order of the bits are those of the value
                above = builder.icmp_signed(">", value, zero)
            else:
                above = builder.fcmp_unordered(">", value, zero)
            word = builder.bitcast(above, ir.IntType(16))
            builder.store(word, builder.gep(arguments[0], [loop.index]))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def keep_words(typing: Any, target: Any, source: Any, bits: Any, words: Any) -> Any:
    """Copy ``16 * words`` values, zero where their bit is not set."""
    storage = source.dtype
    signature = types.void(target, source, bits, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(context.get_value_type(storage), 16)
        target, source = (builder.bitcast(a, vector.as_pointer()) for a in arguments[:2])
        with cgutils.for_range(builder, arguments[3]) as loop:
            value = builder.load(builder.gep(source, [loop.index]), align=2)
            word = builder.load(builder.gep(arguments[2], [loop.index]))
            keep = builder.bitcast(word, ir.VectorType(ir.IntType(1), 16))
            kept = builder.select(keep, value, ir.Constant(vector, None))
            builder.store(kept, builder.gep(target, [loop.index]), align=2)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def copy(typing: Any, target: Any, to: Any, source: Any, at: Any) -> Any:
    """Copy the stored value ``source[at]`` to ``target[to]``."""
    signature = types.void(target, types.int64, source, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, to, source, at = arguments
        builder.store(builder.load(builder.gep(source, [at])), builder.gep(target, [to]))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def address(typing: Any, base: Any) -> Any:
    """Return a pointer as an integer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ptrtoint(arguments[0], ir.IntType(64))

    return types.int64(base), generate


def _reader(kind: str) -> Any:
    def read(typing: Any, base: Any, index: Any) -> Any:
        storage = base.dtype

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            value = builder.load(builder.gep(arguments[0], [arguments[1]], inbounds=True))
            _mark(builder, value, kind)
            return _widen(builder, value, storage)

        return arithmetic(storage)(base, types.int64), generate

    return read


def _writer(kind: str) -> Any:
    def write(typing: Any, base: Any, index: Any, value: Any) -> Any:
        storage = base.dtype

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            base, index, value = arguments
            place = builder.gep(base, [index], inbounds=True)
            _mark(builder, builder.store(_narrow(builder, value, storage), place), kind)
            return context.get_dummy_value()

        return types.void(base, types.int64, arithmetic(storage)), generate

    return write


load = intrinsic(_reader("inputs"))  # (base, index) -> value, in the type of the arithmetic
get = intrinsic(_reader("scratch"))
store = intrinsic(_writer("outputs"))  # (base, index, value): rounds to nearest, ties to even
put = intrinsic(_writer("scratch"))


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


_KINDS = ("inputs", "outputs", "scratch")


def _mark(builder: Any, instruction: Any, kind: str) -> None:
    """Tell LLVM which kind of memory this is, and that the other kinds are elsewhere."""
    add = builder.module.add_metadata
    domain = add(["batchnorm"])
    scopes = {name: add([name, domain]) for name in _KINDS}
    others = [scope for name, scope in scopes.items() if name != kind]
    instruction.set_metadata("alias.scope", add([scopes[kind]]))
    instruction.set_metadata("noalias", add(others))


def _widen(builder: Any, value: Any, storage: Any) -> Any:
    if storage is BFLOAT16:
        bits = builder.shl(builder.zext(value, ir.IntType(32)), ir.Constant(ir.IntType(32), 16))
        return builder.bitcast(bits, ir.FloatType())
    if storage is FLOAT16:
        return builder.fpext(builder.bitcast(value, ir.HalfType()), ir.FloatType())
    return value


def _narrow(builder: Any, value: Any, storage: Any) -> Any:
    if storage is BFLOAT16:
        return _round_to_bfloat16(builder, value)
    if storage is FLOAT16:
        return builder.bitcast(builder.fptrunc(value, ir.HalfType()), ir.IntType(16))
    return value


def _round_to_bfloat16(builder: Any, value: Any) -> Any:
    word = ir.IntType(32)
    bits = builder.bitcast(value, word)
    odd = builder.and_(builder.lshr(bits, word(16)), word(1))
    rounded = builder.lshr(builder.add(bits, builder.add(odd, word(0x7FFF))), word(16))
    # Adding to the bits of a NaN could make it an infinity.
    quiet = builder.or_(builder.lshr(bits, word(16)), word(0x40))
    unordered = builder.fcmp_unordered("uno", value, value)
    return builder.trunc(builder.select(unordered, quiet, rounded), ir.IntType(16))
