"""An agent at play: it keeps its own memory, so that no loop has to carry a state."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rlrnn.common.batches import any_array
from rlrnn.common.settings import takes_plain
from rlrnn.common.threads import one_thread
from rlrnn.errors import UserError
from rlrnn.learners.policy.policy import RecurrentPolicy
from rlrnn.network import acting


class Player:
    """Plays ``n_envs`` games side by side.

        player = agent.player(n_envs)
        actions = player.act(observations, starts)

    :param deterministic: the most likely action, not a drawn one
    :param wiped: clear the memory before every step: what the agent is worth without it
    :param seed: of drawn actions; None follows torch's global generator
    """

    @takes_plain
    def __init__(
        self,
        policy: RecurrentPolicy,
        n_envs: int = 1,
        *,
        deterministic: bool = True,
        wiped: bool = False,
        seed: int | None = None,
    ) -> None:
        self.policy = policy
        self.n_envs = n_envs
        self.deterministic = deterministic
        self.wiped = wiped
        self.generator = torch.Generator(policy.device)
        self.generator.manual_seed(int(torch.randint(2**62, ())) if seed is None else seed)
        self.reset()

    def reset(self) -> None:
        """Forget everything, as before the first step of an episode."""
        network = self.policy.network
        self.state = network.initial_state(self.n_envs)[:, : network.state_sizes[0]]  # [B, S]

    @torch.no_grad()
    def act(self, observations: Any, starts: npt.ArrayLike | None = None) -> npt.NDArray[Any]:
        """Observations [B, ...] -> actions [B, ...], ready for ``env.step``.

        ``starts`` [B] says which observations begin an episode (SB3's ``dones`` of the step before);
        without it, episodes begin only where ``reset`` was called. A single game may leave out the
        leading axis of 1, and gets its action without it.
        """
        if self.policy.training:
            self.policy.set_training_mode(False)
        tensor, batched = self.policy.obs_to_tensor(observations)
        rows = len(any_array(tensor))
        if rows != self.n_envs:
            raise UserError(
                f"the player was made for {self.n_envs} environment(s), but got observations of {rows}: "
                f"make one with agent.player({rows})."
            )
        flags = (
            np.zeros(rows, dtype=np.bool_)
            if starts is None
            else np.atleast_1d(np.asarray(starts, dtype=np.bool_))
        )
        if flags.shape != (rows,):
            raise UserError(
                f"starts has shape {flags.shape}, but there are {rows} environment(s): give one flag each."
            )
        if self.wiped:
            flags = np.ones(rows, dtype=np.bool_)
        network = self.policy.network
        start = torch.as_tensor(flags, device=self.policy.device)
        with one_thread(self.policy.device):
            distribution, self.state = acting.play(network, tensor, start, self.state)
        actions = distribution.mode() if self.deterministic else distribution.sample(self.generator)
        result = network.actuators.to_space(actions.cpu().numpy())
        return result if batched else result[0]
