"""Each law of ``check_wrapper`` refuses, by its own sentence, what breaks it; our wrappers keep them all."""

import re
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecNormalize

from rlrnn.envs.wrappers import WRAPPERS, Delay, Previous, Stack
from rlrnn.envs.wrappers.base import Parts, View
from rlrnn.errors import CheckError, UserError
from rlrnn.testing import check_wrapper


class Both(View):
    """What is seen beside what was seen last, zeros at first, with a little noise; it keeps all laws."""

    def __init__(self, venv: VecEnv) -> None:
        self._memory: dict[str, Any] = {"": np.zeros((venv.num_envs, 4), np.float32)}
        super().__init__(venv, {"": Box(-np.inf, np.inf, (8,))})

    def begin(self, seen: Parts, copies: Any) -> Parts:
        self._memory[""][copies] = 0.0
        return {"": self.beside(seen, copies)}

    def advance(self, seen: Parts, actions: Any, rewards: Any) -> Parts:
        return {"": self.beside(seen, self.everyone)}

    def beside(self, seen: Parts, copies: Any) -> Any:
        noise = 0.01 * self.chance.uniform(copies, 4).T
        both = np.concatenate((seen[""] + noise, self._memory[""][copies]), axis=1).astype(np.float32)
        self._memory[""][copies] = seen[""]
        return both

    def remembered(self) -> dict[str, Any]:
        return {"_memory": self._memory}


def broken(base: type = Both, /, **methods: Any) -> Any:
    """A class "Broken" that differs from a sound one in these methods."""
    return type("Broken", (base,), methods)


def fails(self: Any, venv: VecEnv) -> None:
    raise KeyError("size")


def with_space(space: Any) -> Any:
    def __init__(self: Any, venv: VecEnv) -> None:  # noqa: N807
        Both.__init__(self, venv)
        self.observation_space = space

    return broken(__init__=__init__)


def fewer(self: Any, venv: VecEnv) -> None:
    Both.__init__(self, venv)
    self.action_space = Discrete(2)


def changed(change: Any) -> Any:
    """A step whose answer is changed."""
    return broken(step_wait=lambda self: change(self, *Both.step_wait(self)))


def without_last(self: Any, seen: Any, rewards: Any, dones: Any, infos: Any) -> Any:
    return (
        seen,
        rewards,
        dones,
        [{k: v for k, v in info.items() if k != "terminal_observation"} for info in infos],
    )


def raw_last(self: Any) -> Any:
    """The last observation as the game showed it."""
    observations, rewards, dones, infos = self.venv.step_wait()
    raw = [info.get("terminal_observation") for info in infos]
    self.venv.step_wait = lambda: (observations, rewards, dones, infos)
    try:
        answer = Both.step_wait(self)
    finally:
        del self.venv.step_wait
    for info, last in zip(answer[3], raw, strict=True):
        if last is not None:
            info["terminal_observation"] = last
    return answer


def acting(self: Any, actions: Any) -> None:
    Both.step_async(self, actions)
    actions[...] = 0


def keeping(self: Any, seen: Parts, copies: Any) -> Parts:
    return {"": self.beside(seen, copies)}


def forgetful_of_actions(self: Any, seen: Parts, copies: Any) -> Parts:
    """Shows the last action at the start of an episode."""
    last = self._actions if self._actions is not None else np.zeros(self.num_envs)
    self._memory[""][copies] = np.asarray(last, np.float32)[copies, None]
    return {"": self.beside(seen, copies)}


def own_noise(self: Any, seen: Parts, actions: Any, rewards: Any) -> Parts:
    return {"": self.beside(seen, self.everyone) + np.random.default_rng().random(8, np.float32)}


def a_mean(self: Any, seen: Parts, actions: Any, rewards: Any) -> Parts:
    return {"": self.beside({"": seen[""] - seen[""].mean(axis=0)}, self.everyone)}


class Keeping(Both):
    """Forgets where an episode ends, and not where it is broken off."""

    broken_off = False

    def reset(self) -> Any:
        self.broken_off = True
        view = super().reset()
        self.broken_off = False
        return view

    def begin(self, seen: Parts, copies: Any) -> Parts:
        return keeping(self, seen, copies) if self.broken_off else super().begin(seen, copies)


class Tiring(Both):
    """A round leaves its mark."""

    played = False

    def open(self, seeds: Any) -> Any:
        self.played = True
        return super().open(seeds)

    def reset(self) -> Any:
        return super().reset() + np.float32(self.played)


class Lending(Both):
    """Hands out its memory."""

    def advance(self, seen: Parts, actions: Any, rewards: Any) -> Parts:
        super().advance(seen, actions, rewards)
        self._lent = getattr(self, "_lent", np.zeros((self.num_envs, 8), np.float32))
        self._lent[:, :4] += seen[""]
        return {"": self._lent}

    def begin(self, seen: Parts, copies: Any) -> Parts:
        view = super().begin(seen, copies)
        self._lent = getattr(self, "_lent", np.zeros((self.num_envs, 8), np.float32)).copy()
        self._lent[copies] = 0.0
        return view


class Rewriting(Both):
    """Hands out the same array every time."""

    def advance(self, seen: Parts, actions: Any, rewards: Any) -> Parts:
        if not hasattr(self, "shown") or len(self.shown) != len(seen[""]):
            self.shown = np.empty((len(seen[""]), 8), np.float32)
        self.shown[:] = super().advance(seen, actions, rewards)[""]
        return {"": self.shown}


class Counting(Both):
    """Counts steps where no state tells of them."""

    def begin(self, seen: Parts, copies: Any) -> Parts:
        if not hasattr(self, "t") or len(copies) == self.num_envs:
            self.t = np.zeros(self.num_envs, np.float32)
        self.t[copies] = 0.0
        return super().begin(seen, copies)

    def advance(self, seen: Parts, actions: Any, rewards: Any) -> Parts:
        self.t[: len(seen[""])] += 1.0
        view = super().advance(seen, actions, rewards)
        view[""][:, -1] = self.t[: len(seen[""])]
        return view


N = r"[-+\w.]+"  # a number
BROKEN: dict[str, tuple[Any, str]] = {
    "no wrapper": (
        lambda env: 3,
        "the wrapper <lambda> makes int, which is no wrapper of a batch: derive it .*",
    ),
    "a constructor that raises": (
        broken(__init__=fails),
        r"making the wrapper Broken over Box\(.*\) raised KeyError \(.*test_wrapper.py, line "
        r"\d+\): 'size'",
    ),
    "a text to see": (with_space(Text(5)), r"the observation space Text\(.* is not supported: use Box, .*"),
    "other actions": (
        broken(__init__=fewer),
        r"the wrapper Broken changes the action_space from Discrete\(3\) to Discrete\(2\): a view changes .*",
    ),
    "another shape": (
        with_space(Box(-np.inf, np.inf, (4,))),
        r"the wrapper Broken shows an array of shape \(8,\), where its space has \(4,\), to copy 0 at step "
        "0 of episode 0: mend what it shows, or the space that it gives to super.*",
    ),
    "out of bounds": (
        with_space(Box(-0.5, 0.5, (8,))),
        f"the wrapper Broken shows {N}, where its space runs from -0.5 to 0.5, to copy 0 at step 0 of "
        "episode 0: .*",
    ),
    "the last view as it came": (
        broken(step_wait=raw_last),
        r"the wrapper Broken shows an array of shape \(4,\), where its space has \(8,\), to copy 0 at step "
        r"\d of episode 0: .*",
    ),
    "no last view": (
        changed(without_last),
        "the wrapper Broken takes the terminal_observation out of the info of an ended copy: pass it on, .*",
    ),
    "actions written over": (
        broken(step_async=acting),
        "the wrapper Broken changes the actions that it is given: work on a copy.",
    ),
    "other rewards": (
        changed(lambda self, seen, rewards, dones, infos: (seen, 2.0 * rewards, dones, infos)),
        r"the wrapper Broken gives the rewards \[.*\] for \[.*\] at step 1: pass them on unchanged.",
    ),
    "no ends": (
        changed(lambda self, seen, rewards, dones, infos: (seen, rewards, dones & False, infos)),
        r"the wrapper Broken gives the dones \[False.*\] for \[.*True.*\] at step \d: pass them on .*",
    ),
    "infos that are lost": (
        changed(
            lambda self, seen, rewards, dones, infos: (
                seen,
                rewards,
                dones,
                [{k: v for k, v in info.items() if k != "t"} for info in infos],
            )
        ),
        "the wrapper Broken loses 't' from the infos of copy 0 at step 1: pass them on.",
    ),
    "infos of resets that are lost": (
        broken(
            reset=lambda self: (Both.reset(self), setattr(self, "reset_infos", [{}] * self.num_envs))[0],
        ),
        "the wrapper Broken loses 'length' from the reset_infos of copy 0 at step 0: pass them on.",
    ),
    "a memory of the last episode": (
        broken(begin=keeping),
        "what the wrapper Broken remembers of copy 0 from an episode shows in the next, after its end: let "
        "begin .*",
    ),
    "an action of the last episode": (
        broken(begin=forgetful_of_actions),
        r"what the wrapper Broken remembers of copy \d from an episode shows in the next, after its end: let "
        "begin .*",
    ),
    "a memory that a reset leaves": (
        Keeping,
        "what the wrapper Keeping remembers of copy 0 from an episode shows in the next, after a reset: let "
        "begin .*",
    ),
    "noise of its own": (
        broken(advance=own_noise),
        "the wrapper Broken shows other views for the same seed: sample from self.chance, .*",
    ),
    "a mean over copies": (
        broken(advance=a_mean),
        "the wrapper Broken shows copy 0 of a batch of 4 other views than a copy alone with its seed: "
        "compute .*",
    ),
    "a memory that is lent": (
        Lending,
        "the wrapper Lending remembers what was written into the arrays that it returned: "
        "remember copies, and .*",
    ),
    "arrays written over": (
        Rewriting,
        "the wrapper Rewriting writes into arrays that it returned before: return new ones.",
    ),
    "a memory that stays in a round": (
        broken(remembered=lambda self: {}),
        "the wrapper Broken shows the seed 7 other views in a round than to a copy alone: name in .*",
    ),
    "what a round leaves": (
        Tiring,
        "the wrapper Tiring shows other views after a round than before: name in remembered.* what it "
        "remembers by.",
    ),
    "a step that raises": (
        broken(advance=lambda self, seen, actions, rewards: seen["image"]),
        r"step of the wrapper Broken raised KeyError \(.*\): 'image'",
    ),
    "a reset that raises": (
        broken(begin=lambda self, seen, copies: seen["image"]),
        r"reset of the wrapper Broken raised KeyError \(.*\): 'image'",
    ),
}


@pytest.mark.parametrize(("wrapper", "sentence"), BROKEN.values(), ids=BROKEN)
def test_a_broken_wrapper_is_refused_by_its_sentence(wrapper: Any, sentence: str) -> None:
    with pytest.raises(CheckError) as caught:
        check_wrapper(wrapper)
    assert re.fullmatch(sentence, str(caught.value)), str(caught.value)


def test_a_memory_without_a_name_is_missed_where_a_state_is_restored() -> None:
    with pytest.raises(
        CheckError, match="Counting resumes from its saved state to other views after 1 steps: name"
    ):
        check_wrapper(Counting, skip=["rounds"])


def test_a_sound_wrapper_of_ones_own_keeps_the_laws() -> None:
    check_wrapper(Both)


def test_what_is_no_wrapper_and_an_unknown_law_or_option_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"'dealy' is no wrapper: give a class .* or one of delay, flatten, flicker"
    ):
        check_wrapper("dealy")
    with pytest.raises(UserError, match="check_wrapper has no law 'space' to skip: it knows spaces, answers"):
        check_wrapper(Both, skip=["space"])
    with pytest.raises(CheckError, match="The wrapper delay has no option 'step': it knows steps"):
        check_wrapper("delay", step=2)


IMAGE, PARTS = Box(0, 255, (6, 6, 3), np.uint8), Dict({"a": Discrete(3), "b": Box(-1.0, 1.0, (2,))})
OURS: list[tuple[str, Any, dict[str, Any]]] = [
    ("delay", None, {"steps": 2}),
    ("delay", PARTS, {"steps": 1}),
    ("delay", IMAGE, {"steps": 0}),
    ("flatten", None, {}),
    ("flatten", PARTS, {}),
    ("flatten", MultiBinary(3), {}),
    ("flicker", None, {"probability": 0.4}),
    ("flicker", PARTS, {"probability": 0.4}),
    ("hide", None, {"drop": [1]}),
    ("hide", PARTS, {"keep": ["b"]}),
    ("noise", None, {"std": 0.3}),
    ("noise", PARTS, {"std": 0.3}),
    ("one_hot", MultiDiscrete([3, 3]), {"values": [0, 2]}),
    ("one_hot", IMAGE, {"values": [1, 2, 3], "channel": 0}),
    ("previous", None, {}),
    ("previous", Discrete(4), {"reward": False}),
    ("stack", None, {"frames": 3}),
    ("stack", IMAGE, {"frames": 2}),
]


@pytest.mark.parametrize(("name", "space", "options"), OURS, ids=str)
def test_our_wrappers_keep_the_laws(name: str, space: Any, options: dict[str, Any]) -> None:
    check_wrapper(name, observation_space=space, **options)


def test_actions_of_other_spaces_are_seen_too() -> None:
    for space in (Box(-1.0, 1.0, (2,)), MultiDiscrete([2, 3]), MultiBinary(2)):
        check_wrapper("previous", action_space=space)


def test_every_wrapper_of_ours_is_checked() -> None:
    assert {name for name, *_ in OURS} == set(WRAPPERS)


def test_wrappers_upon_wrappers_and_stable_baselines3s_keep_the_laws() -> None:
    check_wrapper(lambda env: Stack(Delay(Previous(env), steps=1), frames=2))
    check_wrapper(VecFrameStack, n_stack=3, skip=["arrays"])  # which lends its memory
    check_wrapper(VecNormalize, training=False, norm_reward=False, skip=["spaces"])
