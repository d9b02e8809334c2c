"""Where the play stands is true at every moment: in a rollout, after an interrupt or a broken game."""

from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv
from tiny_games import Clock

from rlrnn import RecurrentPPO
from rlrnn.errors import EnvironmentFault


def learner(games: list[Clock]) -> RecurrentPPO:
    env = DummyVecEnv([lambda game=game: game for game in games])  # type: ignore[misc]
    kwargs = {"hidden_size": 4, "net_arch": []}
    return RecurrentPPO("MlpLstmPolicy", env, n_steps=16, batch_size=16, n_epochs=1, policy_kwargs=kwargs)


def steps_seen(agent: RecurrentPPO) -> list[list[float]]:
    """What the first rows of the last rollout saw: steps in the episode, of each copy."""
    assert isinstance(agent.rollout_buffer.observations, np.ndarray)
    return agent.rollout_buffer.observations[:3, :, 2].tolist()


def test_learning_goes_on_where_a_callback_was_interrupted() -> None:
    games = [Clock(0, lengths=(20,)), Clock(1, lengths=(20,))]
    agent = learner(games)

    def stop(local: dict[str, Any], _: Any) -> bool:
        if agent.num_timesteps == 46:
            raise KeyboardInterrupt
        return True

    with pytest.raises(KeyboardInterrupt):
        agent.learn(64, callback=stop)
    assert [game.steps for game in games] == [3, 3]
    agent.learn(32, reset_num_timesteps=False)
    assert steps_seen(agent) == [[3, 3], [4, 4], [5, 5]]
    assert not agent.rollout_buffer.episode_starts[0].any()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_a_step_that_was_broken_off_begins_all_episodes_anew(error: type[BaseException]) -> None:
    """Copy 0 has made that step and copy 1 has not."""

    class Breaks(Clock):
        def step(self, action: Any) -> Any:
            if self.total == 20:
                self.total += 1
                raise error
            return super().step(action)

    agent = learner([Clock(0, lengths=(50,)), Breaks(1, lengths=(50,))])
    with pytest.raises(error):
        agent.learn(64)
    agent.learn(32, reset_num_timesteps=False)
    assert steps_seen(agent) == [[0, 0], [1, 1], [2, 2]]
    assert agent.rollout_buffer.episode_starts[0].all()


def test_an_observation_that_was_refused_is_not_gone_on_from() -> None:
    class Blind(Clock):
        def see(self) -> np.ndarray:
            return super().see() * (np.nan if self.steps == 20 else 1)

    agent = learner([Blind(0, lengths=(50,))])
    with pytest.raises(EnvironmentFault, match="environment 0 returned nan in its observation"):
        agent.learn(64)
    agent.learn(16, reset_num_timesteps=False)
    assert agent.rollout_buffer.episode_starts[0].all()


def test_the_agent_knows_where_the_games_stand_in_the_middle_of_a_rollout() -> None:
    """So that an agent saved then goes on from there, by ``force_reset=False``."""
    games = [Clock(0), Clock(1)]
    agent = learner(games)
    seen: list[bool] = []

    def look(local: dict[str, Any], _: Any) -> bool:
        assert isinstance(agent._last_obs, np.ndarray) and agent._last_episode_starts is not None
        seen.append(np.array_equal(agent._last_obs, local["new_obs"]))
        seen.append(np.array_equal(agent._last_episode_starts, local["dones"]))
        seen.append(agent._last_state is local["state"])
        return True

    agent.learn(64, callback=look)
    assert len(seen) == 96 and all(seen)
