"""What settings of learners from replay may be: each that cannot is refused in a sentence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from gymnasium import spaces

from rlrnn.cells.options import check_options
from rlrnn.common.settings import check_choice, check_number, check_whole, is_number
from rlrnn.errors import OptionsError, UserError

if TYPE_CHECKING:
    from rlrnn.learners.replay.learner import ReplayLearner

FIRST_STATES = ("stored", "zero")
# Of the policy, where it says something of a critic of situations, or of a spread that is no output unit.
UNHEARD = (
    *("critic", "shared_lstm", "enable_critic_lstm", "share_features_extractor"),
    *("use_sde", "log_std_init", "full_std", "use_expln", "squash_output"),
)


def check(learner: ReplayLearner) -> None:
    """The settings that these learners share, and whether one can learn this game at all."""
    kind = type(learner).__name__
    if not hasattr(learner, "observation_space"):
        raise UserError("there is no env to take the spaces from: give one, or load a saved agent.")
    if not isinstance(learner.action_space, learner.actions):
        raise UserError(
            f"{kind} takes {' or '.join(space.__name__ for space in learner.actions)} actions, "
            f"but the game has {learner.action_space}: learn it by {_learner_of(learner.action_space)}."
        )
    for name in UNHEARD:
        if name in learner.policy_kwargs:
            raise OptionsError(
                f"{name} is in policy_kwargs, but says nothing to {kind}, which has no "
                "critic of situations and no spread beside its output units: leave it out."
            )
    learner._frequency()
    unlimited = learner.max_grad_norm == math.inf
    left_out = ("train_freq", "max_grad_norm") if unlimited else ("train_freq",)
    settings = {name: getattr(learner, name) for name in learner._settings() if name not in left_out}
    check_options(kind, type(learner).__init__, settings)
    for name in ("buffer_size", "batch_size", "seq_len", "target_update_interval"):
        check_whole(name, getattr(learner, name), 1)
    for name in ("learning_starts", "burn_in"):
        check_whole(name, getattr(learner, name), 0)
    if learner.gradient_steps is not None:
        check_whole("gradient_steps", learner.gradient_steps, -1)
    check_number("replayed_steps", learner.replayed_steps, 0, ends="(]")
    check_number("gamma", learner.gamma, 0, 1)
    check_number("tau", learner.tau, 0, 1, "(]")
    check_choice("first_state", learner.first_state, FIRST_STATES)
    for name in ("learning_rate", "encoder_learning_rate", "max_grad_norm"):
        if is_number(value := getattr(learner, name)):
            check_number(name, value, 0)


def _learner_of(space: spaces.Space[Any]) -> str:
    """What learns such actions."""
    return "RecurrentSAC or RecurrentPPO" if isinstance(space, spaces.Box) else "RecurrentPPO"
