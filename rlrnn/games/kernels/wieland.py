"""Wieland's equations compiled by numba: those of `wieland` operation by operation, in their order.

Carts are taken 16 at a time in arrays of fixed size, which the compiler turns into vector instructions; lanes
that are left over hold carts at rest. Nothing may be reordered or fused (no fastmath), so that every bit is
that of the arrays.
"""

# mypy: ignore-errors

import math

import numpy as np

from rlrnn.common.compiling import jit

WIDE = 16  # carts at once
S0, S1, S2, S3, S4, S5, S6, S7 = ((-1.0) ** n / math.factorial(2 * n + 1) for n in range(8))


@jit
def sin_cos(theta):
    """As ``wieland.sin_cos``."""
    half = 0.5 * theta
    q = half * half
    series = q * (S1 + q * (S2 + q * (S3 + q * (S4 + q * (S5 + q * (S6 + q * S7))))))
    sine = half * (S0 + series)
    return 2.0 * sine * np.sqrt(1.0 - sine * sine), 1.0 - 2.0 * sine * sine


@jit
def pole(theta, speed, gravity, moment, mass, hinge):
    """(fall, cosine, effective force on the cart, effective mass) of one pole."""
    sin, cos = sin_cos(theta)
    fall = gravity * sin - hinge * speed
    return fall, cos, moment * speed * speed * sin - 0.75 * mass * fall * cos, mass * (1.0 - 0.75 * cos * cos)


@jit
def slopes(s, force, poles, cart, k):
    """Write the derivative of `s` into `k`, both [6 * WIDE]."""
    mass, friction, gravity, _ = cart
    moment_1, mass_1, hinge_1, lever_1 = poles[0, 0], poles[0, 1], poles[0, 2], poles[0, 3]
    moment_2, mass_2, hinge_2, lever_2 = poles[1, 0], poles[1, 1], poles[1, 2], poles[1, 3]
    for j in range(WIDE):
        x_dot, speed_1, speed_2 = s[WIDE + j], s[3 * WIDE + j], s[5 * WIDE + j]
        fall_1, cos_1, f_eff_1, m_eff_1 = pole(s[2 * WIDE + j], speed_1, gravity, moment_1, mass_1, hinge_1)
        fall_2, cos_2, f_eff_2, m_eff_2 = pole(s[4 * WIDE + j], speed_2, gravity, moment_2, mass_2, hinge_2)
        f_total = force[j] - friction * np.sign(x_dot) + (f_eff_1 + f_eff_2)
        x_acc = f_total / (mass + (m_eff_1 + m_eff_2))
        k[j] = x_dot
        k[WIDE + j] = x_acc
        k[2 * WIDE + j] = speed_1
        k[3 * WIDE + j] = lever_1 * (fall_1 - x_acc * cos_1)
        k[4 * WIDE + j] = speed_2
        k[5 * WIDE + j] = lever_2 * (fall_2 - x_acc * cos_2)


@jit
def step(state, begin, end, forces, poles, cart, substeps):
    """As `wieland.step`, of some carts: `state` [6, B] changes in place under the forces [B]."""
    h = cart[3]
    s, ahead, k, total = (np.zeros(6 * WIDE), np.zeros(6 * WIDE), np.zeros(6 * WIDE), np.zeros(6 * WIDE))
    force = np.zeros(WIDE)
    for first in range(begin, end, WIDE):
        n = min(WIDE, end - first)
        s[:] = 0.0
        force[:] = 0.0
        for j in range(n):
            force[j] = forces[first + j]
            for i in range(6):
                s[i * WIDE + j] = state[i, first + j]
        for _ in range(substeps):
            slopes(s, force, poles, cart, k)
            for i in range(6 * WIDE):
                total[i] = k[i]
                ahead[i] = s[i] + h / 2 * k[i]
            for stage in range(3):
                slopes(ahead, force, poles, cart, k)
                weight = 1.0 if stage == 2 else 2.0
                distance = h if stage == 1 else h / 2
                for i in range(6 * WIDE):
                    total[i] = total[i] + weight * k[i]
                    ahead[i] = s[i] + distance * k[i]
            for i in range(6 * WIDE):
                s[i] = s[i] + h / 6 * total[i]
        for j in range(n):
            for i in range(6):
                state[i, first + j] = s[i * WIDE + j]


@jit
def look(state, first, last, steps, limits, unrest, standing):
    """As `wieland.look`, at some carts; whether they stand goes into ``standing`` [B]."""
    for j in range(first, last):
        x, theta_1, theta_2 = abs(state[0, j]), abs(state[2, j]), abs(state[4, j])
        upright = x <= limits[0] and theta_1 <= limits[1] and theta_2 <= limits[2]
        standing[j] = upright
        if upright and len(unrest) > 0:
            unrest[steps[j] % len(unrest), j] = x + abs(state[1, j]) + theta_1 + abs(state[3, j])
