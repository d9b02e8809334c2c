"""The gradients of critics and actor: by kernels and by autograd, beside the formulas step by step."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import Tensor, nn

from rlrnn.common import compiling
from rlrnn.learners.replay import parting
from rlrnn.learners.replay.buffer import Rows
from rlrnn.learners.sac import gradient
from rlrnn.learners.sac.critics import Critics
from rlrnn.learners.sac.gradient import ByAutograd, ByKernels, Networks, SacGradient
from rlrnn.network.network import NetworkDescription, RecurrentNetwork
from rlrnn.testing.rounding import assert_close, bound

STEPS, ROWS, UNITS = 9, 7, 6  # L, with burn-in; R; H
ALPHA, GAMMA = 0.3, 0.9
ONE, THREE, CHOICE = spaces.Box(-2, 2, (1,)), spaces.Box(-1, 1, (3,)), spaces.Discrete(3)
kernels = pytest.mark.skipif(not compiling.can_compile(), reason="numba is missing or switched off")


class Learning(FlattenExtractor):
    """Sensors with weights."""

    def __init__(self, space: spaces.Box) -> None:
        super().__init__(space)
        self.weight = nn.Parameter(torch.randn(3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.weight)


def networks(space: spaces.Space[Any] = ONE, count: int = 2, **how: Any) -> Networks:
    chooses = isinstance(space, spaces.Discrete)
    given = {"hidden_size": UNITS, "actor_widths": (5,), "critic_widths": (5,), "orthogonal": False}
    fixed = {"critic": "none", "actions": "drawn" if chooses else "squashed"}
    description = NetworkDescription(**{**given, **how, **fixed})
    seen = spaces.Box(-1, 1, (3,))
    actor = RecurrentNetwork(description, seen, space)
    size, first = actor.actuators.action_size, actor.state_sizes[0]
    pair = [Critics(description, seen, space, size, count, first) for _ in range(2)]
    return Networks(actor, pair[0], pair[1].requires_grad_(False))


def some_rows(nets: Networks, rows: int = ROWS) -> Rows:
    """With resets, ends, and steps where nothing was done."""
    shape, size = (STEPS, rows), nets.actor.actuators.action_size
    drawn = torch.rand(*shape, size) * 2 - 1
    return Rows(
        observation=torch.randn(STEPS + 1, rows, 3),
        start=torch.rand(STEPS + 1, rows) < 0.2,
        state=torch.randn(rows, nets.critics.columns.stop),
        action=torch.randint(0, 3, (*shape, 1)) if nets.critics.chooses else drawn,
        reward=torch.randn(shape),
        terminated=torch.rand(shape) < 0.2,
        weight=(torch.rand(STEPS + 1, rows) < 0.7).float(),
    )


def some_noise(nets: Networks, rows: Rows, burn_in: int = 0) -> Tensor | None:
    size = nets.actor.actuators.action_size
    return None if nets.critics.chooses else torch.randn(len(rows.weight) - burn_in, len(rows), size)


def in_double(*modules: Any) -> None:
    """Sensors too, which hand on single precision by themselves."""
    for module in modules:
        module.double()
        module.sensors.extractor.register_forward_pre_hook(lambda _, given: (given[0].double(),))


def rows_in_double(rows: Rows) -> Rows:
    return Rows(**{name: x.double() if x.is_floating_point() else x for name, x in vars(rows).items()})


def weights_of(nets: Networks) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    return list(nets.actor.parameters()), list(nets.critics.parameters())


def computed(
    kind: type[SacGradient], nets: Networks, rows: Rows, noise: Tensor | None, burn_in: int, moved: Networks
) -> list[Tensor]:
    """All figures and gradients; the critics make a step, to where ``moved`` stands, before the actor's."""
    actor, critics = weights_of(nets)
    worked = kind(nets, actor, critics)
    figures = [worked.begin(rows, noise, burn_in), *worked.of_critics(ALPHA, GAMMA)]
    of_values = [p.clone() for p in worked.of_values.places.values()]
    before = [p.detach().clone() for p in critics]
    put(critics, list(moved.critics.parameters()))
    figures.append(worked.of_actor(ALPHA))
    put(critics, before)
    of_actions = [p.clone() for p in worked.of_actions.places.values()]
    return [torch.tensor(figures), *of_values, *of_actions]


def put(weights: list[nn.Parameter], values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for weight, value in zip(weights, values, strict=True):
            weight.copy_(value)


def remembered(
    module: Any, memory: Any, rows: Rows, state: Tensor, steps: slice
) -> tuple[list[Tensor], Tensor]:
    """A memory's outputs at some steps, one at a time, and its part of the state after them."""
    outputs = []
    for t in range(*steps.indices(len(rows.weight))):
        y, state = memory.step(module.sensors(rows.observation[t]), rows.start[t], state)
        outputs.append(y)
    return outputs, state


def formula(nets: Networks, rows: Rows, noise: Tensor | None, burn_in: int, moved: Networks) -> list[Tensor]:
    """The losses as they are printed (Haarnoja et al. 2018; of choices, Christodoulou 2019), in float64."""
    nets, moved = copy.deepcopy((nets, moved))
    in_double(nets.actor, nets.critics, nets.target, moved.critics)
    rows = rows_in_double(rows)
    network = nets.actor
    first, later, y = slice(burn_in), slice(burn_in, None), {}
    for name, each in (("actor", network), ("critics", nets.critics), ("target", nets.target)):
        columns = slice(0, network.state_sizes[0]) if each is network else each.columns
        with torch.no_grad():
            _, state = remembered(each, each.memory, rows, rows.state[:, columns], first)
        y[name], _ = remembered(each, each.memory, rows, state, later)
        if each is nets.critics:  # whose step changes what they say of the steps after the burn-in alone
            with torch.no_grad():
                y["moved"], _ = remembered(moved.critics, moved.critics.memory, rows, state, later)
    y_actor = y["actor"]
    steps, everyone = len(y_actor) - 1, range(len(rows))
    counted = sum(float(rows.weight[burn_in + t, r]) for t in range(steps) for r in everyone)

    def q(critics: Critics, seen: Tensor, action: Tensor | None) -> list[Tensor]:
        x = seen if action is None else torch.cat((seen, action))
        return [value(head(x)) for head, value in zip(critics.heads, critics.values, strict=True)]

    def worth(critics: Critics, seen: Tensor, t: int, r: int) -> tuple[Tensor, Tensor]:
        """What the actor expects at a step, and its log-probability, or the mean of it."""
        numbers = network.actuators.output(network.actor_head(y_actor[t][r]))
        if noise is None:
            every = q(critics, seen, None)
            p, total, mean = numbers.softmax(0), 0.0, 0.0
            for a in range(len(p)):
                least = torch.stack([each[a] for each in every]).min()
                total = total + p[a] * (least - ALPHA * p[a].log())
                mean = mean + p[a] * p[a].log()
            return total, mean
        size = len(numbers) // 2
        normal = torch.distributions.Normal(numbers[:size], numbers[size:].clamp(-20, 2).exp())
        u = normal.loc + normal.scale * noise[t, r].double()
        log_prob = (normal.log_prob(u) - torch.log1p(-(torch.tanh(u) ** 2))).sum()
        return torch.cat(q(critics, seen, torch.tanh(u))).min() - ALPHA * log_prob, log_prob

    zero = torch.zeros((), dtype=torch.float64)
    negentropy, critic_loss, value, actor_loss = zero, zero, zero, zero
    for t in range(steps):
        for r in everyone:
            step = burn_in + t
            share = rows.weight[step, r] / max(counted, 1.0)
            with torch.no_grad():
                live = 0.0 if rows.terminated[step, r] else GAMMA
                target = rows.reward[step, r] + live * worth(nets.target, y["target"][t + 1][r], t + 1, r)[0]
            if noise is None:
                taken = [each[rows.action[step, r, 0]] for each in q(nets.critics, y["critics"][t][r], None)]
            else:
                taken = [each[0] for each in q(nets.critics, y["critics"][t][r], rows.action[step, r])]
            for each in taken:
                critic_loss = critic_loss + share * 0.5 * (each - target) ** 2
                value = value + share * each / len(taken)
            expected, log_prob = worth(moved.critics, y["moved"][t][r], t, r)
            actor_loss, negentropy = actor_loss - share * expected, negentropy + share * log_prob
    actor, critics = weights_of(nets)
    figures = torch.stack([each.detach() for each in (negentropy, critic_loss, value, actor_loss)])
    of_values = torch.autograd.grad(critic_loss, critics, materialize_grads=True)
    of_actions = torch.autograd.grad(actor_loss, actor, materialize_grads=True)
    return [figures, *of_values, *of_actions]


NETWORKS: dict[str, dict[str, Any]] = {
    "gru": {"cell": "gru"},
    "lstm, three actions": {"cell": "lstm", "space": THREE},
    "elman, choices": {"cell": "elman", "space": CHOICE},
    "gru, choices, three critics": {"cell": "gru", "space": CHOICE, "count": 3},
    "taps": {"cell": "fir", "cell_options": {"taps": 3}, "count": 1},
    "no memory": {"cell": "none", "space": THREE},
    "no memory, choices": {"cell": "none", "space": CHOICE, "count": 1},
    "layers": {"cell": "gru", "n_layers": 2, "activation": nn.ReLU, "critic_widths": (7, 5), "count": 3},
    "no heads": {"cell": "lstm", "actor_widths": (), "critic_widths": ()},
    "sensors learn": {"cell": "gru", "extractor_class": Learning},
    "sensors learn, choices": {"cell": "lstm", "space": CHOICE, "extractor_class": Learning},
    "normalised": {"cell": "gru", "normalize_observations": True},
    "norms in heads": {"cell": "gru", "head_norm": True, "space": THREE},
}
UNKNOWN_TO_KERNELS = {"norms in heads"}
KINDS = [pytest.param(ByKernels, marks=kernels), ByAutograd]


@pytest.mark.parametrize("kind", KINDS, ids=["kernels", "autograd"])
@pytest.mark.parametrize("burn_in", [0, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradients_are_those_of_the_printed_formulas(
    name: str, burn_in: int, kind: type[SacGradient]
) -> None:
    nets, moved = networks(**NETWORKS[name]), networks(**NETWORKS[name])
    known = compiling.can_compile() and name not in UNKNOWN_TO_KERNELS
    assert type(gradient.gradient_of(nets, *weights_of(nets))) is (ByKernels if known else ByAutograd)
    if kind is ByKernels and not known:
        return
    rows = some_rows(nets)
    seen = 5 * torch.randn(50, 3) + 1
    for each in (nets.actor, nets.critics, nets.target, moved.critics):
        each.observe(seen)  # where observations are normalised
    noise = some_noise(nets, rows, burn_in)
    found = computed(kind, nets, rows, noise, burn_in, moved)
    wanted = formula(nets, rows, noise, burn_in, moved)
    assert any(bool(each.any()) for each in wanted[1:])
    assert_close(found, wanted, bound(torch.float32, STEPS, ROWS, 3 * UNITS))


def test_networks_that_kernels_do_not_know_go_by_autograd() -> None:
    for how in ({"cell": "lru"}, {"cell": "gru", "activation": nn.ELU}):
        nets = networks(**how)
        assert type(gradient.gradient_of(nets, *weights_of(nets))) is ByAutograd


@kernels
@pytest.mark.parametrize("space", [THREE, CHOICE], ids=["box", "choices"])
def test_blocks_of_rows_add_up_whoever_works_on_them(
    space: spaces.Space[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two blocks or four are the whole to rounding, and one thread or two the same bytes."""
    nets = networks(space, cell="gru", extractor_class=Learning)
    rows = some_rows(nets, 21)
    noise = some_noise(nets, rows, 2)
    results = []
    for blocks, threads in ((1, 1), (2, 1), (4, 1), (4, 2)):
        monkeypatch.setattr(parting, "BLOCKS", blocks)
        monkeypatch.setattr(parting, "BLOCK_WORK", 1.0)
        worked = ByKernels(nets, *weights_of(nets), threads)
        figures = [worked.begin(rows, noise, 2), *worked.of_critics(ALPHA, GAMMA), worked.of_actor(ALPHA)]
        assert len(worked.used) == blocks
        of_all = [worked.of_values.gradient.clone(), worked.of_actions.gradient.clone()]
        results.append([torch.tensor(figures), *of_all])
    for each in results[1:]:
        assert_close(each, results[0], bound(torch.float32, STEPS, 21, 3 * UNITS))
    for one, other in zip(results[2], results[3], strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["gru", "lstm, three actions", "gru, choices, three critics"])
def test_autograd_agrees_with_finite_differences(name: str) -> None:
    """Of both losses in float64, through resets, along random directions."""
    nets = networks(**NETWORKS[name])
    in_double(nets.actor, nets.critics, nets.target)
    rows = rows_in_double(some_rows(nets))
    noise = some_noise(nets, rows)
    noise = None if noise is None else noise.double()
    worked = ByAutograd(nets, *weights_of(nets))

    def losses() -> tuple[float, float]:
        worked.begin(rows, noise, 0)
        return worked.of_critics(ALPHA, GAMMA)[0], worked.of_actor(ALPHA)

    losses()
    gradients = [worked.of_values.gradient.clone(), worked.of_actions.gradient.clone()]
    for which, vector in enumerate((worked.of_values, worked.of_actions)):
        for _ in range(3):
            direction = [torch.randn_like(p) for p in vector.parameters]
            values = []
            for h in (1e-5, -2e-5):
                with torch.no_grad():
                    for p, d in zip(vector.parameters, direction, strict=True):
                        p.add_(d, alpha=h)
                values.append(losses()[which])
            with torch.no_grad():
                for p, d in zip(vector.parameters, direction, strict=True):
                    p.add_(d, alpha=1e-5)
            slope = (values[0] - values[1]) / 2e-5
            along = float(gradients[which] @ torch.cat([d.flatten() for d in direction]))
            assert slope == pytest.approx(along, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("kind", KINDS, ids=["kernels", "autograd"])
def test_no_gradient_enters_the_burn_in(kind: type[SacGradient]) -> None:
    """It is as if the row began after it, with the memories that today's networks have by then."""
    nets = networks(cell="lstm")
    rows = replace(some_rows(nets), start=torch.zeros(STEPS + 1, ROWS, dtype=torch.bool))
    noise = some_noise(nets, rows, 4)
    found = computed(kind, nets, rows, noise, 4, nets)
    streams = nets.actor.actor, nets.critics.stream, nets.target.stream
    states = [torch.zeros_like(rows.state) for _ in streams]
    with torch.no_grad():
        for stream, state in zip(streams, states, strict=True):
            own = rows.state[:, stream.columns]
            for t in range(4):
                _, own = stream.memory.step(rows.observation[t], rows.start[t], own)
            state[:, stream.columns] = own
    # The target's memory is another one than the critics', so it takes rows of its own.
    later = Rows(
        **{name: value[4:] for name, value in vars(rows).items() if name != "state"}, state=states[1]
    )
    later.state[:, : nets.actor.state_sizes[0]] = states[0][:, : nets.actor.state_sizes[0]]
    moved = Networks(nets.actor, nets.critics, copy.deepcopy(nets.critics))  # the same memory in both
    one = computed(kind, moved, rows, noise, 4, moved)
    other = computed(kind, moved, later, noise, 0, moved)
    assert_close(one, other, bound(torch.float32, STEPS, ROWS, 3 * UNITS))
    assert not torch.equal(found[0], one[0])  # which target it is does matter


@pytest.mark.parametrize("kind", KINDS, ids=["kernels", "autograd"])
@pytest.mark.parametrize("space", [ONE, CHOICE], ids=["box", "choices"])
class TestTargets:
    """With critics that say 0, half the squared target is all that is left of the loss: it is read off."""

    def target(self, kind: type[SacGradient], nets: Networks, rows: Rows, noise: Tensor | None) -> float:
        worked = kind(nets, *weights_of(nets))
        worked.begin(rows, noise, 0)
        return math.sqrt(worked.of_critics(ALPHA, GAMMA)[0])  # of two critics, and one step that counts

    def case(self, space: spaces.Space[Any], step: int) -> tuple[Networks, Rows, Tensor | None]:
        """One row without ends or resets, of which one step counts."""
        nets = networks(space, cell="gru")
        with torch.no_grad():
            for value in nets.critics.values:
                value.weight.zero_()
                value.bias.zero_()
        rows = some_rows(nets, 1)
        weight = torch.zeros(STEPS + 1, 1)
        weight[step] = 1.0
        no = torch.zeros(STEPS + 1, 1, dtype=torch.bool)
        rows = replace(rows, weight=weight, start=no, terminated=no[:-1])
        return nets, replace(rows, reward=rows.reward + 30.0), some_noise(nets, rows)

    def test_it_depends_on_the_first_observation(
        self, space: spaces.Space[Any], kind: type[SacGradient]
    ) -> None:
        nets, rows, noise = self.case(space, 1)
        other = rows.observation.clone()
        other[0] += 1.0
        changed = replace(rows, observation=other)
        assert self.target(kind, nets, rows, noise) != self.target(kind, nets, changed, noise)
        start = rows.start.clone()
        start[1] = True  # and not beyond a reset
        rows, changed = replace(rows, start=start), replace(changed, start=start)
        assert self.target(kind, nets, rows, noise) == self.target(kind, nets, changed, noise)

    def test_a_terminated_end_is_worth_its_reward(
        self, space: spaces.Space[Any], kind: type[SacGradient]
    ) -> None:
        nets, rows, noise = self.case(space, 4)
        live = self.target(kind, nets, rows, noise)
        over = rows.terminated.clone()
        over[4] = True
        ended = self.target(kind, nets, replace(rows, terminated=over), noise)
        assert ended == pytest.approx(float(rows.reward[4, 0]), rel=1e-6)
        assert abs(live - ended) > 1e-3  # a truncated one goes on to the value of what came

    def test_what_follows_the_next_observation_changes_nothing(
        self, space: spaces.Space[Any], kind: type[SacGradient]
    ) -> None:
        nets, rows, noise = self.case(space, 4)
        other = rows.observation.clone()
        other[6:] += 1.0
        changed = replace(rows, observation=other)
        assert self.target(kind, nets, rows, noise) == self.target(kind, nets, changed, noise)
        other = rows.observation.clone()
        other[5:] += 1.0
        changed = replace(rows, observation=other)
        assert self.target(kind, nets, rows, noise) != self.target(kind, nets, changed, noise)


def test_critics_remember_for_themselves() -> None:
    """Neither the actor's encoder nor its part of the state reaches what critics say."""
    nets = networks(cell="gru")
    rows = some_rows(nets)
    before = nets.critics.outputs(rows.observation, rows.start, rows.state)
    with torch.no_grad():
        for p in (*nets.actor.sensors.parameters(), *nets.actor.memory.parameters()):
            p.add_(torch.randn_like(p))
    state = rows.state.clone()
    state[:, : nets.actor.state_sizes[0]] += 1.0
    assert torch.equal(before, nets.critics.outputs(rows.observation, rows.start, state))
    state[:, nets.actor.state_sizes[0] :] += 1.0  # its own part does
    assert not torch.equal(before, nets.critics.outputs(rows.observation, rows.start, state))
