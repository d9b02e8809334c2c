"""Any Gymnasium environment as a Stable-Baselines3 VecEnv, by the fastest way available."""

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import cached_property, partial
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

from rlrnn.common.arrays import flaw
from rlrnn.common.batches import parts_of, put, take
from rlrnn.common.capacity import check_fits
from rlrnn.common.settings import check_whole, takes_plain
from rlrnn.envs.engines.ids import find_spec, make_single
from rlrnn.envs.engines.native import Native, own_vector_env
from rlrnn.envs.engines.serial import Copies, Description, Maker, Observations, RoundStep, Step
from rlrnn.envs.engines.workers import Workers, cluster, sendable
from rlrnn.errors import GAME_ERRORS, EnvironmentFault, UserError
from rlrnn.games.array_game import ArrayGame
from rlrnn.games.compiled import CompiledGame

_SLOW = 100e-6  # seconds per step of one copy below which messages cost more than they save
_ROUND_TRIP = 300e-6  # seconds that a step of all worker processes costs on top of the environments
COPY = 500  # bytes of one, at the least: its seed, its infos, its counts
_LARGEST = float(np.finfo(np.float32).max)  # points of one step


@takes_plain
def vectorize(
    id: str,  # noqa: A002  (Gymnasium's own word)
    n_envs: int,
    *,
    seed: int | None = None,
    kwargs: Mapping[str, Any] | None = None,
    workers: int | None = None,
    render_mode: str | None = None,
    on: str | None = None,
    imports: Sequence[str] = (),
) -> "GameVecEnv":
    """`n_envs` copies of a registered environment; copy b's first reset has the seed `seed + b`.

    An id's own vector environment is used where it resets finished copies within the step. Otherwise single
    environments are stepped in this process (`workers=0`) or by `workers` processes; None measures one copy
    and chooses. `on` names a Ray cluster whose actors step them instead, each after importing these modules;
    there 0 or None is one for each CPU. What is played depends on the seeds alone, not on the way.
    """
    check_whole("n_envs", n_envs, 1)
    check_fits(f"n_envs={n_envs:,} copies of {id}", n_envs * COPY, "n_envs")
    if workers is not None:
        check_whole("workers", workers, 0)
    spec = find_spec(id)
    arguments = dict(kwargs or {}) | ({} if render_mode is None else {"render_mode": render_mode})
    native = own_vector_env(spec, n_envs, arguments)
    if native is not None:
        return GameVecEnv(Native(native), n_envs, seed, spec)
    makers = [partial(make_single, spec, arguments)] * n_envs
    if workers is None and arguments.get("render_mode") == "human":
        workers = 0
    return GameVecEnv(_engine(makers, workers, id, on, imports), n_envs, seed, spec)


@takes_plain
def from_envs(
    makers: Sequence[Maker], *, seed: int | None = None, workers: int | None = 0, on: str | None = None
) -> "GameVecEnv":
    """The environments that these functions make, stepped here, by worker processes, or on a Ray cluster."""
    check_whole("The number of environments", len(makers), 1)
    return GameVecEnv(_engine(makers, workers, on=on), len(makers), seed)


def from_vector_env(env: VectorEnv[Any, Any, Any], *, seed: int | None = None) -> "GameVecEnv":
    """A ready Gymnasium vector environment that resets in the same step, or by a reset mask."""
    return GameVecEnv(Native(env), env.num_envs, seed, env.spec)


class Engine(Protocol):
    """B copies of one environment that are stepped together; finished ones begin anew within the step."""

    def describe(self) -> Description: ...
    def reset(
        self, seeds: Sequence[int | None], options: Sequence[dict[str, Any]]
    ) -> tuple[Observations, list[dict[str, Any]]]: ...
    def start(self, actions: Any) -> None: ...
    def finish(self) -> Step: ...
    def read(self, copies: Sequence[int], attribute: str) -> list[Any]: ...
    def has(self, copies: Sequence[int], attribute: str) -> list[bool]: ...
    def write(self, copies: Sequence[int], attribute: str, value: Any) -> list[bool]: ...
    def call(self, copies: Sequence[int], method: str, args: Any, kwargs: Any) -> list[Any]: ...
    def wrapped(self, copies: Sequence[int], wrapper: type) -> list[bool]: ...
    def close(self) -> None: ...


class GameVecEnv(VecEnv):
    """An engine behind SB3's protocol: counts points, notes how episodes ended, refuses what is not a number.

    The info of a copy that ended an episode holds `terminal_observation`, `TimeLimit.truncated` and, as SB3's
    Monitor would write it, `episode`: its points "r", its steps "l" and the seconds "t" since this object was
    made. The arrays it returns are never written again.
    """

    def __init__(
        self, engine: Engine, n_envs: int, seed: int | None = None, spec: EnvSpec | None = None
    ) -> None:
        description = engine.describe()
        self._engine, self.name, self.spec = engine, description.name, spec
        self.counting = not description.monitored  # points and steps, rather than a Monitor of SB3's inside
        self._points = np.zeros(n_envs)  # [B] float64, of the episodes under way
        self._lengths = np.zeros(n_envs, np.int64)  # [B] steps
        self._start_time = time.perf_counter()
        self._playing = np.arange(n_envs)  # copies still playing, in a round
        self._broken = False  # a step was begun and something was raised before its end
        super().__init__(n_envs, description.observation_space, description.action_space)
        self.metadata = description.metadata
        if seed is not None:
            check_whole("seed", seed, 0)
            self.seed(int(seed))

    def __repr__(self) -> str:
        workers = f", in {self.workers} processes" if self.workers else ""
        copies = f"{self.num_envs} {'copy' if self.num_envs == 1 else 'copies'}"
        return f"{type(self).__name__}({self.name}, {copies}{workers})"

    def reset(self) -> Observations:
        """The first observations [B, ...], with the seeds and options that were set since the last reset."""
        observations, self.reset_infos = self._engine.reset(self._seeds, self._options)
        self._broken = False
        self._reset_seeds()
        self._reset_options()
        self._points[:] = 0
        self._lengths[:] = 0
        self._refuse_flaws(observations, range(self.num_envs))
        return observations

    def step_async(self, actions: NDArray[Any]) -> None:
        """Take the actions [B, ...] of the next step: a copy of them, as a game may write into its own."""
        self._engine.start(np.array(actions))

    def step_wait(self) -> tuple[Observations, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """(observations [B, ...], rewards [B], episode ended [B], infos [B]) of the step.

        After a step that an interrupt or a fault broke off, which some copies have made and others have not,
        nothing but a reset goes on.
        """
        step = self._step()
        self._points += step.rewards
        self._lengths += 1
        finite = np.abs(step.rewards) <= _LARGEST  # false of NaN too
        if not finite.all():
            b = int(finite.argmin())
            raise self._fault(b, f"the reward {step.rewards[b]}", "it must be a finite float32 number")
        dones = step.terminated | step.truncated
        if dones.any():
            self._end(step, np.flatnonzero(dones).tolist())
        self._refuse_flaws(step.observations, range(self.num_envs))
        self._broken = False
        return step.observations, step.rewards.astype(np.float32), dones, step.infos

    def _step(self) -> Step:
        """The engine's step; it counts as broken off until the caller has all of it."""
        if self._broken:
            raise EnvironmentFault(
                f"A step of {self.name} was broken off by an interrupt or a fault, when some copies had made "
                "it and others not: call reset() before you go on."
            )
        self._broken = True
        return self._engine.finish()

    def open(self, seeds: Sequence[int]) -> Observations:
        """Begin a round: the first copies play one episode each, of these seeds; the others stay out.

        `play` and `keep` go on with it; `reset` ends it.
        """
        self._seeds = [*seeds, *[seeds[0]] * (self.num_envs - len(seeds))]
        observations = self.reset()
        self._playing = np.arange(self.num_envs)
        if len(seeds) < self.num_envs:
            self.keep(np.arange(len(seeds)))
            observations = take(observations, self._playing)
        return observations

    def play(self, actions: NDArray[Any]) -> RoundStep:
        """One step of the copies still playing, with their actions [N, ...]; ended ones are not reset.

        Idle copies that must be stepped repeat the first active copy's action.
        """
        game = self._game
        if game is not None:
            observations, rewards, terminated, truncated = game.play(actions)
            return RoundStep(observations, rewards, terminated | truncated)
        self._lengths[self._playing] += 1
        if isinstance(self._engine, Copies):
            result = self._engine.play(self._playing.tolist(), np.array(actions))
        else:
            all_actions = np.repeat(actions[:1], self.num_envs, axis=0)
            all_actions[self._playing] = actions
            self._engine.start(all_actions)
            step = self._step()
            self._broken = False
            ended = step.terminated | step.truncated
            put(step.observations, ended, step.finals)
            rows = self._playing
            result = RoundStep(take(step.observations, rows), step.rewards[rows], ended[rows])
        self._refuse_flaws(result.observations, self._playing.tolist())
        if not np.isfinite(result.rewards).all():
            b = int(np.isfinite(result.rewards).argmin())
            what = f"the reward {result.rewards[b]}"
            raise self._fault(int(self._playing[b]), what, "it must be a finite number")
        return result

    def keep(self, rows: NDArray[np.intp]) -> None:
        """Go on with these of the copies still playing."""
        self._playing = self._playing[rows]
        if self._game is not None:
            self._game.keep(rows)

    def compiled(self) -> CompiledGame | None:
        """The game as compiled code plays it, from where it stands; None if it is not ours, or cannot be.

        Who plays it so keeps ``counts`` true, and tells of ends by ``info_of_end``.
        """
        game = self._game
        plays = game is not None and game.draws is not None and game.render_mode is None and not self._broken
        return game.compiled() if game is not None and plays else None

    @property
    def counts(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Points and steps [B] of the episodes under way."""
        return self._points, self._lengths

    def info_of_end(self, final: NDArray[Any], cut: bool, points: float, length: int) -> dict[str, Any]:
        """The info of a copy whose episode ended otherwise than by ``step``."""
        seconds = round(time.perf_counter() - self._start_time, 6)
        episode = {"r": points, "l": length, "t": seconds}
        return {"terminal_observation": final, "TimeLimit.truncated": cut, "episode": episode}

    @cached_property
    def _game(self) -> ArrayGame | None:
        """Our own game, if it is one, which steps as many copies as are asked for."""
        game = self._engine.env if isinstance(self._engine, Native) else None
        return game if isinstance(game, ArrayGame) else None

    def _end(self, step: Step, ended: list[int]) -> None:
        """Complete the infos of the copies that ended an episode, and begin to count anew."""
        self._refuse_flaws(step.finals, ended)
        cut = (step.truncated & ~step.terminated)[ended].tolist()
        points, lengths = self._points[ended].tolist(), self._lengths[ended].tolist()
        seconds = round(time.perf_counter() - self._start_time, 6)
        for row, b in enumerate(ended):
            info = step.infos[b]
            info["terminal_observation"] = take(step.finals, row)
            info["TimeLimit.truncated"] = cut[row]
            if self.counting:
                info["episode"] = {"r": points[row], "l": lengths[row], "t": seconds}
            self.reset_infos[b] = step.reset_infos[row]
        self._points[ended] = 0
        self._lengths[ended] = 0

    def _refuse_flaws(self, observations: Observations, copies: Sequence[int]) -> None:
        spaces = parts_of(self.observation_space)
        for key, part in parts_of(observations).items():
            fault = flaw(part, spaces[key])
            if fault is not None:
                row, number, rule = fault
                raise self._fault(copies[row], f"an observation with {number}", rule)

    def _fault(self, copy: int, what: str, rule: str) -> EnvironmentFault:
        step = self._lengths[copy]
        return EnvironmentFault(
            f"Copy {copy} of {self.name} gave {what} at step {step} of its episode; {rule}."
        )

    def get_state(self) -> dict[str, Any] | None:
        """Everything that the rest of the play depends on; None if the game has no state to give (ours have).

        None, too, where a step was broken off: nothing but a reset goes on from there.
        """
        game = self._engine.get_state() if isinstance(self._engine, Native) and not self._broken else None
        return game and {"game": game, "points": self._points.copy(), "lengths": self._lengths.copy()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned, bit for bit: the next step follows without a reset."""
        assert isinstance(self._engine, Native)
        self._engine.set_state(state["game"])
        self._points[:], self._lengths[:] = state["points"], state["lengths"]
        self._broken = False
        self._reset_seeds()

    @property
    def workers(self) -> int | None:
        """Processes that step the copies, here or on a cluster; 0: this one; None: all at once, as arrays."""
        engine = self._engine
        return len(engine.pids) if isinstance(engine, Workers) else 0 if isinstance(engine, Copies) else None

    def close(self) -> None:
        """Close the environments and end the worker processes."""
        self._engine.close()

    def has_attr(self, attr_name: str) -> bool:
        """Whether all copies have the attribute."""
        return all(self._engine.has(range(self.num_envs), attr_name))

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute of each of these copies, found through their wrappers."""
        return self._engine.read(self._copies(indices), attr_name)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set the attribute of these copies, on the wrapper that has it."""
        self._engine.write(self._copies(indices), attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """What the method of each of these copies returns."""
        return self._engine.call(self._copies(indices), method_name, method_args, method_kwargs)

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: Any = None
    ) -> list[bool]:
        """Whether these copies have the wrapper; true of Monitor, whose work is done here."""
        if issubclass(wrapper_class, Monitor):
            return [True for _ in self._copies(indices)]
        return self._engine.wrapped(self._copies(indices), wrapper_class)

    def get_images(self) -> list[Any]:
        """One picture [height, width, 3] per copy, or None for each where none are drawn."""
        if self.render_mode != "rgb_array":
            return [None] * self.num_envs
        return self._engine.call(range(self.num_envs), "render", (), {})

    def _copies(self, indices: Any) -> list[int]:
        copies = range(self.num_envs)
        return [copies[i] for i in self._get_indices(indices)]


def _engine(
    makers: Sequence[Maker],
    workers: int | None,
    name: str = "",
    on: str | None = None,
    imports: Sequence[str] = (),
) -> Engine:
    if on is not None:
        check_whole("workers", workers or 0, 0)
        return cluster(makers, name, workers or 0, on, imports)
    if workers is None:
        workers = _best_workers(makers)
    check_whole("workers", workers, 0)
    return Workers(makers, name, min(workers, len(makers))) if workers else Copies(makers, name)


def _best_workers(makers: Sequence[Maker]) -> int:
    """As many as there are cores where they save more time than they cost and the makers can be sent."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    best = min(cores, len(makers))
    if best < 2:
        return 0
    step = _step_seconds(makers[0])
    if step < _SLOW or step * len(makers) * (1 - 1 / best) < _ROUND_TRIP:
        return 0
    try:
        sendable(makers)
    except UserError:
        return 0
    return best


def _step_seconds(maker: Maker) -> float:
    """Median seconds of a step of a copy made for this and thrown away; at most about 0.1 s are spent."""
    seconds: list[float] = []
    try:
        with closing(maker()) as env:
            env.action_space.seed(0)
            env.reset(seed=0)
            while len(seconds) < 30 and sum(seconds) < 0.1:
                action = env.action_space.sample()
                before = time.perf_counter()
                *_, terminated, truncated, _ = env.step(action)
                seconds.append(time.perf_counter() - before)
                if terminated or truncated:
                    env.reset()
    except GAME_ERRORS:  # the copies that are played will raise it, with their numbers
        return 0.0
    return statistics.median(seconds)
