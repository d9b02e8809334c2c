"""What environments hand in is refused in one sentence or becomes plain arrays."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnvWrapper
from tiny_games import Clock

from rlrnn import Evolution, RecurrentPPO, record
from rlrnn.common import arrays
from rlrnn.envs.wrappers import wrap
from rlrnn.errors import EnvironmentFault

BOX, KINDS = Box(-1, 1, (2,)), ("bool", "uint8", "int64", "float32", "list")
SEEN = np.zeros((3, 2), np.float32)
SOUND = (SEEN, np.zeros(3, np.float32), np.zeros(3, np.bool_), [{}, {}, {}])


def answer(**changed: Any) -> tuple[Any, ...]:
    return tuple(
        changed.get(name, part)
        for name, part in zip(("seen", "rewards", "dones", "infos"), SOUND, strict=True)
    )


def spoiled(row: int, value: float) -> Any:
    seen = SEEN.copy()
    seen[row, 1] = value
    return seen


BAD = [
    (answer()[:3], "the environments returned 3 things at step 2: a VecEnv's step returns observations,"),
    (None, "returned NoneType at step 2"),
    (
        answer(seen=spoiled(1, np.nan)),
        "environment 1 returned nan in its observation at step 2: it must be a",
    ),
    (answer(seen=spoiled(2, -np.inf)), "environment 2 returned -inf in its observation at step 2"),
    (answer(seen=SEEN[:2]), r"observations of shape (2, 2) at step 2: they must be numbers of shape (3, 2)"),
    (answer(seen=[[0, 1], [0], [1, 1]]), "observations of type object"),
    (answer(rewards=np.array([0, np.inf, 0])), "environment 1 returned inf in its reward at step 2"),
    (
        answer(rewards=np.zeros((3, 1))),
        r"rewards of shape (3, 1) at step 2: they must be numbers of shape (3,)",
    ),
    (answer(rewards=["0", "3", "1"]), "rewards of type <U1"),
    (answer(dones=[0, 2, 1]), "environment 1 returned 2 in its done at step 2: it must be true or false"),
    (answer(dones=[None] * 3), "dones of type object"),
    (answer(infos=[{}, {}]), "returned list as infos at step 2: they must be a list of 3 dicts"),
    (answer(infos={}), "returned dict as infos"),
]


@pytest.mark.parametrize(("given", "sentence"), BAD, ids=[sentence[-30:] for _, sentence in BAD])
def test_what_cannot_be_taken_is_refused(given: Any, sentence: str) -> None:
    with pytest.raises(EnvironmentFault) as caught:
        arrays.stepped(given, BOX, 3, "step 2")
    assert sentence in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_dones_of_any_kind_and_lists_become_arrays(kind: str) -> None:
    dones = np.array([True, False, True])
    given = dones.tolist() if kind == "list" else dones.astype(kind)
    seen, rewards, ended, infos = arrays.stepped(
        answer(seen=SEEN.tolist(), rewards=[1, 2, 3], dones=given, infos=({}, {}, {})), BOX, 3, ""
    )
    assert ended.dtype == np.bool_ and ended.tolist() == dones.tolist() and infos == [{}, {}, {}]
    assert seen.shape == (3, 2) and rewards.tolist() == [1, 2, 3]


def test_sound_arrays_are_handed_on_as_they_are() -> None:
    """The same objects: nothing is copied, and no type changes."""
    assert all(one is other for one, other in zip(arrays.stepped(SOUND, BOX, 3, "")[:3], SOUND, strict=False))


@pytest.mark.parametrize(
    ("space", "good", "bad"),
    [
        (Discrete(3, start=-1), [-1, 0, 1], [0, 2, 0]),
        (Discrete(2), [0, 1, 1], [0, -1, 0]),
        (MultiDiscrete([2, 5]), [[1, 4]] * 3, [[0, 0], [2, 0], [0, 0]]),
    ],
)
def test_whole_numbers_lie_in_their_space(space: Any, good: Any, bad: Any) -> None:
    assert arrays.observed(good, space, 3, "").tolist() == good
    with pytest.raises(EnvironmentFault, match=r"environment 1 returned .* at the reset: it must lie in "):
        arrays.observed(bad, space, 3, "the reset")


def test_dicts_have_the_keys_of_their_space() -> None:
    space = Dict({"a": BOX, "b": Discrete(2)})
    assert arrays.observed({"a": SEEN, "b": [0, 1, 0], "c": None}, space, 3, "").keys() == {"a", "b"}
    with pytest.raises(EnvironmentFault, match=r"observations of \['a'\] .* must have the keys \['a', 'b'\]"):
        arrays.observed({"a": SEEN}, space, 3, "a step")
    with pytest.raises(EnvironmentFault, match="environment 7 returned nan"):  # the second row is copy 7's
        arrays.observed({"a": spoiled(1, np.nan), "b": [0, 0, 0]}, space, 3, "a step", [4, 7, 8])


class Loose(VecEnvWrapper):
    """Hands out lists, and dones of a kind."""

    def __init__(self, venv: Any, kind: str) -> None:
        super().__init__(venv)
        self.kind = kind

    def reset(self) -> Any:
        return self.venv.reset().tolist() if self.kind == "list" else self.venv.reset()

    def step_wait(self) -> Any:
        seen, rewards, dones, infos = self.venv.step_wait()
        if self.kind == "list":
            return seen.tolist(), rewards.tolist(), dones.tolist(), tuple(infos)
        return seen, rewards, dones.astype(self.kind), infos


def loose(kind: str) -> VecEnvWrapper:
    return Loose(DummyVecEnv([lambda b=b: Clock(b) for b in range(4)]), kind)


TINY: dict[str, Any] = {"hidden_size": 2, "net_arch": []}


@pytest.mark.parametrize("kind", KINDS)
def test_every_loop_takes_foreign_environments_alike(kind: str) -> None:
    """Rollouts, rounds, recording and our wrappers give what they give with dones of type bool."""
    results = []
    for each in (kind, "bool"):
        reward = RecurrentPPO("MlpPolicy", loose(each), n_steps=8, seed=0, policy_kwargs=TINY).learn(32)
        rollout = reward.rollout_buffer
        fitness = Evolution("MlpPolicy", loose(each), "snes", {"population": 3}, seed=0, policy_kwargs=TINY)
        points: list[Any] = []
        fitness.learn(40, callback=lambda local, _, points=points: points.append(local["fitness"]) or True)
        wrapped = wrap(loose(each), [{"name": "previous"}])
        episodes = [
            episode
            for env in (loose(each), wrapped)
            for episode in record(lambda seen: np.arange(4) % 2, env, 6)
        ]
        results.append(
            [rollout.observations, rollout.rewards, rollout.terminated, rollout.episode_starts, *points]
            + [part for e in episodes for part in (e.observations, e.actions, e.rewards)]
        )
    assert len(results[0]) == len(results[1]) > 20
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


class Scribbler(gym.Env[Any, Any]):
    """Sees what it was told to do, and then writes zeros over it."""

    observation_space, action_space = Box(-1, 1, (2,)), Box(-1, 1, (2,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        seen, self.steps = np.array(action, np.float32), self.steps + 1
        action *= 0
        return seen, 0.0, self.steps == 3, False, {}


def scribblers(kind: str) -> Any:
    from rlrnn.envs.vec import from_envs

    makers = [Scribbler] * 2
    return DummyVecEnv(makers) if kind == "sb3" else from_envs(makers)


@pytest.mark.parametrize("kind", ["sb3", "ours"])
def test_a_game_that_writes_into_its_actions_changes_no_record(kind: str) -> None:
    """Each observation but the first of an episode is the action before it: so must be what was kept."""
    mine = np.full((2, 2), 0.5, np.float32)
    for episode in record(lambda seen: mine, scribblers(kind), 4):
        assert (episode.actions == 0.5).all() and (episode.observations[1:] == 0.5).all()
    assert (mine == 0.5).all()
    agent = RecurrentPPO("MlpPolicy", scribblers(kind), n_steps=3, seed=0, policy_kwargs=TINY)
    shown: list[bool] = []

    def look(local: dict[str, Any], _: Any) -> bool:
        going = ~local["dones"]
        shown.append(bool((local["clipped_actions"][going] == local["new_obs"][going]).all()))
        return True

    agent.learn(6, look)
    assert shown == [True] * 3
    kept = agent.rollout_buffer.actions.clip(-1, 1)
    assert kept.any() and (kept[:-1] == agent.rollout_buffer.observations[1:]).all()
    env = wrap(scribblers(kind), [{"name": "previous", "reward": False}])
    env.reset()
    assert env.step(np.full((2, 2), 0.5, np.float32))[0].tolist() == [[0.5] * 4] * 2
    if kind == "ours":
        env.open([1, 2])
        given = np.full((2, 2), 0.5, np.float32)
        assert env.play(given).observations.tolist() == [[0.5] * 4] * 2 and (given == 0.5).all()
