"""What all kernels of cells are made by, and the functions of a number that they share.

All arrays are C-contiguous and of one floating type.
"""

# mypy: ignore-errors

import functools
import math

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic, overload

from rlrnn.common.compiling import OPTIONS, jit

# Never "nnan" or "ninf": learning that breaks down must show as NaN.
FASTMATH = {"contract", "reassoc", "nsz", "arcp"}

kernel = functools.partial(jit, fastmath=FASTMATH)
# Written into its callers: a call per row would cost a fifth.
inlined = numba.njit(inline="always", fastmath=FASTMATH, **OPTIONS)


@intrinsic
def fma(typing, a, b, c):
    """a b + c, rounded once, on every processor."""

    def generate(context, builder, signature, arguments):
        number = context.get_data_type(a)
        name = f"llvm.fma.f{a.bitwidth}"
        declared = cgutils.get_or_insert_function(builder.module, ir.FunctionType(number, [number] * 3), name)
        return builder.call(declared, arguments)

    return a(a, a, a), generate


ZERO, HALF, ONE, LIMIT = np.float32(0.0), np.float32(0.5), np.float32(1.0), np.float32(8.0)
# tanh(x) = x P(x^2) / Q(x^2) within [-8, 8], as fitted by benchmarks/tanh.py; from there to 1 it is 2e-7.
P0, P1, P2, P3, P4 = map(np.float32, (1.0, 0.134444981, 3.57159813e-3, 2.18946634e-5, 1.52304187e-8))
Q1, Q2, Q3, Q4 = map(np.float32, (0.467778254, 2.61644434e-2, 3.41129218e-4, 8.52244726e-7))
BOUND = np.float32(87.0)  # exp of it is a finite float32, of its negative a normal one
LOG2_E, LN_2_HIGH, LN_2_LOW = map(np.float32, (1.44269504, 0.693359375, -2.12194440e-4))
E3, E4, E5, E6 = map(np.float32, (0.16666573, 0.04166646, 0.00836378, 0.00139345))  # fitted beside tanh's


def by_precision(double):
    """A function for compiled code: in float64 the library's ``double``, in float32 the formula below it."""

    def decorate(single):
        def function(x):
            raise NotImplementedError("compiled code only")

        @overload(function)
        def _(x):
            return (lambda x: double(x)) if x == numba.float64 else single

        return function

    return decorate


@by_precision(math.tanh)
def tanh(x):
    """A quotient of polynomials, which vector units run."""
    x = LIMIT if x > LIMIT else x  # min() and max() would hide a NaN
    x = -LIMIT if x < -LIMIT else x
    u = x * x
    top = P0 + u * (P1 + u * (P2 + u * (P3 + u * P4)))
    return x * top / (ONE + u * (Q1 + u * (Q2 + u * (Q3 + u * Q4))))


@by_precision(math.exp)
def exp(x):
    """2^n exp(r), where r is within half of ln 2 and 2^n is written into the exponent's bits."""
    x = BOUND if x > BOUND else x
    x = -BOUND if x < -BOUND else x
    n = np.floor(x * LOG2_E + HALF)
    r = x - n * LN_2_HIGH - n * LN_2_LOW
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return power * (ONE + r + r * r * (HALF + r * (E3 + r * (E4 + r * (E5 + r * E6)))))


@kernel
def sigmoid(x):
    """1 / (1 + exp(-x)), small values to full relative precision too, for the sake of their gradients."""
    return ONE / (ONE + exp(-x))


NORM_EPSILON = 1e-5  # torch's, of layer_norm


@inlined
def normalise(x, gain, first, last, normed):
    """Numbers first to last of a row get mean 0 and deviation 1, kept in ``normed``, then a gain.

    Returns one over the deviation.
    """
    total = squares = ZERO
    for j in range(first, last):
        total += x[j]
    mean = total / x.dtype.type(last - first)
    for j in range(first, last):
        squares += (x[j] - mean) * (x[j] - mean)
    scale = ONE / np.sqrt(squares / x.dtype.type(last - first) + x.dtype.type(NORM_EPSILON))
    for j in range(first, last):
        normed[j] = (x[j] - mean) * scale
        x[j] = normed[j] * gain[j]
    return scale


@inlined
def denormalise(d, gain, first, last, normed, scale, d_gain):
    """From the gradient by what ``normalise`` made: ``normed`` becomes that by its x, the gain's is added."""
    total = along = ZERO
    for j in range(first, last):
        d_gain[j] += d[j] * normed[j]
        total += d[j] * gain[j]
        along += d[j] * gain[j] * normed[j]
    total, along = total / d.dtype.type(last - first), along / d.dtype.type(last - first)
    for j in range(first, last):
        normed[j] = (d[j] * gain[j] - total - along * normed[j]) * scale
