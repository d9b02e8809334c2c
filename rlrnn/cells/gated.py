"""Cells of torch's kind, which compiled kernels run: what these need of a cell, its methods return."""

from __future__ import annotations

import importlib
from abc import abstractmethod
from types import ModuleType
from typing import ClassVar

from torch import nn

from rlrnn.cells.cell import Cell


class GatedCell(Cell):
    """Gates from x W + h U and biases: W ``weight_input`` [I, G], U ``weight_hidden`` [H, G].

    ``kernels`` names the module of its kernels in full. There ``recurrence(cell)`` gives the ``Recurrence``
    that runs rows of steps (``cells/kernels/recurrence.py``); where the cell is ``plain``, ``step`` runs one
    step at play, of a network or of each member of a population (``cells/kernels/stepping.py``). It may be
    missing: torch then runs such steps. A class derived from one with kernels has none,
    unless it names its own.
    """

    kernels: ClassVar[str]
    weight_input: nn.Parameter
    weight_hidden: nn.Parameter

    @abstractmethod
    def biases(self) -> tuple[nn.Parameter | None, ...]:
        """Every bias [G], in the order in which ``step`` of the kernels takes them; None counts as zeros."""

    def projected_biases(self) -> tuple[nn.Parameter | None, ...]:
        """Those of them that ``project`` adds; the others act within the recurrence."""
        return self.biases()

    def recurrent_parameters(self) -> tuple[nn.Parameter | None, ...]:
        """What acts within the recurrence beside U, in the order of ``Recurrence.backward``'s places."""
        return ()

    def kernel_options(self) -> tuple[float, ...]:
        """Numbers that ``step`` of the kernels asks for by ``option``: two at most."""
        return ()


def has_kernels(kind: type[Cell]) -> bool:
    """Whether kernels were written for this very class; a class derived from it may step otherwise."""
    return issubclass(kind, GatedCell) and "kernels" in vars(kind)


def kernels_of(cell: GatedCell) -> ModuleType:
    """The module of its kernels, loaded late, as numba takes a while."""
    return importlib.import_module(cell.kernels)
