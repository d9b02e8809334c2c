"""However a minibatch is parted, and whoever works on the parts, its gradient is the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import Tensor, nn

from rlrnn.common import compiling
from rlrnn.learners.ppo import compiled, gradient
from rlrnn.learners.ppo.gradient import MinibatchGradient
from rlrnn.learners.ppo.loss import FIGURES, Objective, Sums, ppo_loss
from rlrnn.learners.ppo.rollout import Rows
from rlrnn.network.network import NetworkDescription, RecurrentNetwork

STEPS, ROWS = 14, 9
OBJECTIVE = Objective(clip_range=0.2, clip_range_vf=0.5, ent_coef=0.02, vf_coef=0.7)
BOX = spaces.Box(-1, 1, (2,))


def network(action_space: spaces.Space[Any] = BOX, **description: Any) -> RecurrentNetwork:
    described = NetworkDescription(**{"hidden_size": 8, "orthogonal": False, **description})
    return RecurrentNetwork(described, spaces.Box(-1, 1, (3,)), action_space)


def minibatch(net: RecurrentNetwork, rows: int = ROWS) -> Rows:
    """Some steps count, some do not, and some ratios and values are beyond their clip ranges."""
    shape = (STEPS, rows)
    if isinstance(net.actuators.space, spaces.Box):
        action = torch.randn(*shape, net.actuators.action_size)
    else:
        action = torch.randint(0, 2, (*shape, net.actuators.action_size))
    seen, start, state = torch.randn(*shape, 3), torch.rand(shape) < 0.1, torch.randn(rows, net.state_size)
    with torch.no_grad():
        distribution, value = net.unroll(seen, start, state)
        log_prob = distribution.log_prob(action) + 0.3 * torch.randn(shape)
    return Rows(
        observation=seen,
        start=start,
        state=state,
        action=action,
        log_prob=log_prob,
        value=value + torch.randn(shape),
        advantage=torch.randn(shape),
        target=torch.randn(shape),
        weight=(torch.rand(shape) < 0.8).float(),
    )


def formula(net: RecurrentNetwork, rows: Rows, objective: Objective) -> tuple[Tensor, Tensor]:
    """PPO's loss as it is printed, over the steps that count; autograd does the rest."""
    distribution, values = net.unroll(rows.observation, rows.start, rows.state)
    log_prob, entropy = distribution.log_prob(rows.action), distribution.entropy()
    counts = rows.weight.bool()

    def mean(x: Tensor) -> Tensor:
        return x[counts].mean()

    ratio = (log_prob - rows.log_prob).exp()
    near = ratio.clamp(1 - objective.clip_range, 1 + objective.clip_range)
    policy_loss = -mean(torch.min(ratio * rows.advantage, near * rows.advantage))
    if objective.clip_range_vf is not None:
        reach = objective.clip_range_vf
        values = rows.value + (values - rows.value).clamp(-reach, reach)
    value_loss = mean((values - rows.target) ** 2)
    entropy_loss = -mean(-log_prob if entropy is None else entropy)
    loss = policy_loss + objective.ent_coef * entropy_loss + objective.vf_coef * value_loss
    kl = mean(ratio - 1 - ratio.log())
    clipped = mean(((ratio - 1).abs() > objective.clip_range).float())
    return loss, torch.stack((policy_loss, value_loss, entropy_loss, kl, clipped, loss)).detach()


class Learning(FlattenExtractor):
    """Sensors with weights."""

    def __init__(self, space: spaces.Box) -> None:
        super().__init__(space)
        self.weight = nn.Parameter(torch.randn(3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.weight)


class Stopping(Learning):
    """Sensors whose weights the loss does not reach."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


NETWORKS: dict[str, dict[str, Any]] = {
    "own": {"cell": "lstm"},
    "shared": {"cell": "gru", "critic": "shared"},
    "detached": {"cell": "elman", "critic": "detached"},
    "feedforward": {"cell": "gru", "critic": "feedforward", "activation": nn.ReLU},
    "no memory": {"cell": "none"},
    "layers": {
        "cell": "lstm",
        "n_layers": 2,
        "activation": nn.ReLU,
        "actor_widths": (),
        "critic_widths": (7,),
    },
    "mixed": {"cell": "elman", "cell_options": {"nonlinearity": "relu", "bias": False}, "n_layers": 3},
    "sensors apart": {"cell": "gru", "share_extractor": False, "normalize_observations": True},
    "taps": {"cell": "fir", "n_layers": 2, "critic": "shared"},
    "taps apart": {"cell": "fir", "n_layers": 2, "cell_options": {"taps": 3, "dilation": 2}},
    "one tap": {"cell": "fir", "cell_options": {"taps": 1, "bias": False}},
    "choices": {"cell": "gru", "action_space": spaces.MultiDiscrete([2, 3])},
    "bits": {"cell": "fir", "action_space": spaces.MultiBinary(2)},
    "sensors learn": {"cell": "lstm", "extractor_class": Learning},
    "sensors learn from both": {"cell": "gru", "critic": "detached", "extractor_class": Learning},
    "sensors learn apart": {"cell": "elman", "share_extractor": False, "extractor_class": Learning},
    "sensors do not": {"cell": "gru", "extractor_class": Stopping},
    "gSDE": {"cell": "lstm", "actuator_options": {"use_sde": True}},
    "gSDE squashed": {"cell": "lstm", "actuator_options": {"use_sde": True, "squash_output": True}},
    "elu": {"cell": "gru", "activation": nn.ELU},
    "identity": {"cell": "gru", "activation": nn.Identity},
    "no output layer": {"cell": "gru", "output_layer": False},
    "dropout": {"cell": "gru", "n_layers": 2, "cell_options": {"dropout": 1e-9}},
}


@pytest.fixture(params=["kernels", "autograd"])
def by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who works out the gradient; kernels do not know every network."""
    if request.param == "autograd":
        monkeypatch.setattr(compiled, "plans_of", lambda network: None)
    elif not compiling.can_compile():
        pytest.skip("numba is missing or switched off")
    return str(request.param)


UNKNOWN_TO_KERNELS = {"bits", "gSDE", "gSDE squashed", "dropout", "elu", "no output layer"}


@pytest.mark.parametrize("objective", [OBJECTIVE, Objective(0.1, None, 0.0, 0.5)], ids=["all", "plain"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradient_is_that_of_the_printed_formula(
    name: str, objective: Objective, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = network(**NETWORKS[name])
    assert (compiled.plans_of(net) is not None) == (by == "kernels" and name not in UNKNOWN_TO_KERNELS)
    rows = minibatch(net)
    loss, figures = formula(net, rows, objective)
    expected = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)
    assert 0 < figures[FIGURES.index("clip_fraction")] < 1
    for block_work in (1e12, 1.0):  # the whole, then as many blocks as there may be
        monkeypatch.setattr(gradient, "BLOCK_WORK", block_work)
        monkeypatch.setattr(gradient, "BLOCK_STEPS", 1)
        found = MinibatchGradient(net, threads=1)
        torch.testing.assert_close(found(rows, objective), figures)
        for parameter, d in zip(net.parameters(), expected, strict=True):
            assert parameter.grad is not None
            wanted = torch.zeros_like(parameter) if d is None else d
            torch.testing.assert_close(parameter.grad, wanted, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("block_work", [1e12, 1.0], ids=["halves", "blocks"])
@pytest.mark.parametrize("name", ["own", "shared", "choices", "no memory", "sensors learn"])
def test_any_number_of_threads_gives_the_same_bytes(
    name: str, block_work: float, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradient, "BLOCK_WORK", block_work)
    monkeypatch.setattr(gradient, "BLOCK_STEPS", 1)
    monkeypatch.setattr(gradient, "HALF_WORK", 0.0)
    net = network(**NETWORKS[name])
    rows = minibatch(net)
    gradients, figures = [], []
    for threads in (1, 2, 3):
        worker = MinibatchGradient(net, threads)
        for _ in range(3):
            figures.append(worker(rows, OBJECTIVE))
            gradients.append(worker.gradient.clone())
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)
    assert all(torch.equal(figure, figures[0]) for figure in figures)
    assert gradients[0].abs().sum() > 0


def test_blocks_are_whole_rows_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    rows = minibatch(net, 21)
    monkeypatch.setattr(gradient, "BLOCKS", 16)
    for work, count in ((1e12, 1), (1.0, 16)):
        monkeypatch.setattr(gradient, "BLOCK_WORK", work)
        blocks = MinibatchGradient(net, 1)._blocks(rows)
        assert len(blocks) == count
        assert torch.equal(torch.cat([block.observation for block in blocks], dim=1), rows.observation)
        assert torch.equal(torch.cat([block.state for block in blocks]), rows.state)
    apart = network(cell="gru", n_layers=2, cell_options={"dropout": 0.5})
    assert len(MinibatchGradient(apart, 2)._blocks(minibatch(apart, 21))) == 1  # one stream of random numbers


def test_blocks_of_what_sensors_learn_from_are_not_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradient, "BLOCK_WORK", 1.0)
    net = network(extractor_class=Learning)
    for rows, count in ((9, 1), (10, 2), (18, 2), (19, 4), (99, 4)):  # of 14 steps; 64 in a block
        assert len(MinibatchGradient(net, 1)._blocks(minibatch(net, rows))) == count


def test_losses_of_parts_add_up() -> None:
    net = network()
    rows = minibatch(net)
    total = rows.weight.sum()

    def figures(part: slice) -> Tensor:
        some = rows.select(part)
        distribution, values = net.unroll(some.observation, some.start, some.state)
        said = distribution.log_prob(some.action), distribution.entropy(), values
        return ppo_loss(some, *said, total, OBJECTIVE)[0]

    torch.testing.assert_close(figures(slice(0, 4)) + figures(slice(4, ROWS)), figures(slice(0, ROWS)))


def test_a_gradient_is_shortened_and_never_lengthened() -> None:
    worker = MinibatchGradient(network(), 1)
    worker(minibatch(worker.network), OBJECTIVE)
    before, norm = worker.gradient.clone(), float(worker.gradient.norm())
    worker.clip(2 * norm)
    assert torch.equal(worker.gradient, before)
    worker.clip(norm / 4)
    torch.testing.assert_close(worker.gradient, before / 4)
    for parameter in worker.parameters:  # which is what the optimizer sees
        assert parameter.grad is not None
        assert parameter.grad.untyped_storage().data_ptr() == worker.gradient.untyped_storage().data_ptr()


def test_kernels_are_for_networks_that_they_know() -> None:
    if not compiling.can_compile():
        pytest.skip("numba is missing or switched off")
    net = network()
    assert compiled.plans_of(net)
    net.value.bias.requires_grad_(False)  # frozen
    assert not compiled.plans_of(net)
    net = network()
    net.value.weight = nn.Parameter(torch.randn(1, 64).t())
    assert compiled.plans_of(net)  # one column lies in order either way
    net.actor_head.layers[0].weight = nn.Parameter(torch.randn(64, 8).t())
    assert not compiled.plans_of(net)
    net = network(extractor_class=Learning)
    assert compiled.plans_of(net)
    net.sensors.requires_grad_(False)  # frozen sensors are sensors still
    assert compiled.plans_of(net)
    net.sensors.extractor.add_module("dropout", nn.Dropout())
    assert not compiled.plans_of(net)


@pytest.mark.parametrize("name", ["own", "shared", "choices", "layers"])
def test_what_is_no_number_shows_in_gradient_and_figures(name: str, by: str) -> None:
    net = network(**NETWORKS[name])
    rows = minibatch(net)
    rows.advantage[3, 2] = torch.nan
    rows.target[3, 2] = torch.nan
    rows.weight[3, 2] = 1.0
    worker = MinibatchGradient(net, 1)
    figures = worker(rows, OBJECTIVE)
    assert figures[[0, 1, 5]].isnan().all()
    assert worker.gradient.isnan().sum() > 0.9 * worker.gradient.numel()


def test_steps_of_weight_0_count_for_nothing(by: str) -> None:
    """However far apart the probabilities are there."""
    net = network()
    rows = minibatch(net)
    worker = MinibatchGradient(net, 1)
    figures, gradient = worker(rows, OBJECTIVE), worker.gradient.clone()
    nowhere = rows.weight == 0.0
    rows.log_prob[nowhere] = -500.0
    rows.target[nowhere] = 1e6
    rows.advantage[nowhere] = -1e6
    torch.testing.assert_close(worker(rows, OBJECTIVE), figures)
    torch.testing.assert_close(worker.gradient, gradient)


def test_kernels_keep_sums_where_the_loss_looks_for_them() -> None:
    if not compiling.can_compile():
        pytest.skip("numba is missing or switched off")
    from rlrnn.learners.ppo import kernels

    assert [getattr(kernels, name.upper()) for name in Sums._fields] == list(range(len(Sums._fields)))
