"""What hidden units do while an agent plays: over one episode, and as a strip next to a film.

Hidden units are the outputs of the top layer of memory, the only inputs of the actuators.

Letters: T time, B environments, H units.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium.spaces import Discrete
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from rlrnn.common.threads import one_thread
from rlrnn.envs.games import Game
from rlrnn.experiment.evaluation import copies_for
from rlrnn.experiment.pictures.showing import Pixels, rgb
from rlrnn.network.distributions import Categorical, Distribution, EpsilonGreedy

if TYPE_CHECKING:
    from rlrnn.experiment.agents import Agent
    from rlrnn.experiment.pictures.film import Look, Moment
    from rlrnn.learners.player import Player

Array = NDArray[Any]

FRAME_WIDTH = 320  # pixels, at most
COLUMNS, GAP, SHADES = 48, 2, 16  # of a strip: steps that it shows, or not; colours but one
COLUMN_WIDTH, LEAST_HEIGHT, MARGIN = 4, 250, 8  # pixels: of a step, of a strip, between it and the picture
PREVIEW = 300  # steps that are played to find correlated units
DIVERGING = "RdBu_r"  # colours of activities: blue below 0, red above


class ActivationRecorder:
    """A player that also records its network's activations for the last observation [B, ...]."""

    def __init__(self, player: Player) -> None:
        self.player, self.network = player, player.policy.network
        self.reset()

    def reset(self) -> None:
        """Clear the recurrent state."""
        self.player.reset()

    @torch.no_grad()
    def act(self, observations: Any, starts: NDArray[np.bool_] | None = None) -> Array:
        """The player's actions [B, ...]."""
        policy = self.player.policy
        if policy.training:
            policy.set_training_mode(False)
        observation, _ = policy.obs_to_tensor(observations)
        start = None if starts is None else torch.as_tensor(starts, device=policy.device)
        self.state = self.player.state  # [B, S] before the step
        self.features: Tensor = self.network.sensors(observation)  # [B, F]
        self.units, _ = self.network.memory.step(self.features, start, self.state)  # [B, H]
        self.distribution: Distribution = self.network.actuators(self.network.actor_head(self.units))
        return self.player.act(observations, starts)


@dataclass(frozen=True)
class Episode:
    """One episode with the network's activations."""

    features: Array  # [T, F] the sensors' features of the observations
    units: Array  # [T, H]
    actions: Array  # [T, ...]
    probabilities: Array | None  # [T, n] of each action, where one of them is drawn
    first: int  # number of the first action
    points: Array  # [T]
    pictures: list[Pixels]  # T of them, or none if the game draws none
    ended: bool  # rather than cut short by a number of steps
    advantages: Array | None = None  # [T, n] of each action, where values decide: its value minus the highest


def record_episode(
    agent: Agent, game: Game, steps: int, deterministic: bool, seed: int, draw: bool = True
) -> Episode:
    """Play the first steps of one episode."""
    features: list[Array] = []
    units: list[Array] = []
    actions: list[Array] = []
    probabilities: list[Array] = []
    advantages: list[Array] = []
    points: list[float] = []
    pictures: list[Pixels] = []
    mode = "rgb_array" if draw else None
    with closing(copies_for(agent, game, 1, seed, mode)) as env, one_thread(agent.device):
        player = ActivationRecorder(agent.player(1, deterministic=deterministic, seed=seed))
        observations, starts, ended = env.reset(), np.ones(1, np.bool_), False
        while len(units) < steps and not ended:
            image = env.get_images()[0] if draw else None
            if image is not None:
                picture = Image.fromarray(rgb(image))
                picture.thumbnail((FRAME_WIDTH, picture.height), Image.Resampling.LANCZOS)
                pictures.append(np.asarray(picture))
            actions.append(player.act(observations, starts)[0])
            features.append(player.features[0].cpu().numpy())
            units.append(player.units[0].cpu().numpy())
            choice = player.distribution
            if isinstance(choice, EpsilonGreedy):
                values = choice.values[0].cpu().numpy()
                advantages.append(values - values.max())
            elif isinstance(choice, Categorical) and len(choice.groups) == 1:
                probabilities.append(choice.log_p[0][0].exp().cpu().numpy())
            observations, reward, starts, _ = env.step(actions[-1][None])
            points.append(float(reward[0]))
            ended = bool(starts[0])
    return Episode(
        np.stack(features),
        np.stack(units),
        np.stack(actions),
        np.stack(probabilities) if probabilities else None,
        int(agent.action_space.start) if isinstance(agent.action_space, Discrete) else 0,
        np.array(points),
        pictures,
        ended,
        np.stack(advantages) if advantages else None,
    )


def order(units: Array) -> NDArray[np.intp]:
    """The order of the units [T, H] that puts correlated ones next to each other, [H].

    From the one with the largest variance on, each is followed by the one left that correlates with it most.
    """
    moved = units - units.mean(axis=0)
    size = np.sqrt(np.square(moved).sum(axis=0))
    moved /= np.where(size > 0, size, 1.0)
    alike = moved.T @ moved  # [H, H] correlations
    chain = [int(size.argmax())]
    while len(chain) < len(size):
        alike[:, chain[-1]] = -np.inf
        chain.append(int(alike[chain[-1]].argmax()))
    return np.array(chain)


class Strip:
    """The hidden units over the last steps as pixels, drawn as an oscilloscope does.

    A column is a step. The newest stands left of the gap and overwrites the oldest, so that from picture to
    picture little changes and films stay small.
    """

    def __init__(self, agent: Agent, game: Game, deterministic: bool, seed: int) -> None:
        units = record_episode(agent, game, PREVIEW, deterministic, seed, draw=False).units
        self.order, self.top = order(units), float(np.abs(units).max()) or 1.0
        self.pixels = np.full((units.shape[1], COLUMNS, 3), 255, np.uint8)

    def follow(self, played: Iterable[Moment], player: ActivationRecorder) -> Iterator[Moment]:
        """The steps played, each drawn before it is passed on."""
        for moment in played:
            if moment.last is not None:  # no action was taken
                yield moment
                continue
            count = moment.step
            units = player.units[0, self.order].cpu().numpy() / self.top  # -1 to 1, up to larger new values
            shades = np.round((units + 1) / 2 * SHADES) / SHADES
            self.pixels[:, count % COLUMNS] = colormaps[DIVERGING](shades, bytes=True)[:, :3]
            self.pixels[:, np.arange(count + 1, count + 1 + GAP) % COLUMNS] = 255
            yield moment

    def beside(self, look: Look) -> Look:
        """The picture of ``look`` [height, width, 3] with the strip at its right, on white."""

        def both(moment: Moment) -> Pixels:
            picture = look(moment)
            tall = max(1, round(max(len(picture), LEAST_HEIGHT) / len(self.pixels)))  # of a unit
            strip = self.pixels.repeat(tall, axis=0).repeat(COLUMN_WIDTH, axis=1)
            height, width = max(len(picture), len(strip)), picture.shape[1] + MARGIN
            whole = np.full((height, width + strip.shape[1], 3), 255, np.uint8)
            for part, left in ((picture, 0), (strip, width)):
                top = (height - len(part)) // 2
                whole[top : top + len(part), left : left + part.shape[1]] = part
            return whole

        return both
