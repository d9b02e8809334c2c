"""B copies of one game stepped as arrays, and the same game as one plain Gymnasium environment."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from rlrnn.common.settings import check_number, check_whole
from rlrnn.errors import UserError
from rlrnn.games.compiled import CompiledGame, kernels_of
from rlrnn.games.randomness import Randomness, seeds_of_copies

Array = NDArray[Any]
State = dict[str, Array]


class ArrayGame(VectorEnv[Array, Array, Array]):
    """A game whose state is one array `[variables, B]`; a subclass defines `begin`, `advance` and `observe`.

    ``kernels`` may name a module of the same three compiled (``games/kernels/table.py``), equal bit for bit,
    which then run in their place. They read the state, the steps and the numbers that ``constants`` returns.

    A finished copy begins its next episode in the same step; its last observation is the row of
    `infos["final_obs"]` where `infos["_final_obs"]` is true. Copy b of any batch plays the same episodes, bit
    for bit, as the single game with copy b's seed.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  (Gymnasium declares it so)
        "autoreset_mode": AutoresetMode.SAME_STEP,
        "render_modes": ["rgb_array"],
        "render_fps": 30,
    }
    kernels: ClassVar[str] = ""  # of this very class; a class derived from it has none
    variables: tuple[str, ...]  # names of the rows of `state`
    single_observation_space: Box
    single_action_space: Box | Discrete
    everyone: NDArray[np.intp]  # [B] numbers of the copies
    state: Array  # [variables, B] float64
    steps: NDArray[np.int64]  # [B] taken in this episode

    def __init__(
        self, num_envs: int = 1, max_episode_steps: int | None = None, render_mode: str | None = None
    ) -> None:
        check_whole("num_envs", num_envs, 1)
        if max_episode_steps is not None:
            check_number("max_episode_steps", max_episode_steps, 1)
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise UserError(f"render_mode {render_mode!r} is unknown; use None or 'rgb_array'.")
        self.num_envs = num_envs
        self.max_episode_steps = max_episode_steps  # None: an episode lasts until the game itself ends it
        self.render_mode = render_mode
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.draws: Randomness | None = None  # until the first reset
        self._compiled: CompiledGame | None = None
        self._all_draws: Randomness | None = None  # of all copies, while some have left
        self._fill(num_envs)

    @abstractmethod
    def begin(self, copies: NDArray[np.intp], draws: Randomness) -> None:
        """Write the start of an episode into these columns of `state`."""

    @abstractmethod
    def advance(self, actions: Array, draws: Randomness) -> tuple[Array, NDArray[np.bool_]]:
        """Play one step of all copies; returns (reward [B], terminated [B])."""

    @abstractmethod
    def observe(self) -> Array:
        """What the agent sees, [B, ...], a new array on every call."""

    def constants(self) -> Sequence[float]:
        """The numbers that the compiled game reads."""
        return ()

    @abstractmethod
    def draw(self, copy: int) -> NDArray[np.uint8]:
        """A picture [height, width, 3] of one copy."""

    def reset(
        self,
        *,
        seed: int | Sequence[int] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Array, dict[str, Any]]:
        """Begin an episode in every copy: the first of `seed`, or the next one if no seed is given."""
        if options:
            raise UserError(f"{type(self).__name__} takes no reset options, but got {sorted(options)}.")
        if self._all_draws is not None:  # copies left by ``keep``
            self._fill(len(self._all_draws.seeds))
            self.draws, self._all_draws = self._all_draws, None
        if seed is not None or self.draws is None:
            self.draws = Randomness(seeds_of_copies(seed, self.num_envs))
        self._begin(self.everyone, self.draws)
        return self._look(), {}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Play one step; copies that finish in it begin their next episode at once."""
        observations, rewards, terminated, truncated = self.play(actions)
        ended = terminated | truncated
        if not ended.any() or self.draws is None:
            return observations, rewards, terminated, truncated, {}
        infos: dict[str, Any] = {"final_obs": observations, "_final_obs": ended}
        if self.render_mode is not None:
            last = tuple(self.draw(copy) if ended[copy] else None for copy in range(self.num_envs))
            infos["final_info"] = {"terminal_picture": last, "_terminal_picture": ended}
        self._begin(np.flatnonzero(ended), self.draws)
        return self._look(), rewards, terminated, truncated, infos

    def play(self, actions: Array) -> tuple[Array, Array, Array, Array]:
        """Play one step and leave finished copies as they are."""
        if self.draws is None:
            raise UserError(f"{type(self).__name__} has not begun; call reset() before step().")
        actions, compiled = self._check_actions(actions), self.compiled()
        if compiled is None:
            rewards, terminated = self.advance(actions, self.draws)
        else:
            rewards, terminated = compiled.advance(actions)
        self.steps += 1
        limit = self.max_episode_steps
        truncated = np.zeros(self.num_envs, np.bool_) if limit is None else self.steps >= limit
        return self._look(), rewards, terminated, truncated

    def __getstate__(self) -> dict[str, Any]:
        """What a copy takes along: no addresses, which are those of this game's arrays."""
        return {**vars(self), "_compiled": None}

    def compiled(self) -> CompiledGame | None:
        """The game as compiled code plays it, from where it stands; None if it cannot."""
        if self._compiled is None or not self._compiled.holds(self):
            kernels = kernels_of(self)
            self._compiled = None if kernels is None else CompiledGame(self, kernels)
        elif self._compiled is not None:
            self._compiled.refresh(self)
        return self._compiled

    def _look(self) -> Array:
        compiled = self.compiled()
        space = self.single_observation_space
        if compiled is None or space.dtype != np.float32:
            return self.observe()
        return compiled.observe(space.shape)

    def keep(self, copies: NDArray[np.intp]) -> None:
        """Go on with these copies alone, until a reset brings all back."""
        assert self.draws is not None
        self._all_draws = self._all_draws or self.draws
        self.draws = self.draws.of(copies)
        self.state, self.steps, self.num_envs = self.state.take(copies, 1), self.steps[copies], len(copies)
        self.everyone = np.arange(len(copies))

    def render(self) -> tuple[NDArray[np.uint8], ...]:
        """One picture per copy."""
        if self.render_mode is None or self.draws is None:
            raise UserError('A picture needs render_mode="rgb_array" when the game is made, and a reset().')
        return tuple(self.draw(copy) for copy in range(self.num_envs))

    def get_state(self) -> State:
        """Everything the rest of the game depends on: one array [B] per name."""
        if self.draws is None:
            raise UserError(f"{type(self).__name__} has not begun; call reset() before get_state().")
        counters = (self.steps, self.draws.seeds, self.draws.episode, self.draws.drawn)
        return {
            name: row.copy() for name, row in zip(self._state_names(), (*self.state, *counters), strict=True)
        }

    def set_state(self, state: State) -> None:
        """Go on from what `get_state` returned, bit for bit."""
        names = self._state_names()
        if sorted(state) != sorted(names):
            raise UserError(f"The state has {sorted(state)}; {type(self).__name__} needs {sorted(names)}.")
        for name in names:
            if np.shape(state[name]) != (self.num_envs,):
                raise UserError(
                    f"The state's {name!r} has shape {np.shape(state[name])}; "
                    f"this game has {self.num_envs} copies and needs ({self.num_envs},)."
                )
        self.state[:] = [state[name] for name in self.variables]
        self.steps[:] = state["steps"]
        self.draws = Randomness(np.array(state["seeds"], np.uint64))
        self.draws.episode[:] = state["episode"]
        self.draws.drawn[:] = state["drawn"]

    def _fill(self, copies: int) -> None:
        """Arrays for so many copies."""
        self.num_envs = copies
        self.everyone = np.arange(copies)
        self.state = np.zeros((len(self.variables), copies))
        self.steps = np.zeros(copies, np.int64)

    def _state_names(self) -> tuple[str, ...]:
        return (*self.variables, "steps", "seeds", "episode", "drawn")

    def _begin(self, copies: NDArray[np.intp], draws: Randomness) -> None:
        draws.begin(copies)
        self.steps[copies] = 0
        self.begin(copies, draws)

    def _check_actions(self, actions: Array) -> Array:
        """The actions as an array that fits the space, or one sentence saying why they do not."""
        actions, space, name = np.asarray(actions), self.single_action_space, type(self).__name__
        whole = isinstance(space, Discrete)
        shape = (self.num_envs, *(space.shape or ()))
        if actions.shape != shape or actions.dtype.kind not in ("iu" if whole else "iuf"):
            raise UserError(
                f"The actions are {actions.dtype} of shape {actions.shape}; {self.num_envs} copies of {name} "
                f"need {space.dtype} of shape {shape}."
            )
        if isinstance(space, Discrete):
            inside = actions.astype(np.uint64) < space.n  # whose negative numbers are huge
        else:
            if actions.dtype.kind != "f":  # floats keep the precision they came with
                actions = actions.astype(space.dtype)
            inside = (actions >= space.low) & (actions <= space.high)  # false for NaN
        if not inside.all():
            ends = (0, space.n - 1) if isinstance(space, Discrete) else (space.low.min(), space.high.max())
            raise UserError(
                f"The action {actions[~inside][0]} is not allowed; {name} takes {'whole ' * whole}numbers "
                f"from {ends[0]} to {ends[1]}."
            )
        return actions


class SingleGame(gym.Env[Array, Any]):
    """One copy of an array game as a plain environment, without automatic resets."""

    game: ClassVar[type[ArrayGame]]  # set by the subclass

    def __init_subclass__(cls) -> None:
        cls.metadata = {key: cls.game.metadata[key] for key in ("render_modes", "render_fps")}

    def __init__(self, render_mode: str | None = None, **kwargs: Any) -> None:
        self.copies = self.game(num_envs=1, render_mode=render_mode, **kwargs)
        self.render_mode = render_mode
        self.observation_space = self.copies.single_observation_space
        self.action_space = self.copies.single_action_space
        self.over = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Begin the first episode of `seed`, or the next one if no seed is given."""
        super().reset(seed=seed)
        observations, infos = self.copies.reset(seed=seed, options=options)
        self.over = False
        return observations[0], infos

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Play one step."""
        if self.over:
            raise UserError("The episode is over; call reset() before the next step().")
        observations, rewards, terminated, truncated = self.copies.play(np.asarray(action)[None])
        self.over = bool(terminated[0] or truncated[0])
        return observations[0], float(rewards[0]), bool(terminated[0]), bool(truncated[0]), {}

    def render(self) -> NDArray[np.uint8]:
        """The picture of the game as it stands."""
        return self.copies.render()[0]

    def get_state(self) -> State:
        """Everything the rest of the game depends on."""
        return self.copies.get_state() | {"over": np.array([self.over])}

    def set_state(self, state: State) -> None:
        """Go on from what `get_state` returned, bit for bit."""
        state = dict(state)
        over = bool(state.pop("over", [False])[0])
        self.copies.set_state(state)
        self.over = over
