"""Where a training begins: at random weights, or at those of a trained agent."""

from __future__ import annotations

from typing import Any

import numpy as np

from rlrnn.errors import UserError
from rlrnn.experiment.agents import Agent
from rlrnn.experiment.recipes import Recipe
from rlrnn.experiment.runs.loading import load
from rlrnn.learners.files import surroundings
from rlrnn.learners.ppo.ppo import RecurrentPPO

CRITIC = ("network.critic", "network.value")  # how the names of its tensors begin


def begin_from(agent: Agent, recipe: Recipe) -> None:
    """Give a recipe's untrained agent what the one that its ``init`` names has learned.

    The weights, the statistics of observations and, from reward to reward, the optimizer's means and the
    scale of rewards. Steps, schedules and random numbers are the recipe's own, from their beginning; so is an
    evolution's search, around these weights.
    """
    if not recipe.init:
        return
    trained = load(recipe.init, str(agent.device))
    if not isinstance(trained, Agent):
        raise UserError(f"{recipe.init} holds a {type(trained).__name__}, not an agent that plays: give one.")
    for what in ("observation_space", "action_space"):
        has, needs = getattr(trained, what), getattr(agent, what)
        if has != needs:
            raise UserError(
                f"{recipe.init} has the {what.replace('_', ' ')} {has}, but {recipe.game} has {needs}: begin "
                "from an agent of the same spaces."
            )
    if surroundings.NORMALIZED in surroundings.note(trained).get("wrappers", ()):
        raise UserError(
            f"{recipe.init} learned behind SB3's VecNormalize, which a recipe's game is without: go on in "
            "Python, where RecurrentPPO.load takes its environment."
        )
    _check_network(agent, trained, recipe)
    states = trained.get_parameters()
    if type(agent) is not type(trained):
        states = {"policy": {name: states["policy"][name] for name in _shapes(trained, critic=False)}}
    agent.set_parameters(states, exact_match=False, device=agent.device)
    if isinstance(agent, RecurrentPPO) and isinstance(trained, RecurrentPPO) and agent.normalize_rewards:
        scaler = trained._reward_scaler
        if scaler is not None:
            scaler.discounted = np.zeros(agent.n_envs)
            agent._reward_scaler = scaler


def _check_network(agent: Agent, trained: Agent, recipe: Recipe) -> None:
    alike = type(agent) is type(trained)  # else one of them has no critic to speak of
    ours, theirs = (_shapes(one, critic=alike) for one in (agent, trained))
    for name in dict.fromkeys([*theirs, *ours]):
        has, needs = theirs.get(name, "none"), ours.get(name, "none")
        if has != needs:
            cells = [one.policy.description.cell for one in (trained, agent)]
            raise UserError(
                f"the network of {recipe.init} ({cells[0]}) is not the one of {recipe.name} ({cells[1]}): "
                f"{name} has the shape {has} there and {needs} here; make them alike in the recipe's "
                "[network] and [normalize], in the shell by --set network.KEY=VALUE."
            )


def _shapes(agent: Agent, critic: bool) -> dict[str, Any]:
    """Of the policy's tensors, with or without those of its critic."""
    every = agent.policy.state_dict().items()
    return {name: tuple(value.shape) for name, value in every if critic or not name.startswith(CRITIC)}
