"""What was done is done again, for every kind of action; what reward needs afterwards is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

import rlrnn
from rlrnn import Episode, Evolution, RecurrentPPO, UserError
from rlrnn.games.players import tmaze

LENGTH = 3


def maze(n_envs: int = 4) -> Any:
    return rlrnn.make_vec("rlrnn/TMaze-v0", n_envs, 0, kwargs={"length": LENGTH})


def watched(count: int = 20) -> list[Episode]:
    game = gym.make_vec("rlrnn/TMaze-v0", num_envs=count, length=LENGTH)
    return rlrnn.record(tmaze.perfect(game), game, count, seed=7)  # type: ignore[arg-type]


def ppo(env: Any = None, **options: Any) -> RecurrentPPO:
    policy = {"hidden_size": 16, "net_arch": []} | options.pop("policy_kwargs", {})
    return RecurrentPPO(
        "MlpGruPolicy", env or maze(), n_steps=16, batch_size=64, seed=0, policy_kwargs=policy, **options
    )


class Dull(gym.Env[Any, Any]):
    """Three steps of noise, with any action space and a Dict or a Box to look at."""

    def __init__(self, action_space: spaces.Space[Any], fields: bool = False) -> None:
        box = spaces.Box(-9, 9, (2,))
        self.observation_space = spaces.Dict({"a": box, "b": spaces.Discrete(3)}) if fields else box
        self.action_space = action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.left = 3
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.left -= 1
        return self._seen(), 1.0, False, self.left == 0, {}

    def _seen(self) -> Any:
        box = self.np_random.normal(size=2).astype(np.float32)
        return {"a": box, "b": self.left % 3} if isinstance(self.observation_space, spaces.Dict) else box


def test_a_record_holds_whole_episodes_as_they_were_played() -> None:
    episodes = watched(6)
    assert [len(episode) for episode in episodes] == [LENGTH + 1] * 6
    for episode in episodes:
        north = episode.observations[0].tolist() == [0, 1, 1]  # type: ignore[union-attr]
        assert episode.actions.tolist() == [1] * LENGTH + [0 if north else 2]
        assert episode.rewards.tolist() == [0.0] * LENGTH + [4.0]
        assert episode.points == 4.0 and episode.terminated
    assert len({episode.observations[0].tobytes() for episode in episodes}) == 2  # type: ignore[union-attr]


def test_an_agent_an_sb3_model_and_a_function_are_recorded_alike() -> None:
    """The share of each copy is fixed: 5 episodes of 2 copies are 3 and 2."""
    agent = ppo()
    by_player = rlrnn.record(agent, maze(2), 5, seed=3)
    by_predict = rlrnn.record(
        type("Model", (), {"predict": staticmethod(agent.predict)})(), maze(2), 5, seed=3
    )
    assert len(by_player) == len(by_predict) == 5
    for one, other in zip(by_player, by_predict, strict=True):
        np.testing.assert_array_equal(one.actions, other.actions)
        np.testing.assert_array_equal(one.observations, other.observations)  # type: ignore[arg-type]
    east = rlrnn.record(lambda seen: np.ones(len(seen), np.int64), maze(2), 3, seed=3)
    assert [episode.terminated for episode in east] == [False] * 3  # they stand at the junction until the end
    assert {len(episode) for episode in east} == {10 * LENGTH}
    single = rlrnn.record(lambda seen: np.array([0.5]), Dull(spaces.Box(-1, 1, (1,))), 2)  # type: ignore[arg-type]
    assert [len(episode) for episode in single] == [3, 3] and not single[0].terminated


def test_a_player_that_tells_its_actions_in_one_array_is_recorded_step_by_step() -> None:
    told = np.zeros(2, np.int64)

    def upright(seen: Any) -> Any:
        told[:] = seen[:, 2] > 0
        return told

    for episode in rlrnn.record(upright, "cartpole", 2):
        np.testing.assert_array_equal(episode.actions, episode.observations[:, 2] > 0)  # type: ignore[index, call-overload]


def test_a_game_by_name_is_recorded() -> None:
    (episode,) = rlrnn.record(lambda seen: seen.argmax(1), "recall-4", 1, seed=5)  # type: ignore[arg-type]
    np.testing.assert_array_equal(episode.actions, np.argmax(episode.observations, 1))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "learner", [ppo, lambda: Evolution("MlpGruPolicy", maze(), seed=0)], ids=["ppo", "evolution"]
)
def test_an_imitator_wins_what_it_watched(learner: Callable[[], Any]) -> None:
    agent = learner()
    history = rlrnn.imitate(agent, watched(), epochs=60, learning_rate=0.01, validation=None, progress=False)
    assert history[-1]["loss"] < 0.1 * history[0]["loss"]
    played = rlrnn.record(agent, maze(10), 20, seed=99)
    assert [episode.points for episode in played] == [4.0] * 20
    if isinstance(agent, Evolution):  # the search begins where imitation ended
        weights = torch.cat([p.detach().flatten() for p in agent.policy.network.memory.parameters()])
        np.testing.assert_array_equal(
            agent._strategy.center(agent._initial_search())[: len(weights)], weights
        )


@pytest.mark.parametrize("critic", ["own", "shared", "detached", "feedforward"])
def test_the_critic_learns_the_recorded_returns(critic: str) -> None:
    agent = ppo(gamma=0.5, policy_kwargs={"critic": critic})
    episodes = watched()
    rlrnn.imitate(agent, episodes, epochs=80, learning_rate=0.01, validation=None, progress=False)
    seen = torch.as_tensor(np.stack([episode.observations for episode in episodes], axis=1))  # type: ignore[arg-type]
    start = torch.zeros(seen.shape[:2], dtype=torch.bool)
    with torch.no_grad():
        _, values = agent.policy.network.unroll(seen, start, agent.policy.network.initial_state(20))
    expected = torch.tensor([0.5, 1.0, 2.0, 4.0]).unsqueeze(1).expand(-1, 20)
    error = float((values - expected).abs().max())
    # Who forgets takes two cells that look alike for one; who only listens hears what the actor needs.
    least, most = {"feedforward": (0.45, 1.0), "detached": (0.0, 1.5)}.get(critic, (0.0, 0.5))
    assert least < error < most


def test_a_critic_left_alone_is_as_it_was_and_so_is_the_spread() -> None:
    agent = ppo(Dull(spaces.Box(-1, 1, (1,))))  # type: ignore[arg-type]
    network = agent.policy.network
    parts = [network.critic_memory, network.critic_head, network.value]
    before = [p.clone() for part in parts if part is not None for p in part.parameters()]
    episodes = rlrnn.record(lambda seen: np.full((len(seen), 1), 0.5), Dull(agent.action_space), 4)  # type: ignore[arg-type]
    rlrnn.imitate(agent, episodes, epochs=3, critic=False, progress=False)
    after = [p for part in parts if part is not None for p in part.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert network.actuators.log_std.item() == 0.0  # type: ignore[union-attr,operator]
    rlrnn.imitate(agent, episodes, epochs=3, progress=False)
    assert not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert network.actuators.log_std.item() == 0.0  # type: ignore[union-attr,operator]


SPACES: list[tuple[spaces.Space[Any], dict[str, Any], Any]] = [
    (spaces.Discrete(3, start=5), {}, 7),
    (spaces.MultiDiscrete([2, 4]), {}, [1, 2]),
    (spaces.MultiBinary(3), {}, [1, 0, 1]),
    (spaces.Box(np.array([0.0, -4.0], np.float32), np.array([2.0, 4.0], np.float32)), {}, [0.5, 3.0]),
    (spaces.Box(0.0, 4.0, (1,)), {"use_sde": True, "policy_kwargs": {"squash_output": True}}, [3.0]),
]


@pytest.mark.parametrize(("space", "options", "action"), SPACES, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("fields", [False, True])
def test_any_action_and_any_observation_is_imitated(
    space: spaces.Space[Any], options: dict[str, Any], action: Any, fields: bool
) -> None:
    env = Dull(space, fields)
    name = "MultiInputGruPolicy" if fields else "MlpGruPolicy"
    policy = {"hidden_size": 8, "net_arch": [], "normalize_observations": True} | options.get(
        "policy_kwargs", {}
    )
    agent = RecurrentPPO(name, env, seed=0, **(options | {"policy_kwargs": policy}))
    episodes = rlrnn.record(lambda seen: np.array([action]), env, 4, seed=1)  # type: ignore[arg-type]
    rlrnn.imitate(agent, episodes, epochs=100, learning_rate=0.02, validation=None, progress=False)
    seen = [e.observations["a"] if fields else e.observations for e in episodes]  # type: ignore[index,call-overload]
    normalizer = agent.policy.network.sensors.normalizers["field_a" if fields else "field_"]
    torch.testing.assert_close(normalizer.mean, torch.as_tensor(np.concatenate(seen).mean(0)))
    for episode in rlrnn.record(agent, env, 4, seed=1):  # the same noise again
        np.testing.assert_allclose(episode.actions, np.broadcast_to(action, episode.actions.shape), atol=0.2)


def test_an_actor_with_critics_of_actions_imitates_and_keeps_its_spread() -> None:
    """That is made of output units: they stay as they are, and all networks see alike afterwards."""
    box = spaces.Box(np.array([0.0, -4.0], np.float32), np.array([2.0, 4.0], np.float32))
    policy = {"hidden_size": 8, "net_arch": [], "normalize_observations": True}
    agent = rlrnn.RecurrentSAC("MlpGruPolicy", Dull(box), policy_kwargs=policy, seed=0, device="cpu")  # type: ignore[arg-type]
    output = agent.policy.network.actuators.output
    before = output.weight[:, 2:].clone(), output.bias[2:].clone()
    episodes = rlrnn.record(lambda seen: np.array([[0.5, 3.0]]), Dull(box), 4, seed=1)  # type: ignore[arg-type]
    rlrnn.imitate(agent, episodes, epochs=100, learning_rate=0.02, validation=None, progress=False)
    assert torch.equal(before[0], output.weight[:, 2:]) and torch.equal(before[1], output.bias[2:])
    for episode in rlrnn.record(agent, Dull(box), 4, seed=1):  # type: ignore[arg-type]
        np.testing.assert_allclose(
            episode.actions, np.broadcast_to([0.5, 3.0], episode.actions.shape), atol=0.2
        )
    means = [network.sensors.normalizers["field_"].mean for network in agent._networks()]
    assert torch.equal(means[0], means[1]) and torch.equal(means[0], means[2]) and bool(means[0].any())


def test_values_of_actions_are_not_imitated_but_learned_from_what_is_remembered() -> None:
    agent = rlrnn.RecurrentDQN("MlpGruPolicy", maze(), policy_kwargs={"hidden_size": 4}, device="cpu")
    with pytest.raises(UserError) as caught:
        rlrnn.imitate(agent, watched(2), progress=False)
    assert str(caught.value) == (
        "RecurrentDQN learns what actions are worth, which is not seen by watching them: give the episodes "
        "to its remember, and it learns from their rewards as from its own."
    )
    assert agent.remember(watched(2)) == 2 * (LENGTH + 1)


def test_scaled_rewards_are_those_that_the_critic_learns() -> None:
    """The running std learns from the record as it would have from play."""
    agent = ppo(normalize_rewards=True, gamma=0.5)
    rlrnn.imitate(agent, watched(), epochs=80, learning_rate=0.01, validation=None, progress=False)
    scaler = agent._reward_scaler
    assert scaler is not None
    discounted = np.array([0.0] * LENGTH + [4.0])  # of each episode, whose only reward comes last
    assert scaler.variance == pytest.approx(np.tile(discounted, 20).var(), rel=1e-3)
    first = torch.as_tensor(watched(1)[0].observations[:1])  # type: ignore[index]
    network = agent.policy.network
    value = network.value_of(first, torch.ones(1, dtype=torch.bool), network.initial_state(1)).item()
    assert value == pytest.approx(0.5**3 * 4.0 / scaler.variance**0.5, abs=0.2)


def test_what_was_imitated_outlives_the_first_updates() -> None:
    """Of most seeds: now and then an update of few episodes spoils one, whatever the processor."""
    points = []
    for seed in range(5):
        agent = ppo(maze(16), learning_rate=3e-4)
        agent.set_random_seed(seed)
        torch.manual_seed(seed)
        rlrnn.imitate(agent, watched(), epochs=60, learning_rate=0.01, validation=None, progress=False)
        agent.learn(16 * 16 * 2)
        points.append(np.mean([e.points for e in rlrnn.record(agent, maze(20), 40, seed=3)]))
    assert np.median(points) == 4.0


@pytest.mark.parametrize("fields", [False, True])
def test_saved_episodes_come_back(tmp_path: Path, fields: bool) -> None:
    env = Dull(spaces.Discrete(2), fields)
    episodes = rlrnn.record(lambda seen: np.array([1]), env, 3)  # type: ignore[arg-type]
    rlrnn.save_episodes(tmp_path / "watched", episodes)
    loaded = rlrnn.load_episodes(tmp_path / "watched")
    assert len(loaded) == 3
    for one, other in zip(episodes, loaded, strict=True):
        np.testing.assert_equal(vars(one), vars(other))
    np.savez(tmp_path / "bad.npz", lengths=np.array([object()]))
    with pytest.raises(UserError, match="cannot read episodes"):
        rlrnn.load_episodes(tmp_path / "bad")


def fake(actions: Any = (0, 1), seen: int = 2, **change: Any) -> Episode:
    given = {
        "observations": np.zeros((seen, 3), np.float32),
        "actions": np.array(actions),
        "rewards": np.zeros(2),
    }
    return Episode(**(given | change))


BAD: list[tuple[Callable[[], list[Episode]], str]] = [
    (list, "there are no episodes"),
    (lambda: [fake((0, 4))], "episode 0 has actions such as 4, which are not in Discrete"),
    (lambda: [fake(), fake((0.0, 0.5))], "episode 1 has actions such as 0.5"),
    (lambda: [fake(((0, 1), (1, 0)))], "actions of shape"),
    (lambda: [fake(seen=3)], "episode 0 has 2 actions, 2 rewards and observations of other lengths"),
    (lambda: [fake((), 0, rewards=np.zeros(0))], "episode 0 is empty"),
    (lambda: [fake(observations=np.zeros((2, 5), np.float32))], "are not the agent's"),
    (lambda: [fake(observations=np.full((2, 3), np.nan, np.float32))], "it must be a finite number"),
    (lambda: [fake(), fake(rewards=np.array([0, np.nan]))], "the rewards of episode 1 are not finite"),
    (lambda: [fake(rewards=np.array(["0", "3"]))], "the rewards of episode 0 are not finite numbers"),
]


@pytest.mark.parametrize(("episodes", "sentence"), BAD, ids=[sentence[-20:] for _, sentence in BAD])
def test_bad_episodes_are_refused_in_one_sentence(
    episodes: Callable[[], list[Episode]], sentence: str
) -> None:
    with pytest.raises(UserError) as caught:
        rlrnn.imitate(ppo(), episodes(), progress=False)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_who_cannot_imitate_or_play_is_told_so() -> None:
    with pytest.raises(UserError, match="str cannot imitate"):
        rlrnn.imitate("agent", watched(2))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="'nobody' cannot play"):
        rlrnn.record("nobody", maze(), 1)
    with pytest.raises(UserError, match="episodes is 0"):
        rlrnn.record(lambda seen: seen, maze(), 0)  # type: ignore[arg-type]
    agent = Evolution("MlpGruPolicy", maze(), seed=0, policy_kwargs={"hidden_size": 2, "net_arch": []})
    agent.generations = 3
    with pytest.raises(UserError, match="has searched for 3 generation"):
        rlrnn.imitate(agent, watched(2))
