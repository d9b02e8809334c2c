"""From a recipe to its learner and its games, and from a saved agent's file to an agent."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import Any, TypeAlias

import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv

from rlrnn.common import ray_actors
from rlrnn.common.modules import Modules
from rlrnn.common.records import to_mapping
from rlrnn.common.texts import tell
from rlrnn.envs import games
from rlrnn.envs.games import Game
from rlrnn.errors import UserError
from rlrnn.experiment import catalogue
from rlrnn.experiment.recipes import PpoRecipe, Recipe, Schedule
from rlrnn.learners.dqn.dqn import RecurrentDQN
from rlrnn.learners.evolution.evolution import Evolution
from rlrnn.learners.evolution.judging import judge_of
from rlrnn.learners.files import agent as agent_file
from rlrnn.learners.files import contrib
from rlrnn.learners.ppo.ppo import RecurrentPPO
from rlrnn.learners.sac.sac import RecurrentSAC
from rlrnn.network.convolutions import smallest
from rlrnn.network.extractors import EXTRACTORS, extractor_named
from rlrnn.network.sensors import is_convolvable
from rlrnn.storage import archive

Agent: TypeAlias = RecurrentPPO | RecurrentDQN | RecurrentSAC | Evolution
# By the kind that a saved agent's file names.
LEARNERS: dict[str, type[Agent]] = {
    **{kind.__name__: kind for kind in (RecurrentPPO, RecurrentDQN, RecurrentSAC, Evolution)},
    contrib.KIND: RecurrentPPO,
}
ACTIVATIONS = {
    "tanh": torch.nn.Tanh,
    "relu": torch.nn.ReLU,
    "elu": torch.nn.ELU,
    "gelu": torch.nn.GELU,
    "silu": torch.nn.SiLU,
}
FIRST_SEED = (
    10_000_000  # of the games of run 0; those of run k begin k times as far on, apart from evaluation seeds
)
MOST_COPIES = 512  # played at once where a recipe does not say; more are hardly faster
EPISODES_OF_A_ROW = 4  # of each copy, of a learner whose log counts episodes
OF_SENSORS = ("images", "extractor", "extractor_options")  # settings of a network that ``_sensors`` reads
OF_CRITIC = ("critic", "log_std_init")  # settings of a network that learners from replay are without
OF_RUNS = ("n_envs", "evaluations", "seconds", "target")  # settings of [evolution] that are not its learner's


def copies(
    recipe: Recipe,
    game: Game,
    seed: int,
    workers: int | None = None,
    imports: Sequence[str] = (),
    on: str | None = None,
) -> VecEnv:
    """As many copies of the game as the recipe's learner plays at once.

    ``workers``, here or on a cluster, are as of ``share``, which spreads an evolution's population instead.
    """
    how: dict[str, Any] = {}
    if on is not None:
        ray_actors.check_name(on)  # also where the game is stepped here
    if recipe.evolution is None:
        how = {"workers": workers, "on": on, "imports": imports}
    env = games.make_vec(game, _how_many(recipe, game), seed, **how)
    if recipe.evolution is None and (workers or on) and getattr(env, "workers", None) is None:
        sentence = f"rlrnn: {game.name} is stepped as arrays, in this process: workers are of no use to it."
        tell(sentence, file=sys.stderr)
    return env


def learner(recipe: Recipe, env: VecEnv, seed: int, device: str = "cpu") -> Agent:
    """The untrained agent of a recipe."""
    network = {
        **{name: value for name, value in to_mapping(recipe.network).items() if name not in OF_SENSORS},
        "activation_fn": ACTIVATIONS[recipe.network.activation_fn],
        "normalize_observations": recipe.normalize.observations,
    }
    network |= _sensors(recipe, env)
    return MAKERS[recipe.table](recipe, env, network, seed=seed, device=device)


def _sensors(recipe: Recipe, env: VecEnv) -> dict[str, Any]:
    """Which extractor sees the observations, in the words of ``policy_kwargs``; {}: the policy's own."""
    network = recipe.network
    if network.extractor:
        if network.images != "nature":
            raise UserError(
                f"network.images is {network.images!r} and network.extractor is {network.extractor!r}: keep "
                "one of them."
            )
        seen = {"features_extractor_class": extractor_named(network.extractor)}
        return seen | {"features_extractor_kwargs": network.extractor_options}
    if network.extractor_options:
        raise UserError(
            f"network.extractor_options are {network.extractor_options}, but no network.extractor is given, "
            f"which takes them: name one of {', '.join(EXTRACTORS)}."
        )
    if network.images == "nature":  # which is CnnPolicy's own
        return {}
    sees = EXTRACTORS[network.images]
    if _policy(recipe, env) != "CnnPolicy":
        raise UserError(
            f"network.images is {network.images!r}, but {recipe.game} shows "
            f"{env.observation_space}, no image of {smallest(sees)} pixels or more: leave it out."
        )
    return {"features_extractor_class": sees}


def _ppo(recipe: Recipe, env: VecEnv, network: dict[str, Any], *, seed: int, device: str) -> RecurrentPPO:
    settings = {name: _setting(value) for name, value in vars(recipe.ppo).items() if name != "n_envs"}
    if recipe.ppo.use_sde and not isinstance(env.action_space, spaces.Box):
        raise UserError(
            f"ppo.use_sde is true, which is noise for continuous actions, but {recipe.game} has "
            f"{env.action_space}: set it to false."
        )
    agent = RecurrentPPO(
        _policy(recipe, env),
        env,
        policy_kwargs=network,
        normalize_rewards=recipe.normalize.rewards,
        seed=seed,
        device=device,
        **settings,
    )
    # SB3 seeds copy b with seed + b, so that the runs of neighbouring seeds would play the same episodes.
    env.seed(FIRST_SEED * (seed + 1))
    return agent


def _replay(
    learns: type[RecurrentDQN] | type[RecurrentSAC],
    recipe: Recipe,
    env: VecEnv,
    network: dict[str, Any],
    *,
    seed: int,
    device: str,
) -> Any:
    settings = {name: _setting(value) for name, value in vars(recipe.learner).items() if name != "n_envs"}
    agent = learns(
        _policy(recipe, env),
        env,
        policy_kwargs={name: value for name, value in network.items() if name not in OF_CRITIC},
        normalize_rewards=recipe.normalize.rewards,
        seed=seed,
        device=device,
        **settings,
    )
    env.seed(FIRST_SEED * (seed + 1))  # as of _ppo
    return agent


def _evolution(recipe: Recipe, env: VecEnv, network: dict[str, Any], *, seed: int, device: str) -> Evolution:
    how = {name: value for name, value in vars(recipe.evolution).items() if name not in OF_RUNS}
    judge_of(how["fitness"])  # which is registered, before anything is written
    return Evolution(
        _policy(recipe, env),
        env,
        strategy_kwargs=how.pop("settings"),
        policy_kwargs=network | {"critic": "shared"},  # which nothing reads
        seed=seed,
        device=device,
        **how,
    )


MAKERS: dict[str, Callable[..., Agent]] = {
    RecurrentPPO.recipe_table: _ppo,
    RecurrentDQN.recipe_table: partial(_replay, RecurrentDQN),
    RecurrentSAC.recipe_table: partial(_replay, RecurrentSAC),
    Evolution.recipe_table: _evolution,
}


def learners_of(actions: spaces.Space[Any]) -> tuple[str, ...]:
    """The tables of a recipe whose learners take such actions."""
    kinds = [kind for name, kind in LEARNERS.items() if name == kind.__name__]
    return tuple(kind.recipe_table for kind in kinds if isinstance(actions, kind.actions))


def untrained(recipe: Recipe) -> Agent:
    """The untrained agent of a recipe, to be inspected: with as few copies of the game as possible."""
    episodes = recipe.evolution.episodes if recipe.evolution else 1
    with closing(games.make_vec(catalogue.game_of(recipe), episodes, workers=0)) as env:
        return learner(dataclasses.replace(recipe, ppo=PpoRecipe()), env, seed=0)


def share(
    agent: Agent, game: Game, workers: int | None, imports: Sequence[str] = (), on: str | None = None
) -> None:
    """Let worker processes, or a Ray cluster, evaluate an evolution's population with games of their own.

    Any other agent plays with all of its copies at once, which ``copies`` spreads instead.
    """
    if not agent.shares_play or not (workers or on):
        return
    assert isinstance(agent, Evolution)
    if on is not None:
        ray_actors.connect(on)  # before anything is written
    agent.workers, agent.on = workers or 0, on
    modules = Modules(tuple(imports)) if on is None else Modules.travelling(imports)
    agent.make_env = partial(_worker_games, game, agent.n_envs, modules)


def budgets(recipe: Recipe, spent: float) -> dict[str, Any]:
    """Further limits of a training that has taken so many seconds, as keywords of ``learn``."""
    how = recipe.evolution
    if recipe.table in ("dqn", "sac"):
        return {"log_interval": EPISODES_OF_A_ROW * _how_many(recipe, catalogue.game_of(recipe))}
    if how is None:
        return {}
    seconds = None if how.seconds is None else how.seconds - spent
    return {"evaluations": how.evaluations, "seconds": seconds, "target": how.target}


def load(path: archive.File, device: str = "auto") -> Agent:
    """The agent in a file, whichever way it learned; sb3-contrib's, too."""
    agent = agent_file.read(path, device)
    if agent.kind not in LEARNERS:
        raise UserError(f"{path} holds a {agent.kind}, not an agent: load it by that class.")
    learned: Agent = agent_file.build(LEARNERS[agent.kind], agent, None, device, force_reset=True)
    return learned


def spoiled(agent: BaseAlgorithm) -> str | None:
    """The name of a parameter that is not finite (after divergence), if there is one."""
    policy: BasePolicy | None = getattr(agent, "policy", None)
    if policy is None:  # a player without a policy
        return None
    for name, weights in policy.named_parameters():
        if not torch.isfinite(weights).all():
            return name
    return next((name for name, values in policy.named_buffers() if torch.isnan(values).any()), None)


def _policy(recipe: Recipe, env: VecEnv) -> str:
    return policy_name(env.observation_space, EXTRACTORS[recipe.network.images])


def policy_name(observations: spaces.Space[Any], sees: type[BaseFeaturesExtractor] = NatureCNN) -> str:
    """The policy that fits an observation space; ``cell`` says what memory it has."""
    if isinstance(observations, spaces.Dict):
        return "MultiInputPolicy"
    return "CnnPolicy" if is_convolvable(observations, sees) else "MlpPolicy"


def _how_many(recipe: Recipe, game: Game) -> int:
    how = recipe.evolution
    if how is None:
        settings: Any = recipe.learner
        return int(settings.n_envs)
    if how.n_envs is not None:
        return how.n_envs
    with closing(games.make_vec(game, how.episodes, workers=0)) as env:
        trial = learner(recipe, env, 0)
    assert isinstance(trial, Evolution)
    members = trial.population + 1  # the center plays, too
    goes = -(-(members - 1) * how.episodes // MOST_COPIES)  # not one more for the center alone
    return -(-members // goes) * how.episodes


def _worker_games(game: Game, n_envs: int, modules: Modules) -> VecEnv:
    """A worker's copies."""
    modules()
    return games.make_vec(game, n_envs, workers=0)


def _setting(value: Any) -> Any:
    return LinearSchedule(value.start, value.end, 1.0) if isinstance(value, Schedule) else value
