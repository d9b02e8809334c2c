"""What all linear recurrences have in common: their steps need not be taken one by one in Python."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from rlrnn.cells.cell import Cell


class LinearCell(Cell):
    """h' = a * h + b, unit by unit, where the inputs alone decide a and b; y is read off h'.

    ``paths.scan`` runs whole rows of any such cell, users' own too, as long as ``step`` is the one below.
    """

    complex_state: ClassVar[bool] = False
    """Whether states and coefficients are complex numbers: all real parts, then all imaginary ones."""

    @abstractmethod
    def coefficients(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """[..., B, G] -> a, b [..., B, S]; an a that all steps and rows share may be [1, S] ([P, 1, S])."""

    @abstractmethod
    def read(self, projected: Tensor, state: Tensor) -> Tensor:
        """For any number of steps: [..., B, G] and the states after them [..., B, S] -> y [..., B, H]."""

    def step(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.coefficients(projected)
        state = (product(a, state) if self.complex_state else a * state) + b
        return self.read(projected, state), state


def product(a: Tensor, b: Tensor) -> Tensor:
    """Of complex numbers that stand as [real | imaginary] along the last axis."""
    (a_re, a_im), (b_re, b_im) = a.chunk(2, dim=-1), b.chunk(2, dim=-1)
    return torch.cat((a_re * b_re - a_im * b_im, a_re * b_im + a_im * b_re), dim=-1)
