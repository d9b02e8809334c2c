"""The gradient of a minibatch, in parts that threads may share.

torch's own threads split single products, which are too small here. A large minibatch is worked on in
blocks of rows, and each block, or a small minibatch, in two halves, actor and critic, where these have
nothing in common. How it is parted depends on the network and on sizes alone, and sums are taken in order:
any number of threads gives the same bytes.

Where compiled kernels can run the whole network they do everything (``compiled``), else autograd does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from rlrnn.common.threads import workers
from rlrnn.learners.ppo import compiled
from rlrnn.learners.ppo.compiled import Batch, Part
from rlrnn.learners.ppo.loss import Objective, Sums, ppo_loss
from rlrnn.learners.ppo.rollout import Rows
from rlrnn.network.memory import Memory
from rlrnn.network.network import RecurrentNetwork
from rlrnn.network.plan import Plan

T = TypeVar("T")

BLOCKS = 4  # at most
BLOCK_WORK = 5e8  # floating-point operations that make a block worth its overhead
HALF_WORK = 1e8  # and a minibatch worth a second thread


class MinibatchGradient:
    """Gradients for one network, left in its parameters' ``grad``, while its weights stay where they are."""

    def __init__(self, network: RecurrentNetwork, threads: int) -> None:
        self.network = network
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.work = 6 * sum(p.numel() for p in self.parameters if p.dim() > 1)  # of a step, both passes
        self.gradient = network.value.weight.new_zeros(sum(p.numel() for p in self.parameters))
        for parameter, part in self._places(self.gradient).items():
            parameter.grad = part
        modules = list(network.modules())
        # Dropout draws from one stream of numbers, and batch statistics are those of the whole.
        indivisible = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)
        dropout = any(isinstance(m, Memory) and m.dropout > 0.0 for m in modules)
        on_cpu = network.value.weight.device.type == "cpu"
        self.divisible = on_cpu and not dropout and not any(isinstance(m, indivisible) for m in modules)
        owned = (network.critic_sensors, network.critic_memory, network.critic_head, network.value)
        critic = {p for module in owned if module is not None for p in module.parameters()}
        self.actor = [p for p in self.parameters if p not in critic]
        self.critic = [p for p in self.parameters if p in critic]
        common = network.critic_sensors is None and any(True for _ in network.sensors.parameters())
        self.halves = self.divisible and network.critic_memory is not None and not common
        # By kernels: a gradient for each block, and parts that write into it; made as they are needed.
        self.plans = compiled.plans_of(network)
        self.gradients: list[Tensor] = []
        self.parts: list[list[Part]] = []
        self.threads = threads
        self.pool = workers(threads) if threads > 1 else None

    def __call__(self, batch: Rows, objective: Objective) -> Tensor:
        """The figures of ``ppo_loss`` for a minibatch, whose gradient is then in place."""
        blocks = self._blocks(batch)
        total = batch.weight.sum()
        if self.plans is None:
            return self._by_autograd(blocks, total, objective)
        return self._by_kernels(self.plans, blocks, total, objective)

    def _by_kernels(
        self, plans: tuple[Plan, Plan], blocks: list[Rows], total: Tensor, objective: Objective
    ) -> Tensor:
        for _ in range(len(self.parts), len(blocks)):
            self.gradients.append(torch.empty_like(self.gradient) if self.parts else self.gradient)
            places = self._places(self.gradients[-1])
            self.parts.append(compiled.parts_of(self.network, plans, places))
        sensors = {part.sensors for part in self.parts[0]}
        with torch.no_grad():
            batches = [Batch.of(rows, sensors, float(total), objective) for rows in blocks]
        sums = np.zeros((len(blocks), len(self.parts[0]), len(Sums._fields)))

        def backward(block: int, part: int) -> None:
            sums[block, part] = self.parts[block][part].backward(batches[block])

        self._share([partial(backward, *index) for index in np.ndindex(sums.shape[:2])])
        for of_block in self.gradients[1 : len(blocks)]:
            self.gradient += of_block
        return torch.tensor(Sums(*sums.sum((0, 1)).tolist()).figures(objective))

    def _share(self, tasks: list[Callable[[], None]]) -> None:
        """Carry out all tasks, here and in other threads, each of which takes the next when it is free."""
        queue = iter(tasks)
        lock = Lock()

        def work() -> None:
            with torch.no_grad():
                while True:
                    with lock:
                        task = next(queue, None)
                    if task is None:
                        return
                    task()

        helpers = min(self.threads, len(tasks)) - 1
        others = [self.pool.submit(work) for _ in range(helpers)] if self.pool is not None else []
        work()
        for other in others:
            other.result()

    def _by_autograd(self, blocks: list[Rows], total: Tensor, objective: Objective) -> Tensor:
        if len(blocks) == 1:
            pool = self.pool if blocks[0].start.numel() * self.work >= HALF_WORK else None
            gradient, figures = self._gradient(blocks[0], total, objective, pool)
        else:
            work = partial(self._gradient, total=total, objective=objective)
            (gradient, figures), *others = (
                map(work, blocks) if self.pool is None else self.pool.map(work, blocks)
            )
            for of_block, figures_of_block in others:
                gradient += of_block
                figures += figures_of_block
        self.gradient.copy_(gradient)
        return figures

    def _gradient(
        self, rows: Rows, total: Tensor, objective: Objective, pool: ThreadPoolExecutor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The gradient of all weights in one row, and the figures."""
        network, inputs = self.network, (rows.observation, rows.start, rows.state)
        if self.halves:
            values_result = _begin(pool, network.unroll_critic, *inputs)
            distribution, values = network.unroll_actor(*inputs), values_result()
        else:
            distribution, values = network.unroll(*inputs)
        log_prob, entropy = distribution.log_prob(rows.action), distribution.entropy()
        figures, d = ppo_loss(rows, log_prob, entropy, values, total, objective)
        by_actor, by_critic = [(log_prob, d.log_prob)], [(values, d.values)]
        if entropy is not None and d.entropy is not None:
            by_actor.append((entropy, d.entropy))
        if self.halves:
            critic_result = _begin(pool, _gradients, by_critic, self.critic)
            gradients = _gradients(by_actor, self.actor) | critic_result()
        else:
            gradients = _gradients(by_actor + by_critic, self.parameters)
        return torch.cat([gradients[parameter].reshape(-1) for parameter in self.parameters]), figures

    def _places(self, gradient: Tensor) -> dict[nn.Parameter, Tensor]:
        """The gradient of each parameter, within that of all."""
        parts = gradient.split([p.numel() for p in self.parameters])
        return {p: part.view_as(p) for p, part in zip(self.parameters, parts, strict=True)}

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

    def clip(self, longest: float) -> float:
        """Shorten the gradient to at most that norm; returns its norm before. If not finite, it stays."""
        norm = self.norm()
        scale = longest / (norm + 1e-6)
        if scale < 1.0 and math.isfinite(norm):
            self.gradient *= scale
        return norm

    def norm(self) -> float:
        """The gradient's, in double precision: squares of numbers beyond 1e19 would overflow."""
        if self.plans is None:
            return float(torch.linalg.vector_norm(self.gradient, dtype=torch.float64))
        from rlrnn.learners.ppo import kernels  # late, as numba takes a while to load

        return float(kernels.norm(self.gradient.numpy()))


def _gradients(outputs: list[tuple[Tensor, Tensor]], parameters: list[nn.Parameter]) -> dict[Tensor, Tensor]:
    """Of each parameter, given the outputs and the derivatives by them."""
    tensors, grad_outputs = zip(*outputs, strict=True)
    gradients = torch.autograd.grad(tensors, parameters, grad_outputs, materialize_grads=True)
    return dict(zip(parameters, gradients, strict=True))


def _begin(pool: ThreadPoolExecutor | None, work: Callable[..., T], *arguments: Any) -> Callable[[], T]:
    """Begin some work in another thread, if there is one; what is returned waits for its result."""
    if pool is not None:
        return pool.submit(work, *arguments).result
    result = work(*arguments)
    return lambda: result
