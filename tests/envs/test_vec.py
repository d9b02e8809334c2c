"""vectorize is SB3's DummyVecEnv with Monitors, only faster and with fewer surprises."""

import sys
from fractions import Fraction
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Tuple
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from playing import play, same
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from toy_envs import Conveyor, Walk

import rlrnn.games  # noqa: F401  (registers them)
from rlrnn.envs import vec
from rlrnn.envs.games import make_vec
from rlrnn.envs.vec import from_envs, from_vector_env, vectorize
from rlrnn.errors import EnvironmentFault, GameExit, UserError


def dummy(id: str, n_envs: int, **kwargs: Any) -> DummyVecEnv:  # noqa: A002
    """The oracle."""
    return DummyVecEnv(
        [lambda: Monitor(gym.make(id, disable_env_checker=True, **kwargs)) for _ in range(n_envs)]
    )


def assert_like_dummy(ours: list[Any], theirs: list[Any]) -> int:
    """The same game in both logs; returns the number of episodes that ended in it."""
    episodes = 0
    same(ours[0], theirs[0])
    for mine, other in zip(ours[1:], theirs[1:], strict=True):
        same(mine[:3], other[:3])
        for b, (info, oracle) in enumerate(zip(mine[3], other[3], strict=True)):
            if mine[2][b]:
                episodes += 1
                same(info["terminal_observation"], oracle["terminal_observation"])
                assert info["TimeLimit.truncated"] is bool(oracle["TimeLimit.truncated"])
                assert info["episode"]["r"] == pytest.approx(oracle["episode"]["r"], abs=1e-6)
                assert info["episode"]["l"] == oracle["episode"]["l"]
            else:
                assert not {"terminal_observation", "TimeLimit.truncated", "episode"} & info.keys()
        same(mine[4], other[4])
    return episodes


@pytest.mark.parametrize(
    ("id", "kwargs"),
    [
        ("CartPole-v1", {"max_episode_steps": 25}),
        ("Pendulum-v1", {"max_episode_steps": 20, "g": 9.81}),
        ("MountainCarContinuous-v0", {"max_episode_steps": 30}),
        ("toys/Walk-v0", {"fresh": True}),  # DummyVecEnv keeps no copy of the last observation
        ("rlrnn/CartPole-v1", {"max_episode_steps": 25}),  # ours is an array game: copy b has seed + b
        ("rlrnn/Pendulum-v1", {"max_episode_steps": 20}),
    ],
)
def test_same_game_as_dummy_vec_env(id: str, kwargs: dict[str, Any]) -> None:  # noqa: A002
    ours = play(vectorize(id, 3, kwargs=kwargs), 64)
    assert assert_like_dummy(ours, play(dummy(id, 3, **kwargs), 64)) >= 6


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
@pytest.mark.parametrize("keyed", [False, True])
def test_vector_env_is_the_same_game_too(mode: AutoresetMode, keyed: bool) -> None:
    """By final_obs in an object array, and by a reset mask; for arrays and for dicts of arrays."""
    makers = [
        partial(gym.make, "toys/Walk-v0", disable_env_checker=True, keyed=keyed, fresh=True) for _ in range(4)
    ]
    ours = play(from_vector_env(SyncVectorEnv(makers, autoreset_mode=mode)), 40)
    theirs = play(from_envs(makers), 40)
    for mine, other in zip(ours, theirs, strict=True):
        for infos in (mine[3], other[3]) if len(mine) > 2 else ():
            for info in infos:
                info.get("episode", {}).pop("t", None)
        same(mine, other)
    assert sum(entry[2].sum() for entry in ours[1:]) > 30


def test_info_of_every_step_is_passed_on() -> None:
    env = vectorize("toys/Walk-v0", 2, seed=0)
    env.reset()
    lengths = [info["length"] for info in env.reset_infos]
    for step in range(1, 3):
        infos = env.step(np.zeros(2, int))[3]
        assert [info["steps"] for info in infos] == [step, step]
    assert lengths == [Walk().reset(seed=b)[1]["length"] for b in (0, 1)]


def test_own_vector_env_is_used_only_where_it_resets_within_the_step() -> None:
    assert vectorize("toys/Conveyor-v0", 2).get_attr("where")[0]() == "everywhere"
    assert isinstance(vectorize("CartPole-v1", 2).get_attr("unwrapped")[0], gym.Env)
    with pytest.raises(UserError, match=r"CartPole-v1 has the mode .*NEXT_STEP.*SAME_STEP"):
        from_vector_env(gym.make_vec("CartPole-v1", 2))


def test_native_steps_by_hand() -> None:
    """Copy b ends every b + 2 steps; a number of a copy may be checked by eye."""
    env = vectorize("toys/Conveyor-v0", 3)
    np.testing.assert_array_equal(env.reset(), [[0, 0, 0], [1, 0, 0], [2, 0, 0]])
    env.step(np.array([1, 1, 1]))
    observations, rewards, dones, infos = env.step(np.array([1, 0, 1]))
    assert observations.dtype == rewards.dtype == np.float32
    np.testing.assert_array_equal(observations, [[0, 1, 0], [1, 0, 2], [2, 0, 2]])
    np.testing.assert_array_equal(infos[0]["terminal_observation"], [0, 0, 2])
    assert infos[0]["episode"]["r"] == 2.0 and infos[0]["episode"]["l"] == 2
    assert dones.tolist() == [True, False, False] and infos[1:] == [{}, {}]
    infos = env.step(np.array([1, 1, 1]))[3]
    assert infos[1]["episode"]["r"] == 2.0 and infos[1]["episode"]["l"] == 3 and infos[0] == {}


@pytest.mark.parametrize("id", ["toys/Walk-v0", "toys/Conveyor-v0"])
def test_what_was_returned_is_never_written_again(id: str) -> None:  # noqa: A002
    """Both toys write each observation into the same array."""
    env = vectorize(id, 3, seed=0)
    kept: list[tuple[Any, Any]] = [(first := env.reset(), first.copy())]
    for step in range(12):
        observations, rewards, dones, infos = env.step(np.full(3, step % 2))
        kept += [(array, array.copy()) for array in (observations, rewards, dones)]
        for info in infos:
            if "terminal_observation" in info:
                kept.append((info["terminal_observation"], info["terminal_observation"].copy()))
                assert info["terminal_observation"][-1] != 0 or id == "toys/Walk-v0"
    for array, copy in kept:
        np.testing.assert_array_equal(array, copy)
    assert len(kept) > 40


def test_last_observation_is_not_that_of_the_reset() -> None:
    env = vectorize("toys/Walk-v0", 1, seed=0)
    env.reset()
    length = env.reset_infos[0]["length"]
    for _ in range(length):
        observations, _, dones, infos = env.step(np.array([2]))
    assert dones[0] and infos[0]["terminal_observation"].tolist()[1:] == [length, 2]
    assert observations[0, 1:].tolist() == [0, 0]


def test_seeds_are_used_once_and_copy_b_has_seed_plus_b() -> None:
    env = vectorize("toys/Walk-v0", 3, seed=10)
    first = env.reset()
    for b in range(3):
        np.testing.assert_array_equal(first[b], vectorize("toys/Walk-v0", 1, seed=10 + b).reset()[0])
    assert not np.array_equal(env.reset(), first)
    env.seed(10)
    np.testing.assert_array_equal(env.reset(), first)
    conveyor = vectorize("toys/Conveyor-v0", 3, seed=10)
    conveyor.reset()
    assert conveyor.get_attr("seed_given") == [10, 10, 10]  # a vector environment adds the copy itself
    conveyor.reset()
    assert conveyor.get_attr("seed_given") == [None, None, None]


def test_reset_options_reach_the_copies_once() -> None:
    env = vectorize("toys/Walk-v0", 2, seed=0)
    env.set_options([{"start": 5.0}, {"start": 6.0}])
    assert env.reset()[:, 0].tolist() == [5.0, 6.0]
    assert (env.reset()[:, 0] < 1).all()
    conveyor = vectorize("toys/Conveyor-v0", 2)
    conveyor.set_options({"start": 5.0})
    conveyor.reset()
    assert conveyor.get_attr("options_given") == [{"start": 5.0}] * 2
    conveyor.set_options([{"start": 5.0}, {}])
    with pytest.raises(UserError, match="same reset options"):
        conveyor.reset()


def test_points_are_counted_in_double_precision() -> None:
    """0.01 and 0.11 are no float32 numbers; the sum in double precision is exact to 1e-15."""
    env = from_envs([lambda: gym.wrappers.TimeLimit(Walk(), 4)])
    env.reset()
    total, done = 0.0, False
    while not done:
        _, rewards, (done,), infos = env.step(np.array([1]))
        total += 0.1 * 1 + 0.01
    assert infos[0]["episode"]["r"] == total != float(np.float32(total))
    assert rewards.dtype == np.float32


def test_a_reset_in_the_middle_counts_anew() -> None:
    env = vectorize("toys/Conveyor-v0", 1)
    env.reset()
    env.step(np.array([1]))
    env.reset()
    env.step(np.array([1]))
    infos = env.step(np.array([1]))[3]
    assert (infos[0]["episode"]["r"], infos[0]["episode"]["l"]) == (2.0, 2)


class Sleeper:
    """A policy without memory whose action depends on the observation alone."""

    def predict(self, observation: Any, state: Any = None, **_: Any) -> tuple[Any, Any]:
        return (observation[:, 2] > 0).astype(np.int64), state


def test_evaluate_policy_trusts_the_statistics() -> None:
    """Rewards scaled by VecNormalize must not reach the evaluation; a warning would be an error here."""
    results = []
    for env in (vectorize("CartPole-v1", 3), dummy("CartPole-v1", 3)):
        env.seed(1)
        scaled = VecNormalize(env, norm_obs=False)
        results.append(evaluate_policy(Sleeper(), scaled, 7, return_episode_rewards=True))
    assert results[0] == results[1]
    assert results[0][0] == [float(length) for length in results[0][1]]


def test_a_monitor_inside_knows_better_where_an_episode_ends() -> None:
    class Lives(gym.Wrapper):
        """Ends the learner's episode at every step, the game's own after its own number of steps."""

        def step(self, action: Any) -> Any:
            observation, reward, over, cut, info = self.env.step(action)
            self.over = over or cut
            return observation, reward, True, False, info

        def reset(self, **kwargs: Any) -> Any:
            return self.env.reset(**kwargs) if getattr(self, "over", True) else (self.env.unwrapped.seen, {})

    env = from_envs([lambda: Lives(Monitor(Walk()))], seed=0)
    env.reset()
    length = env.reset_infos[0]["length"]
    for step in range(1, length + 1):
        _, _, dones, infos = env.step(np.zeros(1, int))
        assert dones[0] and ("episode" in infos[0]) == (step == length)
    assert infos[0]["episode"]["l"] == length


@pytest.mark.parametrize(
    ("trouble", "sentence"),
    [
        ("raise", r"Copy 2 of toys/Walk-v0 raised ZeroDivisionError in step\(\): the floor gave way"),
        ("nan", r"Copy 2 of toys/Walk-v0 gave the reward nan at step 2 of its episode"),
        ("inf", r"Copy 2 of toys/Walk-v0 gave the reward inf at step 2"),
        ("huge", r"Copy 2 of toys/Walk-v0 gave the reward 1e\+39 at step 2"),
        ("blind", r"Copy 2 of toys/Walk-v0 gave an observation with nan at step 2 of its episode"),
    ],
)
@pytest.mark.parametrize("keyed", [False, True])
def test_faults_name_the_copy_and_the_step(trouble: str, sentence: str, keyed: bool) -> None:
    kwargs = {"trouble": trouble, "victim": 9, "keyed": keyed}
    env = vectorize("toys/Walk-v0", 4, seed=7, kwargs=kwargs)
    env.reset()
    env.step(np.zeros(4, int))
    with pytest.raises(EnvironmentFault, match=sentence):
        env.step(np.zeros(4, int))


def test_nan_in_a_last_observation_is_found() -> None:
    """The episode of seed 0 ends at the step at which it goes blind; the next one begins well."""
    length = Walk().reset(seed=0)[1]["length"]
    kwargs = {"trouble": "blind", "victim": 0, "when": length}
    env = vectorize("toys/Walk-v0", 2, seed=0, kwargs=kwargs)
    env.reset()
    for _ in range(length - 1):
        env.step(np.zeros(2, int))
    with pytest.raises(EnvironmentFault, match=rf"Copy 0 .* nan at step {length} of"):
        env.step(np.zeros(2, int))


def test_native_faults() -> None:
    env = vectorize("toys/Conveyor-v0", 3)
    env.reset()
    env.set_attr("spoiled", {1: np.nan})
    with pytest.raises(EnvironmentFault, match="Copy 1 of toys/Conveyor-v0 gave the reward nan at step 1"):
        env.step(np.zeros(3, int))
    env.reset()
    with pytest.raises(EnvironmentFault, match=r"toys/Conveyor-v0 raised ValueError in step\(\)"):
        env.step(np.array(["left"] * 3))


def test_attributes_methods_and_pictures_of_single_envs() -> None:
    env = vectorize("toys/Walk-v0", 3, seed=0, render_mode="rgb_array")
    env.reset()
    env.step(np.zeros(3, int))
    assert env.get_attr("color") == ["green"] * 3 and env.get_attr("color", -1) == ["green"]
    env.set_attr("color", "red", indices=[1])
    assert env.get_attr("color", [2, 1, 0]) == ["green", "red", "green"]
    assert env.env_method("double", 4, indices=[0, 2], extra=1) == [9, 9]
    assert env.has_attr("color") and not env.has_attr("colour")
    with pytest.raises(AttributeError):
        env.get_attr("colour")
    with pytest.raises(EnvironmentFault, match=r"Copy 0 .* raised KeyError in refuse\(\): 'not today'"):
        env.env_method("refuse")
    assert env.env_is_wrapped(Monitor) == [True] * 3
    assert env.env_is_wrapped(gym.wrappers.TimeLimit, 0) == [True]
    assert env.env_is_wrapped(gym.wrappers.ClipAction, 0) == [False]
    assert [picture.max() for picture in env.get_images()] == [1, 1, 1]
    assert env.render().shape == (8, 12, 3)  # 3 pictures of (4, 6, 3), tiled 2 by 2
    assert env.metadata["render_fps"] == 7
    assert vectorize("toys/Walk-v0", 2).get_images() == [None, None]


def test_attributes_methods_and_pictures_of_native_envs() -> None:
    env = vectorize("toys/Conveyor-v0", 3, render_mode="rgb_array")
    env.reset()
    np.testing.assert_array_equal(env.get_attr("now", [2])[0], [2, 0, 0])  # an array [B, ...] is dealt out
    assert env.get_attr("observation_space", 0) == [env.observation_space]
    assert env.env_method("where") == ["everywhere"] * 3
    assert [picture.max() for picture in env.get_images()] == [0, 1, 2]
    assert env.env_is_wrapped(gym.Wrapper) == [False] * 3 and env.env_is_wrapped(Monitor)[0]
    assert env.has_attr("now") and not env.has_attr("then")
    env.set_attr("now", [2.0, 9, 9], indices=[2])
    np.testing.assert_array_equal(env.get_attr("now")[2], [2, 9, 9])
    with pytest.raises(UserError, match="share 'num_envs'"):
        env.set_attr("num_envs", 4, indices=[0])


def test_unfit_spaces_are_refused() -> None:
    class Odd(Walk):
        def __init__(self, space: Any, action_space: Any = None) -> None:
            super().__init__()
            self.observation_space = space
            self.action_space = action_space or self.action_space

    box = Box(-1, 1, (2,))
    for space in (Tuple([box, box]), Dict({"a": Dict({"b": box})}), gym.spaces.Text(5)):
        with pytest.raises(UserError, match="use Box, Discrete, MultiDiscrete, MultiBinary or one Dict"):
            from_envs([lambda space=space: Odd(space)])
    with pytest.raises(UserError, match="action space Tuple"):
        from_envs([lambda: Odd(box, Tuple([Discrete(2)]))])
    spaces = iter([box, Box(-1, 1, (3,))])
    with pytest.raises(UserError, match="differ in their spaces"):
        from_envs([lambda: Odd(next(spaces))] * 2)
    one = Walk()
    with pytest.raises(UserError, match="same object"):
        from_envs([lambda: one, lambda: one])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"n_envs": 0}, "n_envs is 0, but must be a whole number of at least 1"),
        ({"n_envs": 2.5}, "n_envs is 2.5"),
        ({"n_envs": 2, "workers": -1}, "workers is -1, but must be a whole number of at least 0"),
    ],
)
def test_counts_are_checked(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        vectorize("CartPole-v1", **arguments)


@pytest.mark.parametrize(
    ("microseconds", "n_envs", "cores", "workers"),
    [
        (99, 64, 2, 0),  # too fast to be worth a message
        (101, 64, 2, 2),
        (101, 4, 2, 0),  # too few: half of 404 us is less than a round trip
        (101, 8, 2, 2),
        (1000, 8, 4, 4),
        (1000, 3, 4, 3),  # no worker without a copy
        (1000, 1, 4, 0),
        (1000, 8, 1, 0),
    ],
)
def test_workers_are_chosen_by_the_time_they_save(
    microseconds: float, n_envs: int, cores: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vec, "_step_seconds", lambda maker: microseconds * 1e-6)
    monkeypatch.setattr(vec.os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert vec._best_workers([Walk] * n_envs) == workers


def test_what_cannot_be_sent_stays_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = __import__("threading").Lock()  # no pickle takes a lock along
    monkeypatch.setattr(vec, "_step_seconds", lambda maker: 1.0)

    def maker() -> gym.Env:
        return lock and Walk()

    assert vec._best_workers([maker] * 8) == 0
    with pytest.raises(UserError, match=r"cannot be sent to a worker process .*; use workers=0"):
        from_envs([maker] * 2, workers=1)


def test_step_time_is_measured_on_a_copy_that_is_closed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made, clock = [], [0.0]

    class Watched(Walk):
        def step(self, action: Any) -> Any:
            clock.append(clock[-1] + 1 / 256)
            return super().step(action)

        def close(self) -> None:
            made.append(self)

    monkeypatch.setattr(vec.time, "perf_counter", lambda: clock[-1])
    assert vec._step_seconds(Watched) == 1 / 256
    assert len(clock) == 1 + 26  # the first number of steps that takes a tenth of a second
    assert len(made) == 1 and made[0].first_seed == 0


def test_an_env_that_fails_while_it_is_measured_fails_where_it_is_played(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vec.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    env = vectorize("toys/Walk-v0", 2, seed=0, kwargs={"trouble": "raise", "victim": 0, "when": 1})
    env.reset()
    with pytest.raises(EnvironmentFault, match="Copy 0 of toys/Walk-v0 raised ZeroDivisionError"):
        env.step(np.zeros(2, int))


class Gives(Walk):
    """Gives something of the test's choice from its second step on."""

    def __init__(self, what: str, value: Any, space: Any = None) -> None:
        super().__init__(fresh=True)
        self.what, self.value = what, value
        self.observation_space = space or self.observation_space

    def reset(self, **options: Any) -> Any:
        _, info = super().reset(**options)
        return np.zeros(self.observation_space.shape, self.observation_space.dtype), info

    def step(self, action: Any) -> Any:
        _, reward, *rest = super().step(action)
        plain = np.zeros(self.observation_space.shape, self.observation_space.dtype)
        seen = self.value if self.what == "seen" and self.seen[1] == 2 else plain
        return seen, self.value if self.what == "reward" and self.seen[1] == 2 else reward, *rest


PIXELS = Box(0, 255, (2,), np.uint8)
MISTAKES: list[tuple[Any, str]] = [
    (("reward", "3"), "gave the reward '3', which is no number, in step"),
    (("reward", None), "gave the reward None, which is no number,"),
    (("reward", 1j), "gave the reward 1j, which is no number,"),
    (("seen", [0.5]), r"gave an observation of shape \(1,\), where its space has \(3,\),"),
    (("seen", np.zeros((3, 3))), r"gave an observation of shape \(3, 3\)"),
    (("seen", [0.0, np.inf, 0.0]), "gave an observation with inf at step 2 .* must be a finite number"),
    (("seen", [0.0, 0.5], PIXELS), "gave an observation with 0.5, which its space's type uint8 cannot hold,"),
    (("seen", [0, 300], PIXELS), "gave an observation with 300, which its space's type uint8"),
    (("seen", 4, Discrete(4)), r"gave an observation with 4 at step 2 .* must lie in Discrete\(4\)"),
    (("seen", -1, Discrete(4)), "gave an observation with -1 at step 2"),
]


@pytest.mark.parametrize(("given", "sentence"), MISTAKES, ids=[sentence[-28:] for _, sentence in MISTAKES])
def test_what_a_game_gives_is_refused_where_it_cannot_be_held(given: Any, sentence: str) -> None:
    for play_on in ("step", "play"):
        env = from_envs([partial(Gives, *given)] * 2, seed=0)
        env.open([0, 1]) if play_on == "play" else env.reset()
        getattr(env, play_on)(np.zeros(2, int))
        with pytest.raises(EnvironmentFault, match=f"Copy 0 of Gives {sentence}"):
            getattr(env, play_on)(np.zeros(2, int))


@pytest.mark.parametrize("seen", [{"vector": np.zeros(3)}, {"parity": 0}, np.zeros(3), None], ids=str)
def test_what_lacks_a_part_of_its_space_is_refused(seen: Any) -> None:
    class Lacks(Walk):
        def step(self, action: Any) -> Any:
            return (seen, *super().step(action)[1:])

    env = from_envs([partial(Lacks, keyed=True)] * 2, seed=0)
    env.reset()
    key = "vector" if isinstance(seen, dict) and "parity" in seen else "parity"
    sentence = f"Copy 0 of Lacks gave an observation without '{key}', which its space has, in step"
    with pytest.raises(EnvironmentFault, match=sentence):
        env.step(np.zeros(2, int))


@pytest.mark.parametrize("reward", [1, True, np.float32(1), np.array(1.0), Fraction(1)])
def test_numbers_of_any_kind_are_rewards(reward: Any) -> None:
    env = from_envs([partial(Gives, "reward", reward)], seed=0)
    env.reset()
    env.step(np.zeros(1, int))
    assert env.step(np.zeros(1, int))[1].tolist() == [1.0]


def test_whole_numbers_fit_spaces_of_other_types() -> None:
    env = from_envs([partial(Gives, "seen", [0.0, 255.0], PIXELS)], seed=0)
    env.reset()
    env.step(np.zeros(1, int))
    assert env.step(np.zeros(1, int))[0].tolist() == [[0, 255]]


def test_after_a_step_that_was_broken_off_only_a_reset_goes_on() -> None:
    class Once(Walk):
        def step(self, action: Any) -> Any:
            if action == 2:
                raise KeyboardInterrupt
            return super().step(action)

    env = from_envs([Once] * 2, seed=0)
    env.reset()
    with pytest.raises(KeyboardInterrupt):
        env.step(np.array([0, 2]))
    for _ in range(2):
        with pytest.raises(EnvironmentFault, match=r"A step of Once was broken off .* call reset\(\)"):
            env.step(np.zeros(2, int))
    env.reset()
    assert env.step(np.zeros(2, int))[0][:, 1].tolist() == [1, 1]
    game = vectorize("rlrnn/CartPole-v1", 2, seed=0)
    game.reset()
    assert game.get_state() is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(game._engine), "finish", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            game.step(np.zeros(2, int))
    assert game.get_state() is None  # half a step is no place to go on from
    game.reset()
    assert game.get_state() is not None


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["constructor", "reset", "step", "close"])
def test_a_game_that_ends_the_program_ends_no_program(where: str, capsys: pytest.CaptureFixture[str]) -> None:
    class Window(Walk):
        def __init__(self) -> None:
            super().__init__()
            self.leave("constructor")

        def reset(self, **options: Any) -> Any:
            self.leave("reset")
            return super().reset(**options)

        def step(self, action: Any) -> Any:
            self.leave("step")
            return super().step(action)

        def close(self) -> None:
            self.leave("close")

        def leave(self, now: str) -> None:
            if now == where:
                sys.exit(0)

    assert vec._step_seconds(Window) >= 0
    if where == "close":
        from_envs([Window] * 3).close()
        told = capsys.readouterr().err
        assert told.count("Copy 0 of Window asked to end the program in close()") == 1 == told.count("\n")
        return

    def use() -> None:
        env = from_envs([Window] * 3)
        env.reset()
        env.step(np.zeros(3, int))

    with pytest.raises(GameExit, match=rf"asked to end the program in .*{where}.*test_vec.py, line \d+\)"):
        use()


def test_close_closes_every_copy_whatever_some_raise(capsys: pytest.CaptureFixture[str]) -> None:
    closed = []

    class Sulking(Walk):
        def close(self) -> None:
            closed.append(self)
            raise RuntimeError("the display\nis gone")

    env = from_envs([Sulking] * 3, seed=0)
    env.close()
    assert len(closed) == 3
    told = capsys.readouterr().err
    assert told.startswith("rlrnn: Copy 0 of Sulking raised RuntimeError in close(): the display is gone (")
    conveyor = vectorize("toys/Conveyor-v0", 2)
    conveyor._engine.env.close = lambda: 1 / 0
    conveyor.close()
    assert "toys/Conveyor-v0 raised ZeroDivisionError in close()" in capsys.readouterr().err
    del conveyor._engine.env.close  # Gymnasium 1.2 closes once more when nobody holds it any longer


class Seeded(Conveyor):
    """Takes seeds in some forms alone, as other packages' vector environments do."""

    takes: Any = (int, list)
    bits = 64

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        if seed is not None and not isinstance(seed, self.takes):
            raise TypeError("Unsupported seed type")
        seeds = [seed + b for b in range(self.num_envs)] if isinstance(seed, int) else seed
        if seeds is not None and max(seeds) >= 2**self.bits:
            raise TypeError("incompatible function arguments")
        self.used = seeds if seeds is None else [int(one) for one in seeds]
        return super().reset(seed=seed, options=options)


@pytest.mark.parametrize(
    ("takes", "bits", "seeds", "used"),
    [
        ((int, list), 64, [5, 5, 7], [5, 5, 7]),  # Gymnasium's own
        ((int, np.ndarray), 64, [5, 5, 7], [5, 5, 7]),
        ((int, np.ndarray), 31, [5, 6, 7], [5, 6, 7]),  # ale-py
        ((int, np.ndarray), 31, [2**31 + 5, 2**31 + 5, 7], [5, 5, 7]),
        ((int, np.ndarray), 31, [2**31 + 5, 2**31 + 6, 2**31 + 7], [5, 6, 7]),
        (int, 64, [5, 6, 7], [5, 6, 7]),
    ],
)
def test_a_vector_environment_gets_seeds_in_the_form_that_it_takes(
    takes: Any, bits: int, seeds: list[int], used: list[int]
) -> None:
    game = Seeded(3)
    game.takes, game.bits = takes, bits
    env = from_vector_env(game)
    env.open(seeds)
    assert game.used == used
    env.reset()
    assert game.used is None


def test_a_vector_environment_that_takes_one_seed_alone_is_told_of() -> None:
    game = Seeded(2)
    game.takes = int
    with pytest.raises(EnvironmentFault, match=r"Seeded takes no seed for each copy \(TypeError .*from_envs"):
        from_vector_env(game).open([5, 5])


def test_a_vector_environments_arrays_are_checked() -> None:
    for given, sentence in (
        (np.array(["1", "3"]), r"rewards of type <U1 at a step"),
        (np.zeros((2, 1)), r"rewards of shape \(2, 1\)"),
    ):
        env = vectorize("toys/Conveyor-v0", 2)
        env.reset()
        env.set_attr("rewards", given)
        with pytest.raises(EnvironmentFault, match=sentence):
            env.step(np.zeros(2, int))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"wrappers": "hide"}, "a wrapper is 'hide', but must be a table, such as"),
        ({"wrappers": [3]}, "a wrapper is 3, but must be a table"),
        ({"kwargs": "fog"}, "kwargs is 'fog', but must be a dict"),
        (
            {"workers": -1},
            "workers is -1, but must be a whole number of at least 0",
        ),  # which arrays need none of
    ],
)
def test_what_make_vec_cannot_take_is_named(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_vec("pong", 2, **given)


@pytest.mark.parametrize("thing", [None, Walk, Walk(), lambda: Walk()])
def test_what_is_no_name_of_a_game_is_told_how_to_get_one(thing: Any) -> None:
    with pytest.raises(UserError, match=r"names no game: .*gymnasium\.register\('mine/Game-v0', its class\)"):
        make_vec(thing)


def test_a_single_wrapper_needs_no_list() -> None:
    env = make_vec("cartpole", wrappers={"name": "hide", "drop": [0]})
    assert env.observation_space.shape == (3,)


def test_a_batch_says_what_it_is() -> None:
    assert repr(make_vec("cartpole-no-velocity", 16)) == "Hide(GameVecEnv(rlrnn/CartPole-v1, 16 copies))"
    assert repr(from_envs([Walk])) == "GameVecEnv(Walk, 1 copy)"
