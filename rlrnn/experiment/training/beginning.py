"""Where a training begins: at random weights, or at those of a trained agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from rlrnn.errors import UserError, warn
from rlrnn.experiment.agents import Agent
from rlrnn.experiment.recipes import Recipe
from rlrnn.experiment.runs.loading import load
from rlrnn.learners.files import surroundings
from rlrnn.learners.ppo.ppo import RecurrentPPO
from rlrnn.learners.replay.learner import ReplayLearner
from rlrnn.learners.sac.sac import RecurrentSAC

# How the names of a policy's tensors begin: of its critic, and of what decides how it acts.
CRITIC, ACTS = ("network.critic", "network.value"), "network.actuators."
EXPLORATION = "network.actuators.exploration_rate"  # no weight: it follows a schedule
BESIDE = {"critic": "critics", "critic_target": "critics", "q_net_target": "target network"}


def begin_from(agent: Agent, recipe: Recipe) -> None:
    """Give a recipe's untrained agent what the one that its ``init`` names has learned.

    The weights, the statistics of observations (its VecNormalize's, too) and, from a learner to the same,
    all else that it learns with: the optimizers' means, target networks, critics, a learned temperature, the
    scale of rewards. Steps, schedules and random numbers are the recipe's own, from their beginning; so is an
    evolution's search, around these weights. From another learner come the weights that decide on actions;
    target networks begin as what they follow.
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
        statistics = _statistics(agent, trained, recipe)
        states["policy"] |= statistics
        for name in [name for name in BESIDE if name in states]:  # whose sensors are like the actor's
            of_sensors = {key: value for key, value in statistics.items() if ".sensors." in key}
            states[name] |= {key.removeprefix("network."): value for key, value in of_sensors.items()}
    left_out = _check_network(agent, trained, states["policy"], recipe)
    if type(agent) is type(trained):
        _check_beside(agent, states, recipe)
        pair = [each.temperature.learns for each in (agent, trained) if isinstance(each, RecurrentSAC)]
        if not all(pair):
            del states["temperature"], states["temperature_optimizer"]
    else:
        names = _shapes(states["policy"], critic=False).keys() - left_out
        states = {"policy": {name: states["policy"][name] for name in names}}
    agent.set_parameters(states, exact_match=False, device=agent.device)
    if isinstance(agent, ReplayLearner) and type(agent) is not type(trained):
        agent.follow_policy()
    _take_scale(agent, trained)


def _take_scale(agent: Agent, trained: Agent) -> None:
    """The scale of rewards, from a learner to the same."""
    if type(agent) is not type(trained) or not isinstance(agent, RecurrentPPO | ReplayLearner):
        return
    scaler: Any = getattr(trained, "_reward_scaler", None)
    if agent.normalize_rewards and scaler is not None:
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


def _check_network(agent: Agent, trained: Agent, state: Mapping[str, Tensor], recipe: Recipe) -> set[str]:
    """Refuse weights of another network; returns the names of those that are not to be taken over."""
    alike = type(agent) is type(trained)  # else one of them has no critic to speak of
    ours, theirs = (_shapes(each, critic=alike) for each in (agent.policy.state_dict(), state))
    left_out = {EXPLORATION} if not alike else set()
    if agent.policy.description.actions != trained.policy.description.actions:
        # What output units mean: a mean beside a spread of its own, or both, squashed.
        left_out |= {
            name
            for name in ours.keys() | theirs
            if name.startswith(ACTS) and ours.get(name) != theirs.get(name)
        }
    for name in dict.fromkeys([*theirs, *ours]):
        has, needs = theirs.get(name, "none"), ours.get(name, "none")
        if has != needs and name not in left_out:
            cells = [one.policy.description.cell for one in (trained, agent)]
            raise UserError(
                f"the network of {recipe.init} ({cells[0]}) is not the one of {recipe.name} ({cells[1]}): "
                f"{name} has the shape {has} there and {needs} here; make them alike in the recipe's "
                "[network] and [normalize], in the shell by --set network.KEY=VALUE."
            )
    if left_out - {EXPLORATION}:
        warn(
            f"the output units of {recipe.init} ({type(trained).__name__}) say something else than those of "
            f"{recipe.name} ({type(agent).__name__}): these begin anew, on the memory and layers before them."
        )
    return left_out


def _check_beside(agent: Agent, states: Mapping[str, Any], recipe: Recipe) -> None:
    """Refuse critics and target networks of other shapes, from a learner to the same."""
    own = agent.get_parameters()
    for module in [name for name in BESIDE if name in states]:
        ours, theirs = (_shapes(each[module], critic=True) for each in (own, states))
        for name in dict.fromkeys([*theirs, *ours]):
            has, needs = theirs.get(name, "none"), ours.get(name, "none")
            if has != needs:
                raise UserError(
                    f"the {BESIDE[module]} of {recipe.init} are not those of {recipe.name}: {name} has the "
                    f"shape {has} there and {needs} here; make them alike in the recipe's [network] and "
                    f"[{agent.recipe_table}], in the shell by --set."
                )


def _shapes(state: Mapping[str, Tensor], critic: bool) -> dict[str, Any]:
    """Of a policy's tensors, with or without those of its critic."""
    return {
        name: tuple(value.shape) for name, value in state.items() if critic or not name.startswith(CRITIC)
    }
