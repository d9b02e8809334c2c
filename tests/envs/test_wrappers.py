"""A wrapper over a batch shows each copy what a plain loop over that copy's episodes would show."""

from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, flatten, flatten_space
from scipy import stats
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack, VecNormalize
from toy_envs import Walk

from rlrnn.envs.vec import from_envs, vectorize
from rlrnn.envs.wrappers import WRAPPERS, Noise, Previous, wrap
from rlrnn.envs.wrappers.vectors import encode
from rlrnn.errors import EnvironmentFault, UserError

Episode = tuple[list[Any], list[Any], list[float]]  # observations 0..T, actions 0..T-1, rewards 0..T-1


def episodes(env: VecEnv, steps: int = 40, seed: int = 5) -> list[list[Episode]]:
    """The episodes of each copy under a fixed sequence of random actions, the last observations in place."""
    env.seed(seed)
    rng = np.random.default_rng(1)
    logs: list[list[Episode]] = [[([row], [], [])] for row in rows(env.reset())]
    for _ in range(steps):
        actions = np.array([sample(env.action_space, rng) for _ in range(env.num_envs)])
        observations, rewards, dones, infos = env.step(actions)
        for b, row in enumerate(rows(observations)):
            seen, done, won = logs[b][-1]
            seen.append(infos[b]["terminal_observation"] if dones[b] else row)
            done.append(actions[b])
            won.append(rewards[b])
            if dones[b]:
                logs[b].append(([row], [], []))
    env.close()
    return logs


def rows(observations: Any) -> Iterator[Any]:
    if isinstance(observations, dict):
        n = len(next(iter(observations.values())))
        return iter([{key: part[b].copy() for key, part in observations.items()} for b in range(n)])
    return iter(observations.copy())


def sample(space: gym.Space, rng: np.random.Generator) -> Any:
    space.seed(int(rng.integers(2**31)))
    return space.sample()


class Tour(gym.Env):
    """Shows random samples of any space, takes actions of any space, ends after 2 to 5 steps."""

    def __init__(self, space: gym.Space, action_space: gym.Space) -> None:
        self.observation_space, self.action_space = space, action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(2, 6))
        return sample(self.observation_space, self.np_random), {"left": self.left}

    def step(self, action: Any) -> Any:
        self.left -= 1
        observation = sample(self.observation_space, self.np_random)
        return observation, self.np_random.random(), self.left == 0, False, {}


class Blank(gym.Env):
    """Shows the same thing for ever."""

    def __init__(self, value: float, size: int) -> None:
        self.observation_space, self.action_space = Box(-9, 9, (size,)), Discrete(2)
        self.view = np.full(size, value, np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return self.view, {}

    def step(self, action: Any) -> Any:
        return self.view, 0.0, False, False, {}


def blanks(value: float, size: int, n_envs: int) -> VecEnv:
    return from_envs([lambda: Blank(value, size)] * n_envs)


def tour(space: gym.Space, action_space: gym.Space | None = None, n_envs: int = 3) -> VecEnv:
    return from_envs([lambda: Tour(space, action_space or Discrete(2))] * n_envs)


VECTOR = Box(np.array([-1, 1, 0], np.float32), np.array([1, 2, 9], np.float32))
IMAGE = Box(0, 255, (36, 36, 3), np.uint8)
TURNED = Box(0, 255, (3, 36, 36), np.uint8)
BOTH = Dict({"vector": VECTOR, "image": IMAGE})
SYMBOL = Discrete(7, start=2)

# What the agent should see at step t, told by a loop that knows one episode only.


def hidden(seen: list[Any], t: int, actions: Any, rewards: Any) -> Any:
    return seen[t][[0, 2]]


def without_image(seen: list[Any], t: int, actions: Any, rewards: Any) -> Any:
    return {"vector": seen[t]["vector"]}


def delayed(seen: list[Any], t: int, actions: Any, rewards: Any) -> Any:
    return seen[max(0, t - 2)]


def stacked(seen: list[Any], t: int, actions: Any, rewards: Any) -> Any:
    return np.concatenate([seen[i] if i >= 0 else 0 * seen[0] for i in (t - 2, t - 1, t)], axis=-1)


def stacked_symbols(seen: list[Any], t: int, actions: Any, rewards: Any) -> Any:
    """Of numbers from 2 to 8, one-hot; nothing at all where the episode was not yet."""
    hot = [np.arange(2, 9) == seen[i] if i >= 0 else np.zeros(7) for i in (t - 2, t - 1, t)]
    return np.concatenate(hot).astype(np.float32)


def stacked_both(seen: list[Any], t: int, actions: Any, rewards: Any) -> Any:
    parts = {key: [part[key] for part in seen] for key in seen[0]}
    symbol = stacked_symbols(parts["symbol"], t, actions, rewards)
    return {"symbol": symbol, "vector": stacked(parts["vector"], t, actions, rewards)}


def unchanged(seen: list[Any], t: int, actions: Any, rewards: Any) -> Any:
    return seen[t]


def dark(seen: list[Any], t: int, actions: Any, rewards: Any) -> Any:
    return {key: 0 * part for key, part in seen[t].items()}


def with_previous(seen: list[Any], t: int, actions: Any, rewards: Any) -> Any:
    hot = np.zeros(3)
    if t > 0:
        hot[actions[t - 1] - 4] = 1
    return np.concatenate([seen[t], hot, [rewards[t - 1] if t > 0 else 0]]).astype(np.float32)


def ones(seen: list[Any], t: int, actions: Any, rewards: Any) -> Any:
    return np.array([number == value for number in seen[t] for value in (4, 1)], np.float32)


def greens(seen: list[Any], t: int, actions: Any, rewards: Any) -> Any:
    numbers = seen[t]["image"][:, :, 1].ravel()
    return np.array([number == value for number in numbers for value in range(9)], np.float32)


@pytest.mark.parametrize(
    ("spec", "space", "action_space", "expected"),
    [
        ({"name": "hide", "drop": [1]}, VECTOR, None, hidden),
        ({"name": "hide", "keep": [2, 0]}, VECTOR, None, hidden),
        ({"name": "hide", "drop": [1]}, MultiDiscrete([3, 4, 5]), None, hidden),
        ({"name": "hide", "drop": [1]}, MultiBinary(3), None, hidden),
        ({"name": "hide", "drop": ["image"]}, BOTH, None, without_image),
        ({"name": "hide", "keep": ["vector"]}, BOTH, None, without_image),
        ({"name": "delay", "steps": 2}, VECTOR, None, delayed),
        ({"name": "delay", "steps": 2}, Discrete(7), None, delayed),
        ({"name": "delay", "steps": 2}, BOTH, None, delayed),
        ({"name": "delay", "steps": 0}, IMAGE, None, unchanged),
        ({"name": "flicker", "probability": 0}, BOTH, None, unchanged),
        ({"name": "flicker", "probability": 1}, BOTH, None, dark),
        ({"name": "noise", "std": 0}, VECTOR, None, unchanged),
        ({"name": "one_hot", "values": [4, 1]}, MultiDiscrete([3, 4, 5]), None, ones),
        ({"name": "one_hot", "values": [*range(9)], "key": "image", "channel": 1}, BOTH, None, greens),
        ({"name": "stack", "frames": 3}, VECTOR, None, stacked),
        ({"name": "stack", "frames": 3}, IMAGE, None, stacked),
        ({"name": "stack", "frames": 1}, BOTH, None, unchanged),
        ({"name": "stack", "frames": 3}, SYMBOL, None, stacked_symbols),
        ({"name": "stack", "frames": 3}, Dict({"symbol": SYMBOL, "vector": VECTOR}), None, stacked_both),
        ({"name": "previous"}, VECTOR, Discrete(3, start=4), with_previous),
    ],
)
def test_every_copy_sees_its_own_episodes(
    spec: dict[str, Any], space: gym.Space, action_space: gym.Space | None, expected: Callable[..., Any]
) -> None:
    """First, middle and last observations; nothing of an ended episode in the next; inside the space."""
    env = wrap(tour(space, action_space), [spec])
    views, raw = episodes(env), episodes(tour(space, action_space))
    assert sum(len(copy) for copy in raw) > 25
    for view_copy, raw_copy in zip(views, raw, strict=True):
        for (views_of, _, _), (seen, actions, rewards) in zip(view_copy, raw_copy, strict=True):
            assert len(views_of) == len(seen)
            for t, view in enumerate(views_of):
                wanted = expected(seen, t, actions, rewards)
                for key in wanted if isinstance(wanted, dict) else [()]:
                    np.testing.assert_array_equal(view[key], wanted[key] if key else wanted)
                assert env.observation_space.contains(view)


@pytest.mark.parametrize(
    "space", [VECTOR, IMAGE, BOTH, Discrete(7, start=2), MultiDiscrete([3, 4, 5]), MultiBinary(3)]
)
def test_flatten_is_gymnasiums(space: gym.Space) -> None:
    env = wrap(tour(space), [{"name": "flatten"}])
    known = flatten_space(space)
    assert env.observation_space == Box(known.low.astype(np.float32), known.high.astype(np.float32))
    for views, raw in zip(episodes(env), episodes(tour(space)), strict=True):
        for (view, _, _), (seen, _, _) in zip(views, raw, strict=True):
            for one, other in zip(view, seen, strict=True):
                np.testing.assert_array_equal(one, flatten(space, other).astype(np.float32))


@pytest.mark.parametrize("base", ["dummy", "native"])
def test_over_any_vec_env(base: str) -> None:
    """The mechanism is the same over SB3's DummyVecEnv and over an array game."""
    one = {"native": "rlrnn/CartPole-v1", "dummy": "CartPole-v1"}[base]
    kwargs = {"max_episode_steps": 15}

    def make() -> VecEnv:
        if base == "native":
            return vectorize(one, 3, kwargs=kwargs)
        return DummyVecEnv([lambda: gym.make(one, **kwargs)] * 3)

    specs = [{"name": "hide", "drop": [1, 3]}, {"name": "delay", "steps": 1}, {"name": "stack", "frames": 2}]
    env = wrap(make(), specs)
    assert env.observation_space.shape == (4,)
    for views, raw in zip(episodes(env, 60), episodes(make(), 60), strict=True):
        assert len(raw) > 3
        for (view, _, _), (seen, _, _) in zip(views, raw, strict=True):
            for t in range(len(seen)):
                late = [seen[max(0, i - 1)][[0, 2]] if i >= 0 else np.zeros(2) for i in (t - 1, t)]
                np.testing.assert_array_equal(view[t], np.concatenate(late).astype(np.float32))


@pytest.mark.parametrize(
    "space", [Box(-1, 1, (3,)), IMAGE, TURNED, Dict({"a": Box(-1, 1, (2,)), "b": TURNED})]
)
def test_stack_is_sb3s_vec_frame_stack(space: gym.Space) -> None:
    ours, theirs = wrap(tour(space), [{"name": "stack", "frames": 4}]), VecFrameStack(tour(space), 4)
    assert ours.observation_space == theirs.observation_space
    for mine, other in zip(episodes(ours), episodes(theirs), strict=True):
        for (seen, _, _), (known, _, _) in zip(mine, other, strict=True):
            for one, two in zip(seen, known, strict=True):
                for key in one if isinstance(one, dict) else [()]:
                    np.testing.assert_array_equal(one[key], two[key])


@pytest.mark.parametrize("name", sorted(WRAPPERS))
def test_what_was_returned_is_never_written_again(name: str) -> None:
    options: dict[str, Any] = {
        "hide": {"drop": [1]}, "delay": {"steps": 2}, "flicker": {"probability": 0.5},
        "noise": {"std": 1.0}, "one_hot": {"values": [1, 2]}, "stack": {"frames": 2}, "previous": {},
        "flatten": {},
    }  # fmt: skip
    env = wrap(from_envs([Walk] * 3, seed=0), [{"name": name, **options[name]}])
    kept = [(first := env.reset(), first.copy())]
    for step in range(15):
        observations, _, _, infos = env.step(np.full(3, step % 3))
        lasts = [info["terminal_observation"] for info in infos if "terminal_observation" in info]
        kept += [(array, array.copy()) for array in (observations, *lasts)]
        observations += 100  # nor may what the user does to it reach the memory
        kept[-1 - len(lasts)] = (observations, observations.copy())
    for array, copy in kept:
        np.testing.assert_array_equal(array, copy)
    for array, _ in kept:
        assert (array < 120).all()


def test_spaces() -> None:
    """Bounds by hand, for a vector whose fields differ and do not all contain zero."""
    low, high = VECTOR.low.tolist(), VECTOR.high.tolist()

    def space(name: str, **options: Any) -> Any:
        return wrap(tour(VECTOR), [{"name": name, **options}]).observation_space

    assert space("hide", drop=[0]) == Box(VECTOR.low[1:], VECTOR.high[1:])
    assert space("delay", steps=3) == VECTOR
    assert space("flicker", probability=0.1).low.tolist() == [-1, 0, 0]
    assert space("noise", std=0.1) == Box(-np.inf, np.inf, (3,))
    assert space("stack", frames=2).low.tolist() == [-1, 0, 0, -1, 0, 0]
    assert space("stack", frames=2).high.tolist() == high + high
    both = space("previous")
    assert both.low.tolist() == [*low, 0, 0, -np.inf] and both.high.tolist() == [*high, 1, 1, np.inf]
    assert space("previous", reward=False).shape == (5,) and space("previous", action=False).shape == (4,)
    warm = wrap(tour(VECTOR, Box(1, 2, (1,))), [{"name": "previous", "reward": False}]).observation_space
    assert (warm.low[-1], warm.high[-1]) == (0, 2)  # zero: no action yet
    hidden_space = wrap(tour(MultiDiscrete([3, 4, 5])), [{"name": "hide", "keep": [2]}]).observation_space
    assert hidden_space == MultiDiscrete([5])


@pytest.mark.parametrize(
    ("space", "observation", "written"),
    [
        (Box(-3, 3, (2,)), [-1.5, 2], [-1.5, 2]),
        (Discrete(3, start=-1), 1, [0, 0, 1]),
        (MultiDiscrete([2, 3]), [1, 0], [0, 1, 1, 0, 0]),
        (MultiBinary(3), [1, 0, 1], [1, 0, 1]),
    ],
)
def test_previous_writes_every_space(space: gym.Space, observation: Any, written: list[float]) -> None:
    """As an observation and, twice as wide where it may be, as an action."""

    class Still(Tour):
        def step(self, action: Any) -> Any:
            np.testing.assert_array_equal(action, observation)
            return np.array(observation, self.observation_space.dtype), 0.5, False, False, {}

    env = Previous(from_envs([lambda: Still(space, space)] * 2))
    env.reset()
    view, *_ = env.step(np.array([observation] * 2))
    assert view.dtype == np.float32 and view.tolist() == [[*written, *written, 0.5]] * 2
    assert env.observation_space.contains(view[0])


def test_noise_is_gaussian() -> None:
    """Kolmogorov-Smirnov against N(0, 0.3^2) over 24,000 numbers, and none of them depends on another."""
    env = Noise(blanks(2, 3, n_envs=20), std=0.3)
    env.seed(0)
    noise = np.array(
        [env.reset() - 2] + [env.step(np.zeros(20, int))[0] - 2 for _ in range(399)]
    )  # [T, B, 3]
    assert stats.kstest(noise.ravel(), "norm", args=(0, 0.3)).pvalue > 0.01
    assert (
        stats.kstest(noise.ravel(), "uniform", args=(-0.52, 1.04)).pvalue < 1e-9
    )  # same deviation, other law
    flat = noise.reshape(len(noise), -1)
    between = np.corrcoef(flat.T)[~np.eye(60, dtype=bool)]
    in_time = [np.corrcoef(flat[:-1, i], flat[1:, i])[0, 1] for i in range(60)]
    assert np.abs(between).max() < 5 / np.sqrt(400) and np.abs(in_time).max() < 5 / np.sqrt(400)


def test_flicker_has_its_probability_and_strikes_copies_alone() -> None:
    env = wrap(blanks(1, 2, n_envs=20), [{"name": "flicker", "probability": 0.3}])
    env.seed(0)
    views = np.array([env.reset()] + [env.step(np.zeros(20, int))[0] for _ in range(399)])  # [T, B, 2]
    dark = (views == 0).all(axis=2)
    np.testing.assert_array_equal(dark, (views == 0).any(axis=2))  # the whole observation or nothing
    assert stats.binomtest(int(dark.sum()), dark.size, 0.3).pvalue > 0.01
    assert 0.02 < dark.mean(axis=1).std() < 0.2  # not all copies at once, which would be 0.46


@pytest.mark.parametrize("spec", [{"name": "noise", "std": 1.0}, {"name": "flicker", "probability": 0.5}])
def test_copy_b_is_the_single_game_with_seed_plus_b(spec: dict[str, Any]) -> None:
    """Bit for bit, whatever the number of copies, through ends of episodes."""
    rng = np.random.default_rng(0)
    actions = rng.integers(3, size=(25, 7))

    def views(first: int, n_envs: int) -> Any:
        env = wrap(vectorize("toys/Walk-v0", n_envs, seed=3 + first), [spec])
        part = actions[:, first : first + n_envs]
        return np.array([env.reset(), *(env.step(row)[0] for row in part)])

    batch = views(0, 7)
    for b in range(7):
        np.testing.assert_array_equal(views(b, 1)[:, 0], batch[:, b])
    np.testing.assert_array_equal(views(2, 4), batch[:, 2:6])
    assert not np.array_equal(batch[:, 0], batch[:, 1])


def test_seeds() -> None:
    noise = {"name": "noise", "std": 1.0}
    still = Box(0, 0, (2,))

    def first(specs: list[dict[str, Any]], **kwargs: Any) -> Any:
        env = wrap(tour(still), specs)
        env.seed(**kwargs)
        return env.reset()

    np.testing.assert_array_equal(first([noise], seed=1), first([noise], seed=1))
    assert not np.array_equal(first([noise], seed=1), first([noise], seed=2))
    env = wrap(tour(still), [noise])
    assert not np.array_equal(env.reset(), wrap(tour(still), [noise]).reset())  # no seed: fresh noise
    env.seed(1)
    one = env.reset()
    np.testing.assert_array_equal(one, first([noise], seed=1))
    assert not np.array_equal(env.reset(), one)  # a seed is used once
    # A seed given before the wrapper was put on, and one given through somebody else's wrapper.
    base = tour(still)
    base.seed(1)
    np.testing.assert_array_equal(wrap(base, [noise]).reset(), one)
    other = VecNormalize(wrap(tour(still), [noise]), norm_obs=False)
    other.seed(1)
    np.testing.assert_array_equal(other.reset(), one)
    # Two layers of noise are two streams: their sum is not twice the first.
    assert not np.allclose(first([noise, noise], seed=1), 2 * one)


def test_the_next_episode_has_other_noise() -> None:
    env = wrap(tour(Box(0, 0, (1,)), n_envs=1), [{"name": "noise", "std": 1.0}])
    numbers = [float(view[0]) for seen, _, _ in episodes(env)[0] for view in seen]
    assert len(set(numbers)) == len(numbers) > 40


def test_reset_infos_come_through() -> None:
    env = wrap(tour(VECTOR), [{"name": "delay", "steps": 1}, {"name": "stack", "frames": 2}])
    env.reset()
    lefts = [info["left"] for info in env.reset_infos]
    assert all(2 <= left <= 5 for left in lefts)
    for _ in range(min(lefts)):
        dones = env.step(np.zeros(3, int))[2]
    assert dones.any() and env.reset_infos is env.unwrapped.reset_infos


def test_a_vec_env_that_keeps_its_last_observations_to_itself() -> None:
    class Silent(DummyVecEnv):
        def step_wait(self) -> Any:
            observations, rewards, dones, infos = super().step_wait()
            for info in infos:
                info.pop("terminal_observation", None)
            return observations, rewards, dones, infos

    env = wrap(Silent([lambda: Tour(VECTOR, Discrete(2))]), [{"name": "delay", "steps": 1}])
    env.seed(0)
    env.reset()
    for _ in range(10):
        observations, _, _, infos = env.step(np.zeros(1, int))
        assert "terminal_observation" not in infos[0] and VECTOR.contains(observations[0])


@pytest.mark.parametrize(
    ("space", "spec", "sentence"),
    [
        (
            VECTOR,
            {"name": "blur"},
            "'blur' is not known: choose one of delay, flatten, flicker, hide, noise, one_hot, previous"
            ".*--import MODULE",
        ),
        (VECTOR, {}, "wrapper None is not known"),
        (VECTOR, {"name": "hide", "indices": [1]}, "hide has no option 'indices': it knows drop, keep"),
        (VECTOR, {"name": "delay"}, "delay needs the option 'steps'"),
        (VECTOR, {"name": "hide"}, r"either drop=\[...\] or keep=\[...\], out of \[0, 1, 2\]"),
        (VECTOR, {"name": "hide", "drop": [1], "keep": [1]}, "either drop"),
        (VECTOR, {"name": "hide", "drop": [3]}, r"cannot find \[3\]; .* out of \[0, 1, 2\]"),
        (VECTOR, {"name": "hide", "drop": [-1]}, r"cannot find \[-1\]"),
        (VECTOR, {"name": "hide", "drop": [1, 1]}, "names each once"),
        (VECTOR, {"name": "hide", "drop": 1}, "cannot find 1; give a list"),
        (VECTOR, {"name": "hide", "drop": [[1]]}, "cannot find"),
        (VECTOR, {"name": "hide", "drop": [0, 1, 2]}, "nothing to see"),
        (BOTH, {"name": "hide", "drop": ["sound"]}, r"cannot find \['sound'\]; .*'image', 'vector'"),
        (BOTH, {"name": "hide", "drop": "image"}, "cannot find 'image'; give a list"),
        (IMAGE, {"name": "hide", "drop": [0]}, "needs a vector or a Dict"),
        (
            VECTOR,
            {"name": "delay", "steps": -1},
            "delay: steps is -1, .* whole number of at least 0",
        ),
        (VECTOR, {"name": "delay", "steps": 1.5}, "steps is 1.5, but must be a whole number"),
        (VECTOR, {"name": "stack", "frames": 0}, "frames is 0, but must be a whole number of at least 1"),
        (VECTOR, {"name": "stack", "frames": True}, "frames is True"),
        (
            VECTOR,
            {"name": "flicker", "probability": 1.1},
            "probability is 1.1, .* a number from 0 to 1",
        ),
        (Discrete(3, start=1), {"name": "flicker", "probability": 0.1}, "a space that contains 0"),
        (VECTOR, {"name": "noise", "std": "big"}, "std is 'big', but must be a number of at least 0"),
        (VECTOR, {"name": "noise", "std": float("nan")}, "std is nan, but must be a finite number"),
        (IMAGE, {"name": "noise", "std": 1.0}, "noise needs a Box of floats"),
        (VECTOR, {"name": "one_hot"}, "one_hot needs the option 'values'"),
        (VECTOR, {"name": "one_hot", "values": [1, 1]}, r"values=\[1, 1\]; give a list of whole numbers"),
        (VECTOR, {"name": "one_hot", "values": [0.5]}, r"values=\[0.5\]"),
        (VECTOR, {"name": "one_hot", "values": []}, r"values=\[\]"),
        (
            IMAGE,
            {"name": "one_hot", "values": [1], "channel": 3},
            "channel is 3, .* a whole number from 0 to 2",
        ),
        (BOTH, {"name": "one_hot", "values": [1]}, "key=None names none"),
        (BOTH, {"name": "one_hot", "values": [1], "key": "sound"}, "key='sound' names none"),
        (Discrete(3), {"name": "one_hot", "values": [1]}, "one_hot needs a Box or a MultiDiscrete"),
        (VECTOR, {"name": "previous", "action": False, "reward": False}, "one of them must be true"),
        (VECTOR, {"name": "previous", "action": 1}, "action=1"),
        (IMAGE, {"name": "previous"}, "needs a vector or one number"),
        (BOTH, {"name": "previous"}, "needs a vector or one number"),
    ],
)
def test_mistakes_are_answered_by_what_is_allowed(space: gym.Space, spec: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        wrap(tour(space), [spec])


@pytest.mark.parametrize(
    ("space", "seen"),
    [(Discrete(3), -1), (Discrete(3), 3), (Discrete(3, start=5), 4), (MultiDiscrete([2, 3]), [0, -1])],
)
def test_a_number_outside_of_its_space_is_not_written_as_another(space: Any, seen: Any) -> None:
    with pytest.raises(EnvironmentFault, match=r"given -?\d to write one-hot: it must lie in "):
        encode(space, np.array([space.start, seen]))
