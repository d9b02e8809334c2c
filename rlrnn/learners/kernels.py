"""What every learner by gradients does to a vector of them, compiled. Letters: D weights."""

# mypy: ignore-errors

import math

import numpy as np
from numba import carray

from rlrnn.cells.kernels.arithmetic import LANES, kernel, sum_of
from rlrnn.common.addresses import floats

ONE = np.float32(1.0)


@kernel
def norm(gradient):
    """The length of a vector [D]."""
    parts, whole = np.zeros(LANES), len(gradient) // LANES * LANES
    for first in range(0, whole, LANES):
        some = gradient[first : first + LANES]
        for j in range(LANES):
            parts[j] += np.float64(some[j]) * np.float64(some[j])
    for i in range(whole, len(gradient)):
        parts[i - whole] += np.float64(gradient[i]) * np.float64(gradient[i])
    return math.sqrt(sum_of(parts))


@kernel
def adam(places, ends, gradient, size, beta1, beta2, correction, epsilon):
    """places [parameters, 4]: addresses of weights, first and second moments, steps; gradient [D] of all."""
    first = 0
    for n in range(len(ends)):
        count = ends[n] - first
        weights = carray(floats(places[n, 0]), count)
        m, v = carray(floats(places[n, 1]), count), carray(floats(places[n, 2]), count)
        g = gradient[first : ends[n]]
        for i in range(count):
            m[i] += (ONE - beta1) * (g[i] - m[i])
            v[i] += (ONE - beta2) * (g[i] * g[i] - v[i])
            weights[i] -= size * m[i] / (np.sqrt(v[i]) / correction + epsilon)
        first = ends[n]
        carray(floats(places[n, 3]), 1)[0] += ONE
