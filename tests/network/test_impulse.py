"""What a network's graph says of its impulse response is what is measured; a finite one can be unrolled."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import CombinedExtractor
from torch import Tensor, nn

import rlrnn
from rlrnn.cells import CELLS, make_cell
from rlrnn.cells.cell import Wire
from rlrnn.errors import UserError
from rlrnn.network.impulse import FeedForwardNetwork, impulse_response, memory_wires, unroll_feedforward
from rlrnn.network.memory import Memory
from rlrnn.network.network import NetworkDescription, RecurrentNetwork

CHAIN = [["x", "h0", 0], ["x", "h1", 2], ["h0", "h1", 3], ["h1", "h2", 0], ["h2", "h3", 1], ["h0", "h3", 2]]
OPEN = {"store": "delay", "store_size": 6, "store_options": {"taps": 3}, "feedback": False}
FINITE: list[tuple[str, dict[str, Any], int, int]] = [  # cell, options, layers, steps by hand
    ("none", {}, 1, 1),
    ("none", {}, 3, 1),
    ("fir", {"taps": 1}, 1, 1),
    ("fir", {"taps": 4}, 1, 4),
    ("fir", {"taps": 4, "dilation": 3}, 1, 10),
    ("fir", {"taps": 4, "dilation": 3}, 3, 28),
    ("graph", {"edges": CHAIN}, 1, 5),
    ("graph", {"edges": CHAIN, "outputs": ["h0", "h1"]}, 1, 4),
    ("graph", {"edges": CHAIN}, 2, 9),
    ("delay", {"taps": 4}, 1, 4),
    ("delay", {"taps": 2}, 3, 4),
    ("storage", OPEN, 1, 3),
    ("storage", {"store": "storage", "store_options": OPEN, "feedback": False}, 2, 5),
]


def effect(memory: Memory, steps: int) -> list[bool]:
    """Whether what is seen at step 0 has any effect on the output, step by step: by exact derivatives."""
    x = torch.randn(steps, 1, memory.layers[0].input_size, dtype=torch.float64).requires_grad_()
    state = torch.zeros(1, memory.state_size, dtype=torch.float64)
    weights = torch.randn(memory.output_size, dtype=torch.float64)
    felt = []
    for now in x:
        y, state = memory.step(now, None, state)
        slope = torch.autograd.grad(y[0] @ weights, x, retain_graph=True)[0][0]
        felt.append(bool(torch.count_nonzero(slope)))
    return felt


def test_layers_that_add_what_they_are_fed_say_so() -> None:
    plain, adding = (Memory("fir", 3, 4, 3, taps=2, residual=residual) for residual in (False, True))
    before, after = memory_wires(plain), memory_wires(adding)
    more = [wire for wire in after if wire.strength is not None and torch.equal(wire.strength, torch.eye(4))]
    assert [(wire.source, wire.target, wire.delay) for wire in more] == [("y1", "y2", 0), ("y2", "y", 0)]
    assert len(after) == len(before) + 2
    assert impulse_response(adding) == impulse_response(plain)


def test_a_network_that_learned_from_targets_says_its_response_too() -> None:
    for cell, steps in (("fir", 4), ("gru", None)):
        learner = rlrnn.SequenceLearner(cell, 4, cell_options={"taps": 4} if steps else {})
        learner.fit(np.zeros((2, 3, 1)), [0.0, 1.0], epochs=1, progress=False)
        assert impulse_response(learner).steps == steps


@pytest.mark.parametrize(("cell", "options", "layers", "steps"), FINITE)
def test_a_finite_response_ends_when_its_graph_says(
    cell: str, options: dict[str, Any], layers: int, steps: int
) -> None:
    memory = Memory(cell, 3, 4, layers, **options).double()
    response = impulse_response(memory)
    assert response.finite and response.steps == steps
    felt = effect(memory, steps + 5)
    assert felt[steps - 1] and not any(felt[steps:])


@pytest.mark.parametrize("cell", [name for name in CELLS if name not in ("none", "fir", "delay")])
def test_an_infinite_response_does_not_end(cell: str) -> None:
    memory = Memory(cell, 3, 4).double()
    response = impulse_response(memory)
    assert not response.finite and response.circle
    assert effect(memory, 80)[-1]


def test_a_circle_is_named_with_its_layer() -> None:
    assert str(impulse_response(Memory("gru", 3, 4))) == "infinite: y -> y"
    assert impulse_response(Memory("gru", 3, 4, 2)).path == "y1 -> y1"
    edges = [["x", "h", 0], ["h0", "h1", 0], ["h1", "h2", 2], ["h2", "h0", 1]]
    response = impulse_response(make_cell("graph", 2, 3, edges=edges))
    assert set(response.circle) == {"h0", "h1", "h2"}
    assert str(impulse_response(Memory("fir", 3, 4, taps=2))) == "finite: 2 steps"


def test_a_circle_that_no_output_hears_does_not_count() -> None:
    edges = [["x", "h", 0], ["h1", "h1", 1], ["h0", "h1", 1]]
    assert impulse_response(make_cell("graph", 2, 2, edges=edges, outputs=["h0"])).steps == 1
    assert not impulse_response(make_cell("graph", 2, 2, edges=edges)).finite


def test_a_cell_of_ones_own_is_infinite_until_it_says_otherwise() -> None:
    class Last(rlrnn.Cell):
        def __init__(self, input_size: int, hidden_size: int) -> None:
            super().__init__(input_size, input_size, input_size)

        def project(self, x: Tensor) -> Tensor:
            return x

        def step(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            return state, projected

    class Told(Last):
        def wires(self) -> list[Wire]:
            return [Wire("x", "y", 1)]

    assert impulse_response(Last(2, 2)).path == "state -> state"
    assert impulse_response(Told(2, 2)).steps == 2


def network(critic: str = "own", **options: Any) -> RecurrentNetwork:
    space = spaces.Dict({"seen": spaces.Box(-1, 1, (2,)), "kind": spaces.Discrete(3)})
    description = NetworkDescription(
        hidden_size=4,
        critic=critic,
        actor_widths=(5,),
        critic_widths=(),
        normalize_observations=True,
        extractor_class=CombinedExtractor,
        **options,
    )
    whole = RecurrentNetwork(description, space, spaces.Discrete(3)).double()
    torch.nn.init.normal_(whole.actuators.output.weight)
    return whole


def observations(steps: int, rows: int) -> dict[str, Tensor]:
    seen = torch.randn(steps, rows, 2, dtype=torch.float64)
    return {"seen": seen, "kind": torch.randint(3, (steps, rows))}


@pytest.mark.parametrize("critic", ["own", "shared", "feedforward"])
@pytest.mark.parametrize(
    ("cell", "n_layers", "cell_options"),
    [
        ("fir", 2, {"taps": 3, "dilation": 2}),
        ("none", 1, {}),
        ("graph", 1, {"edges": CHAIN}),
        ("graph", 2, {"edges": CHAIN}),
        ("storage", 1, OPEN),
    ],
)
def test_a_finite_network_unrolls_into_a_feedforward_one(
    cell: str, n_layers: int, cell_options: dict[str, Any], critic: str
) -> None:
    """Its last L observations say all that a whole episode says, however long that is."""
    whole = network(critic, cell=cell, n_layers=n_layers, cell_options=cell_options)
    whole.observe(flat(observations(50, 4)))
    whole.eval()
    unrolled = unroll_feedforward(whole)
    length, steps, rows = unrolled.steps, 40, 6
    seen = observations(steps, rows)
    start = torch.rand(steps, rows) < 0.1
    start[0] = True
    state = whole.initial_state(rows)
    began = torch.zeros(rows, dtype=torch.long)
    for t in range(steps):
        began = torch.where(start[t], t, began)
        distribution, value, state = whole.step({k: v[t] for k, v in seen.items()}, start[t], state)
        begin = max(0, t - length + 1)
        padding = length - (t + 1 - begin)
        last = {
            k: torch.cat((observations(padding, rows)[k], v[begin : t + 1])).transpose(0, 1)
            for k, v in seen.items()
        }
        told, worth = unrolled(last, (t + 1 - began).clamp(max=length))
        wanted = torch.log_softmax(told, dim=-1)
        every = torch.arange(3).view(3, 1, 1).expand(3, rows, 1)
        for action in range(3):
            torch.testing.assert_close(
                distribution.log_prob(every[action]), wanted[:, action], rtol=0, atol=1e-12
            )
        torch.testing.assert_close(worth, value, rtol=0, atol=1e-12)


def flat(seen: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.flatten(0, 1) for key, value in seen.items()}


def test_an_unrolled_network_has_no_state_and_is_a_copy() -> None:
    whole = network(cell="fir", cell_options={"taps": 3})
    unrolled = unroll_feedforward(whole)
    assert isinstance(unrolled, nn.Module)
    seen = {k: v.transpose(0, 1) for k, v in observations(3, 5).items()}
    first = unrolled(seen)
    with torch.no_grad():
        whole.memory.layers[0].weight_input.zero_()
    torch.testing.assert_close(unrolled(seen), first, rtol=0, atol=0)
    with pytest.raises(UserError, match="got 2 observations per row: this network looks at 3"):
        unrolled({k: v[:, 1:] for k, v in seen.items()})


def test_an_agent_can_be_asked_and_an_infinite_one_cannot_be_unrolled() -> None:
    env = rlrnn.make_vec("cartpole-no-velocity", n_envs=2, seed=0)
    agent = rlrnn.RecurrentPPO("MlpFirPolicy", env, policy_kwargs={"cell_options": {"taps": 5}})
    assert rlrnn.impulse_response(agent).steps == 5
    unrolled = rlrnn.unroll_feedforward(agent)
    assert isinstance(unrolled, FeedForwardNetwork)
    player, seen = agent.player(2), []
    now, starts = env.reset(), np.ones(2, bool)
    for _ in range(5):
        seen.append(torch.as_tensor(now))
        action = player.act(now, starts)
        now, _, starts, _ = env.step(action)
        assert not starts.any()
    assert unrolled(torch.stack(seen, dim=1))[0].argmax(-1).tolist() == action.tolist()

    gru = rlrnn.RecurrentPPO("MlpGruPolicy", env)
    assert not rlrnn.impulse_response(gru.policy).finite
    with pytest.raises(UserError, match="infinite: y -> y is a circle"):
        rlrnn.unroll_feedforward(gru)
    with pytest.raises(UserError, match="not a whole network"):
        rlrnn.unroll_feedforward(make_cell("fir", 2, 2))
    with pytest.raises(UserError, match="a str has no network"):
        rlrnn.impulse_response("pong-gru")
    with pytest.raises(UserError, match="a Linear has no memory"):
        rlrnn.impulse_response(nn.Linear(1, 1))
