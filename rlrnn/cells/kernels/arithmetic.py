"""What all kernels of cells are made by, and the functions of a number that they share.

All arrays are C-contiguous and of one floating type.
"""

# mypy: ignore-errors

import math

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic, overload

from rlrnn.common.compiling import OPTIONS
from rlrnn.common.compiling import contained as contained
from rlrnn.common.linking import inner_kernel as inner_kernel
from rlrnn.common.linking import kernel as kernel

# Nothing is reordered or fused that does not say so: the same bytes on every processor, and NaN stays NaN.
# What is called for each number, or each row, is no ``kernel``, but becomes a part of its callers.
inlined = numba.njit(inline="always", **OPTIONS)


@intrinsic
def fma(typing, a, b, c):
    """a b + c, rounded once, on every processor."""

    def generate(context, builder, signature, arguments):
        number = context.get_data_type(a)
        name = f"llvm.fma.f{a.bitwidth}"
        declared = cgutils.get_or_insert_function(builder.module, ir.FunctionType(number, [number] * 3), name)
        return builder.call(declared, arguments)

    return a(a, a, a), generate


@intrinsic
def clamped(typing, x, bound):
    """x, but within -bound and bound; NaN stays NaN. Two instructions of vector units, which ifs are not."""

    def generate(context, builder, signature, arguments):
        x, high = arguments
        low = builder.fneg(high)
        x = builder.select(builder.fcmp_ordered("<", high, x), high, x)
        return builder.select(builder.fcmp_ordered(">", low, x), low, x)

    return x(x, x), generate


@contained
def zeros_of(size, like):
    """An array [size] of 0, of the type of ``like``: numpy's takes three times as long to compile."""
    result = np.empty(size, like.dtype)
    for i in range(size):
        result[i] = 0
    return result


ZERO, HALF, ONE, LIMIT = np.float32(0.0), np.float32(0.5), np.float32(1.0), np.float32(8.0)
# tanh(x) = x P(x^2) / Q(x^2) within [-8, 8], as fitted by benchmarks/tanh.py; from there to 1 it is 2e-7.
P0, P1, P2, P3, P4 = map(np.float32, (1.0, 0.134444981, 3.57159813e-3, 2.18946634e-5, 1.52304187e-8))
Q1, Q2, Q3, Q4 = map(np.float32, (0.467778254, 2.61644434e-2, 3.41129218e-4, 8.52244726e-7))
BOUND = np.float32(87.0)  # exp of it is a finite float32, of its negative a normal one
LOG2_E, LN_2_HIGH, LN_2_LOW = map(np.float32, (1.44269504, 0.693359375, -2.12194440e-4))
SMALLEST, SQRT_HALF = np.float32(2.0**-126), np.float32(0.5**0.5).view(np.int32)
L3, L4, L5, L6, L7, L8, L9, L10 = map(  # of log(1 + r) = r - r^2 / 2 + r^3 L(r), fitted there too
    np.float32,
    (
        0.333333315,
        -0.250008269,
        0.200012514,
        -0.166231518,
        0.142010036,
        -0.131615341,
        0.127679249,
        -0.0763894973,
    ),
)
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
    x = clamped(x, LIMIT)
    u = x * x
    top = fma(u, fma(u, fma(u, fma(u, P4, P3), P2), P1), P0)
    bottom = fma(u, fma(u, fma(u, fma(u, Q4, Q3), Q2), Q1), ONE)
    return x * top / bottom


@by_precision(math.exp)
def exp(x):
    """2^n exp(r), where r is within half of ln 2 and 2^n is written into the exponent's bits."""
    x = clamped(x, BOUND)
    n = np.floor(fma(x, LOG2_E, HALF))
    r = fma(-n, LN_2_LOW, fma(-n, LN_2_HIGH, x))
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return power * fma(r * r, fma(r, fma(r, fma(r, fma(r, E6, E5), E4), E3), HALF), ONE + r)


@by_precision(math.log)
def log(x):
    """Of 2^n m, m within a square root of 2 of 1: n ln 2 + log m. As the library's, -inf of 0, NaN below."""
    bits = np.float32(x if x >= SMALLEST else SMALLEST).view(np.int32)
    n = (bits - SQRT_HALF) >> np.int32(23)
    r = np.int32(bits - (n << np.int32(23))).view(np.float32) - ONE
    series = fma(r, fma(r, fma(r, fma(r, fma(r, fma(r, fma(r, L10, L9), L8), L7), L6), L5), L4), L3)
    whole = np.float32(n)
    result = fma(whole, LN_2_HIGH, fma(whole, LN_2_LOW, fma(r * r, fma(r, series, -HALF), r)))
    result = x if x == np.float32(np.inf) else result
    result = -np.float32(np.inf) if x < SMALLEST else result  # numbers that are not normal count as 0
    return x * np.float32(np.nan) if not x >= ZERO else result


@contained
def sigmoid(x):
    """1 / (1 + exp(-x)), small values to full relative precision too, for the sake of their gradients."""
    return ONE / (ONE + exp(-x))


NORM_EPSILON = 1e-5  # torch's, of layer_norm


LANES = 16  # sums that a long one is made of, each of every 16th number: one order on every processor


@inlined
def sum_of(parts):
    """Of the 16."""
    total = parts[0]
    for j in range(1, LANES):
        total += parts[j]
    return total


@kernel
def normalise(x, gain, first, last, normed):
    """Numbers first to last of a row get mean 0 and deviation 1, kept in ``normed``, then a gain.

    Returns one over the deviation.
    """
    row, row_normed, row_gain = x[first:last], normed[first:last], gain[first:last]
    count, whole = x.dtype.type(last - first), (last - first) // LANES * LANES
    totals, squares = zeros_of(LANES, x), zeros_of(LANES, x)
    for i in range(0, whole, LANES):
        some = row[i : i + LANES]
        for j in range(LANES):
            totals[j] += some[j]
    for i in range(whole, len(row)):
        totals[i - whole] += row[i]
    mean = sum_of(totals) / count
    for j in range(len(row)):
        row_normed[j] = row[j] - mean
    for i in range(0, whole, LANES):
        some = row_normed[i : i + LANES]
        for j in range(LANES):
            squares[j] += some[j] * some[j]
    for i in range(whole, len(row)):
        squares[i - whole] += row_normed[i] * row_normed[i]
    scale = ONE / np.sqrt(sum_of(squares) / count + x.dtype.type(NORM_EPSILON))
    for j in range(len(row)):
        row_normed[j] *= scale
    for j in range(len(row)):
        row[j] = row_normed[j] * row_gain[j]
    return scale


@kernel
def denormalise(d, gain, first, last, normed, scale, d_gain):
    """From the gradient by what ``normalise`` made: ``normed`` becomes that by its x, the gain's is added."""
    row, row_normed, row_gain = d[first:last], normed[first:last], gain[first:last]
    row_d_gain, count = d_gain[first:last], d.dtype.type(last - first)
    whole = (last - first) // LANES * LANES
    totals, products = zeros_of(LANES, d), zeros_of(LANES, d)
    for i in range(0, whole, LANES):
        some, some_gain, some_normed = row[i : i + LANES], row_gain[i : i + LANES], row_normed[i : i + LANES]
        for j in range(LANES):
            totals[j] += some[j] * some_gain[j]
        for j in range(LANES):
            products[j] += some[j] * some_gain[j] * some_normed[j]
    for i in range(whole, len(row)):
        totals[i - whole] += row[i] * row_gain[i]
        products[i - whole] += row[i] * row_gain[i] * row_normed[i]
    total, along = sum_of(totals) / count, sum_of(products) / count
    for j in range(len(row)):
        row_d_gain[j] += row[j] * row_normed[j]
    for j in range(len(row)):
        row_normed[j] = (row[j] * row_gain[j] - total - along * row_normed[j]) * scale
