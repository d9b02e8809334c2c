"""Output units to actions: the distribution that fits the action space, and its readings in numpy.

Letters: B environments (any leading axes: time, population), L latent units, O output units, A numbers in
an action. An action travels as a flat tensor [..., A]: int64 for Discrete (A = 1), MultiDiscrete and
MultiBinary, float for Box; ``Actuators.to_space`` shapes it for the environment.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from torch import Tensor, nn

from rlrnn.errors import UserError
from rlrnn.network.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    EpsilonGreedy,
    Gaussian,
    SquashedGaussian,
    StateDependentNoise,
)
from rlrnn.network.layers import Affine, FirstUnits

Array: TypeAlias = npt.NDArray[Any]
# What the numbers of the output units mean: "drawn": a distribution of actions; "greedy": the value of each
# choice, of which the best is taken; "squashed": mean and log of the spread of actions that tanh bounds.
ACTIONS = ("drawn", "greedy", "squashed")
# numbers of the output units [B, O] -> an action drawn [B, A], its log-probability [B]
Draw: TypeAlias = Callable[[Array], tuple[Array, Array]]


class Actuators(nn.Module, ABC):
    """The output units: latent [..., L] -> Distribution; and the shape that actions have outside."""

    action_size: int
    action_dtype: type[np.generic] = np.int64

    def __init__(self, space: spaces.Space[Any], latent_size: int, numbers: int, output_layer: bool) -> None:
        super().__init__()
        self.space = space
        self.output = (Affine if output_layer else FirstUnits)(latent_size, numbers)

    def forward(self, latent: Tensor) -> Distribution:
        """latent [..., L] -> what may be done."""
        return self.distribution(self.output(latent))

    @abstractmethod
    def distribution(self, numbers: Tensor) -> Distribution:
        """The numbers of the output units [..., O], as a distribution."""

    @property
    def simple(self) -> bool:
        """Whether ``draw`` is there: what is drawn depends on the output units' numbers alone."""
        return False

    def draw(self, generator: torch.Generator) -> Draw:
        """Drawing by kernels, from the noise that ``Distribution.sample`` takes, while weights stay put."""
        raise NotImplementedError(f"{type(self).__name__} draws by torch alone")

    @abstractmethod
    def choose(self, numbers: Array) -> Array:
        """The most likely actions in numpy, as the game takes them: [B, O] -> [B, ...]."""

    @property
    def spread(self) -> tuple[nn.Parameter, ...]:
        """Parameters that decide how far draws scatter, and not what is most likely."""
        return ()

    def to_space(self, action: np.ndarray) -> np.ndarray:
        """Flat actions [B, A] -> what a batch of environments takes, inside the space: [B, ...]."""
        return action.reshape(-1, *(self.space.shape or ()))

    def misfit(self, actions: np.ndarray) -> str:
        """What of actions [B, ...] as a game takes them is not in the space; "" where all are."""
        if actions.shape[1:] != (self.space.shape or ()) or actions.dtype.kind not in "fiub":
            return f"of shape {actions.shape}"
        inside = self._inside(actions)
        return "" if inside.all() else f"such as {actions[~inside][0]}"

    def from_space(self, actions: np.ndarray) -> Tensor:
        """Actions of the space [B, ...] -> flat ones [B, A]: ``to_space`` turned round."""
        return torch.as_tensor(self._flat(actions).reshape(len(actions), -1).astype(self.action_dtype))

    @abstractmethod
    def _inside(self, actions: np.ndarray) -> npt.NDArray[np.bool_]:
        """Which numbers of actions [B, ...] the space holds."""

    def _flat(self, actions: np.ndarray) -> np.ndarray:
        """Of the range that actuators have, from that of the space."""
        return actions


class ChoiceActuators(Actuators):
    """Discrete and MultiDiscrete spaces, of any shape and first value."""

    def __init__(
        self, space: spaces.Discrete | spaces.MultiDiscrete, latent_size: int, *, output_layer: bool = True
    ) -> None:
        sizes = [int(n) for n in np.atleast_1d(getattr(space, "nvec", getattr(space, "n", 0))).ravel()]
        super().__init__(space, latent_size, sum(sizes), output_layer)
        self.sizes, self.action_size = sizes, len(sizes)
        self.first = np.atleast_1d(space.start).ravel()

        ends = np.cumsum(sizes).tolist()
        self.groups = [slice(*ends_of) for ends_of in zip((0, *ends), ends, strict=False)]  # of logits

    def distribution(self, logits: Tensor) -> Distribution:
        return Categorical(logits, self.sizes)

    @property
    def simple(self) -> bool:
        return True

    def draw(self, generator: torch.Generator) -> Draw:
        from rlrnn.network import kernels  # late, as numba takes a while to load

        def draw(logits: Array) -> tuple[Array, Array]:
            actions, log_prob = (
                np.empty((len(logits), len(self.sizes)), np.int64),
                np.zeros(len(logits), logits.dtype),
            )
            drawn = self.noise(len(logits), generator)
            for number, (group, size) in enumerate(zip(self.groups, self.sizes, strict=True)):
                kernels.choose(logits, group.start, size, drawn, actions, number, log_prob)
            return actions, log_prob

        return draw

    def noise(self, rows: int, generator: torch.Generator) -> Array:
        """What ``draw`` takes for so many rows [B, O]: exponential numbers, those of each choice together."""
        drawn = [torch.empty((rows, size)).exponential_(generator=generator).numpy() for size in self.sizes]
        return drawn[0] if len(drawn) == 1 else np.concatenate(drawn, axis=1)

    def choose(self, logits: Array) -> Array:
        if len(self.groups) == 1:
            return self.to_space(logits.argmax(-1)[:, None])
        return self.to_space(np.stack([logits[:, group].argmax(-1) for group in self.groups], axis=-1))

    def _inside(self, actions: np.ndarray) -> npt.NDArray[np.bool_]:
        count = getattr(self.space, "nvec", getattr(self.space, "n", 0))
        first = self.space.start  # type: ignore[attr-defined]
        inside: npt.NDArray[np.bool_] = (
            (actions >= first) & (actions < first + count) & (actions == actions.astype(np.int64))
        )
        return inside

    def _flat(self, actions: np.ndarray) -> np.ndarray:
        flat: np.ndarray = actions - self.space.start  # type: ignore[attr-defined]
        return flat

    def to_space(self, action: np.ndarray) -> np.ndarray:
        return super().to_space(action + self.first).astype(self.space.dtype, copy=False)


class GreedyActuators(ChoiceActuators):
    """Discrete spaces by value: the best choice, or at the exploration rate any (epsilon-greedy)."""

    exploration_rate: Tensor

    def __init__(self, space: spaces.Discrete, latent_size: int, *, output_layer: bool = True) -> None:
        super().__init__(space, latent_size, output_layer=output_layer)
        self.register_buffer("exploration_rate", torch.zeros(()))

    def distribution(self, values: Tensor) -> Distribution:
        return EpsilonGreedy(values, float(self.exploration_rate))

    def draw(self, generator: torch.Generator) -> Draw:
        def draw(values: Array) -> tuple[Array, Array]:
            distribution = self.distribution(torch.from_numpy(values))
            action = distribution.sample(generator)
            return action.numpy(), distribution.log_prob(action).numpy()

        return draw


class BinaryActuators(Actuators):
    """MultiBinary spaces of any shape."""

    def __init__(self, space: spaces.MultiBinary, latent_size: int, *, output_layer: bool = True) -> None:
        super().__init__(space, latent_size, int(np.prod(space.shape)), output_layer)
        self.action_size = int(np.prod(space.shape))

    def distribution(self, logits: Tensor) -> Distribution:
        return Bernoulli(logits)

    def choose(self, logits: Array) -> Array:
        return self.to_space(logits > 0.0)

    def _inside(self, actions: np.ndarray) -> npt.NDArray[np.bool_]:
        inside: npt.NDArray[np.bool_] = (actions == 0) | (actions == 1)
        return inside

    def to_space(self, action: np.ndarray) -> np.ndarray:
        return super().to_space(action).astype(self.space.dtype)


class BoxActuators(Actuators):
    """Box spaces of any shape, with actions clipped to the box, or from (-1, 1) stretched to it."""

    action_dtype = np.float32
    squashed: bool  # actions come from (-1, 1)

    def choose(self, mean: Array) -> Array:
        return self.to_space(np.tanh(mean) if self.squashed else mean)

    def to_space(self, action: np.ndarray) -> np.ndarray:
        assert isinstance(self.space, spaces.Box)
        low, high = self.space.low, self.space.high
        action = super().to_space(action)
        if self.squashed:
            action = low + 0.5 * (action + 1.0) * (high - low)
        clipped: np.ndarray = np.minimum(np.maximum(action, low), high)  # half of what np.clip takes
        return clipped.astype(self.space.dtype, copy=False)

    def _inside(self, actions: np.ndarray) -> npt.NDArray[np.bool_]:
        assert isinstance(self.space, spaces.Box)
        slack = 1e-6 * (self.space.high - self.space.low)  # of rounding
        inside: npt.NDArray[np.bool_] = (actions >= self.space.low - slack) & (
            actions <= self.space.high + slack
        )
        return inside

    def _flat(self, actions: np.ndarray) -> np.ndarray:
        assert isinstance(self.space, spaces.Box)
        if not self.squashed:
            return actions
        low, high = self.space.low, self.space.high
        scaled: np.ndarray = 2.0 * (actions - low) / (high - low) - 1.0
        return scaled


class ContinuousActuators(BoxActuators):
    """Normal actuators around the output units, or gSDE, squashed if asked for; the spread is a parameter."""

    def __init__(
        self,
        space: spaces.Box,
        latent_size: int,
        *,
        output_layer: bool = True,
        log_std_init: float = 0.0,
        use_sde: bool = False,
        full_std: bool = True,
        use_expln: bool = False,
        squash_output: bool = False,
    ) -> None:
        super().__init__(space, latent_size, int(np.prod(space.shape)), output_layer)
        self.action_size = int(np.prod(space.shape))
        self.squashed = squash_output
        self.use_expln = use_expln
        columns = self.action_size if full_std else 1
        shape = (latent_size, columns) if use_sde else (self.action_size,)
        self.log_std = nn.Parameter(torch.full(shape, float(log_std_init)))
        self.use_sde = use_sde
        self.exploration: Tensor | None = None  # [B, L, A], drawn by sample_exploration

    def forward(self, latent: Tensor) -> Distribution:
        mean = self.output(latent)
        if not self.use_sde:
            return self.distribution(mean)
        # The std is a function of the latent units, but without a gradient to them (as in the paper's code).
        latent = latent.detach()
        variance = latent.square() @ self._noise_std().square()
        std = (variance + StateDependentNoise.EPSILON).sqrt()
        fits = self.exploration is not None and self.exploration.shape[:-2] == latent.shape[:-1]
        return StateDependentNoise(mean, std, latent, self.exploration if fits else None, self.squashed)

    def distribution(self, mean: Tensor) -> Distribution:
        """Not of gSDE, which looks further back."""
        return Gaussian(mean, self.log_std.exp().unsqueeze(-2).expand_as(mean))

    @property
    def simple(self) -> bool:
        return not self.use_sde

    def draw(self, generator: torch.Generator) -> Draw:
        from rlrnn.network import kernels  # late, as numba takes a while to load

        log_std = self.log_std.detach().numpy()

        def draw(mean: Array) -> tuple[Array, Array]:
            noise = torch.empty(mean.shape).normal_(generator=generator).numpy()
            action, log_prob = np.empty_like(mean), np.empty(len(mean), mean.dtype)
            kernels.scatter(mean, log_std, noise, action, log_prob)
            return action, log_prob

        return draw

    @property
    def spread(self) -> tuple[nn.Parameter, ...]:
        return (self.log_std,)

    def sample_exploration(self, n_envs: int, generator: torch.Generator | None = None) -> None:
        """Draw each environment's gSDE matrix anew: it stays until the next call."""
        with torch.no_grad():
            std = self._noise_std()
            noise = torch.empty((n_envs, *std.shape), device=std.device, dtype=std.dtype)
            self.exploration = noise.normal_(generator=generator) * std

    def _noise_std(self) -> Tensor:
        """The std of each entry of the exploration matrix: [L, A]."""
        std = self.log_std.exp()
        if self.use_expln:  # grows linearly above 1, so that it cannot explode
            above = self.log_std > 0.0
            std = torch.where(above, torch.log1p(self.log_std.clamp(min=0.0)) + 1.0, std)
        return std.expand(*std.shape[:-1], self.action_size)


class SquashedActuators(BoxActuators):
    """Normal actuators whose mean and spread are output units, bounded by tanh (Haarnoja et al. 2018)."""

    squashed = True

    def __init__(self, space: spaces.Box, latent_size: int, *, output_layer: bool = True) -> None:
        size = int(np.prod(space.shape))
        super().__init__(space, latent_size, 2 * size, output_layer)
        self.action_size = size

    def distribution(self, numbers: Tensor) -> SquashedGaussian:
        return SquashedGaussian(*numbers.chunk(2, dim=-1))

    @property
    def simple(self) -> bool:
        return True

    def draw(self, generator: torch.Generator) -> Draw:
        from rlrnn.network import kernels  # late, as numba takes a while to load

        def draw(numbers: Array) -> tuple[Array, Array]:
            noise = torch.empty(len(numbers), self.action_size).normal_(generator=generator).numpy()
            action, log_prob = np.empty_like(noise), np.empty(len(noise), np.float32)
            kernels.squash(numbers, noise, action, log_prob)
            return action, log_prob

        return draw

    def choose(self, numbers: Array) -> Array:
        return super().choose(numbers[:, : self.action_size])


def make_actuators(
    space: spaces.Space[Any],
    latent_size: int,
    *,
    actions: str = "drawn",
    output_layer: bool = True,
    **continuous: Any,
) -> Actuators:
    """The actuators for an action space; ``continuous`` are options that only Box spaces take.

    Without ``output_layer`` the first latent units are the output units themselves.
    """
    check_supported(space)
    if actions == "greedy":
        assert isinstance(space, spaces.Discrete), "whoever asks for values has checked the space"
        return GreedyActuators(space, latent_size, output_layer=output_layer)
    if isinstance(space, spaces.Box):
        if actions == "squashed":
            return SquashedActuators(space, latent_size, output_layer=output_layer)
        return ContinuousActuators(space, latent_size, output_layer=output_layer, **continuous)
    if isinstance(space, spaces.MultiBinary):
        return BinaryActuators(space, latent_size, output_layer=output_layer)
    assert isinstance(space, spaces.Discrete | spaces.MultiDiscrete)
    return ChoiceActuators(space, latent_size, output_layer=output_layer)


def check_supported(space: spaces.Space[Any]) -> None:
    """Refuse the action spaces that no actuator fits."""
    if not isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary | spaces.Box):
        raise UserError(
            f"the action space {space} is not supported: use Discrete, Box, MultiDiscrete or MultiBinary "
            "(gymnasium.spaces.flatten_space turns many others into one of these)."
        )
    if 0 in (space.shape or ()):
        raise UserError(
            f"the action space {space} is empty, so that there is nothing to do: give it a number."
        )
    if isinstance(space, spaces.Box) and not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise UserError(
            f"the action space {space} has an infinite bound: give every action a finite low and high "
            "(gymnasium.wrappers.RescaleAction or a wrapper of your own does it)."
        )
