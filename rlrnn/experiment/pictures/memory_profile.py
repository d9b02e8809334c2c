"""How far back an agent remembers: how much its action depends on the observation k steps before.

Two measures, taken along episodes that the agent plays, for k from 0 (the current observation) to ``lags``:

gradient     of the numbers that decide the action at step t (log-probabilities of choices, log-odds of
             switches, means in units of their standard deviation) with respect to the features at step t - k,
             through the memory, each feature in units of its standard deviation in play: the root of the sum
             of squares over numbers and features, averaged over t;
replacement  the features at step s are replaced by others from the same episodes, and the later ones stay as
             they were: the total variation distance between the action distributions at step s + k with and
             without that, averaged over s. That is the least share of actions that differ, 0 to 1.

Features are what the sensors hand to the memory: a vector, normalised if the agent does so; one unit for each
value of a whole number; what a convolution makes of an image. Where an agent is sure of its choice, gradients
show influences that change no action; what does change one is what replacement shows.

Letters: T time, B episodes, N measured steps, K lags, F features, S state, A numbers behind an action.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlrnn.common.settings import check_whole
from rlrnn.common.threads import one_thread
from rlrnn.envs import games
from rlrnn.envs.games import Game
from rlrnn.errors import FileFault
from rlrnn.experiment.evaluation import EVALUATION_SEED, copies_for
from rlrnn.experiment.pictures.activations import ActivationRecorder
from rlrnn.network.network import RecurrentNetwork

if TYPE_CHECKING:
    from rlrnn.experiment.agents import Agent

Array = NDArray[np.float64]

STEPS = 1000  # of an episode that are played, at most
LOOKS = 64  # steps of an episode that are measured, at most
ROWS = 1024  # that go through the network at once
TRIES = 8  # samples of other features, to find some that differ
SHARE = 0.01  # of the peak, below which a dependence counts as none
MEASURES = ("replacement", "gradient")


@dataclass(frozen=True)
class Profile:
    """How much actions depend on the observation k steps before, for each episode."""

    game: str  # its title
    gradient: Array  # [B, K + 1]; NaN where no such pair of steps of the episode was looked at
    replacement: Array  # [B, K + 1] likewise, 0 to 1

    @property
    def lags(self) -> int:
        """The largest lag."""
        return int(self.gradient.shape[1]) - 1

    def peak(self, measure: str = "replacement") -> int:
        """The lag on which actions depend most."""
        return int(np.nanargmax(mean(getattr(self, measure))))

    def reach(self, measure: str = "replacement", share: float = SHARE) -> int:
        """The largest lag at which the dependence is at least this share of its peak; 0 if there is none."""
        means = mean(getattr(self, measure))
        lags = np.flatnonzero((means > 0) & (means >= share * np.nanmax(means)))
        return int(lags[-1]) if len(lags) else 0

    def summary(self) -> str:
        """One line: by replacement, and in brackets by gradient."""
        (peak, reach), (peak_g, reach_g) = ((self.peak(m), self.reach(m)) for m in MEASURES)
        if not np.nanmax(self.replacement):
            return f"{self.game}: actions depend on no observation."
        beyond = "at least " if reach == self.lags else ""
        return (
            f"{self.game}: actions depend most on the observation {peak} steps before ({peak_g} by gradient)"
            f"; over 1 % of that remains up to {beyond}{reach} steps before ({reach_g} by gradient)."
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data; None stands for NaN."""
        tables = {
            name: [[None if math.isnan(v) else float(f"{v:.6g}") for v in row] for row in table.tolist()]
            for name, table in (("gradient", self.gradient), ("replacement", self.replacement))
        }
        return {"game": self.game, **tables}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Profile:
        """The profile that ``to_json`` wrote."""
        try:
            tables = [np.array(data[name], np.float64) for name in ("gradient", "replacement")]
            if tables[0].ndim != 2 or tables[0].shape != tables[1].shape or not tables[0].size:
                raise ValueError(f"its tables have the shapes {tables[0].shape} and {tables[1].shape}")
            return cls(str(data["game"]), *tables)
        except (KeyError, TypeError, ValueError) as error:
            raise FileFault(f"this is not a memory profile of rlrnn: {error!r}.") from None


def mean(table: Array) -> Array:
    """Over the episodes that have the lag: [B, K + 1] -> [K + 1], NaN where none has."""
    known = ~np.isnan(table)
    total = np.where(known, table, 0.0).sum(0)
    means: Array = np.divide(total, known.sum(0), out=np.full(len(total), np.nan), where=known.any(0))
    return means


def profile(
    agent: Agent,
    game: str | Path | Game,
    lags: int = 64,
    episodes: int = 16,
    deterministic: bool = True,
    seed: int = EVALUATION_SEED,
) -> Profile:
    """Measure how much the actions of an agent depend on observations up to ``lags`` steps before.

    From every episode at most 64 steps are measured, sampled from the first 1,000.
    """
    check_whole("lags", lags, 0)
    check_whole("episodes", episodes, 1)
    chosen = games.game(game)
    with one_thread(agent.device):
        played = play(agent, chosen, episodes, deterministic, seed)
        lags = min(lags, int(played.length.max()) - 1)
        measured = [measure(agent.policy.network, played, lags) for measure in (gradient, replacement)]
    copy = played.copy.cpu().numpy()
    tables = (np.stack([mean(rows[copy == b]) for b in range(episodes)]) for rows in measured)
    return Profile(chosen.title or chosen.name, *tables)


@dataclass(frozen=True)
class Played:
    """The first episode of each copy, and the steps of them that are measured."""

    x: Tensor  # [T, B, F] features; those after an episode's end are never used
    state: Tensor  # [T, B, S] the actor's memory before each step
    length: Tensor  # [B] steps
    step: Tensor  # [N]
    copy: Tensor  # [N]
    other: Tensor  # [N, F] features of some step of some episode, to replace those at `step`


def play(agent: Agent, game: Game, episodes: int, deterministic: bool, seed: int) -> Played:
    """Play one episode in each of so many copies, and sample the steps to measure."""
    x: list[Tensor] = []
    state: list[Tensor] = []
    length = np.zeros(episodes, np.int64)
    with closing(copies_for(agent, game, episodes, seed)) as env:
        player = ActivationRecorder(agent.player(episodes, deterministic=deterministic, seed=seed))
        observations, starts = env.reset(), np.ones(episodes, np.bool_)
        while not length.all() and len(x) < STEPS:
            actions = player.act(observations, starts)
            x.append(player.features)
            state.append(player.state)
            observations, _, starts, _ = env.step(actions)
            length[starts & (length == 0)] = len(x)
    length[length == 0] = len(x)
    rng = np.random.default_rng(seed)
    step = [np.sort(rng.permutation(n)[:LOOKS]) for n in length]
    copy = np.repeat(np.arange(episodes), [len(steps) for steps in step])
    looks = (np.concatenate(step), copy)
    features = torch.stack(x)
    sampled = rng.integers(episodes, size=(TRIES, len(copy)))
    others = features[rng.integers(length[sampled]), sampled]  # [TRIES, N, F]
    first = (others != features[looks]).any(-1).int().argmax(0)  # that differs
    other = others[first, torch.arange(len(copy), device=first.device)]
    tensors = [torch.as_tensor(array, device=features.device) for array in (length, *looks)]
    return Played(features, torch.stack(state), tensors[0], tensors[1], tensors[2], other)


def gradient(network: RecurrentNetwork, played: Played, lags: int) -> Array:
    """The measure at every measured step, by lags back: [N, K + 1], NaN before the episode's beginning."""
    numbers = len(network.actuators.output.bias)
    inside = torch.arange(len(played.x), device=played.x.device)[:, None] < played.length
    spread = played.x[inside].std(0, correction=0)  # [F]
    back = torch.arange(lags, -1, -1, device=played.x.device)[:, None]
    norms = []
    for some in _parts(played, ROWS // numbers):
        step, copy = played.step[some], played.copy[some]
        row = step - back  # [K + 1, n]
        # The rows before an episode hold its first observation, and are cut off by the start at row 0.
        x, start, state = played.x[row.clamp(min=0), copy], row == 0, played.state[row[0].clamp(min=0), copy]
        # A pass gives the gradient of one number: so there are as many rows as there are numbers.
        x = x.repeat(1, numbers, 1).requires_grad_()
        with torch.backends.cudnn.flags(enabled=False):  # whose RNNs have gradients in training mode alone
            y = network.memory.outputs(x, start.repeat(1, numbers), state.repeat(numbers, 1))[-1]
            decisive = network.actuators(network.actor_head(y)).decisive().view(numbers, -1, numbers)
            (gradient,) = torch.autograd.grad(decisive.diagonal(dim1=0, dim2=2).sum(), x)
        gradient = (gradient * spread).view(lags + 1, numbers, -1, x.shape[-1])
        norms.append(gradient.square().sum((1, 3)).sqrt().masked_fill(row < 0, math.nan))
    return torch.cat(norms, dim=1).flip(0).T.double().cpu().numpy()


@torch.no_grad()
def replacement(network: RecurrentNetwork, played: Played, lags: int) -> Array:
    """The measure at every measured step, by lags ahead: [N, K + 1], NaN after the episode's end."""
    on = torch.arange(lags + 1, device=played.x.device)[:, None]
    changes = []
    for some in _parts(played, ROWS):
        step, copy = played.step[some], played.copy[some]
        row = step + on  # [K + 1, n]
        x, state = played.x[row.clamp(max=len(played.x) - 1), copy], played.state[step, copy]
        does = network.actuators(network.actor_head(network.memory.outputs(x, row == 0, state)))
        x[0] = played.other[some]
        would = network.actuators(network.actor_head(network.memory.outputs(x, row == 0, state)))
        change = does.distance(would).masked_fill(row >= played.length[copy], math.nan)
        changes.append(change)
    return torch.cat(changes, dim=1).T.double().cpu().numpy()


def _parts(played: Played, rows: int) -> list[Tensor]:
    """The indices of the measured steps, so many at once."""
    return list(torch.arange(len(played.step), device=played.x.device).split(max(1, rows)))
