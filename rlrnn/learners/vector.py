"""The gradient of all parameters as one vector, whose parts are the parameters' own ``grad``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class GradientVector:
    """Of these parameters, in this order, while they stay where they are; D numbers in all.

    ``compiled``: the norm by a kernel, which sums in an order of its own.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], *, compiled: bool) -> None:
        self.parameters, self.compiled = list(parameters), compiled
        self.gradient = self.parameters[0].new_zeros(sum(p.numel() for p in self.parameters)).detach()
        self.places = self.within(self.gradient)
        for parameter, part in self.places.items():
            parameter.grad = part

    def within(self, gradient: Tensor) -> Mapping[nn.Parameter, Tensor]:
        """The part of each parameter in a vector [D]."""
        parts = gradient.split([p.numel() for p in self.parameters])
        return {p: part.view_as(p) for p, part in zip(self.parameters, parts, strict=True)}

    def clip(self, longest: float) -> float:
        """Shorten the gradient to at most that norm; returns its norm before. If not finite, it stays."""
        norm = self.norm()
        scale = longest / (norm + 1e-6)
        if scale < 1.0 and math.isfinite(norm):
            self.gradient *= scale
        return norm

    def norm(self) -> float:
        """The gradient's, in double precision: squares of numbers beyond 1e19 would overflow."""
        if not self.compiled:
            return float(torch.linalg.vector_norm(self.gradient, dtype=torch.float64))
        from rlrnn.learners import kernels  # late, as numba takes a while to load

        return float(kernels.norm(self.gradient.numpy()))
