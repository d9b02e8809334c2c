"""The gradient of a minibatch, in parts that threads may share.

torch's own threads split single products, which are too small here. A large minibatch is worked on in
blocks of rows, and each block, or a small minibatch, in two halves, actor and critic, where these have
nothing in common. How it is parted depends on the network and on sizes alone, and sums are taken in order:
any number of threads gives the same bytes.

Where compiled kernels know the network they do everything (``compiled``) but what sensors do (``features``),
else autograd does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from rlrnn.common.batches import map_arrays
from rlrnn.learners.features import Features, divisible, learns
from rlrnn.learners.ppo import compiled
from rlrnn.learners.ppo.compiled import Batch, Part
from rlrnn.learners.ppo.loss import Objective, Sums, ppo_loss
from rlrnn.learners.ppo.rollout import Rows
from rlrnn.learners.sharing import Sharing, halved
from rlrnn.learners.vector import GradientVector
from rlrnn.network.memory import Memory
from rlrnn.network.network import RecurrentNetwork
from rlrnn.network.sensors import Sensors

T = TypeVar("T")

BLOCKS = 4  # at most
BLOCK_WORK = 5e8  # floating-point operations that make a block worth its overhead
BLOCK_STEPS = 64  # and that it has at least where sensors learn: convolutions of fewer run more slowly
HALF_WORK = 1e8  # and a minibatch worth a second thread


@dataclass(frozen=True)
class Workspace:
    """The gradient of a block, and, where kernels run the network, what writes into it."""

    gradient: Tensor  # [D]
    places: Mapping[nn.Parameter, Tensor]  # of each parameter, within that
    features: dict[Sensors, Features]
    parts: list[Part]


class MinibatchGradient:
    """Gradients for one network, left in its parameters' ``grad``, while its weights stay where they are."""

    def __init__(self, network: RecurrentNetwork, threads: int) -> None:
        self.network = network
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.work = 6 * sum(p.numel() for p in self.parameters if p.dim() > 1)  # of a step, both passes
        self.plans = compiled.plans_of(network)
        self.vector = GradientVector(self.parameters, compiled=self.plans is not None)
        self.gradient = self.vector.gradient
        dropout = any(isinstance(m, Memory) and m.dropout > 0.0 for m in network.modules())
        on_cpu = network.like.device.type == "cpu"
        self.divisible = on_cpu and not dropout and divisible(network)
        owned = (network.critic_sensors, network.critic_memory, network.critic_head, network.value)
        critic = {p for module in owned if module is not None for p in module.parameters()}
        self.actor = [p for p in self.parameters if p not in critic]
        self.critic = [p for p in self.parameters if p in critic]
        self.learns = learns(network.sensors)
        common = network.critic_sensors is None and self.learns
        self.halves = self.divisible and network.critic_memory is not None and not common
        self.workspaces: list[Workspace] = []  # of as many blocks as there have been
        self.sharing = Sharing(threads)

    def __call__(self, batch: Rows, objective: Objective) -> Tensor:
        """The figures of ``ppo_loss`` for a minibatch, whose gradient is then in place."""
        blocks = self._blocks(batch)
        total = batch.weight.sum()
        while len(self.workspaces) < len(blocks):
            self.workspaces.append(self._workspace())
        used = self.workspaces[: len(blocks)]
        way = self._by_autograd if self.plans is None else self._by_kernels
        figures = way(used, blocks, total, objective)
        self.sharing.add(self.gradient, [each.gradient for each in used[1:]])
        return figures

    def _workspace(self) -> Workspace:
        gradient = torch.empty_like(self.gradient) if self.workspaces else self.gradient
        places = self.vector.within(gradient)
        if self.plans is None:
            return Workspace(gradient, places, {}, [])
        parts = compiled.parts_of(self.network, self.plans, places)
        sensors = dict.fromkeys(part.sensors for part in parts)
        return Workspace(gradient, places, {each: Features(each, places) for each in sensors}, parts)

    def _by_kernels(
        self, used: list[Workspace], blocks: list[Rows], total: Tensor, objective: Objective
    ) -> Tensor:
        with torch.no_grad():
            batches = [Batch.of(rows, float(total), objective) for rows in blocks]
            observations = [map_arrays(lambda each: each.flatten(0, 1), rows.observation) for rows in blocks]
        forward = [
            partial(features.forward, observation)
            for workspace, observation in zip(used, observations, strict=True)
            for features in workspace.features.values()
        ]
        if any(features.learn for features in used[0].features.values()):
            self.sharing.run(forward)
        else:  # calls of a few microseconds, which threads would wait for
            for task in forward:
                task()
        results = self.sharing.run([
            partial(part.backward, batch, workspace.features[part.sensors].x)
            for workspace, batch in zip(used, batches, strict=True)
            for part in workspace.parts
        ])  # fmt: skip
        sums = np.array([added for added, _ in results]).reshape(len(used), len(used[0].parts), -1)
        gradients = iter(dx for _, dx in results)
        backward = []
        for workspace in used:
            by_features: dict[Sensors, list[Any]] = {each: [] for each in workspace.features}
            for part in workspace.parts:
                by_features[part.sensors].append(next(gradients))
            backward += [
                partial(features.backward, by_features[sensors])
                for sensors, features in workspace.features.items()
                if features.learn
            ]
        self.sharing.run(backward)
        return torch.tensor(Sums(*sums.sum((0, 1)).tolist()).figures(objective))

    def _by_autograd(
        self, used: list[Workspace], blocks: list[Rows], total: Tensor, objective: Objective
    ) -> Tensor:
        if len(blocks) == 1:
            pool = self.sharing.pool if blocks[0].start.numel() * self.work >= HALF_WORK else None
            return self._differentiate(used[0], blocks[0], total, objective, pool)
        pool, work = self.sharing.pool, partial(self._differentiate, total=total, objective=objective)
        figures, *others = (map if pool is None else pool.map)(work, used, blocks)
        for of_block in others:
            figures += of_block
        return figures

    def _differentiate(
        self,
        workspace: Workspace,
        rows: Rows,
        total: Tensor,
        objective: Objective,
        pool: ThreadPoolExecutor | None = None,
    ) -> Tensor:
        """The figures of some rows, whose gradient is left in the workspace."""
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
        with torch.no_grad():
            torch._foreach_copy_(
                list(workspace.places.values()), [gradients[parameter] for parameter in workspace.places]
            )
        return figures

    def _blocks(self, batch: Rows) -> list[Rows]:
        """The rows in 1, 2, 4 ... parts of equal size, or nearly."""
        steps, rows = batch.start.shape
        if not self.divisible:
            return [batch]
        most = min(BLOCKS, steps * rows * self.work / BLOCK_WORK)
        if self.learns:
            most = min(most, steps * rows / BLOCK_STEPS)
        parts = halved(rows, most)
        return [batch.select(part) for part in parts] if len(parts) > 1 else [batch]

    def clip(self, longest: float) -> float:
        """Shorten the gradient to at most that norm; returns its norm before. If not finite, it stays."""
        return self.vector.clip(longest)


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
