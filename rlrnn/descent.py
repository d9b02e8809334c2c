"""The gradient of a minibatch, in parts that threads may share.

torch's own threads split single products, which are too small here. A large minibatch is worked on in
blocks of rows, a small one in two halves, actor and critic, where these have nothing in common. How it is
parted depends on the network and on sizes alone, and sums are taken in order: any number of threads gives
the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from rlrnn.buffers import Rows
from rlrnn.network import RecurrentNetwork
from rlrnn.sequence import Memory
from rlrnn.surrogate import Objective, ppo_loss

T = TypeVar("T")

BLOCKS = 4  # at most
BLOCK_WORK = 5e8  # floating-point operations that make a block worth its own books
HALF_WORK = 1e8  # and a minibatch worth a second thread


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
        modules = list(network.modules())
        # Dropout draws from one stream of numbers, and batch statistics are those of the whole.
        apart = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)
        dropout = any(isinstance(m, Memory) and m.dropout > 0.0 for m in modules)
        on_cpu = network.value.weight.device.type == "cpu"
        self.divisible = on_cpu and not dropout and not any(isinstance(m, apart) for m in modules)
        parts_of_critic = (network.critic_sensors, network.critic_memory, network.critic_head, network.value)
        critic = {p for part in parts_of_critic if part is not None for p in part.parameters()}
        self.actor = [p for p in self.parameters if p not in critic]
        self.critic = [p for p in self.parameters if p in critic]
        common = network.critic_sensors is None and any(True for _ in network.sensors.parameters())
        self.halves = self.divisible and network.critic_memory is not None and not common
        self.pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def __call__(self, batch: Rows, objective: Objective) -> Tensor:
        """The figures of ``ppo_loss`` for a minibatch, whose gradient is then in place."""
        total = batch.weight.sum()
        blocks = self._blocks(batch)
        if len(blocks) == 1:
            pool = self.pool if batch.start.numel() * self.work >= HALF_WORK else None
            gradient, figures = self._gradient(batch, total, objective, pool)
        else:
            work = partial(self._gradient, total=total, objective=objective)
            (gradient, figures), *others = (
                map(work, blocks) if self.pool is None else self.pool.map(work, blocks)
            )
            for more, further in others:
                gradient += more
                figures += further
        self.gradient.copy_(gradient)
        return figures

    def _gradient(
        self, rows: Rows, total: Tensor, objective: Objective, pool: ThreadPoolExecutor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The gradient of all weights in one row, and the figures."""
        network, seen = self.network, (rows.observation, rows.start, rows.state)
        if self.halves:
            judge = _begin(pool, network.unroll_critic, *seen)
            distribution, values = network.unroll_actor(*seen), judge()
        else:
            distribution, values = network.unroll(*seen)
        log_prob, entropy = distribution.log_prob(rows.action), distribution.entropy()
        figures, d = ppo_loss(rows, log_prob, entropy, values, total, objective)
        acted, judged = [(log_prob, d.log_prob)], [(values, d.values)]
        if entropy is not None and d.entropy is not None:
            acted.append((entropy, d.entropy))
        if self.halves:
            critic = _begin(pool, _gradients, judged, self.critic)
            gradients = _gradients(acted, self.actor) | critic()
        else:
            gradients = _gradients(acted + judged, self.parameters)
        return torch.cat([gradients[parameter].reshape(-1) for parameter in self.parameters]), figures

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


def _gradients(outputs: list[tuple[Tensor, Tensor]], parameters: list[nn.Parameter]) -> dict[Tensor, Tensor]:
    """Of each parameter, given the outputs and the derivatives by them."""
    of, by = zip(*outputs, strict=True)
    found = torch.autograd.grad(of, parameters, by, materialize_grads=True)
    return dict(zip(parameters, found, strict=True))


def _begin(pool: ThreadPoolExecutor | None, work: Callable[..., T], *arguments: Any) -> Callable[[], T]:
    """Begin some work in another thread, if there is one; what is returned waits for its result."""
    if pool is not None:
        return pool.submit(work, *arguments).result
    result = work(*arguments)
    return lambda: result
