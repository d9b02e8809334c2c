"""The gradient of a minibatch, in blocks of rows that threads may share.

torch's own threads split single products, which are too small here; whole rows are the better share. How
many blocks there are depends on sizes alone, and their gradients are added in order: any number of threads
gives the same bytes.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from rlrnn.buffers import Rows
from rlrnn.network import RecurrentNetwork
from rlrnn.sequence import Memory
from rlrnn.surrogate import Objective, ppo_loss

BLOCKS = 16  # at most
BLOCK_WORK = 5e8  # floating-point operations that a block should have, so that it is worth its own books


class Descent:
    """Gradients for one network, left in its parameters' ``grad``."""

    def __init__(self, network: RecurrentNetwork, threads: int) -> None:
        self.network = network
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.work = 6 * sum(p.numel() for p in self.parameters if p.dim() > 1)  # of a step, there and back
        self.gradient = network.value.weight.new_zeros(sum(p.numel() for p in self.parameters))
        parts = self.gradient.split([p.numel() for p in self.parameters])
        for parameter, part in zip(self.parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)
        # Dropout draws from one stream of numbers, and batch statistics are those of the whole.
        apart = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)
        dropout = any(isinstance(m, Memory) and m.dropout > 0.0 for m in network.modules())
        on_cpu = network.value.weight.device.type == "cpu"
        self.divisible = on_cpu and not dropout and not any(isinstance(m, apart) for m in network.modules())
        self.pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def __call__(self, batch: Rows, objective: Objective) -> Tensor:
        """The figures of ``ppo_loss`` for a minibatch, whose gradient is then in place."""
        total = batch.weight.sum()

        def work(block: Rows) -> tuple[Tensor, Tensor]:
            distribution, values = self.network.unroll(block.observation, block.start, block.state)
            loss, figures = ppo_loss(block, distribution, values, total, objective)
            parts = torch.autograd.grad(loss, self.parameters, materialize_grads=True)
            return torch.cat([part.reshape(-1) for part in parts]), figures

        blocks = self._blocks(batch)
        several = self.pool is not None and len(blocks) > 1
        results = self.pool.map(work, blocks) if self.pool is not None and several else map(work, blocks)
        gradients, figures = zip(*results, strict=True)
        torch.sum(torch.stack(gradients), 0, out=self.gradient)
        return torch.stack(figures).sum(0)

    def _blocks(self, batch: Rows) -> list[Rows]:
        """The rows in 1, 2, 4 ... parts of equal size, or nearly."""
        steps, rows = batch.start.shape
        if not self.divisible:
            return [batch]
        count = 1
        while 2 * count <= min(BLOCKS, rows, steps * rows * self.work / BLOCK_WORK):
            count *= 2
        bounds = [rows * i // count for i in range(count + 1)]
        return [batch.select(slice(*bounds[i : i + 2])) for i in range(count)] if count > 1 else [batch]

    def clip(self, longest: float) -> None:
        """Shorten the gradient to at most that norm."""
        self.gradient.mul_((longest / (self.gradient.norm() + 1e-6)).clamp_(max=1.0))

    def close(self) -> None:
        """End the threads."""
        if self.pool is not None:
            self.pool.shutdown()
