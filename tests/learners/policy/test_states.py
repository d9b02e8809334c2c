"""Probabilities and values, asked with any form of a recurrent state, are those of the loop."""

from typing import Any

import numpy as np
import pytest
import sb3_contrib
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.type_aliases import RNNStates as TheirStates
from stable_baselines3.common.callbacks import BaseCallback
from tiny_games import clocks

from rlrnn import RecurrentPolicy, RecurrentPPO
from rlrnn.cells import CELLS
from rlrnn.errors import UserError
from rlrnn.learners.policy.policy import policy_named
from rlrnn.learners.policy.states import RNNStates
from rlrnn.network.network import CRITICS

SEEN, NOWHERE, ALL = torch.randn(3, 3), torch.zeros(3), torch.ones(3)


def policy(cell: str = "lstm", critic: str = "own", action_space: Any = None) -> RecurrentPolicy:
    return policy_named("MlpLstmPolicy")(
        spaces.Box(-1, 1, (3,)),
        action_space or spaces.Discrete(4),
        lambda _: 0.0,
        hidden_size=5,
        n_layers=2,
        cell=cell,
        critic=critic,
    )


@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize("cell", ["lstm", "gru", "fir", "none"])
def test_every_form_of_a_state_gives_the_same_numbers(cell: str, critic: str) -> None:
    asked = policy(cell, critic)
    flat = torch.randn(3, asked.network.state_size)
    states = asked.parts.to_parts(flat)
    with torch.no_grad():
        wanted, value, after = asked.network.step(SEEN, NOWHERE.bool(), flat)
        predicted = tuple(part.numpy() for part in states.pi)  # as ``predict`` returns it
        for form in (flat, flat[:, : asked.network.state_sizes[0]], states, states.pi, predicted):
            told, later = asked.get_distribution(SEEN, form, NOWHERE)
            assert torch.equal(told.log_prob(told.mode()), wanted.log_prob(wanted.mode()))
            parts = asked.parts.split(later) if isinstance(later, torch.Tensor) else later
            assert all(map(torch.equal, parts, asked.parts.to_parts(after).pi))
        for form in (flat, states, TheirStates(*states), states.vf):
            torch.testing.assert_close(asked.predict_values(SEEN, form, NOWHERE), value)
        for form in (flat, states, TheirStates(*states)):
            *_, log_prob, later = asked.forward(SEEN, form, NOWHERE, deterministic=True)
            torch.testing.assert_close(log_prob, wanted.log_prob(wanted.mode()))
            whole = later if isinstance(later, torch.Tensor) else asked.parts.whole(later, NOWHERE)
            assert torch.equal(whole, after) and isinstance(later, torch.Tensor | RNNStates)
            again, *_ = asked.evaluate_actions(SEEN[None], wanted.mode()[None], form, NOWHERE[None])
            torch.testing.assert_close(again[0], value)


@pytest.mark.parametrize("critic", CRITICS)
def test_what_predict_returned_serves_for_values_where_no_other_memory_is_asked(critic: str) -> None:
    asked = policy(critic=critic)
    _, state = asked.predict(SEEN.numpy())
    with torch.no_grad():
        fresh = asked.predict_values(SEEN, asked.network.initial_state(3), ALL)
        assert torch.equal(asked.predict_values(SEEN, state, ALL), fresh)
        if critic != "own":
            actor = asked.parts.actor(state, 3)
            wanted = asked.network.value_of(SEEN, NOWHERE.bool(), actor)
            assert torch.equal(asked.predict_values(SEEN, state, NOWHERE), wanted)
            return
    for ask in (asked.predict_values, asked.forward):
        with pytest.raises(UserError, match=r"actor's memory alone .*_last_lstm_states.*shape \(3, 40\)"):
            ask(SEEN, state, NOWHERE)
    with pytest.raises(UserError, match="state is that of the critic"):
        asked.get_distribution(SEEN, asked.parts.to_parts(torch.zeros(3, 40)).vf, NOWHERE)


@pytest.mark.parametrize("wrong", [torch.zeros(2, 40), torch.zeros(3, 41), torch.zeros(40)])
def test_a_tensor_of_the_wrong_shape_says_which_is_right(wrong: torch.Tensor) -> None:
    for ask in (policy().get_distribution, policy().predict_values, policy().forward):
        with pytest.raises(UserError, match=r"3 environment\(s\) has \(3, 40\), of which the first 20"):
            ask(SEEN, wrong, NOWHERE)


@pytest.mark.parametrize("cell", CELLS)
def test_a_state_in_parts_is_the_state(cell: str) -> None:
    asked = policy(cell)
    flat = torch.randn(3, asked.network.state_size)
    assert torch.equal(asked.parts.whole(asked.parts.to_parts(flat), NOWHERE), flat)


def test_sb3s_name_leads_to_torchs_distributions() -> None:
    for space in (spaces.Discrete(4), spaces.Box(-1, 1, (2,)), spaces.MultiBinary(3)):
        ours, _ = policy(action_space=space).get_distribution(SEEN, torch.randn(3, 20), NOWHERE)
        action = ours.sample()
        theirs: Any = ours.distribution
        known = theirs.log_prob(action[:, 0] if action.shape[1] == 1 else action.to(SEEN.dtype))
        torch.testing.assert_close(known.view(3, -1).sum(-1), ours.log_prob(action))
    ours, _ = policy(action_space=spaces.MultiDiscrete([2, 3])).get_distribution(
        SEEN, torch.randn(3, 20), ALL
    )
    assert isinstance(ours.distribution, list)
    assert [each.probs.shape for each in ours.distribution] == [(3, 2), (3, 3)]
    torch.testing.assert_close(sum(each.entropy() for each in ours.distribution), ours.entropy())


class Peek(BaseCallback):
    """What contrib's loop calls the memory after a step, and the learner the one before the next."""

    def _on_step(self) -> bool:
        states = self.locals["lstm_states"]
        self.shapes = [[tuple(part.shape) for part in whose] for whose in (states.pi, states.vf)]
        return True


def test_contribs_names_are_there_with_its_shapes() -> None:
    seen = []
    for library in (sb3_contrib.RecurrentPPO, RecurrentPPO):
        kwargs = {"lstm_hidden_size": 4, "n_lstm_layers": 2}
        agent = library("MlpLstmPolicy", clocks(3), n_steps=8, batch_size=8, n_epochs=1, policy_kwargs=kwargs)
        peek = Peek()
        agent.learn(24, callback=peek)
        last = [[tuple(part.shape) for part in whose] for whose in agent._last_lstm_states]
        seen.append((peek.shapes, last, agent.policy.lstm_hidden_state_shape))
    theirs, ours = seen
    assert ours == theirs and isinstance(agent, RecurrentPPO)
    assert torch.equal(agent.policy.parts.whole(agent._last_lstm_states, NOWHERE), agent._last_state)
    obs = agent._last_obs
    assert isinstance(obs, np.ndarray)
    _, state = agent.predict(obs, tuple(part.numpy() for part in agent._last_lstm_states.pi))  # type: ignore[union-attr]
    assert [part.shape for part in state] == ours[0][0]
