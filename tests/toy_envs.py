"""Small environments for tests: every number they give is known, and they misbehave on demand."""

import os
import sys
import threading
import time
import types
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from rlrnn.common import processes
from rlrnn.errors import UserError

TROUBLES = {"nan": np.nan, "inf": np.inf, "huge": 1e39}


class Walk(gym.Env):
    """Sees [where it started, steps taken, last action] and ends after 2 to 5 steps.

    An odd length ends in termination, an even one in truncation. Unless `fresh`, it writes every observation
    into the same array, as environments may. `trouble` comes at step `when` of the copy with seed `victim`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 7}  # noqa: RUF012

    def __init__(
        self,
        keyed: bool = False,
        fresh: bool = False,
        trouble: str = "",
        when: int = 2,
        victim: int = -1,
        render_mode: Any = None,
    ) -> None:
        vector = Box(-10, 10, (3,), np.float32)
        self.observation_space = Dict({"vector": vector, "parity": Discrete(2)}) if keyed else vector
        self.action_space = Discrete(3)
        self.keyed, self.fresh = keyed, fresh
        self.trouble, self.when, self.victim = trouble, when, victim
        self.render_mode = render_mode
        self.seen = np.zeros(3, np.float32)
        self.color = "green"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        if seed is not None:
            self.first_seed = seed
        self.length = int(self.np_random.integers(2, 6))
        self.seen[:] = (options or {}).get("start", self.np_random.random()), 0, 0
        return self._look(), {"length": self.length}

    def step(self, action: Any) -> Any:
        self.seen[1:] = self.seen[1] + 1, action
        steps = int(self.seen[1])
        reward: Any = 0.1 * int(action) + 0.01
        if self.trouble and self.first_seed == self.victim and steps == self.when:
            if self.trouble == "raise":
                raise ZeroDivisionError("the floor gave way")
            if self.trouble == "hang":
                time.sleep(1000)
            if self.trouble == "die":
                os._exit(7)
            if self.trouble == "blind":
                self.seen[2] = np.nan
            else:
                reward = TROUBLES[self.trouble]
        over = steps >= self.length
        odd = self.length % 2 == 1
        return self._look(), reward, over and odd, over and not odd, {"steps": steps}

    def render(self) -> Any:
        return np.full((4, 6, 3), int(self.seen[1]), np.uint8)

    def double(self, number: int, extra: int = 0) -> int:
        return 2 * number + extra

    def refuse(self) -> None:
        raise KeyError("not today")

    def pid(self) -> int:
        return os.getpid()

    def _look(self) -> Any:
        seen = self.seen.copy() if self.fresh else self.seen
        return {"vector": seen, "parity": int(seen[1]) % 2} if self.keyed else seen


class Echo(Walk):
    """Its reward is the action just taken. In a `mood` its next step ends the program ("exit"), or hands out
    an object of a class that no other process knows ("strange"); then the mood is over.
    """

    def __init__(self) -> None:
        super().__init__(fresh=True)
        self.mood: Any = ""

    def step(self, action: Any) -> Any:
        mood, self.mood = self.mood, ""
        observation, _, over, cut, info = super().step(action)
        if mood == "exit":
            sys.exit(0)
        if mood == "strange":
            info["thing"] = thing("known_here_alone")
        return observation, float(action), over, cut, info


class Stubborn(Walk):
    """Leaves a thread behind that keeps its process from ending, and raises where it is closed."""

    def __init__(self) -> None:
        super().__init__()
        threading.Thread(target=time.sleep, args=(1000,)).start()

    def close(self) -> None:
        raise RuntimeError("the display is gone")


class Talker:
    """No environment: shows signs of life when told to."""

    def talk(self, times: int) -> int:
        processes._BEAT = 0.0
        for _ in range(times):
            processes.beat()
        return times

    def close(self) -> None:
        """There is nothing to close."""


def work() -> None:
    """No object: reports its process, then again and again that it is at work, until it is broken off."""
    try:
        with processes.interruptible():
            processes.report(os.getpid())
            for _ in range(1000):
                time.sleep(0.01)
                processes.report("at work")
    except KeyboardInterrupt:
        raise UserError("saved.") from None


def thing(name: str) -> Any:
    """An object of a class of a module that is made here."""
    module: Any = types.ModuleType(name)
    module.Thing = type("Thing", (), {"__module__": name})
    sys.modules[name] = module
    return module.Thing()


class Conveyor(VectorEnv):
    """Copy b sees [b, episode, step] and ends every b + 2 steps; all in the same few arrays."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(
        self, num_envs: int = 1, max_episode_steps: int | None = None, render_mode: Any = None
    ) -> None:
        self.num_envs, self.render_mode = num_envs, render_mode
        self.single_observation_space = Box(-np.inf, np.inf, (3,), np.float32)
        self.single_action_space = Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.now = np.zeros((num_envs, 3))  # float64 on purpose: the space says float32
        self.now[:, 0] = np.arange(num_envs)
        self.spoiled: dict[int, float] = {}  # copy -> reward
        self.rewards: Any = None  # handed out instead

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.seed_given, self.options_given = seed, options
        self.now[:, 1:] = 0
        return self.now, {}

    def step(self, actions: Any) -> Any:
        self.now[:, 2] += 1
        over = self.now[:, 2] == self.now[:, 0] + 2
        final = self.now.copy()
        self.now[over, 1] += 1
        self.now[over, 2] = 0
        rewards = np.asarray(actions, np.float64)
        for b, reward in self.spoiled.items():
            rewards[b] = reward
        infos = {"final_obs": final, "_final_obs": over} if over.any() else {}
        rewards = rewards if self.rewards is None else self.rewards
        return self.now, rewards, over, np.zeros(self.num_envs, bool), infos

    def render(self) -> Any:
        return tuple(np.full((4, 6, 3), b, np.uint8) for b in range(self.num_envs))

    def where(self) -> Any:
        return "everywhere"


gym.register("toys/Walk-v0", entry_point=Walk, max_episode_steps=5)
gym.register("toys/Conveyor-v0", entry_point=Walk, vector_entry_point=Conveyor)
