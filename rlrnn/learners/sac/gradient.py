"""The gradients of critics and actor over replayed rows: by autograd, or by kernels that know the networks.

An update calls, in this order, ``begin``, ``of_critics`` and, when the critics have made their step,
``of_actor``.

Letters: L steps that are learned from, R rows, T = L + 1 observations of a row, N = L R; A numbers in an
action, or choices; C critics; H outputs of a memory.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from rlrnn.cells.kernels.recurrence import Array, array
from rlrnn.common.batches import map_arrays
from rlrnn.learners.features import Features
from rlrnn.learners.layers import (
    Layer,
    Places,
    Unread,
    backward,
    can_run,
    can_train,
    compiled_layer,
    forward,
)
from rlrnn.learners.replay.buffer import Rows
from rlrnn.learners.replay.burn_in import after_burn_in
from rlrnn.learners.replay.parting import parts_of
from rlrnn.learners.sac.critics import Critics
from rlrnn.learners.sharing import Sharing
from rlrnn.learners.vector import GradientVector
from rlrnn.network import plan
from rlrnn.network.actuators import ChoiceActuators, SquashedActuators
from rlrnn.network.network import RecurrentNetwork
from rlrnn.network.stream import Stream


@dataclass(frozen=True)
class Networks:
    """What learns, and the critics that are learned from."""

    actor: RecurrentNetwork
    critics: Critics
    target: Critics

    @property
    def streams(self) -> tuple[Stream, Stream, Stream]:
        """In that order."""
        return self.actor.actor, self.critics.stream, self.target.stream


class SacGradient(ABC):
    """Gradients of some networks, left in their parameters' ``grad``, while weights stay where they are."""

    compiled: bool

    def __init__(self, networks: Networks, actor: list[nn.Parameter], critics: list[nn.Parameter]) -> None:
        """``actor``, ``critics``: their parameters in the order of the gradients."""
        self.networks = networks
        self.of_actions = GradientVector(actor, compiled=self.compiled)
        self.of_values = GradientVector(critics, compiled=self.compiled)

    @abstractmethod
    def begin(self, rows: Rows, noise: Tensor | None, burn_in: int) -> float:
        """Take rows, and what the actor would do there; the mean of its log-probability: minus the entropy.

        ``noise`` [T, R, A]: standard normal numbers that it acts by; None where actions are choices.
        """

    @abstractmethod
    def of_critics(self, alpha: float, gamma: float) -> tuple[float, float]:
        """The gradient of the critics' squared error; that error and the mean value.

        The target is r + gamma (1 - terminated) (min_i Q'_i(y'_{t+1}, a_{t+1}) - alpha log pi(a_{t+1})), or,
        of choices, what the actor expects of it.
        """

    @abstractmethod
    def of_actor(self, alpha: float) -> float:
        """The gradient of alpha log pi(a) - min_i Q_i(y, a), what critics remember held fixed; its mean."""


def gradient_of(
    networks: Networks, actor: list[nn.Parameter], critics: list[nn.Parameter], threads: int = 1
) -> SacGradient:
    """By kernels if they can."""
    learning = networks.actor, networks.critics
    if (
        all(map(can_train, learning))
        and can_run(networks.target)
        and plan.plan(networks.actor.actor) is not None
    ):
        like = networks.actor.like
        memories = [plan.memory_layers(each.memory, like) for each in (networks.critics, networks.target)]
        head = networks.critics.heads[0]
        known = type(head.activation) in plan.ACTIVATIONS and not head.norm
        if known and all(layers is not None for layers in memories):
            return ByKernels(networks, actor, critics, threads)
    return ByAutograd(networks, actor, critics)


class Taken:
    """Rows without their burn-in: what each stream reads, and what was done."""

    def __init__(self, networks: Networks, rows: Rows, burn_in: int, total: float | None = None) -> None:
        """``total``: steps of the minibatch that the rows are a part of; None: theirs."""
        streams = networks.streams
        self.seen = [after_burn_in(stream, rows, rows.state, burn_in) for stream in streams]
        burned = len(rows.weight) - len(self.seen[0][1])
        self.action, self.reward = rows.action[burned:], rows.reward[burned:]
        self.terminated, weight = rows.terminated[burned:], rows.weight[burned:-1]
        whole = max(float(weight.sum()), 1.0) if total is None else total
        self.share = weight / whole  # [L, R] of each step in a mean


class ByAutograd(SacGradient):
    """Any networks; the specification of ``ByKernels``."""

    compiled = False

    def begin(self, rows: Rows, noise: Tensor | None, burn_in: int) -> float:
        self.taken = taken = Taken(self.networks, rows, burn_in)
        observation, start, state = taken.seen[0]
        actor = self.networks.actor.actor
        numbers = actor.read(actor.outputs(actor.features(observation), start, state))  # [T, R, O]
        actuators = self.networks.actor.actuators
        if isinstance(actuators, SquashedActuators):
            self.drawn, self.log_prob = actuators.distribution(numbers).draw(noise=noise)
        else:
            self.log_p = numbers.log_softmax(-1)
            self.log_prob = (self.log_p.exp() * self.log_p).sum(-1)
        return float((self.log_prob[:-1].detach() * taken.share).sum())

    def _worth(self, critics: Critics, y: Tensor, where: slice, alpha: float) -> Tensor:
        """What the actor would do is worth by the least estimate, its entropy included: [L, R]."""
        if critics.chooses:
            log_p = self.log_p[where]
            worth: Tensor = (log_p.exp() * (critics(y).amin(0) - alpha * log_p)).sum(-1)
        else:
            worth = critics(y, self.drawn[where]).amin(0) - alpha * self.log_prob[where]
        return worth

    def of_critics(self, alpha: float, gamma: float) -> tuple[float, float]:
        taken, critics, target = self.taken, self.networks.critics, self.networks.target
        with torch.no_grad():
            y = target.outputs(*taken.seen[2])[1:]
            live = gamma * (~taken.terminated).to(taken.reward.dtype)
            wanted = taken.reward + live * self._worth(target, y, slice(1, None), alpha)
        y = critics.outputs(*taken.seen[1])[:-1]
        if critics.chooses:
            every = critics(y)  # [C, L, R, A]
            q = every.gather(-1, taken.action.expand(len(every), *taken.action.shape)).squeeze(-1)
        else:
            q = critics(y, taken.action)
        loss = 0.5 * ((q - wanted).square().sum(0) * taken.share).sum()
        gradients = torch.autograd.grad(loss, self.of_values.parameters, materialize_grads=True)
        torch._foreach_copy_(list(self.of_values.places.values()), gradients)
        return float(loss.detach()), float((q.detach().mean(0) * taken.share).sum())

    def of_actor(self, alpha: float) -> float:
        with torch.no_grad():
            y = self.networks.critics.outputs(*self.taken.seen[1])[:-1]
        worth = self._worth(self.networks.critics, y, slice(None, -1), alpha)
        loss = -(worth * self.taken.share).sum()
        gradients = torch.autograd.grad(loss, self.of_actions.parameters, materialize_grads=True)
        torch._foreach_copy_(list(self.of_actions.places.values()), gradients)
        return float(loss.detach())


class CompiledCritics:
    """Critics by kernels, on one set of rows at a time."""

    def __init__(self, critics: Critics, places: Places) -> None:
        layers = plan.memory_layers(critics.memory, critics.values[0].weight)
        assert layers is not None
        self.critics = critics
        self.memory = [compiled_layer(layer, places) for layer in layers]
        self.heads = [self._head(number, places) for number in range(len(critics.heads))]
        self.fixed = [
            self._head(number, Unread()) for number in range(len(critics.heads))
        ]  # that do not learn

    def _head(self, number: int, places: Places) -> list[Layer]:
        head, value = self.critics.heads[number], self.critics.values[number]
        activation = plan.ACTIVATIONS[type(head.activation)]
        dense = [plan.Dense(layer.weight, layer.bias, activation) for layer in head.affine]
        output = plan.Dense(value.weight, value.bias, "identity")
        return [compiled_layer(each, places) for each in (*dense, output)]

    def values(self, heads: Sequence[Sequence[Layer]], y: Array, action: Array | None) -> Array:
        """y [N, H], action [N, A] -> Q [C, N], or of each choice [C, N, A]."""
        x = y if action is None else np.concatenate((y, action), axis=1)
        nothing = np.empty((0, 0), np.bool_), np.empty((0, 0), np.float32)
        q = np.stack([forward(head, x, *nothing) for head in heads])
        return q if action is None else q[..., 0]

    @staticmethod
    def inputs_gradient(heads: Sequence[Sequence[Layer]], dq: Array) -> Array:
        """dq [C, N] or [C, N, A] -> by what the heads read: [N, H + A] or [N, H]."""
        parts = []
        for head, d in zip(heads, dq, strict=True):
            dx = backward(head, np.ascontiguousarray(d).reshape(len(d), -1), True)
            assert dx is not None
            parts.append(dx)
        total: Array = np.add.reduce(parts)
        return total


class ByKernels(SacGradient):
    """Networks with plans: forward and backward written out, in blocks of rows that threads may share."""

    compiled = True

    def __init__(
        self,
        networks: Networks,
        actor: list[nn.Parameter],
        critics: list[nn.Parameter],
        threads: int = 1,
    ) -> None:
        super().__init__(networks, actor, critics)
        self.sharing = Sharing(threads)
        self.blocks = [Block(networks, self.of_actions.places, self.of_values.places)]
        self.gradients = [(self.of_actions.gradient, self.of_values.gradient)]  # of each block
        # Of a step, in products: all learns, the critics run twice more, and heads pass a gradient on.
        self.work = 12 * sum(p.numel() for p in (*actor, *critics) if p.dim() > 1)

    def begin(self, rows: Rows, noise: Tensor | None, burn_in: int) -> float:
        burned = min(burn_in, len(rows.action) - 1)
        total = max(float(rows.weight[burned:-1].sum()), 1.0)
        parts = parts_of(rows, self.work)
        while len(self.blocks) < len(parts):
            vectors = self.of_actions, self.of_values
            gradients = torch.empty_like(vectors[0].gradient), torch.empty_like(vectors[1].gradient)
            self.gradients.append(gradients)
            places = [vector.within(own) for vector, own in zip(vectors, gradients, strict=True)]
            self.blocks.append(Block(self.networks, *places))
        self.used = self.blocks[: len(parts)]
        ends = np.cumsum([0, *map(len, parts)])
        noises = [None if noise is None else noise[:, a:b] for a, b in itertools.pairwise(ends)]
        tasks = [
            partial(block.begin, part, own, burn_in, total)
            for block, part, own in zip(self.used, parts, noises, strict=True)
        ]
        return float(np.sum(self.sharing.run(tasks)))

    def of_critics(self, alpha: float, gamma: float) -> tuple[float, float]:
        added = self.sharing.run([partial(block.of_critics, alpha, gamma) for block in self.used])
        self.sharing.add(self.of_values.gradient, [own for _, own in self.gradients[1 : len(self.used)]])
        loss, mean = np.sum(added, axis=0).tolist()
        return loss, mean

    def of_actor(self, alpha: float) -> float:
        added = self.sharing.run([partial(block.of_actor, alpha) for block in self.used])
        self.sharing.add(self.of_actions.gradient, [own for own, _ in self.gradients[1 : len(self.used)]])
        return float(np.sum(added))


class Block:
    """Some rows at a time of a minibatch, whose gradients go to places of their own: see ``SacGradient``."""

    def __init__(
        self,
        networks: Networks,
        of_actions: Mapping[nn.Parameter, Tensor],
        of_values: Mapping[nn.Parameter, Tensor],
    ) -> None:
        self.networks = networks
        places = {parameter: part.numpy() for parameter, part in of_actions.items()}
        planned = plan.plan(networks.actor.actor)
        assert planned is not None
        self.actor = [compiled_layer(layer, places) for layer in planned.layers]
        places = {parameter: part.numpy() for parameter, part in of_values.items()}
        self.critics = CompiledCritics(networks.critics, places)
        self.target = CompiledCritics(networks.target, Unread())
        self.chooses = isinstance(networks.actor.actuators, ChoiceActuators)
        self.features = [
            Features(networks.actor.sensors, of_actions),
            Features(networks.critics.sensors, of_values),
            Features(networks.target.sensors, {}),
        ]

    @np.errstate(all="ignore")  # what is no number any more is told when all is added up
    def begin(self, rows: Rows, noise: Tensor | None, burn_in: int, total: float) -> float:
        """What the rows add to the mean log-probability; ``total``: the steps that all learn from."""
        from rlrnn.learners.sac import kernels  # late, as numba takes a while to load
        from rlrnn.network.kernels import squash

        taken = Taken(self.networks, rows, burn_in, total)
        self.flat = map_arrays(lambda a: a.flatten(0, 1), taken.seen[0][0])
        alike = not any(features.learn for features in self.features)  # whose statistics are the same
        for features in self.features[:1] if alike else self.features:
            features.forward(self.flat)
        self.x = [self.features[0 if alike else i].x for i in range(3)]
        self.start = array(taken.seen[0][1])
        self.states = [array(state) for _, _, state in taken.seen]
        self.count = taken.reward.numel()  # N
        self.action, self.reward = array(taken.action.flatten(0, 1)), array(taken.reward.flatten())
        self.live, self.share = (
            1.0 - array(taken.terminated.flatten()).astype(np.float32),
            array(taken.share.flatten()),
        )
        self.numbers = forward(self.actor, self.x[0], self.start, self.states[0])  # [T R, O]
        self.log_prob = np.empty(len(self.numbers), np.float32)
        if self.chooses:
            self.log_p, self.p = np.empty_like(self.numbers), np.empty_like(self.numbers)
            kernels.choose(self.numbers, self.log_p, self.p, self.log_prob)
        else:
            assert noise is not None
            self.noise = array(noise.flatten(0, 1))
            self.drawn = np.empty_like(self.noise)
            squash(self.numbers, self.noise, self.drawn, self.log_prob)
        return float(kernels.mean(self.log_prob[: self.count], self.share))

    def _remembered(self, critics: CompiledCritics, which: int) -> Array:
        """The memory's outputs [T R, H]."""
        columns = critics.critics.columns
        return forward(critics.memory, self.x[which], self.start, self.states[which][:, columns])

    @np.errstate(all="ignore")
    def of_critics(self, alpha: float, gamma: float) -> tuple[float, float]:
        """What the rows add to the error and the mean value."""
        weight, decay = np.float32(alpha), np.float32(gamma)
        rows = len(self.numbers) - self.count  # R
        after = slice(rows, None)
        y = self._remembered(self.target, 2)[after]
        if self.chooses:
            least = self.target.values(self.target.fixed, y, None).min(0)
            worth = (self.p[after] * (least - weight * self.log_p[after])).sum(-1)
        else:
            least = self.target.values(self.target.fixed, y, self.drawn[after]).min(0)
            worth = least - weight * self.log_prob[after]
        wanted = self.reward + decay * self.live * worth  # [N]
        critics = self.critics
        y = self._remembered(critics, 1)
        every = critics.values(critics.heads, y[: self.count], None if self.chooses else self.action)
        q = np.take_along_axis(every, self.action[None], axis=-1)[..., 0] if self.chooses else every
        error = q - wanted
        dq = error * self.share
        loss, mean = 0.5 * float((error * dq).sum()), float((q.mean(0) * self.share).sum())
        if self.chooses:
            by_choice = np.zeros_like(every)
            np.put_along_axis(by_choice, self.action[None], dq[..., None], axis=-1)
            dq = by_choice
        dy = np.zeros_like(y)
        dy[: self.count] = critics.inputs_gradient(critics.heads, dq)[:, : y.shape[1]]
        dx = backward(critics.memory, dy, self.features[1].learn)
        if dx is not None:
            self.features[1].backward([dx])
        return loss, mean

    @np.errstate(all="ignore")
    def of_actor(self, alpha: float) -> float:
        """What the rows add to the loss."""
        from rlrnn.learners.sac import kernels

        weight, count, critics, share = np.float32(alpha), self.count, self.critics, self.share
        if self.features[1].learn:  # and have made a step
            with torch.no_grad():
                self.x[1] = array(self.networks.critics.sensors(self.flat))
        y = self._remembered(critics, 1)[:count]
        d_numbers = np.zeros_like(self.numbers)
        if self.chooses:
            p, log_p = self.p[:count], self.log_p[:count]
            cost = weight * log_p - critics.values(critics.fixed, y, None).min(0)
            expected = (p * cost).sum(-1, keepdims=True)
            d_numbers[:count] = p * (cost - expected) * share[:, None]
            loss = float(expected[:, 0] @ share)
        else:
            drawn = self.drawn[:count]
            q = critics.values(critics.fixed, y, drawn)  # [C, N]
            least = q.argmin(0)
            dq = np.where(np.arange(len(q))[:, None] == least, -share, np.float32(0.0))
            d_action = np.ascontiguousarray(critics.inputs_gradient(critics.fixed, dq)[:, y.shape[1] :])
            loss = float((weight * self.log_prob[:count] - q.min(0)) @ share)
            arrays = self.numbers[:count], self.noise[:count], drawn, d_action
            kernels.squash_gradient(*arrays, weight, share, d_numbers[:count])
        dx = backward(self.actor, d_numbers, self.features[0].learn)
        if dx is not None:
            self.features[0].backward([dx])
        return loss
