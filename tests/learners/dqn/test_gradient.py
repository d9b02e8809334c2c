"""The gradient of replayed rows is that of the printed formula, whoever works it out."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor
from tiny_replay import flags, targets_by_definition
from torch import Tensor, nn

from rlrnn.common import compiling
from rlrnn.common.batches import map_arrays
from rlrnn.learners.dqn import gradient as module
from rlrnn.learners.dqn.gradient import ByAutograd, ByKernels, Objective, QGradient, gradient_of
from rlrnn.learners.replay import parting
from rlrnn.learners.replay.buffer import Rows
from rlrnn.network.convolutions import SmallCNN
from rlrnn.network.network import NetworkDescription, RecurrentNetwork
from rlrnn.testing.rounding import assert_close, bound

BOX, CHOICES = spaces.Box(-1, 1, (3,)), spaces.Discrete(3)
IMAGE = spaces.Box(0, 255, (1, 20, 20), np.uint8)
KEYED = spaces.Dict({"a": spaces.Discrete(2, start=1), "b": BOX, "c": spaces.MultiBinary(2)})
OBJECTIVE = Objective(gamma=0.9, q_lambda=0.7, trace="watkins", double=True, has_target=True, burn_in=0)


class Learning(FlattenExtractor):
    """Sensors with weights."""

    def __init__(self, space: spaces.Box) -> None:
        super().__init__(space)
        self.weight = nn.Parameter(torch.randn(3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.weight)


class Doubled(FlattenExtractor):
    """Sensors of which the rest computes in double precision."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).double()


NETWORKS: dict[str, dict[str, Any]] = {
    "gru": {"cell": "gru"},
    "lstm": {"cell": "lstm", "activation": nn.ReLU},
    "elman": {"cell": "elman", "cell_options": {"nonlinearity": "relu"}},
    "fir": {"cell": "fir", "cell_options": {"taps": 3}},
    "no memory": {"cell": "none"},
    "layers": {"cell": "lstm", "n_layers": 2, "actor_widths": (7,)},
    "no head": {"cell": "gru", "actor_widths": (), "output_layer": False},
    "sensors learn": {"cell": "gru", "extractor_class": Learning},
    "image": {
        "seen": IMAGE,
        "cell": "gru",
        "extractor_class": SmallCNN,
        "extractor_options": {"features_dim": 6},
    },
    "Dict": {"seen": KEYED, "cell": "elman", "extractor_class": CombinedExtractor},
    "Discrete": {"seen": spaces.Discrete(4, start=-1), "cell": "gru"},
    "normed": {"cell": "gru", "cell_options": {"layer_norm": True}},
    "mingru": {"cell": "mingru"},
}
BY_AUTOGRAD_ALONE = {"no head", "normed", "mingru"}  # what kernels do not know


def network(seen: spaces.Space[Any] = BOX, **described: Any) -> RecurrentNetwork:
    """Its values differ by more than rounding, so that all agree on the best one."""
    given = {"hidden_size": 8, "actor_widths": (6,), "orthogonal": False, **described}
    description = NetworkDescription(critic="none", actions="greedy", **given)
    made = RecurrentNetwork(description, seen, CHOICES)
    for parameter in made.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return made


def frozen(target: RecurrentNetwork) -> RecurrentNetwork:
    return target.requires_grad_(False)


def observations(seen: spaces.Space[Any], rng: np.random.Generator, *axes: int) -> Any:
    seen.seed(int(rng.integers(2**31)))
    drawn = [seen.sample() for _ in range(int(np.prod(axes)))]

    def stacked(part: spaces.Space[Any], *values: Any) -> Tensor:
        return torch.as_tensor(np.stack(values)).unflatten(0, axes)

    return map_arrays(stacked, seen, *drawn)


def rows_of(net: RecurrentNetwork, steps: int = 13, rows: int = 9, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    made = flags(rng, steps + 1, rows)
    dtype = net.like.dtype
    return Rows(
        observation=observations(net.sensors.space, rng, steps + 1, rows),
        start=torch.as_tensor(made.start),
        state=torch.as_tensor(rng.normal(size=(rows, net.state_size)), dtype=dtype),
        action=torch.as_tensor(rng.integers(0, 3, (steps, rows, 1))),
        reward=torch.as_tensor(3.0 * rng.normal(size=(steps, rows)), dtype=dtype),  # some errors above 1
        terminated=torch.as_tensor(made.terminated[:-1]),
        weight=torch.as_tensor(made.weight, dtype=dtype),
    )


def values_by_steps(net: RecurrentNetwork, rows: Rows, burn_in: int) -> Tensor:
    """As at play, step by step from what was remembered; without gradients at first: [T - burn_in, R, A]."""
    state, found = rows.state, []
    for t in range(len(rows.start)):
        with torch.set_grad_enabled(t >= burn_in):
            seen = map_arrays(lambda a: a[t], rows.observation)  # noqa: B023
            distribution, state = net.act(seen, rows.start[t], state)
        found.append(distribution.decisive())
    return torch.stack(found[burn_in:])


def printed(
    net: RecurrentNetwork, target: RecurrentNetwork, rows: Rows, how: Objective, fixed: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, the mean value of what was done, and the targets, unless they are ``fixed``."""
    q = values_by_steps(net, rows, how.burn_in)
    action, weight = rows.action[how.burn_in :], rows.weight[how.burn_in :]
    if fixed is None:
        q_target = (values_by_steps(target, rows, how.burn_in) if how.has_target else q).detach()
        best = (q if how.double else q_target).argmax(-1)
        arrays = [
            rows.reward[how.burn_in :],
            rows.terminated[how.burn_in :],
            weight,
            q_target.gather(-1, best[..., None])[1:, :, 0],
            best[:-1] == action[..., 0],
        ]
        numbers = [array.numpy() for array in arrays]
        fixed = torch.as_tensor(targets_by_definition(*numbers, how.gamma, how.q_lambda, how.trace))
    chosen, played = q[:-1].gather(-1, action)[..., 0], weight[:-1].bool()
    error = (chosen - fixed).abs()[played]
    huber = torch.where(error < 1.0, 0.5 * error**2, error - 0.5)
    return huber.mean(), chosen[played].mean(), fixed


def gradients(worker: QGradient) -> list[Tensor]:
    """In the order of the network's parameters, as shares of the greatest number among them."""
    found = [parameter.grad.clone() for parameter in worker.network.parameters()]
    return scaled(found)


def scaled(found: list[Tensor]) -> list[Tensor]:
    greatest = max(float(part.abs().max()) for part in found)
    return [part.double() / greatest for part in found]


def reversed_order(net: RecurrentNetwork) -> list[nn.Parameter]:
    return list(net.parameters())[::-1]


@pytest.fixture(params=["kernels", "autograd"])
def by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who works out the gradient; kernels do not know every network."""
    if request.param == "autograd":
        monkeypatch.setattr(module, "can_run", lambda network: False)
    elif not compiling.can_compile():
        pytest.skip("numba is missing or switched off")
    return str(request.param)


OBJECTIVES = {
    "all": OBJECTIVE,
    "peng": dataclasses.replace(OBJECTIVE, trace="peng", double=False),
    "one step": dataclasses.replace(OBJECTIVE, q_lambda=0.0),
    "no target": dataclasses.replace(OBJECTIVE, has_target=False, burn_in=3),
    "burn-in": dataclasses.replace(OBJECTIVE, burn_in=4, double=False),
    "to the end": dataclasses.replace(OBJECTIVE, q_lambda=1.0, burn_in=1),
}
SIZES = ((13, 9), (1, 5), (6, 1))


CASES = [(name, "all") for name in NETWORKS]  # and each objective by a gated cell, a delay line and others
CASES += [(name, how) for name in ("gru", "fir", "no memory", "sensors learn") for how in OBJECTIVES][1:]


@pytest.mark.parametrize(("name", "how"), dict.fromkeys(CASES))
def test_the_gradient_is_that_of_the_printed_formula(name: str, how: str, by: str) -> None:
    net, target = network(**NETWORKS[name]), frozen(network(**NETWORKS[name]))
    worker = gradient_of(net, target, reversed_order(net))
    known = by == "kernels" and name not in BY_AUTOGRAD_ALONE
    assert type(worker) is (ByKernels if known else ByAutograd)
    for steps, rows in SIZES if how == "all" else SIZES[:1]:
        batch = rows_of(net, steps, rows)
        loss, mean, _ = printed(net, target, batch, OBJECTIVES[how])
        wanted = torch.autograd.grad(loss, list(net.parameters()))
        figures = worker(batch, OBJECTIVES[how])
        within = bound(torch.float32, steps, rows, 8, name == "normed")
        assert_close(gradients(worker), scaled(list(wanted)), within)
        np.testing.assert_allclose(figures, [loss.item(), mean.item()], rtol=within, atol=within)


@pytest.mark.parametrize("name", ["gru", "no memory", "image"])
def test_any_number_of_threads_gives_the_same_bytes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the rows are parted, the sum is the same but for rounding."""
    if not compiling.can_compile():
        pytest.skip("numba is missing or switched off")
    net, target = network(**NETWORKS[name]), frozen(network(**NETWORKS[name]))
    batch, parted = rows_of(net, rows=19), []
    whole = gradient_of(net, target, list(net.parameters()))
    figures = whole(batch, OBJECTIVES["burn-in"])
    wanted = gradients(whole)
    monkeypatch.setattr(parting, "BLOCK_WORK", 1.0)
    for threads in (1, 2, 3):
        worker = gradient_of(net, target, list(net.parameters()), threads)
        for _ in range(2):
            found = worker(batch, OBJECTIVES["burn-in"])
            parted.append((found, worker.vector.gradient.clone()))
    assert isinstance(worker, ByKernels) and len(worker.blocks) == 4
    assert all(other[0] == parted[0][0] and torch.equal(other[1], parted[0][1]) for other in parted)
    within = bound(torch.float32, 13, 19, 8)
    np.testing.assert_allclose(found, figures, rtol=within, atol=within)
    assert_close(gradients(worker), wanted, within)


def behind(net: RecurrentNetwork, rows: Rows, burn_in: int) -> Rows:
    """The same rows from there on, with what is remembered by then."""
    fields = {field.name: getattr(rows, field.name) for field in dataclasses.fields(Rows)}
    later = {name: values if name == "state" else values[burn_in:] for name, values in fields.items()}
    with torch.no_grad():
        for t in range(burn_in):
            later["state"] = net.act(rows.observation[t], rows.start[t], later["state"])[1]
    return Rows(**later)


@pytest.mark.parametrize("how", ["all", "burn-in", "no target"])
def test_it_equals_finite_differences(how: str) -> None:
    """Through resets, from behind the burn-in, in double precision, the targets held."""
    net, target = (network(cell="gru", extractor_class=Doubled).double() for _ in range(2))
    batch = rows_of(net)
    assert batch.start[5:].any() and not batch.weight[5:].all()
    worker = ByAutograd(net, frozen(target), list(net.parameters()))
    worker(batch, OBJECTIVES[how])
    _, _, fixed = printed(net, target, batch, OBJECTIVES[how])
    weights = nn.utils.parameters_to_vector(net.parameters()).detach()

    later = behind(net, batch, OBJECTIVES[how].burn_in)  # which no gradient enters
    no_burn_in = dataclasses.replace(OBJECTIVES[how], burn_in=0)

    def loss_at(moved: Tensor) -> float:
        nn.utils.vector_to_parameters(moved, net.parameters())
        with torch.no_grad():
            return float(printed(net, target, later, no_burn_in, fixed)[0])

    for _ in range(8):
        direction = torch.nn.functional.normalize(torch.randn_like(weights), dim=0)
        step = 1e-5 * direction
        slope = (loss_at(weights + step) - loss_at(weights - step)) / 2e-5
        assert float(worker.vector.gradient @ direction) == pytest.approx(slope, rel=1e-6, abs=1e-8)


def one_row(net: RecurrentNetwork, lengths: tuple[int, int], terminated: bool) -> Rows:
    """Two episodes, of which the first ends at a final observation."""
    first, second = lengths
    slots = first + 1 + second + 1
    batch = rows_of(net, slots - 1, 1)
    batch.start[:] = False
    batch.start[first + 1] = True
    batch.weight[:], batch.weight[first] = 1.0, 0.0
    batch.terminated[:], batch.terminated[first - 1] = False, terminated
    return batch


@pytest.mark.parametrize("terminated", [False, True])
@pytest.mark.parametrize("cell", ["gru", "lstm", "elman", "fir", "mingru"])
def test_a_row_with_a_reset_inside_is_two_rows(cell: str, terminated: bool, by: str) -> None:
    """The second from an empty memory, whatever it is told that it remembers; the first filled up."""
    net, target = network(cell=cell), frozen(network(cell=cell))
    worker = gradient_of(net, target, list(net.parameters()))
    joined = one_row(net, (4, 6), terminated)

    def parted(name: str) -> Tensor:
        whole = getattr(joined, name)
        if name == "state":
            return torch.cat((whole, 100.0 * torch.randn_like(whole)))
        steps = 6 if name in ("action", "reward", "terminated") else 7
        filled = torch.zeros((steps, 2, *whole.shape[2:]), dtype=whole.dtype)
        count = min(5, len(filled))
        filled[:count, 0], filled[:, 1] = whole[:count, 0], whole[5 : 5 + steps, 0]
        return filled

    apart = Rows(**{field.name: parted(field.name) for field in dataclasses.fields(Rows)})
    within = bound(torch.float32, 11, 2, 8)
    for how in ("all", "peng"):
        figures = worker(joined, OBJECTIVES[how])
        found = gradients(worker)
        np.testing.assert_allclose(worker(apart, OBJECTIVES[how]), figures, rtol=within, atol=within)
        assert_close(gradients(worker), found, within)


def constant(net: RecurrentNetwork) -> RecurrentNetwork:
    """Its values are 0, whatever is seen: then the error is the target."""
    nn.init.zeros_(net.actuators.output.weight)
    nn.init.zeros_(net.actuators.output.bias)
    return net


def test_a_target_hears_of_the_rows_first_observation(by: str) -> None:
    """T + 1 alignment: what the target network values after step 1 it has to have seen from step 0 on."""
    net, target = constant(network()), frozen(network())
    worker = gradient_of(net, target, list(net.parameters()))
    batch = rows_of(net, 4, 3)
    batch.start[:] = batch.terminated[:] = False
    batch.weight[:], batch.weight[1] = 0.0, 1.0
    how = dataclasses.replace(OBJECTIVE, double=False)

    def loss() -> float:
        return worker(batch, how).loss

    before = loss()
    batch.observation[0] += 0.5
    assert abs(loss() - before) > 1e-3
    batch.start[1] = True  # a reset between hides it
    before = loss()
    batch.observation[0] += 0.5
    assert loss() == before


@pytest.mark.parametrize("end", ["truncated", "terminated"])
def test_a_cut_episode_is_worth_what_its_final_observation_is_to_the_memory_that_saw_it(
    end: str, by: str
) -> None:
    net, target = constant(network()), frozen(network())
    worker = gradient_of(net, target, list(net.parameters()))
    batch = rows_of(net, 4, 1)
    batch.start[:], batch.start[3] = False, True  # slots 0 and 1 are steps, slot 2 the final observation
    batch.weight[:], batch.weight[1] = 0.0, 1.0
    batch.terminated[:], batch.terminated[1] = False, end == "terminated"
    batch.reward[1] = 2.0
    with torch.no_grad():
        values = values_by_steps(target, batch, 0)
    worth = 2.0 if end == "terminated" else 2.0 + 0.9 * float(values[2].max())
    figures = worker(batch, dataclasses.replace(OBJECTIVE, double=False))
    assert figures.loss == pytest.approx(abs(worth) - 0.5, abs=1e-5)


def test_steps_of_weight_0_count_for_nothing(by: str) -> None:
    net, target = network(), frozen(network())
    worker = gradient_of(net, target, list(net.parameters()))
    batch = rows_of(net)
    figures, found = worker(batch, OBJECTIVE), worker.vector.gradient.clone()
    nowhere = batch.weight[:-1] == 0.0
    batch.reward[nowhere] = 1e6
    batch.action[nowhere] = 2
    assert worker(batch, OBJECTIVE) == figures and torch.equal(worker.vector.gradient, found)


def test_no_steps_have_no_gradient(by: str) -> None:
    net, target = network(), frozen(network())
    worker = gradient_of(net, target, list(net.parameters()))
    batch = rows_of(net)
    batch.weight[:] = 0.0
    assert worker(batch, OBJECTIVE) == (0.0, 0.0) and not worker.vector.gradient.any()


def test_what_is_no_number_shows(by: str) -> None:
    net, target = network(), frozen(network())
    worker = gradient_of(net, target, list(net.parameters()))
    batch = rows_of(net)
    batch.weight[3, 2], batch.reward[3, 2] = 1.0, torch.nan
    assert np.isnan(worker(batch, OBJECTIVE).loss) and np.isnan(worker.vector.norm())


def test_the_target_network_has_no_gradient(by: str) -> None:
    net, target = network(extractor_class=Learning), frozen(network(extractor_class=Learning))
    kept = [parameter.detach().clone() for parameter in target.parameters()]
    gradient_of(net, target, list(net.parameters()))(rows_of(net), OBJECTIVE)
    assert all(parameter.grad is None for parameter in target.parameters())
    assert all(map(torch.equal, kept, target.parameters()))


def test_kernels_are_for_networks_that_they_know() -> None:
    if not compiling.can_compile():
        pytest.skip("numba is missing or switched off")

    def kind(net: RecurrentNetwork, target: RecurrentNetwork) -> type[QGradient]:
        return type(gradient_of(net, target, list(net.parameters())))

    assert kind(network(), network()) is ByKernels
    dropping = network(n_layers=2, cell_options={"dropout": 0.5})
    assert kind(dropping, network(n_layers=2)) is ByAutograd
    assert kind(network(), dropping) is ByAutograd
