"""What an agent sees of a batch: the mechanism that every wrapper of this folder is data over."""

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Dict, Space
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from rlrnn.common import arrays
from rlrnn.common.batches import copied, parts_of, put, take, whole_of
from rlrnn.envs.engines.serial import RoundStep
from rlrnn.games.randomness import Randomness

Array = NDArray[Any]
_STREAMS = ("seeds", "episode", "drawn")  # of random numbers
Parts = dict[str, Array]  # the arrays [N, ...] of a Dict space by key; of any other space, one array under ""


class View(VecEnvWrapper):
    """A batch viewed through `begin` and `advance`, with a stream of random numbers for each copy.

    The last observation of an episode is viewed with that episode's memory, then the memory is cleared, then
    the first observation of the next episode is viewed; `begin` and `advance` need not handle it. Copy b's
    stream depends on the seed of copy b and on how many of these wrappers are beneath, not on the number of
    copies.
    """

    def __init__(self, venv: VecEnv, spaces: Mapping[str, Space[Any]]) -> None:
        super().__init__(venv, spaces[""] if "" in spaces else Dict(dict(spaces)))
        self._depth, inner = 0, venv
        while isinstance(inner, VecEnvWrapper):
            self._depth += isinstance(inner, View)
            inner = inner.venv
        self.everyone = np.arange(self.num_envs)
        self._actions: Any = None
        self._foreign = not hasattr(type(venv), "open")  # its answers are checked, as it is no VecEnv of ours
        self._all_copies: tuple[Any, ...] | None = None  # what belongs to all copies, while some play a round
        self.chance = Randomness(np.zeros(self.num_envs, np.uint64))
        self._seed_streams([None] * self.num_envs, self.everyone.tolist())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.venv!r})"

    @abstractmethod
    def begin(self, parts: Parts, copies: NDArray[np.intp]) -> Parts:
        """Clear the memory of these N copies; the view of their first observations [N, ...]."""

    @abstractmethod
    def advance(self, parts: Parts, actions: Array, rewards: Array) -> Parts:
        """The view of every copy's next observation [B, ...] and what led to it, in new arrays."""

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seed the environments and this wrapper's streams, from the next reset on."""
        if seed is not None:
            self._seeds = [seed + b for b in range(self.num_envs)]
        return self.venv.seed(seed)

    def reset(self) -> Any:
        """The view of the first observations [B, ...]."""
        self._restore()
        # A seed given before this wrapper was put on waits in the environment itself.
        pending = zip(self._seeds, self.unwrapped._seeds, strict=True)
        seeds = [below if own is None else own for own, below in pending]
        self._reset_seeds()
        self._seed_streams(seeds, [b for b, seed in enumerate(seeds) if seed is not None])
        observations = self.venv.reset()
        if self._foreign:
            observations = arrays.observed(
                observations, self.venv.observation_space, self.num_envs, "the beginning"
            )
        self.reset_infos = self.venv.reset_infos
        return whole_of(self.begin(parts_of(observations), self.everyone))

    def step_async(self, actions: Array) -> None:
        """Begin a step with the actions [B, ...]."""
        self._actions = np.array(actions)  # what was done: a game may write into its own
        self.venv.step_async(actions)

    def step_wait(self) -> tuple[Any, Array, Array, list[dict[str, Any]]]:
        """The view of the step begun, of its last observations too."""
        answer = self.venv.step_wait()
        if self._foreign:
            answer = arrays.stepped(answer, self.venv.observation_space, self.num_envs, "a step")
        observations, rewards, dones, infos = answer
        self.reset_infos = self.venv.reset_infos
        parts = parts_of(observations)
        ended = np.flatnonzero(dones)
        if not len(ended):
            return whole_of(self.advance(parts, self._actions, rewards)), rewards, dones, infos
        finals = copied(parts)  # what came of the actions, in every copy
        final = [b for b in ended.tolist() if "terminal_observation" in infos[b]]  # not every VecEnv has them
        for b in final:
            put(finals, b, parts_of(infos[b]["terminal_observation"]))
        view = self.advance(finals, self._actions, rewards)
        last_view = take(view, final)
        for row, b in enumerate(final):
            infos[b]["terminal_observation"] = whole_of(take(last_view, row))
        put(view, ended, self.begin(take(parts, ended), ended))
        return whole_of(view), rewards, dones, infos

    def open(self, seeds: Sequence[int]) -> Any:
        """Begin a round of one episode for each of these seeds, as `GameVecEnv.open` does."""
        self._restore()
        inner: Any = self.venv
        observations = inner.open(seeds)
        self._seed_streams([*seeds, *[seeds[0]] * (self.num_envs - len(seeds))], self.everyone.tolist())
        if len(seeds) < self.num_envs:
            self._keep(np.arange(len(seeds)))
        return whole_of(self.begin(parts_of(observations), self.everyone))

    def play(self, actions: Array) -> RoundStep:
        """The view of one step of the copies still playing."""
        inner: Any = self.venv
        observations, rewards, ended = inner.play(actions)
        return RoundStep(whole_of(self.advance(parts_of(observations), actions, rewards)), rewards, ended)

    def keep(self, rows: NDArray[np.intp]) -> None:
        """Go on with these of the copies still playing."""
        inner: Any = self.venv
        inner.keep(rows)
        self._keep(rows)

    def _keep(self, rows: NDArray[np.intp]) -> None:
        if self._all_copies is None:
            self._all_copies = self.everyone, self.chance, self.remembered()
        self.chance, self.everyone = self.chance.of(rows), np.arange(len(rows))
        for name, value in self.remembered().items():
            if isinstance(value, dict):  # arrays [B, ...] by key; anything else is the same for all
                setattr(self, name, take(value, rows))

    def _restore(self) -> None:
        """All copies are back after a round."""
        if self._all_copies is not None:
            self.everyone, self.chance, memory = self._all_copies
            self._all_copies = None
            vars(self).update(memory)

    def get_state(self) -> dict[str, Any] | None:
        """Everything that the rest of the play depends on, here and beneath; None if a game has no state."""
        inner = state_of(self.venv)
        if inner is None:
            return None
        chance = {name: getattr(self.chance, name).copy() for name in _STREAMS}
        return {"beneath": inner, "chance": chance, "memory": copy.deepcopy(self.remembered())}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned, bit for bit."""
        inner: Any = self.venv
        inner.set_state(state["beneath"])
        for name in _STREAMS:
            getattr(self.chance, name)[:] = state["chance"][name]
        for name, value in state["memory"].items():
            setattr(self, name, copy.deepcopy(value))
        self._reset_seeds()

    def remembered(self) -> dict[str, Any]:
        """The memory of this wrapper, by attribute."""
        return {}

    def _seed_streams(self, seeds: Sequence[int | None], copies: Sequence[int]) -> None:
        streams: dict[int, Any] = {}  # streams by seed, as many copies of a round share one
        for b in copies:
            seed = seeds[b]
            stream = None if seed is None else streams.get(seed)
            if stream is None:
                sequence = np.random.SeedSequence(seed, spawn_key=(self._depth,))
                stream = sequence.generate_state(1, np.uint64)[0]
            if seed is not None:
                streams[seed] = stream
            self.chance.seeds[b], self.chance.drawn[b] = stream, 0


class Still(View):
    """A view that remembers nothing: of the present observation alone, whenever that is made."""

    def advance(self, parts: Parts, actions: Array, rewards: Array) -> Parts:
        return self.begin(parts, self.everyone)


def state_of(env: VecEnv) -> dict[str, Any] | None:
    """Everything that the rest of an environment's play depends on; None where it has no state to give.

    SB3's wrappers give away what is asked of them to the environment beneath: that state would lack theirs.
    """
    inner: Any = env
    state: dict[str, Any] | None = inner.get_state() if hasattr(type(env), "get_state") else None
    return state


def spaces_of(venv: VecEnv) -> dict[str, Space[Any]]:
    """The observation spaces by key."""
    return dict(parts_of(venv.observation_space))
