"""Wieland's equations of poles on a cart, B at once, as arrays; compiled ones are alike to the last bit.

Gomez, Schmidhuber & Miikkulainen (2008), appendix A, with gravity 9.8 throughout. The state is one array
[6, B] float64 with the rows x, x', theta_1, theta_1', theta_2, theta_2' in SI units, angles counted from
upright. A pole that is not there is one of no weight and no leverage: its rows stay 0 and it exerts no force.
"""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

GRAVITY = 9.8  # m/s^2
CART_MASS = 1.0  # kg
CART_FRICTION = 5e-4  # N, against the cart's motion
HINGE_FRICTION = 2e-6  # N m s, against a pole's
SECONDS = 0.01  # per step of the integration
SUBSTEPS = 2  # of them that one action lasts
CART = (CART_MASS, CART_FRICTION, GRAVITY, SECONDS)


def pole(mass: float, half_length: float) -> tuple[float, float, float, float]:
    """What the equations need of a pole of so many kg and m."""
    moment = mass * half_length
    return moment, mass, HINGE_FRICTION / moment, 3 / (4 * half_length)


LONG, SHORT = pole(0.1, 0.5), pole(0.01, 0.05)
NO_POLE = (0.0, 0.0, 0.0, 0.0)


def step(
    state: Array, force: Array, poles: Array, cart: tuple[float, ...] = CART, substeps: int = SUBSTEPS
) -> None:
    """Hold the forces [B] N for 0.02 s; `state` [6, B] changes in place, `poles` is [2, 4] (see `pole`)."""
    h = cart[3]
    for _ in range(substeps):  # Runge & Kutta's method of order 4
        k = slopes(state, force, poles, cart)
        total = k
        for weight, ahead in ((2.0, h / 2), (2.0, h / 2), (1.0, h)):
            k = slopes(state + ahead * k, force, poles, cart)
            total = total + weight * k
        state += h / 6 * total


def look(state: Array, steps: NDArray[np.int64], limits: Array, unrest: Array) -> NDArray[np.bool_]:
    """Which carts stand [B]: |x| and |theta| of both poles are within the three `limits`.

    Of those that do, |x| + |x'| + |theta_1| + |theta_1'| goes into row `steps` [B] mod W of `unrest` [W, B],
    unless W is 0.
    """
    x, x_dot, theta, theta_dot, *_ = magnitude = np.abs(state[:6])
    standing: NDArray[np.bool_] = np.logical_and.reduce(magnitude[::2] <= limits[:, None])
    if len(unrest):
        upright = np.flatnonzero(standing)
        unrest[steps[upright] % len(unrest), upright] = (x + x_dot + theta + theta_dot)[upright]
    return standing


def slopes(state: Array, force: Array, poles: Array, cart: tuple[float, ...] = CART) -> Array:
    """The derivative of the state by time, [6, B]."""
    mass, friction, gravity, _ = cart
    moments, masses, hinges, levers = poles.T[:, :, None]  # [2, 1] each, as what follows is [2, B]
    speeds = state[3::2]
    sin, cos = sin_cos(state[2::2])
    fall = gravity * sin - hinges * speeds
    f_eff = moments * speeds * speeds * sin - 0.75 * masses * fall * cos  # N on the cart, by each pole
    m_eff = masses * (1.0 - 0.75 * cos * cos)  # kg, of each pole: its effective mass
    f_total = force - friction * np.sign(state[1]) + (f_eff[0] + f_eff[1])
    rate = np.empty_like(state)
    rate[0] = state[1]
    rate[1] = f_total / (mass + (m_eff[0] + m_eff[1]))
    rate[2::2] = speeds
    rate[3::2] = levers * (fall - rate[1] * cos)
    return rate


# sin(a) = a (1 - a^2/3! + a^4/5! - ...); of half the angle 8 terms are enough for all that a pole does.
TERMS = tuple((-1.0) ** n / math.factorial(2 * n + 1) for n in range(8))


def sin_cos(theta: Array) -> tuple[Array, Array]:
    """Sine and cosine to 4e-16 below 1.5 rad (beyond pi they are none), by operations that all round alike.

    Libraries differ in the last bit; these run as arrays, as compiled code and on any machine to the same
    one. A pole is given up at 0.63 rad and is within about 1.2 rad after the step in which that happens.
    """
    half = 0.5 * theta
    square = half * half
    series = square * TERMS[7]
    for term in TERMS[6:0:-1]:
        series = square * (term + series)
    sin = half * (TERMS[0] + series)
    return 2.0 * sin * np.sqrt(1.0 - sin * sin), 1.0 - 2.0 * sin * sin
