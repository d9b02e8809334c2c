"""Every kind of cell, action space and observation space learns a game of a few steps, far above chance.

Each row is one short run on one seed; a score is the mean points of an episode of the final agent.
"""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from rlrnn import RecurrentPPO
from rlrnn.learners import base
from rlrnn.network import sensors
from rlrnn.network.convolutions import SmallCNN

N_ENVS = 16
SETTINGS: dict[str, Any] = {
    "n_steps": 16,
    "batch_size": 64,
    "n_epochs": 6,
    "learning_rate": 0.01,
    "gamma": 0.5,  # episodes are of a few steps
    "seed": 0,
    "device": "cpu",
}


def train(
    game: Any, policy: str, steps: int, policy_kwargs: dict[str, Any] | None = None, **settings: Any
) -> RecurrentPPO:
    env = DummyVecEnv([lambda: Monitor(game()) for _ in range(N_ENVS)])
    kwargs = {"hidden_size": 16, "net_arch": [], **(policy_kwargs or {})}
    return RecurrentPPO(policy, env, policy_kwargs=kwargs, **{**SETTINGS, **settings}).learn(steps)


def points(agent: RecurrentPPO, game: Any, episodes: int = 400, wiped: bool = False) -> float:
    """Mean points of an episode, on games that training never saw, with the most likely actions."""
    env = DummyVecEnv([lambda: Monitor(game()) for _ in range(N_ENVS)])
    env.seed(1_000)
    player, seen, starts = agent.player(N_ENVS, wiped=wiped), env.reset(), np.ones(N_ENVS, bool)
    scores: list[float] = []
    while len(scores) < episodes:
        seen, _, starts, infos = env.step(player.act(seen, starts))
        scores += [info["episode"]["r"] for info in infos if "episode" in info]
    return float(np.mean(scores))


class Recall(gym.Env[np.ndarray, int]):
    """Shows a cue, then nothing, then asks for it: 1 point for the right answer. Guessing is worth 0.5."""

    observation_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Discrete(2)
    delay = 2

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.cue, self.steps = int(self.np_random.integers(2)), 0
        return np.float32([2 * self.cue - 1, 0]), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        asked, self.steps = self.steps == self.delay, self.steps + 1
        return (
            np.float32([0, self.steps == self.delay]),
            float(asked and action == self.cue),
            asked,
            False,
            {},
        )


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm", "fir"])
def test_every_memory_recalls_a_cue_of_two_steps_ago(cell: str) -> None:
    agent = train(Recall, f"Mlp{cell.capitalize()}Policy", 4_000)
    assert points(agent, Recall) >= 0.98
    assert points(agent, Recall, wiped=True) <= 0.6  # and by memory alone


def test_no_memory_cannot_recall() -> None:
    agent = train(Recall, "MlpPolicy", 6_000)
    assert 0.4 <= points(agent, Recall) <= 0.6


class Match(gym.Env[Any, Any]):
    """Shows one of three signs and asks for that sign's action, three times: a point for each fully right."""

    SIGNS = 3

    def __init__(
        self, observation_space: spaces.Space[Any], shown: Any, action_space: spaces.Space[Any], wanted: Any
    ) -> None:
        self.observation_space, self.shown = observation_space, shown
        self.action_space, self.wanted = action_space, wanted

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self.show(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        wanted = self.wanted[self.sign]
        if isinstance(self.action_space, spaces.Box):
            width = self.action_space.high - self.action_space.low
            reward = 1.0 - 2.0 * float(np.mean(np.abs(action - wanted) / width))
        else:
            reward = float(np.mean(np.equal(action, wanted)))
        self.steps += 1
        return self.show(), reward / 3, self.steps == 3, False, {}

    def show(self) -> Any:
        self.sign = int(self.np_random.integers(self.SIGNS))
        return self.shown[self.sign]


DISCRETE = (spaces.Discrete(3), [np.int64(0), np.int64(1), np.int64(2)])
UNEVEN = spaces.Box(np.float32([[-1, 0], [-2, -0.5]]), np.float32([[1, 1], [1, 1.5]]))
CORNERS = [UNEVEN.low + share * (UNEVEN.high - UNEVEN.low) for share in np.float32([0.2, 0.5, 0.8])]
ACTIONS: dict[str, tuple[spaces.Space[Any], list[Any], dict[str, Any], dict[str, Any]]] = {
    "Discrete": (*DISCRETE, {}, {}),
    "Discrete from 5": (spaces.Discrete(3, start=5), [6, 5, 7], {}, {}),
    "MultiDiscrete": (spaces.MultiDiscrete([3, 2], start=[1, 0]), [[1, 0], [3, 1], [2, 1]], {}, {}),
    "MultiDiscrete 2-D": (
        spaces.MultiDiscrete([[2, 3], [3, 2]]),
        [[[0, 1], [2, 0]], [[1, 0], [0, 1]], [[1, 2], [1, 1]]],
        {},
        {},
    ),
    "MultiBinary": (
        spaces.MultiBinary((2, 2)),
        [[[0, 1], [1, 0]], [[1, 1], [0, 0]], [[0, 0], [1, 1]]],
        {},
        {},
    ),
    "Box": (UNEVEN, CORNERS, {}, {"log_std_init": -1.0}),
    "gSDE": (UNEVEN, CORNERS, {"use_sde": True}, {"log_std_init": -1.0}),
    "squashed": (UNEVEN, CORNERS, {"use_sde": True}, {"squash_output": True}),
}


@pytest.mark.parametrize("kind", ACTIONS)
def test_every_action_space_is_learned(kind: str) -> None:
    action_space, wanted, settings, kwargs = ACTIONS[kind]

    def game() -> Match:
        return Match(*DISCRETE, action_space, wanted)

    continuous = isinstance(action_space, spaces.Box)
    agent = train(game, "MlpGruPolicy", 4_500 if continuous else 3_000, kwargs, **settings)
    # the best action that ignores the sign earns 0.6 in a box and at most 0.67 elsewhere
    assert points(agent, game) >= (0.8 if continuous else 0.9)


def image(rows: slice, columns: slice) -> np.ndarray:
    picture = np.zeros((36, 36, 1), np.uint8)
    picture[rows, columns] = 255
    return picture


HALF, WHOLE, NONE = slice(18), slice(None), slice(0)


KEYED = spaces.Dict(
    {"a": spaces.Discrete(2, start=1), "b": spaces.Box(-1, 1, (1,)), "c": spaces.MultiBinary(2)}
)
OBSERVATIONS: dict[str, tuple[str, spaces.Space[Any], list[Any]]] = {
    "vector": (
        "Mlp",
        spaces.Box(-1, 1, (2,)),
        [np.float32([0, 1]), np.float32([1, -1]), np.float32([-1, 0])],
    ),
    "matrix": (
        "Mlp",
        spaces.Box(0, 1, (2, 2)),
        [np.float32([[0, 1], [0, 0]]), np.float32([[1, 0], [0, 0]]), np.float32([[0, 0], [1, 1]])],
    ),
    "Discrete": ("Mlp", spaces.Discrete(3, start=-1), [np.int64(0), np.int64(-1), np.int64(1)]),
    "MultiDiscrete": (
        "Mlp",
        spaces.MultiDiscrete([2, 2]),
        [np.array([0, 1]), np.array([1, 0]), np.array([1, 1])],
    ),
    "MultiBinary": (
        "Mlp",
        spaces.MultiBinary((1, 2)),
        [np.int8([[0, 1]]), np.int8([[1, 0]]), np.int8([[1, 1]])],
    ),
    "image": (
        "Cnn",
        spaces.Box(0, 255, (36, 36, 1), np.uint8),
        [image(HALF, WHOLE), image(WHOLE, HALF), image(NONE, NONE)],
    ),
    "Dict": (
        "MultiInput",
        KEYED,
        [
            {"a": np.int64(1), "b": np.float32([0.5]), "c": np.int8([0, 0])},
            {"a": np.int64(2), "b": np.float32([0.5]), "c": np.int8([0, 0])},
            {"a": np.int64(1), "b": np.float32([0.5]), "c": np.int8([0, 1])},
        ],
    ),
}


@pytest.mark.parametrize("kind", OBSERVATIONS)
def test_every_observation_space_is_learned(kind: str) -> None:
    seeing, space, shown = OBSERVATIONS[kind]

    def game() -> Match:
        return Match(space, shown, *DISCRETE)

    options = {"features_extractor_kwargs": {"features_dim": 16}} if seeing == "Cnn" else {}
    agent = train(game, f"{seeing}LstmPolicy", 3_000, options)
    assert points(agent, game) >= 0.9  # an action that ignores the sign earns 0.33


@pytest.mark.slow
def test_images_are_learned_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a processor computes that has instructions for it; here torch may have to emulate them."""
    for module in (sensors, base):
        monkeypatch.setattr(module, "computes", lambda precision, device: True)

    def game() -> Match:
        return Match(*OBSERVATIONS["image"][1:], *DISCRETE)

    options = {"features_extractor_class": SmallCNN, "features_extractor_kwargs": {"features_dim": 16}}
    agent = train(game, "CnnLstmPolicy", 3_000, {**options, "precision": "bfloat16"})
    assert points(agent, game) >= 0.9
