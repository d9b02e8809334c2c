"""A player is predict with the state threaded by hand, and a wiped one has no past."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from tiny_games import clocks

from rlrnn import Player, RecurrentPPO
from rlrnn.cells import CELLS
from rlrnn.errors import UserError

BOX = spaces.Box(-9, 9, (2,))
STEPS, ENVS = 12, 3


def agent(cell: str = "lstm", action_space: spaces.Space[Any] = BOX, **options: Any) -> RecurrentPPO:
    kwargs = {"cell": cell, "hidden_size": 4, "ortho_init": False, **options}
    return RecurrentPPO("MlpLstmPolicy", clocks(2, action_space=action_space), policy_kwargs=kwargs)


def stream() -> tuple[np.ndarray, np.ndarray]:
    """Observations [T, B, 3] and where episodes begin [T, B]."""
    rng = np.random.default_rng(0)
    starts = rng.random((STEPS, ENVS)) < 0.2
    starts[0] = True
    return rng.random((STEPS, ENVS, 3)).astype(np.float32), starts


@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_a_player_equals_predict_with_the_state_threaded_by_hand(cell: str, n_layers: int) -> None:
    model = agent(cell, n_layers=n_layers)
    player, state = model.player(ENVS), None
    for seen, start in zip(*stream(), strict=True):
        wanted, state = model.predict(seen, state, start, deterministic=True)
        np.testing.assert_array_equal(player.act(seen, start), wanted)


@pytest.mark.parametrize("cell", CELLS)
def test_a_wiped_player_equals_an_empty_memory_at_every_step(cell: str) -> None:
    model = agent(cell)
    wiped, remembering = model.player(ENVS, wiped=True), model.player(ENVS)
    differs = False
    for seen, start in zip(*stream(), strict=True):
        wanted, _ = model.predict(seen, None, np.ones(ENVS, bool), deterministic=True)
        np.testing.assert_array_equal(wiped.act(seen, start), wanted)
        differs |= not np.array_equal(remembering.act(seen, start), wanted)
    assert differs == (cell != "none")


def test_reset_forgets_everything_and_only_reset_does() -> None:
    model = agent()
    player = model.player(ENVS)
    seen, _ = stream()
    first = [player.act(now) for now in seen]
    assert not np.array_equal(player.act(seen[0]), first[0])
    player.reset()
    np.testing.assert_array_equal([player.act(now) for now in seen], first)


def test_a_start_clears_its_own_environment_alone() -> None:
    model = agent()
    player, other = model.player(ENVS), model.player(ENVS)
    seen, _ = stream()
    player.act(seen[0])
    other.act(seen[0])
    cleared = player.act(seen[1], [False, True, False])
    kept = other.act(seen[1])
    assert (cleared == kept).all(axis=1).tolist() == [True, False, True]


def test_players_of_one_agent_share_no_memory() -> None:
    model = agent()
    seen, _ = stream()
    alone = model.player(ENVS).act(seen[0])
    player, disturber = model.player(ENVS), model.player(ENVS)
    disturber.act(seen[5])
    np.testing.assert_array_equal(player.act(seen[0]), alone)


@pytest.mark.parametrize("action_space", [spaces.Discrete(3, start=1), spaces.MultiBinary((2, 2)), BOX])
def test_a_single_game_may_leave_out_its_axis(action_space: spaces.Space[Any]) -> None:
    model = agent(action_space=action_space)
    one, batched = model.player(), model.player()
    for seen in stream()[0][:, 0]:
        action = one.act(seen)
        assert action_space.contains(np.asarray(action))
        np.testing.assert_array_equal(action, batched.act(seen[None])[0])
    one.act(seen, True)  # and its start is one flag


def test_drawn_actions_follow_the_players_own_seed() -> None:
    model = agent()
    seen, _ = stream()

    def play(seed: int | None) -> np.ndarray:
        player = model.player(ENVS, deterministic=False, seed=seed)
        return np.stack([player.act(now) for now in seen])

    assert np.array_equal(play(1), play(1))
    assert not np.array_equal(play(1), play(2))
    assert not np.array_equal(play(None), play(None))
    torch.manual_seed(5)
    first = play(None)
    torch.manual_seed(5)
    assert np.array_equal(play(None), first)  # None follows torch's global generator


def test_a_player_switches_dropout_off() -> None:
    model = agent(n_layers=2, cell_options={"dropout": 0.9})
    model.policy.set_training_mode(True)
    seen, _ = stream()
    np.testing.assert_array_equal(model.player(ENVS).act(seen[0]), model.player(ENVS).act(seen[0]))


def test_learning_leaves_the_memory_of_a_player_alone() -> None:
    model = agent()
    player = model.player(ENVS)
    player.act(stream()[0][0])
    before = player.state.clone()
    model.learn(256)
    assert torch.equal(player.state, before) and not player.state.requires_grad


def test_the_wrong_number_of_environments_is_refused() -> None:
    player = agent().player(2)
    seen, _ = stream()
    with pytest.raises(UserError, match=r"made for 2 environment.* of 3: make one with agent\.player\(3\)"):
        player.act(seen[0])
    for starts in ([True], [True] * 3, [[True, False]]):
        with pytest.raises(UserError, match=r"starts has shape .* 2 environment"):
            player.act(seen[0, :2], starts)
    assert isinstance(player, Player)
