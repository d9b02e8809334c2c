"""A Gymnasium vector environment that resets finished copies within the step, as a batch of copies."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.spaces import Box, Space
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from numpy.typing import NDArray

from rlrnn.common.arrays import numbers
from rlrnn.common.batches import any_array, new_batch, put, take
from rlrnn.envs.engines.ids import clear_errors
from rlrnn.envs.engines.serial import Description, Observations, Step, check_spaces, put_checked, report
from rlrnn.errors import GAME_ERRORS, EnvironmentFault, UserError, game_fault
from rlrnn.games.array_game import ArrayGame

USABLE = (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED)


def own_vector_env(spec: EnvSpec, n_envs: int, kwargs: Mapping[str, Any]) -> VectorEnv[Any, Any, Any] | None:
    """The vector environment registered with the id, if it can be made in a mode that `Native` can use."""
    entry_point = spec.vector_entry_point
    if entry_point is None or spec.additional_wrappers:
        return None
    with clear_errors(spec, entry_point, kwargs):
        creator = entry_point if callable(entry_point) else load_env_creator(entry_point)
        options, takes = dict(kwargs), inspect.signature(creator).parameters
        metadata = getattr(creator, "metadata", None)
        if metadata is VectorEnv.metadata:  # shared by all that declare nothing; ale-py writes into it
            metadata = None
        if "autoreset_mode" in takes:
            options.setdefault("autoreset_mode", AutoresetMode.SAME_STEP)
        elif not isinstance(metadata, dict) or metadata.get("autoreset_mode") not in USABLE:
            return None
        no_render = "render_mode" not in takes and not any(p.kind == p.VAR_KEYWORD for p in takes.values())
        if no_render and options.get("render_mode") == "rgb_array":
            del options["render_mode"]
        env = gym.make_vec(spec, n_envs, vectorization_mode="vector_entry_point", **options)
        return FrameRenderer(env) if no_render and FrameRenderer.fits(env.single_observation_space) else env


def is_array_game(spec: EnvSpec) -> bool:
    """Whether its vector environment is an ``ArrayGame``, which plays what single ones play, faster."""
    entry_point = spec.vector_entry_point
    if entry_point is None or spec.additional_wrappers:
        return False
    try:
        creator = entry_point if callable(entry_point) else load_env_creator(entry_point)
    except GAME_ERRORS:  # who makes it says why
        return False
    return isinstance(creator, type) and issubclass(creator, ArrayGame)


class FrameRenderer(VectorWrapper):  # generic from gymnasium 1.3 on: 1.2 takes no parameters
    """Renders copies that draw no pictures themselves: the newest grey frame of each one's observation."""

    render_mode = "rgb_array"

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        super().__init__(env)
        self.metadata = {**env.metadata, "render_modes": ["rgb_array"], "render_fps": 15}  # 60 Hz / 4
        self._frames: Any = None

    @staticmethod
    def fits(space: Space[Any]) -> bool:
        """Whether observations are stacks of grey frames [frames, height, width]."""
        return isinstance(space, Box) and space.dtype == np.uint8 and len(space.shape) == 3

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset the copies and keep their frames."""
        self._frames, infos = self.env.reset(seed=seed, options=options)
        return self._frames, infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step the copies and keep their frames."""
        self._frames, *rest = self.env.step(actions)
        return self._frames, *rest

    def render(self) -> tuple[Any, ...]:
        """One picture per copy, four times as wide and five times as tall: near what the screen shows."""
        pictures = self._frames[:, -1].repeat(5, axis=1).repeat(4, axis=2)
        return tuple(np.repeat(picture[..., None], 3, axis=2) for picture in pictures)


def forms(seeds: list[int | None]) -> Iterator[Any]:
    """What a vector environment may be asked to reset with, so that copy b has seed b of these.

    Neighbouring seeds are one int, to which every vector environment adds the copy itself. Others are a list
    for Gymnasium's own and an array for ale-py, which seeds its games by 31 bits: where larger numbers are
    refused, their lower 31 bits stand for them.
    """
    ints = [seed for seed in seeds if seed is not None]
    if len(ints) < len(seeds):
        yield seeds if ints else None
        return
    small = [seed % 2**31 for seed in ints]
    for values in (ints, small) if small != ints else (ints,):
        if values == list(range(values[0], values[0] + len(values))):
            yield values[0]
        else:
            yield values
            yield np.array(values)


class Native:
    """B copies that one vector environment steps as arrays.

    In mode SAME_STEP it hands out the last observations itself, as `infos["final_obs"]`; in mode DISABLED the
    finished copies are reset here, by `options={"reset_mask": ...}`.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        name = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
        mode = env.metadata.get("autoreset_mode")
        if mode not in USABLE:
            raise UserError(
                f"{name} has the mode {mode}, in which a finished copy does not begin its next episode"
                " within the step; make it with autoreset_mode=AutoresetMode.SAME_STEP (or DISABLED, if its"
                " reset takes a reset_mask)."
            )
        check_spaces(name, env.single_observation_space, env.single_action_space)
        self.env, self.name = env, name
        self._masked = mode == AutoresetMode.DISABLED
        self._space: Space[Any] = env.single_observation_space
        self._actions: Any = None

    def describe(self) -> Description:
        """What all copies have in common."""
        metadata = dict(self.env.metadata)
        return Description(self.name, self._space, self.env.single_action_space, metadata, False)

    def reset(
        self, seeds: Sequence[int | None], options: Sequence[dict[str, Any]]
    ) -> tuple[Observations, list[dict[str, Any]]]:
        """Begin an episode in every copy; returns (observations [B, ...], infos [B])."""
        if any(option != options[0] for option in options):
            raise UserError(f"{self.name} steps its copies as one; give all of them the same reset options.")
        try:
            observations, infos = self._reset(list(seeds), dict(options[0]) or None)
            return self._copy(observations), split(infos, self.env.num_envs)
        except UserError:
            raise
        except GAME_ERRORS as error:
            raise self._fault("reset()", error) from error

    def _reset(self, seeds: list[int | None], options: dict[str, Any] | None) -> tuple[Any, dict[str, Any]]:
        """Reset with the seeds in the first form that the environment takes."""
        first_error: Exception | None = None
        for seed in forms(seeds):
            try:
                return self.env.reset(seed=seed, options=options)
            except (TypeError, ValueError, OverflowError) as error:
                if isinstance(error, UserError) or seed is None:
                    raise
                first_error = first_error or error
        assert first_error is not None
        if isinstance(seed, int):
            raise first_error
        raise EnvironmentFault(
            f"{self.name} takes no seed for each copy ({type(first_error).__name__} in reset(): "
            f"{first_error}), which evolution's rounds need: play single environments instead "
            "(rlrnn.envs.vec.from_envs)."
        ) from first_error

    def get_state(self) -> dict[str, Any] | None:
        """Everything that the rest of the game depends on, if it is one of ours."""
        return self.env.get_state() if isinstance(self.env, ArrayGame) else None

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        assert isinstance(self.env, ArrayGame)
        self.env.set_state(state)

    def start(self, actions: Any) -> None:
        """Take the actions [B, ...] of the next step."""
        self._actions = actions

    def finish(self) -> Step:
        """Play one step with the actions that `start` took."""
        try:
            batch, rewards, terminated, truncated, infos = self.env.step(self._actions)
            shape = (self.env.num_envs,)
            rewards = numbers(rewards, shape, "reward", "a step").astype(np.float64)
            terminated = numbers(terminated, shape, "terminated flag", "a step").astype(np.bool_)
            truncated = numbers(truncated, shape, "truncated flag", "a step").astype(np.bool_)
            ended = np.flatnonzero(terminated | truncated)
            observations = self._copy(batch)
            step_infos, finals, reset_infos = self._ends(observations, ended, infos)
            return Step(observations, rewards, terminated, truncated, step_infos, finals, reset_infos)
        except UserError:
            raise
        except GAME_ERRORS as error:
            raise self._fault("step()", error) from error

    def read(self, copies: Sequence[int], attribute: str) -> list[Any]:
        """The attribute, copy by copy where it is a list or an array of B values, else the same for all."""
        single = {"observation_space": "single_observation_space", "action_space": "single_action_space"}
        if hasattr(self.env, "get_attr"):
            return self._each(self.env.get_attr(attribute), copies)
        return self._each(getattr(self.env, single.get(attribute, attribute)), copies)

    def has(self, copies: Sequence[int], attribute: str) -> list[bool]:
        """Whether the copies have the attribute."""
        try:
            self.read(copies, attribute)
        except AttributeError:
            return [False] * len(copies)
        return [True] * len(copies)

    def write(self, copies: Sequence[int], attribute: str, value: Any) -> list[bool]:
        """Set the attribute of all copies; of some only where it is an array of B values."""
        n = self.env.num_envs
        if len(set(copies)) == n:
            setter = getattr(self.env, "set_attr", None) or partial(setattr, self.env)
            setter(attribute, value)
            return [True] * n
        values = getattr(self.env, attribute, None)
        if not isinstance(values, np.ndarray) or values.shape[:1] != (n,):
            raise UserError(f"The {n} copies of {self.name} share {attribute!r}; set it for all of them.")
        values[list(copies)] = value
        return [True] * len(copies)

    def call(self, copies: Sequence[int], method: str, args: Any, kwargs: Any) -> list[Any]:
        """What the method returns, copy by copy where it returns B values, else the same for all."""
        if hasattr(self.env, "call") and method != "render":
            return self._each(self.env.call(method, *args, **kwargs), copies)
        return self._each(getattr(self.env, method)(*args, **kwargs), copies)

    def wrapped(self, copies: Sequence[int], wrapper: type) -> list[bool]:
        """A single environment's wrapper is never around these copies."""
        return [False] * len(copies)

    def close(self) -> None:
        """Close the vector environment; an error is printed, and no results are lost by it."""
        try:
            self.env.close()
        except GAME_ERRORS as error:
            report(self._fault("close()", error))

    def _each(self, values: Any, copies: Sequence[int]) -> list[Any]:
        per_copy = isinstance(values, list | tuple | np.ndarray) and len(values) == self.env.num_envs
        return [values[i] if per_copy else values for i in copies]

    def _ends(
        self, observations: Observations, ended: NDArray[np.intp], infos: dict[str, Any]
    ) -> tuple[list[dict[str, Any]], Observations, list[dict[str, Any]]]:
        """(infos [B], last observations [N], infos of the resets [N]) where N copies ended an episode."""
        n = self.env.num_envs
        if not len(ended):
            return split(infos, n), new_batch(self._space, 0), []
        ends = ended.tolist()
        if self._masked:
            finals = take(observations, ended)
            mask = np.zeros(n, np.bool_)
            mask[ended] = True
            first, reset_infos = self.env.reset(options={"reset_mask": mask})
            put(observations, ended, take(first, ended))
            all_reset_infos = split(reset_infos, n)
            return split(infos, n), finals, [all_reset_infos[i] for i in ends]
        if "final_obs" not in infos:
            raise EnvironmentFault(f"{self.name} ended an episode without handing out its final_obs.")
        # Where an episode ended, the infos are those of the reset and `final_info` holds those of the step.
        step_infos = split(
            {key: value for key, value in infos.items() if not key.lstrip("_").startswith("final_")}, n
        )
        reset_infos_ended = [step_infos[i] for i in ends]
        final_infos = split(infos["final_info"], n) if "final_info" in infos else None
        for i in ends:
            step_infos[i] = final_infos[i] if final_infos else {}
        finals = infos["final_obs"]  # arrays [B, ...], or an array of B observations and None
        if isinstance(finals, np.ndarray) and finals.dtype == object:
            rows = new_batch(self._space, len(ended))
            for row, i in enumerate(ends):
                put_checked(rows, row, finals[i])
            return step_infos, rows, reset_infos_ended
        return step_infos, self._copy(take(finals, ended)), reset_infos_ended

    def _copy(self, batch: Observations) -> Observations:
        """A new batch of the space's own types; the environment may use its arrays again."""
        new = new_batch(self._space, len(any_array(batch)))
        put_checked(new, slice(None), batch)
        return new

    def _fault(self, where: str, error: BaseException) -> EnvironmentFault:
        return game_fault(self.name, where, error)


def split(infos: Mapping[str, Any], n: int) -> list[dict[str, Any]]:
    """One dict per copy from a vector environment's dict of arrays [B], valid where `_key` is true."""
    result: list[dict[str, Any]] = [{} for _ in range(n)]
    for key, values in infos.items():
        if key.startswith("_"):
            continue
        mask = infos.get(f"_{key}")
        valid = range(n) if mask is None else np.flatnonzero(mask).tolist()
        each = split(values, n) if isinstance(values, Mapping) else values
        if isinstance(each, list | tuple | np.ndarray) and len(each) == n:
            for i in valid:
                result[i][key] = each[i]
    return result
