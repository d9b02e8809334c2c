"""Recipes: everything that decides how an agent is trained, as data (agents/*.toml).

A recipe is a tree of frozen dataclasses: see ``common.records``.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import tomli_w

from rlrnn.common.records import Count, build, read_toml, to_mapping
from rlrnn.common.settings import check_number, unknown
from rlrnn.common.texts import check_name
from rlrnn.errors import UserError

T = TypeVar("T")

CONTROLS = ("feedforward", "stacked")  # baselines of an agent, without memory
MEMORY_OPTIONS = ("dropout", "residual")  # of all cells alike, and so of the baseline's
INSTEAD = ("dqn", "sac", "evolution")  # tables of learners, one of which is given instead of "ppo"
FRAMES = 4  # observations stacked by the second baseline


@dataclass(frozen=True)
class Schedule:
    """A linear schedule over the training."""

    start: float  # its value at the first step
    end: float  # its value at the last step


@dataclass(frozen=True)
class NetworkRecipe:
    """The network, in the words of ``policy_kwargs``."""

    cell: str = "gru"  # kind of memory: a name in rlrnn.cells.CELLS, or one that was registered
    hidden_size: Count = 64  # units of the memory, per layer
    n_layers: Count = 1  # layers of memory
    cell_options: dict[str, Any] = field(default_factory=dict)  # of the cell, and dropout, residual
    critic: Literal["own", "shared", "detached", "feedforward"] = "own"  # which memory the critic reads
    net_arch: dict[str, tuple[Count, ...]] | tuple[Count, ...] | None = None  # units of the heads' layers
    activation_fn: Literal["tanh", "relu", "elu", "gelu", "silu"] = "tanh"  # of the heads
    output_layer: bool = True  # false: the first units of the last layer act themselves
    ortho_init: bool = True  # orthogonal initial weights
    log_std_init: float = 0.0  # log of the first standard deviation of continuous actions
    images: Literal["nature", "small"] = "nature"  # convolutions that see them: SB3's, or rlrnn.SmallCNN
    precision: Literal["float32", "bfloat16"] = "float32"  # of those, where the processor has it
    extractor: str = ""  # of features: one that was registered, nature or small; not given: by the spaces
    extractor_options: dict[str, Any] = field(default_factory=dict)  # of the extractor, such as features_dim
    head_norm: bool = False  # the heads' layers are normalised before their activation (layer norm)


@dataclass(frozen=True)
class NormalizeRecipe:
    """What is brought to unit scale by running statistics."""

    observations: bool = False  # mean 0 and standard deviation 1; the statistics are saved with the agent
    rewards: bool = False  # discounted return of standard deviation 1, in training only


@dataclass(frozen=True)
class PpoRecipe:
    """The learner from reward, in the words of ``RecurrentPPO``."""

    n_envs: Count = 8  # copies of the game played at once
    n_steps: Count = 128  # steps of each copy between two updates
    batch_size: Count = 128  # steps per minibatch, in all
    seq_len: Count | None = (
        None  # steps of a sequence, through which gradients flow; not given: min(n_steps, batch_size)
    )
    first_state: Literal["stored", "zero", "recomputed"] = (
        "stored"  # recurrent state at the start of a sequence
    )
    n_epochs: Count = 10  # passes over the steps of one update
    learning_rate: float | Schedule = 3e-4  # of Adam
    gamma: float = 0.99  # discount per step
    gae_lambda: float = 0.95  # weight of longer returns in the advantage, 0 to 1
    clip_range: float | Schedule = 0.2  # how far the probability ratio may leave 1
    clip_range_vf: float | Schedule | None = None  # how far a value may move; not given: freely
    normalize_advantage: bool = True  # advantages of mean 0 and standard deviation 1, per minibatch
    ent_coef: float | Schedule = 0.0  # weight of the entropy in the loss
    vf_coef: float = 0.5  # weight of the value error in the loss
    max_grad_norm: float = 0.5  # the gradient's norm is clipped to this
    use_sde: bool = False  # exploration noise that depends on the state (gSDE)
    sde_sample_freq: int = -1  # steps between two draws of that noise; -1: once per update
    target_kl: float | None = None  # an update stops early beyond 1.5 times this divergence


@dataclass(frozen=True)
class DqnRecipe:
    """The learner from replay by values of actions, in the words of ``RecurrentDQN``; instead of ``ppo``."""

    n_envs: Count = 8  # copies of the game played at once
    learning_rate: float | Schedule = 3e-4  # of Adam, for the layers after the memory
    encoder_learning_rate: float | Schedule | None = None  # of sensors and memory; not given: the same
    buffer_size: Count = 200_000  # steps that are kept, of all copies together
    learning_starts: int = 1000  # steps before the first update, drawn evenly
    batch_size: Count = 1024  # steps per minibatch, in all
    seq_len: Count = 64  # steps of a sequence, through which gradients flow
    burn_in: int = 0  # steps before those, over which the memory is brought up to date
    first_state: Literal["stored", "zero"] = "stored"  # recurrent state at the start of a sequence
    whole_episodes: bool = False  # every episode begins a sequence of its own
    replayed_steps: float = 64.0  # steps that are replayed for each step of the game
    train_freq: Count = 4  # steps of each copy between two rounds of updates
    tau: float = 0.005  # how far the target network goes toward the network, 0 to 1
    target_update_interval: Count = 1  # updates between two of the target network
    gamma: float = 0.99  # discount per step
    double: bool = True  # the network chooses what its target values
    q_lambda: float = 0.8  # weight of longer returns in the target, 0 to 1
    trace: Literal["watkins", "peng"] = "watkins"  # whether an action that was not the best cuts them
    exploration_fraction: float = 0.1  # of the training, over which the exploration rate falls
    exploration_initial_eps: float = 1.0  # share of actions that are drawn evenly, at first
    exploration_final_eps: float = 0.05  # and at last
    max_grad_norm: float = 10.0  # the gradient's norm is clipped to this


@dataclass(frozen=True)
class SacRecipe:
    """The learner from replay by actor and critics, in the words of ``RecurrentSAC``; instead of ``ppo``."""

    n_envs: Count = 8  # copies of the game played at once
    learning_rate: float | Schedule = 3e-4  # of Adam, for the layers after the memories
    encoder_learning_rate: float | Schedule | None = 1e-4  # of sensors and memories
    buffer_size: Count = 200_000  # steps that are kept, of all copies together
    learning_starts: int = 1000  # steps before the first update, drawn evenly
    batch_size: Count = 1024  # steps per minibatch, in all
    seq_len: Count = 64  # steps of a sequence, through which gradients flow
    burn_in: int = 0  # steps before those, over which the memories are brought up to date
    first_state: Literal["stored", "zero"] = "stored"  # recurrent state at the start of a sequence
    whole_episodes: bool = False  # every episode begins a sequence of its own
    replayed_steps: float = 64.0  # steps that are replayed for each step of the game
    train_freq: Count = 1  # steps of each copy between two rounds of updates
    tau: float = 0.005  # how far the target critics go toward the critics, 0 to 1
    target_update_interval: Count = 1  # updates between two of the target critics
    gamma: float = 0.99  # discount per step
    ent_coef: float | str = "auto"  # weight of the entropy: a number, "auto", or "auto_0.1" to begin there
    target_entropy: float | Literal["auto"] = "auto"  # nats that "auto" holds the entropy at
    n_critics: Count = 2  # estimates of a value, of which the least counts
    max_grad_norm: float = 10.0  # the gradients' norms are clipped to this


@dataclass(frozen=True)
class EvolutionRecipe:
    """The learner from fitness, in the words of ``Evolution``; given instead of ``ppo``."""

    strategy: str = "snes"  # openai_es, pgpe, snes, xnes, genetic, cma_es, sep_cma_es, or a registered one
    settings: dict[str, Any] = field(default_factory=dict)  # of the strategy, such as population and sigma
    episodes: Count = 1  # of each member, the mean of which is its fitness
    keep: Literal["center", "best"] = "center"  # what the agent is: the search's center, or the best member
    checks: Count = 20  # further episodes that confirm a best member, or that the target is reached
    from_zero: bool = False  # begin at weights of 0, not at the network's initial ones
    fitness: str = "points"  # of an episode: the game's points, or a function that was registered
    n_envs: Count | None = None  # copies of the game played at once; not given: a generation's, up to 512
    evaluations: Count | None = None  # end after so many members were evaluated, if that is before ``steps``
    seconds: float | None = None  # end after so much time of training
    target: float | None = None  # end as soon as the agent wins so many points


@dataclass(frozen=True)
class EvaluationRecipe:
    """How the agent is evaluated, when it is trained and, with ``every``, while it trains."""

    episodes: Count | None = None  # episodes to play; the game's own number if not given
    deterministic: bool = True  # the most likely action; false: sampled ones
    every: Count | None = None  # steps of the training between two evaluations; not given: at its end alone
    episodes_each: Count = 20  # episodes of each evaluation while it trains, on seeds of their own


@dataclass(frozen=True)
class Verified:
    """What the recipe was measured to reach."""

    points: tuple[float, ...]  # mean points per episode with memory, one number per seed
    seeds: tuple[int, ...]  # the training seeds, in the same order
    version: str  # of rlrnn
    command: str  # that made the runs
    wiped: tuple[float, ...] = ()  # mean points with the memory wiped, in the same order
    feedforward: tuple[float, ...] = ()  # of that baseline (see ``control``), on as many of the first seeds
    stacked: tuple[float, ...] = ()  # of the other one
    seconds: float | None = None  # of training a seed, the median
    processor: str = ""  # the kind that they were trained on, if known (see ``processor.kind``)


@dataclass(frozen=True)
class Recipe:
    """An agent: its game, its network, how it learns and how it is evaluated."""

    name: str  # of the agent; a file's own name if not given
    game: str  # a game of the catalogue, a path to a game file, or a registered Gymnasium id
    steps: Count  # steps of the game in training, over all copies
    description: str = ""  # one sentence
    kwargs: dict[str, Any] = field(default_factory=dict)  # further keyword arguments of the game
    wrappers: tuple[dict[str, Any], ...] = ()  # ours or registered, around the game's, innermost first
    callbacks: tuple[dict[str, Any], ...] = ()  # yours by the names that you registered, with their settings
    init: str = ""  # the trained agent to begin from: a run's folder, a .zip, or a verified agent's name
    network: NetworkRecipe = NetworkRecipe()
    normalize: NormalizeRecipe = NormalizeRecipe()
    ppo: PpoRecipe = PpoRecipe()
    dqn: DqnRecipe | None = None
    sac: SacRecipe | None = None
    evolution: EvolutionRecipe | None = None
    evaluation: EvaluationRecipe = EvaluationRecipe()
    verified: Verified | None = None

    @property
    def table(self) -> str:
        """Which table has the settings of its learner."""
        return next((name for name in INSTEAD if getattr(self, name) is not None), "ppo")

    @property
    def learner(self) -> PpoRecipe | DqnRecipe | SacRecipe | EvolutionRecipe:
        """The settings of its learner."""
        settings: PpoRecipe | DqnRecipe | SacRecipe | EvolutionRecipe = getattr(self, self.table)
        return settings

    def __post_init__(self) -> None:
        check_name(self.name, "an agent")
        given = [name for name in INSTEAD if getattr(self, name) is not None]
        if given and self.ppo != PpoRecipe():
            given = ["ppo", *given]
        if len(given) > 1:
            tables = " and in ".join(f"[{name}]" for name in given)
            raise UserError(
                f"{self.name} has settings in {tables}, but an agent learns in one way: keep one of these "
                "tables."
            )
        if given and given != ["evolution"]:
            self._check_replay(given[0])
        if self.evolution is None:
            return
        if self.normalize.rewards:
            raise UserError(
                f"{self.name} has normalize.rewards, but its fitness is the points that the game counts: "
                "leave that out."
            )
        if self.evolution.seconds is not None:
            check_number(f"{self.name}: evolution.seconds", self.evolution.seconds, 0, ends="(]")

    def _check_replay(self, table: str) -> None:
        for name in ("critic", "log_std_init"):
            if getattr(self.network, name) != getattr(NetworkRecipe(), name):
                raise UserError(
                    f"{self.name} has network.{name}, which says nothing to [{table}], whose values are of "
                    "actions: leave it out."
                )


def read_recipe(path: str | Path) -> Recipe:
    """The recipe in a TOML file; a relative path to its game file counts from the recipe's own folder."""
    path = Path(path)
    table = {"name": path.stem, **read_toml(path)}
    game = table.get("game")
    if isinstance(game, str) and game.endswith(".toml"):
        table["game"] = str(path.parent / game)
    init = table.get("init")
    if isinstance(init, str) and (path.parent / init).exists() and init:
        table["init"] = os.path.normpath(path.parent / init)
    return build(Recipe, table, str(path))


def to_toml(record: object) -> str:
    """The text of a TOML file that reads back as the same dataclass."""
    table = to_mapping(record)
    if isinstance(record, Recipe):
        table = without_unused(table)
    return tomli_w.dumps(table)


def without_unused(table: dict[str, Any]) -> dict[str, Any]:
    """The table of a recipe, without the settings of learners that are not its own."""
    return {name: value for name, value in table.items() if name != "ppo" or table.keys().isdisjoint(INSTEAD)}


def override(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """The recipe with settings such as ``ppo.learning_rate=1e-3`` or ``network.cell=lstm``.

    Values are read as TOML, bare words as strings; an empty value goes back to the default.
    A recipe that was changed is no longer verified.
    """
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not (key.strip() and equals):
            raise UserError(f"--set takes key=value, such as ppo.learning_rate=1e-3, not {setting!r}.")
        table = to_mapping(recipe)
        *parents, last = (part.strip() for part in key.split("."))
        inner = table
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise UserError(f"--set {setting}: {parent!r} is not a table but {inner!r}.")
        inner[last] = read_value(text.strip()) if text.strip() else None
        table.pop("verified", None)
        recipe = build(Recipe, table, f"--set {setting}")
    return recipe


def control(recipe: Recipe, kind: str) -> Recipe:
    """The baseline that shows what memory is worth: the same recipe without any.

    "feedforward" has layers of the same units without memory; "stacked" also stacks the last 4 observations.
    """
    if kind not in CONTROLS:
        raise UserError(unknown("control", kind, CONTROLS))
    stack = ({"name": "stack", "frames": FRAMES},) if kind == "stacked" else ()
    instead = f"but the last {FRAMES} observations at once" if stack else "all else equal"
    kept = {name: value for name, value in recipe.network.cell_options.items() if name in MEMORY_OPTIONS}
    return dataclasses.replace(
        recipe,
        name=f"{recipe.name}-{kind}",
        description=f"The baseline of {recipe.name}: no memory, {instead}.",
        wrappers=(*recipe.wrappers, *stack),
        network=dataclasses.replace(recipe.network, cell="none", cell_options=kept),
        verified=None,
    )


def read_value(text: str) -> Any:
    """A value as TOML writes it; bare words are strings."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        if re.match(r"[\[{\"']", text):
            raise UserError(
                f"{text} is not a value that TOML can read; is a bracket or quote open?"
            ) from None
        return text
