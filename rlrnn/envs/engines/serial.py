"""Several single environments stepped as one batch in this process."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space
from numpy.typing import NDArray

from rlrnn.common import texts
from rlrnn.common.batches import join, new_batch, parts_of, take
from rlrnn.common.processes import beat
from rlrnn.common.shared import shared_batch
from rlrnn.envs.engines.answers import RESET, STEP, facts, parts, points, truth
from rlrnn.errors import GAME_ERRORS, EnvironmentFault, Flaw, UserError, game_fault

Maker = Callable[[], gym.Env[Any, Any]]
Observations = Any  # [B, ...], or a dict of such arrays for a Dict space


class Step(NamedTuple):
    """What one step of B copies gave; N of them ended an episode in it and have begun the next."""

    observations: Observations  # [B, ...], the new episode's first where one ended
    rewards: NDArray[np.float64]  # [B] points
    terminated: NDArray[np.bool_]  # [B]
    truncated: NDArray[np.bool_]  # [B]
    infos: list[dict[str, Any]]  # [B], new dicts
    finals: Observations  # [N, ...] the last observations of the episodes that ended, in order of the copies
    reset_infos: list[dict[str, Any]]  # [N] infos of the resets that followed


class RoundStep(NamedTuple):
    """What one step of the N copies still playing gave, in a round of one episode each."""

    observations: Observations  # [N, ...], the last one where the episode ended
    rewards: NDArray[np.float64]  # [N] points
    ended: NDArray[np.bool_]  # [N]


class Description(NamedTuple):
    """What all copies have in common."""

    name: str  # the registered id, else the class
    observation_space: Space[Any]
    action_space: Space[Any]
    metadata: dict[str, Any]
    monitored: bool  # SB3's Monitor is inside, which decides where an episode ends


def check_spaces(name: str, observation_space: Space[Any], action_space: Space[Any]) -> None:
    """Refuse spaces that do not become arrays."""
    flat = (Box, Discrete, MultiDiscrete, MultiBinary)
    nested = isinstance(observation_space, Dict)
    for part in parts_of(observation_space).values():
        if not isinstance(part, flat):
            raise UserError(
                f"{name} has the observation space {observation_space}"
                + (f" with {type(part).__name__} inside" if nested else "")
                + "; use Box, Discrete, MultiDiscrete, MultiBinary or one Dict of these"
                " (gymnasium.wrappers.FlattenObservation makes a Box of most others)."
            )
    if not isinstance(action_space, flat):
        raise UserError(
            f"{name} has the action space {action_space}; use Box, Discrete, MultiDiscrete or MultiBinary."
        )


def put_checked(batch: Observations, rows: Any, observations: Any) -> None:
    """As `put`, but a `Flaw` is raised where the space's shape or type cannot hold what a game gave."""
    if isinstance(batch, dict):
        for key, part in batch.items():
            try:
                value = observations[key]
            except (LookupError, TypeError):
                raise Flaw(f"an observation without {key!r}, which its space has,") from None
            put_checked(part, rows, value)
        return
    values, target = np.asarray(observations), batch[rows]
    if values.dtype.kind not in "biufO":  # numpy would make numbers of texts and dates
        raise Flaw(f"an observation of type {values.dtype}, which is no number's,")
    if values.size != target.size:  # numpy would repeat it
        raise Flaw(f"an observation of shape {values.shape}, where its space has {target.shape},")
    batch[rows] = values
    if batch.dtype.kind in "biu" and values.dtype != batch.dtype and (batch[rows] != values).any():
        value = values[batch[rows] != values].flat[0]
        raise Flaw(f"an observation with {value}, which its space's type {batch.dtype} cannot hold,")


class Copies:
    """Several environments in this process; `first` is the number of the first one in the whole batch."""

    def __init__(self, makers: Sequence[Maker], name: str = "", first: int = 0) -> None:
        self.name, self.first = name or "the environment", first
        self.envs: list[gym.Env[Any, Any]] = []
        self._actions: Any = None
        try:
            for maker in makers:
                self.envs.append(maker())
                beat()
            lead = self.envs[0]
            self.name = name or (lead.spec.id if lead.spec else type(lead.unwrapped).__name__)
            self._check()
        except BaseException as error:
            self.close()
            if isinstance(error, UserError) or not isinstance(error, GAME_ERRORS):
                raise
            raise self._fault(len(self.envs), "its constructor", error) from error
        self._space = self.envs[0].observation_space
        self._shared: Any = None  # observations [B, ...], where another process reads them

    def _check(self) -> None:
        lead = self.envs[0]
        check_spaces(self.name, lead.observation_space, lead.action_space)
        if len({id(env.unwrapped) for env in self.envs}) < len(self.envs):
            raise UserError(f"Two copies of {self.name} are the same object; make a new one at every call.")
        for env in self.envs:
            if env.observation_space != lead.observation_space or env.action_space != lead.action_space:
                raise UserError(f"The copies of {self.name} differ in their spaces; make them alike.")

    def describe(self) -> Description:
        """What all copies have in common."""
        env = self.envs[0]
        sb3 = sys.modules.get("stable_baselines3.common.monitor")  # not imported: then it is not used either
        monitored = sb3 is not None and _is_wrapped(env, sb3.Monitor)
        return Description(self.name, self._space, env.action_space, dict(env.metadata), monitored)

    def reset(
        self, seeds: Sequence[int | None], options: Sequence[dict[str, Any]]
    ) -> tuple[Observations, list[dict[str, Any]]]:
        """Begin an episode in every copy; returns (observations [B, ...], infos [B])."""
        observations, infos = self._new_batch(), []
        for i, (env, seed, option) in enumerate(zip(self.envs, seeds, options, strict=True)):
            try:
                answer = env.reset(seed=seed, **({"options": option} if option else {}))
                first, info = parts(answer, RESET, 2)
                put_checked(observations, i, first)
                infos.append(facts(info))
            except GAME_ERRORS as error:
                raise self._fault(i, "reset()", error) from error
            beat()
        return self._answer(observations), infos

    def start(self, actions: Any) -> None:
        """Take the actions [B, ...] of the next step."""
        self._actions = actions

    def finish(self) -> Step:
        """Play the step with the actions that `start` took."""
        return self.step(self._actions)

    def step(self, actions: Any) -> Step:
        """Play one step of every copy."""
        n = len(self.envs)
        observations = self._new_batch()
        rewards = np.empty(n)  # [B] points
        terminated, truncated = np.empty(n, np.bool_), np.empty(n, np.bool_)
        infos: list[dict[str, Any]] = []
        finals, reset_infos = [], []
        for i, env in enumerate(self.envs):
            where = "step()"
            try:
                observation, reward, term, trunc, info = parts(env.step(actions[i]), STEP, 5)
                term, trunc = truth(term, "terminated"), truth(trunc, "truncated")
                rewards[i], terminated[i], truncated[i] = points(reward), term, trunc
                infos.append(facts(info))
                if term or trunc:
                    final = new_batch(self._space, 1)  # a copy: reset may write into the same array
                    put_checked(final, 0, observation)
                    finals.append(final)
                    if env.render_mode == "rgb_array":
                        infos[i]["terminal_picture"] = env.render()  # a reset wipes it
                    where = "reset()"
                    observation, info = parts(env.reset(), RESET, 2)
                    reset_infos.append(facts(info))
                put_checked(observations, i, observation)
            except GAME_ERRORS as error:
                raise self._fault(i, where, error) from error
            beat()
        last = join(finals) if finals else new_batch(self._space, 0)
        return Step(self._answer(observations), rewards, terminated, truncated, infos, last, reset_infos)

    def share(self, path: str, rows: int) -> None:
        """From now on leave observations in this file, which has those of all the copies of the batch."""
        batch = shared_batch(path, self._space, rows)
        self._shared = take(batch, slice(self.first, self.first + len(self.envs)))

    def replay(self, commands: Sequence[tuple[str, Any]]) -> Observations | None:
        """Do all this again; what is seen at last [B, ...]."""
        seen = None
        for verb, arguments in commands:
            answer = getattr(self, verb)(*arguments)
            if verb in ("reset", "step"):
                seen = answer[0]
        return seen

    def _new_batch(self) -> Observations:
        return new_batch(self._space, len(self.envs)) if self._shared is None else self._shared

    def _answer(self, observations: Observations) -> Observations:
        return observations if self._shared is None else None

    def play(self, copies: Sequence[int], actions: Any) -> RoundStep:
        """Play one step of these copies and leave finished ones as they are."""
        observations, rewards = new_batch(self._space, len(copies)), np.empty(len(copies))
        ended = np.empty(len(copies), np.bool_)
        for row, i in enumerate(copies):
            try:
                observation, reward, term, trunc, _ = parts(self.envs[i].step(actions[row]), STEP, 5)
                rewards[row] = points(reward)
                ended[row] = truth(term, "terminated") or truth(trunc, "truncated")
                put_checked(observations, row, observation)
            except GAME_ERRORS as error:
                raise self._fault(i, "step()", error) from error
            beat()
        return RoundStep(observations, rewards, ended)

    def read(self, copies: Sequence[int], attribute: str) -> list[Any]:
        """The attribute of these copies, found through their wrappers."""
        return [self.envs[i].get_wrapper_attr(attribute) for i in copies]

    def has(self, copies: Sequence[int], attribute: str) -> list[bool]:
        """Whether these copies have the attribute."""
        return [self.envs[i].has_wrapper_attr(attribute) for i in copies]

    def write(self, copies: Sequence[int], attribute: str, value: Any) -> list[bool]:
        """Set the attribute where a copy or one of its wrappers has it, else on the outermost."""
        return [self.envs[i].set_wrapper_attr(attribute, value) for i in copies]

    def call(self, copies: Sequence[int], method: str, args: Any, kwargs: Any) -> list[Any]:
        """What the method of each of these copies returns."""
        results = []
        for i in copies:
            function = self.envs[i].get_wrapper_attr(method)
            try:
                results.append(function(*args, **kwargs))
            except GAME_ERRORS as error:
                raise self._fault(i, f"{method}()", error) from error
        return results

    def wrapped(self, copies: Sequence[int], wrapper: type) -> list[bool]:
        """Whether these copies have such a wrapper."""
        return [_is_wrapped(self.envs[i], wrapper) for i in copies]

    def close(self) -> None:
        """Close every copy; the first error is printed, and no other copy or result is lost by it."""
        faults = []
        for i, env in enumerate(self.envs):
            try:
                env.close()
            except GAME_ERRORS as error:
                faults.append(self._fault(i, "close()", error))
        if faults:
            report(faults[0])

    def _fault(self, i: int, where: str, error: BaseException) -> EnvironmentFault:
        return game_fault(f"Copy {self.first + i} of {self.name}", where, error)


def report(fault: EnvironmentFault) -> None:
    """Print on stderr an error by which nothing is lost."""
    texts.tell("rlrnn:", " ".join(str(fault).split()), file=sys.stderr)


def _is_wrapped(env: gym.Env[Any, Any], wrapper: type) -> bool:
    while isinstance(env, gym.Wrapper):
        if isinstance(env, wrapper):
            return True
        env = env.env
    return False
