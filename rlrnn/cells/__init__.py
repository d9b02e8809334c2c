"""Kinds of memory, one file each, and the registry that names them."""

from rlrnn.cells.cell import Cell
from rlrnn.cells.delay import Delay
from rlrnn.cells.edges import graph_edges
from rlrnn.cells.elman import Elman
from rlrnn.cells.fir import Fir
from rlrnn.cells.gated import GatedCell
from rlrnn.cells.graph import Graph
from rlrnn.cells.gru import Gru
from rlrnn.cells.legendre import Legendre
from rlrnn.cells.linear import LinearCell
from rlrnn.cells.lru import Lru
from rlrnn.cells.lstm import Lstm
from rlrnn.cells.matrix import Matrix
from rlrnn.cells.mingru import MinGru
from rlrnn.cells.none import FeedForward
from rlrnn.cells.registry import CELLS, cell_named, make_cell, register_cell
from rlrnn.cells.reservoir import Reservoir
from rlrnn.cells.storage import Storage

CELLS.update(
    elman=Elman,
    gru=Gru,
    lstm=Lstm,
    mingru=MinGru,
    lru=Lru,
    fir=Fir,
    graph=Graph,
    storage=Storage,
    delay=Delay,
    legendre=Legendre,
    reservoir=Reservoir,
    matrix=Matrix,
    none=FeedForward,
)

__all__ = [
    "CELLS",
    "Cell",
    "Delay",
    "Elman",
    "FeedForward",
    "Fir",
    "GatedCell",
    "Graph",
    "Gru",
    "Legendre",
    "LinearCell",
    "Lru",
    "Lstm",
    "Matrix",
    "MinGru",
    "Reservoir",
    "Storage",
    "cell_named",
    "graph_edges",
    "make_cell",
    "register_cell",
]
