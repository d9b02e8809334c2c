"""Where a training begins: at random weights, or at those of a trained agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from rlrnn.errors import UserError
from rlrnn.experiment.agents import Agent
from rlrnn.experiment.recipes import Recipe
from rlrnn.experiment.runs.loading import load
from rlrnn.learners.files import surroundings
from rlrnn.learners.ppo.ppo import RecurrentPPO

CRITIC = ("network.critic", "network.value")  # how the names of its tensors begin


def begin_from(agent: Agent, recipe: Recipe) -> None:
    """Give a recipe's untrained agent what the one that its ``init`` names has learned.

    The weights, the statistics of observations (its VecNormalize's, too) and, from reward to reward, the
    optimizer's means and the scale of rewards. Steps, schedules and random numbers are the recipe's own, from
    their beginning; so is an evolution's search, around these weights.
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
    states = trained.get_parameters()
    if surroundings.NORMALIZED in surroundings.note(trained).get("wrappers", ()):
        states["policy"] |= _statistics(agent, trained, recipe)
    _check_network(agent, trained, states["policy"], recipe)
    if type(agent) is not type(trained):
        names = _shapes(states["policy"], critic=False)
        states = {"policy": {name: states["policy"][name] for name in names}}
    agent.set_parameters(states, exact_match=False, device=agent.device)
    if isinstance(agent, RecurrentPPO) and isinstance(trained, RecurrentPPO) and agent.normalize_rewards:
        scaler = trained._reward_scaler
        if scaler is not None:
            scaler.discounted = np.zeros(agent.n_envs)
            agent._reward_scaler = scaler


def _statistics(agent: Agent, trained: Agent, recipe: Recipe) -> dict[str, Tensor]:
    """Of the VecNormalize that an agent learned behind, as the recipe's own normalisation keeps them."""
    behind = f"{recipe.init} learned behind SB3's VecNormalize"
    if not recipe.normalize.observations:
        raise UserError(
            f"{behind}, whose statistics go on as a recipe's own: set normalize.observations = true, in the "
            "shell by --set normalize.observations=true."
        )
    found: dict[str, Tensor] = {}
    for name in ("sensors", "critic_sensors"):
        sensors = getattr(agent.policy.network, name)
        buffers = {} if sensors is None else surroundings.as_own(trained, sensors)
        if buffers is None:
            raise UserError(
                f"{behind}, which a recipe's game is without, and by other settings than a recipe's own "
                "normalisation: go on in Python, where RecurrentPPO.load takes its environment."
            )
        found |= {f"network.{name}.{key}": value for key, value in buffers.items()}
    return found


def _check_network(agent: Agent, trained: Agent, state: Mapping[str, Tensor], recipe: Recipe) -> None:
    alike = type(agent) is type(trained)  # else one of them has no critic to speak of
    ours, theirs = (_shapes(each, critic=alike) for each in (agent.policy.state_dict(), state))
    for name in dict.fromkeys([*theirs, *ours]):
        has, needs = theirs.get(name, "none"), ours.get(name, "none")
        if has != needs:
            cells = [one.policy.description.cell for one in (trained, agent)]
            raise UserError(
                f"the network of {recipe.init} ({cells[0]}) is not the one of {recipe.name} ({cells[1]}): "
                f"{name} has the shape {has} there and {needs} here; make them alike in the recipe's "
                "[network] and [normalize], in the shell by --set network.KEY=VALUE."
            )


def _shapes(state: Mapping[str, Tensor], critic: bool) -> dict[str, Any]:
    """Of a policy's tensors, with or without those of its critic."""
    return {
        name: tuple(value.shape) for name, value in state.items() if critic or not name.startswith(CRITIC)
    }
