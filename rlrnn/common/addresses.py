"""Addresses in compiled functions: arrays and functions that tables hand on as numbers.

An array lives as long as Python, or a compiled function that uses it later (``keep``), knows it: an address
alone keeps nothing alive.
"""

# mypy: ignore-errors

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from rlrnn.common.compiling import contained


def _pointer_to(kind):
    """The intrinsic that takes an address for that of such numbers: ``carray`` makes an array of it."""

    @intrinsic
    def pointer(typing, address):
        result = types.CPointer(kind)

        def generate(context, builder, signature, arguments):
            return builder.inttoptr(arguments[0], context.get_value_type(result))

        return result(types.intp), generate

    return pointer


floats, doubles = _pointer_to(types.float32), _pointer_to(types.float64)
integers, unsigned = _pointer_to(types.int64), _pointer_to(types.uint64)
flags = _pointer_to(types.uint8)  # bool, as bytes


@intrinsic
def call(typing, address, arguments):
    """The function at an address, which takes these whole numbers, a tuple of them, and returns nothing."""

    def generate(context, builder, signature, values):
        kinds = list(arguments)
        each = cgutils.unpack_tuple(builder, values[1], len(kinds))
        numbers = [
            context.cast(builder, value, kind, types.intp) for value, kind in zip(each, kinds, strict=True)
        ]
        # a C function of numba's returns nothing, and takes what it is declared to take
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * len(numbers))
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), numbers)
        return context.get_dummy_value()

    return types.void(types.intp, arguments), generate


@contained
def keep(array):
    """Where the address of an array was taken, it lives at least until this."""
    return len(array)
