"""The coefficients of ``cells/kernels/arithmetic``: tanh(x) = x P(x^2) / Q(x^2) on [-8, 8], and exp.

    python benchmarks/tanh.py

Least squares, linear in the coefficients once the denominator of the round before is divided out, with
weights that grow where the relative error is large (Lawson 1961), which leads towards its least maximum.
"""

from __future__ import annotations

import numpy as np

LIMIT, DEGREE, POINTS, ROUNDS = 8.0, 4, 4000, 200


def main() -> None:
    x = LIMIT * np.sin(np.linspace(0.0, np.pi / 2.0, POINTS + 1))[1:]
    u = (x / LIMIT) ** 2
    powers = u[:, None] ** np.arange(DEGREE + 1)
    system = np.concatenate((powers * (x / np.tanh(x))[:, None], -powers[:, 1:]), axis=1)
    weights, bottom, best = np.ones_like(x), np.ones_like(x), np.inf
    for _ in range(ROUNDS):
        scale = np.sqrt(weights) / np.abs(bottom)
        found, *_ = np.linalg.lstsq(system * scale[:, None], scale, rcond=None)
        p, q = found[: DEGREE + 1], np.append(1.0, found[DEGREE + 1 :])
        bottom = powers @ q
        error = np.abs(x * (powers @ p) / bottom / np.tanh(x) - 1.0)
        if error.max() < best:
            best, unit = error.max(), LIMIT ** (-2.0 * np.arange(DEGREE + 1))
            result = p * unit, q * unit
        weights *= error + 1e-3 * error.max()
        weights /= weights.sum()
    print(f"relative error {best:.1e}")
    print("P", *(f"{c:.9g}" for c in result[0]))
    print("Q", *(f"{c:.9g}" for c in result[1]))
    # exp(r) = 1 + r + r^2 E(r) for |r| up to half of ln 2, at Chebyshev's points
    r = np.cos(np.pi * (np.arange(64) + 0.5) / 64.0) * 1.01 * np.log(2.0) / 2.0
    print("E", *(f"{c:.6g}" for c in np.polynomial.polynomial.polyfit(r, (np.expm1(r) - r) / r**2, 4)))


if __name__ == "__main__":
    main()
