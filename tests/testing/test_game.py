"""Each law of ``check_game`` refuses, by its own sentence, the game that breaks it; ours keep them all."""

import re
import threading
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Text
from gymnasium.spaces import Tuple as TupleSpace

from rlrnn.envs.games import games
from rlrnn.errors import CheckError, UserError
from rlrnn.games import GAMES
from rlrnn.games.array_game import Array, ArrayGame, SingleGame
from rlrnn.testing import check_game

Answer = tuple[Any, Any, Any, Any, Any]


class Walk(gym.Env[Any, Any]):
    """Steps to the left or right from a random place, for six steps or off the edge; it keeps all laws."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        self.observation_space: Any = Box(-1.0, 1.0, (2,))
        self.action_space: Any = Discrete(3)
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.place, self.t = float(self.np_random.uniform(-1.0, 1.0)), 0
        return self.look(), {}

    def step(self, action: Any) -> Answer:
        self.place, self.t = self.place + 0.3 * (int(action) - 1), self.t + 1
        over = abs(self.place) > 1.0
        reward = float(self.np_random.normal())
        return self.look(), reward, over, self.t == 6 and not over, {}

    def look(self) -> Any:
        return np.array([np.clip(self.place, -1.0, 1.0), self.t / 10], np.float32)

    def render(self) -> Any:
        return np.zeros((4, 6, 3), np.uint8)


class Dice(ArrayGame):
    """Copies of a game of dice, which keep all laws."""

    variables = ("eyes", "total")
    single_observation_space = Box(0.0, 40.0, (2,))
    single_action_space = Discrete(2)

    def begin(self, copies: Any, draws: Any) -> None:
        self.state[0, copies] = np.floor(6 * draws.uniform(copies, 1)[0]) + 1
        self.state[1, copies] = 0.0

    def advance(self, actions: Array, draws: Any) -> Any:
        self.state[1] += self.state[0] * actions
        self.state[0] = np.floor(6 * draws.uniform(self.everyone, 1)[0]) + 1
        return self.state[0] - 3.5, self.state[1] > 12

    def observe(self) -> Array:
        return self.state.T.astype(np.float32)

    def draw(self, copy: int) -> Any:
        return np.full((4, 4, 3), int(self.state[0, copy]), np.uint8)


def broken(base: type = Walk, /, **methods: Any) -> Any:
    """A class "Broken" that differs from a sound one in these methods."""
    return type("Broken", (base,), methods)


def with_spaces(**given: Any) -> Any:
    def __init__(self: Any, render_mode: Any = None) -> None:  # noqa: N807
        Walk.__init__(self, render_mode)
        vars(self).update(given)

    return broken(__init__=__init__)


def showing(look: Callable[[Any], Any], **given: Any) -> Any:
    return type("Broken", (with_spaces(**given),), {"look": look})


def stepping(change: Callable[..., Any]) -> Any:
    """What a sound step gave, changed."""
    return broken(step=lambda self, action: change(self, *Walk.step(self, action)))


def resetting(reset: Callable[[Any, int | None], Any]) -> Any:
    return broken(reset=lambda self, *, seed=None, options=None: reset(self, seed))


def rolling(**methods: Any) -> Any:
    return broken(Dice, **methods)


def other_spaces(self: Any, render_mode: Any = None) -> None:
    Walk.__init__(self, render_mode)
    self.action_space = Discrete(int(np.random.randint(3, 10**6)))  # noqa: NPY002


def no_actions(self: Any, render_mode: Any = None) -> None:
    self.observation_space, self.render_mode = Box(-1.0, 1.0, (2,)), render_mode


def fails(self: Any, render_mode: Any = None) -> None:
    raise KeyError("level")


def global_chance(self: Any, seed: int | None) -> Any:
    Walk.reset(self, seed=seed)
    self.place = np.random.uniform(-0.5, 0.5)  # noqa: NPY002
    return self.look(), {}


def with_history(self: Any, seed: int | None) -> Any:
    Walk.reset(self, seed=seed)
    self.games = getattr(self, "games", 0) + 1
    self.place = min(0.1 * self.games, 0.5)
    return self.look(), {}


def one_seed(self: Any, seed: int | None) -> Any:
    return Walk.reset(self, seed=None if seed is None else 0)


def same_start(self: Any, seed: int | None) -> Any:
    self.last = seed if seed is not None else getattr(self, "last", None)
    return Walk.reset(self, seed=self.last)


def stale_start(self: Any, seed: int | None) -> Any:
    """The first observation of an episode after an end lies outside."""
    over = getattr(self, "t", 0) == 6 or abs(getattr(self, "place", 0.0)) > 1.0
    seen, info = Walk.reset(self, seed=seed)
    return (seen + 5.0 if over and seed is None else seen), info


def no_options(self: Any, *, seed: int | None = None) -> Any:
    return Walk.reset(self, seed=seed)


def own_default(self: Any, *, seed: int | None = 7, options: Any = None) -> Any:
    return Walk.reset(self, seed=seed)


class Saved(Walk):
    """Tells its state, its random numbers too."""

    def get_state(self) -> Any:
        return {"place": self.place, "t": self.t, "chance": self.np_random.bit_generator.state}

    def set_state(self, state: Any) -> None:
        self.place, self.t = state["place"], state["t"]
        self.np_random.bit_generator.state = state["chance"]


class Shared(Walk):
    """All copies walk the same way."""

    places: list[float] = [0.0]  # noqa: RUF012

    def step(self, action: Any) -> Answer:
        self.places[0] += 0.01
        self.t += 1
        return self.look(), self.places[0], False, self.t == 6, {}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        answer = super().reset(seed=seed)
        self.places[0] = 0.0
        return answer


class Writing(Dice):
    """Hands out the same array every time."""

    def observe(self) -> Array:
        if not hasattr(self, "shown") or len(self.shown) != self.num_envs:
            self.shown = np.empty((self.num_envs, 2), np.float32)
        self.shown[:] = self.state.T
        return self.shown


class Heating(Dice):
    """Counts what its state does not tell."""

    def begin(self, copies: Any, draws: Any) -> None:
        super().begin(copies, draws)
        self.heat = np.zeros(self.num_envs) if len(copies) == self.num_envs else self.heat
        self.heat[copies] = 0.0

    def advance(self, actions: Array, draws: Any) -> Any:
        self.heat = getattr(self, "heat", np.zeros(self.num_envs)) + 1.0
        rewards, terminated = super().advance(actions, draws)
        return rewards + self.heat, terminated


class Unbounded(SingleGame):
    """Goes on after its end."""

    game = Dice

    def step(self, action: Any) -> Any:
        answer = super().step(action)
        self.over = False
        return answer


def locked() -> Callable[[], gym.Env[Any, Any]]:
    lock = threading.Lock()

    def make() -> gym.Env[Any, Any]:
        with lock:
            return Walk()

    return make


def single() -> Callable[[], gym.Env[Any, Any]]:
    env = Walk()
    return lambda: env


N = r"[-+\w.]+"  # a number
VECTOR = Box(-1.0, 1.0, (2,))
BROKEN: dict[str, tuple[Any, str]] = {
    "an unknown id": ("rlrnn/Pung-v0", "No environment is registered as 'rlrnn/Pung-v0'; did you mean .*"),
    "no environment": (dict, "dict makes dict: give a registered id, or a class or function that makes .*"),
    "a constructor that raises": (
        broken(__init__=fails),
        r"making Broken raised KeyError \(.*test_game.py, line \d+\): 'level'",
    ),
    "no actions": (
        broken(__init__=no_actions),
        "Broken has no action_space: set one of gymnasium.spaces in its constructor.",
    ),
    "a text to see": (
        with_spaces(observation_space=Text(5)),
        r"Broken has the observation space Text\(.*; use Box, Discrete, .*",
    ),
    "a Dict in a Dict": (
        with_spaces(observation_space=Dict({"a": Dict({"b": VECTOR})})),
        r"Broken has the observation space Dict.* with Dict inside; use Box, .*",
    ),
    "a tuple of actions": (
        with_spaces(action_space=TupleSpace([Discrete(2)])),
        r"Broken has the action space Tuple\(Discrete\(2\)\); use Box, Discrete, MultiDiscrete or "
        "MultiBinary.",
    ),
    "actions without bounds": (
        with_spaces(action_space=Box(-np.inf, np.inf, (1,))),
        r"the action space Box\(-inf, inf, \(1,\), float32\) has an infinite bound: give every action .*",
    ),
    "nothing to see": (
        with_spaces(observation_space=Box(-1.0, 1.0, (0,))),
        "the observation space Box.* has a part without numbers, so that .*",
    ),
    "the same copy": (single(), "<lambda> makes the same object twice: make a new one at every call, .*"),
    "copies that differ": (
        broken(__init__=other_spaces),
        r"two copies of Broken differ in their action_space, Discrete\(\d+\) and Discrete\(\d+\): let it .*",
    ),
    "a reset of one thing": (
        resetting(lambda self, seed: Walk.reset(self, seed=seed)[0]),
        r"Broken gave ndarray, where Gymnasium asks for an observation and an info, in reset\(\): reset .*",
    ),
    "a step of four things": (
        stepping(lambda self, seen, reward, over, cut, info: (seen, reward, over or cut, info)),
        r"Broken gave 4 things, where Gymnasium asks for observation, reward, .*, in step\(\): .*",
    ),
    "a reward that is a word": (
        stepping(lambda self, seen, reward, *rest: (seen, "much", *rest)),
        r"Broken gave the reward 'much', which is no number, in step\(\): .*",
    ),
    "a reward that is no number": (
        stepping(lambda self, seen, reward, *rest: (seen, np.nan, *rest)),
        "Broken gave the reward nan at step 1 of episode 1: rewards are finite numbers.",
    ),
    "an end that is a word": (
        stepping(lambda self, seen, reward, over, cut, info: (seen, reward, "no", cut, info)),
        "Broken gave 'no' as terminated, which is neither true nor false, in .*",
    ),
    "no info": (
        stepping(lambda self, seen, reward, over, cut, info: (seen, reward, over, cut, None)),
        "Broken gave the info None, which is no dict, in .*",
    ),
    "another shape": (
        showing(lambda self: np.zeros(3, np.float32)),
        r"Broken shows an array of shape \(3,\), where its space has \(2,\), at the beginning: mend the .*",
    ),
    "another type": (
        showing(lambda self: np.zeros(2)),
        "Broken shows numbers of float64, where its space has float32, at the beginning: mend the .*",
    ),
    "out of bounds": (
        showing(lambda self: np.array([0.5, 2.0 * self.t], np.float32)),
        "Broken shows 2.0, where its space runs from -1.0 to 1.0, at step 1 of episode 1: mend the .*",
    ),
    "NaN to see": (
        showing(lambda self: np.array([0.5, np.nan], np.float32)),
        "Broken shows nan, where its space runs from -1.0 to 1.0, at the beginning: mend the .*",
    ),
    "no such choice": (
        showing(lambda self: 2, observation_space=Discrete(2)),
        r"Broken shows 2, which is not in Discrete\(2\), at the beginning: mend the .*",
    ),
    "a missing key": (
        showing(lambda self: {"a": 0}, observation_space=Dict({"a": Discrete(2), "b": Discrete(2)})),
        r"Broken shows \['a'\], where its space has the keys \['a', 'b'\], at the beginning: mend the .*",
    ),
    "a part out of bounds": (
        showing(lambda self: {"a": 3}, observation_space=Dict({"a": Discrete(2)})),
        r"Broken shows 3, which is not in Discrete\(2\), under 'a', at the beginning: mend the .*",
    ),
    "a step that raises": (
        broken(step=lambda self, action: {}["boom"]),
        r"step\(.*\) of Broken, at step 1 of episode 1, raised KeyError \(.*\): 'boom'",
    ),
    "a reset that raises": (
        resetting(lambda self, seed: {}["boom"]),
        r"reset\(seed=0\) of Broken raised KeyError \(.*\): 'boom'",
    ),
    "a game that exits": (
        broken(step=lambda self, action: exit(3)),
        r"step\(.*\) of Broken, at step 1 of episode 1, raised SystemExit.*: 3",
    ),
    "numbers of numpy's own": (
        resetting(global_chance),
        "Broken plays otherwise with the same seed when the same copy is reset to it: the observation "
        r"at the beginning is \[.*\] for \[.*\]; sample all numbers from self.np_random, .*",
    ),
    "a game that remembers": (
        resetting(with_history),
        "Broken plays otherwise with the same seed when the same copy is reset to it: the observation .*",
    ),
    "a seed not heard": (
        resetting(one_seed),
        "Broken plays the same with the seeds 1 to 12, but otherwise without a seed: begin reset with .*",
    ),
    "one start for ever": (
        resetting(same_start),
        r"Broken begins every episode after reset\(seed=...\) as the first: seed only where a seed is "
        "given, .*",
    ),
    "no end": (
        stepping(lambda self, seen, reward, over, cut, info: (self.look() * 0, reward, False, False, info)),
        "an episode of Broken has not ended after 500 random steps: give it a time limit, by .*",
    ),
    "an end without a beginning": (
        resetting(stale_start),
        f"Broken shows {N}, where its space runs from -1.0 to 1.0, at the beginning of episode 2: mend .*",
    ),
    "a state without its chance": (
        broken(Saved, set_state=lambda self, state: vars(self).update(place=state["place"], t=state["t"])),
        "Broken plays otherwise with the same state when resumed from a saved state: reward at step "
        f"1 is {N} for {N}; keep all that decides what comes next, its random numbers too.",
    ),
    "a state that raises": (
        broken(Saved, get_state=lambda self: self.level),
        r"get_state and set_state of Broken raised AttributeError \(.*",
    ),
    "a lock": (
        locked(),
        r"What makes make cannot be sent to a worker process \(TypeError: cannot pickle '_thread.lock' "
        r"object\); .*",
    ),
    "a picture that is none": (
        broken(render=lambda self: None),
        r"render of Broken gives NoneType: with rgb_array, it gives an array \[height, width, 3\].",
    ),
    "a grey picture": (
        broken(render=lambda self: np.zeros((4, 6), np.uint8)),
        r"render of Broken gives shape \(4, 6\): with rgb_array, .*",
    ),
    "a picture of fractions": (
        broken(render=lambda self: np.zeros((4, 6, 3))),
        "render of Broken gives numbers of float64: colours are np.uint8, from 0 to 255.",
    ),
    "no render mode": (
        broken(__init__=lambda self: Walk.__init__(self)),
        "making Broken raised TypeError: .* got an unexpected keyword argument 'render_mode'",
    ),
    "a reset without options": (
        broken(reset=no_options),
        "Gymnasium's checker, which looked at Broken, raised Error.*: The `reset` method does not provide "
        "an .*",
    ),
    "a seed by default": (
        broken(reset=own_default),
        "Gymnasium's checker says of Broken: The default seed argument in reset should be `None`, .*",
    ),
    "bounds that are equal": (
        showing(
            lambda self: np.array([np.clip(self.place, -1.0, 1.0), 0.0], np.float32),
            observation_space=Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, 0.0], np.float32)),
        ),
        "Gymnasium's checker says of Broken: A Box observation space maximum and minimum values are equal; "
        ".*",
    ),
    "copies that share": (
        Shared,
        "a round of Shared with the seed 7 differs at step 2 from a copy alone: what a copy .*",
    ),
    "a batch without a mode": (
        rolling(metadata={"render_modes": ["rgb_array"], "render_fps": 30}),
        "Broken does not say autoreset_mode SAME_STEP in its metadata: keep that of ArrayGame.",
    ),
    "observations of another type": (
        rolling(observe=lambda self: self.state.T.copy()),
        "Broken shows numbers of float64, where its space has float32, at the beginning: .*",
    ),
    "a batch of another type": (
        rolling(
            observe=lambda self: Dice.observe(self).astype(np.float32 if self.num_envs == 1 else np.float64)
        ),
        r"a batch of Broken shows float64 of shape \(5, 2\), where its space is float32 of \(5, 2\): "
        "mend observe.",
    ),
    "flags that are numbers": (
        rolling(
            advance=lambda self, actions, draws: (lambda r, t: (r, t.astype(int)))(
                *Dice.advance(self, actions, draws)
            )
        ),
        r"a batch of Broken gives terminated as int64 of \(5,\): give bools \[B\].",
    ),
    "one reward for all": (
        rolling(
            advance=lambda self, actions, draws: (
                np.ones(1 if self.num_envs == 1 else 6),
                Dice.advance(self, actions, draws)[1],
            )
        ),
        r"a batch of Broken gives rewards of shape \(6,\): give finite numbers \[B\].",
    ),
    "a mean over copies": (
        rolling(
            advance=lambda self, actions, draws: (lambda r, t: (np.full(self.num_envs, r.mean()), t))(
                *Dice.advance(self, actions, draws)
            )
        ),
        f"copy 0 of Broken in a batch of 5 has the reward at step 1 {N}, where the single game with its "
        f"seed has {N}: compute each copy by itself, and draw for the given copies alone.",
    ),
    "a start for all copies": (
        rolling(begin=lambda self, copies, draws: Dice.begin(self, self.everyone, draws)),
        r"copy 0 of Broken in a batch of 5 has the observation at step \d+ \[.*\], where the single game "
        r"with its seed has \[.*\]: compute each copy by itself, and draw for the given copies alone.",
    ),
    "no last observation": (
        rolling(step=lambda self, actions: (*Dice.step(self, actions)[:4], {})),
        r"a batch of Broken does not hand out copy 0's last observation at step \d+: leave step\(\) to "
        "ArrayGame.",
    ),
    "a game that goes on": (
        Unbounded,
        r"Unbounded continues after the end of its episode: leave reset\(\) and step\(\) to SingleGame.",
    ),
    "observations that are written over": (
        Writing,
        "a batch of Writing writes into observations that it gave before: let observe make a new array.",
    ),
    "a copy alone that forgets": (
        Heating,
        "Heating plays otherwise with the same state when resumed from a saved state: reward at "
        f"step 1 is {N} for {N}; keep all that decides what comes next, its random numbers too.",
    ),
}


@pytest.mark.parametrize(("game", "sentence"), BROKEN.values(), ids=BROKEN)
def test_a_broken_game_is_refused_by_its_sentence(game: Any, sentence: str) -> None:
    with pytest.raises(CheckError) as caught:
        check_game(game, steps=500)
    assert re.fullmatch(sentence, str(caught.value)), str(caught.value)


def test_a_batch_that_forgets_is_refused_too() -> None:
    with pytest.raises(CheckError) as caught:
        check_game(Heating, skip=["saving"])
    sentence = (
        "a batch of Heating resumes from its saved state to other rewards after 1 steps: keep all that .*"
    )
    assert re.fullmatch(sentence, str(caught.value)), str(caught.value)


@pytest.mark.parametrize("game", [Walk, Saved, Dice, lambda: Walk()])
def test_a_sound_game_of_ones_own_keeps_the_laws_and_leaves_no_trace(game: Any) -> None:
    before = np.random.get_state()[2]  # noqa: NPY002
    check_game(game)
    assert np.random.get_state()[2] == before  # noqa: NPY002


def test_what_makes_no_game_and_an_unknown_law_are_refused() -> None:
    with pytest.raises(UserError, match="3 makes no game: give a registered id, or a class or a function"):
        check_game(3)  # type: ignore[arg-type]
    with pytest.raises(
        UserError, match="check_game has no law 'seed' to skip: it knows spaces, answers, seeds"
    ):
        check_game(Walk, skip=["seed"])


def test_a_law_may_be_left_out() -> None:
    check_game(broken(render=lambda self: None), skip=["pictures"])


@pytest.mark.parametrize("name", GAMES)
def test_our_games_keep_the_laws(name: str) -> None:
    check_game(name)


@pytest.mark.parametrize("name", [name for name, game in games().items() if game.id in GAMES])
def test_our_games_keep_the_laws_as_the_catalogue_makes_them(name: str) -> None:
    game = games()[name]
    check_game(game.id, steps=100_000, **game.kwargs)


@pytest.mark.parametrize("name", ["CartPole-v1", "Acrobot-v1", "MountainCarContinuous-v0", "FrozenLake-v1"])
def test_gymnasiums_games_keep_the_laws(name: str) -> None:
    check_game(name)
