"""skrl's SAC_RNN as skrl's own example of Pendulum without velocity sets it, and the same in other sizes.

The example is torch_gymnasium_pendulumnovel_sac_gru (Toni-SM/skrl, examples/gymnasium/, version 2.0.0):
policy and critics have a GRU of 400 units each, from which layers of 400 and 300 lead on; every weight
begins at a normal draw of deviation 0.1; updates begin after 100 steps, one per step of the game. It ends
after 15,000 steps, all of which its memory holds: longer trainings here have the same memory. It begins
rows anew where an episode was terminated, which never happens in this game. Rates, target and temperature
are skrl's defaults.

    /tmp/skrl/bin/python benchmarks/skrl_example.py

prints what SAC_RNN stores of the memories while it plays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from skrl.agents.torch.sac import SAC_CFG, SAC_RNN
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.models.torch import DeterministicMixin, GaussianMixin, Model
from skrl.trainers.torch import SequentialTrainer
from skrl.utils import set_seed
from torch import Tensor, nn

Outputs = tuple[Tensor, dict[str, Any]]


@dataclass(frozen=True)
class Sizes:
    """What the two sides of the benchmark differ in."""

    units: int  # of every memory
    layers: tuple[int, ...]  # behind it
    row: int  # steps
    rows: int  # of an update
    gamma: float


EXAMPLE = Sizes(units=400, layers=(400, 300), row=20, rows=100, gamma=0.98)
SMALL = Sizes(units=64, layers=(128, 128), row=32, rows=4, gamma=0.95)  # as agents/pendulum-sac.toml


class WithoutSpeed(gym.ObservationWrapper):  # type: ignore[type-arg]
    """The speed is seen as 0."""

    def observation(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        return observation * np.float32([1, 1, 0])


class Remembering(Model):
    """A GRU and the layers behind it."""

    def make(self, sizes: Sizes, inputs: int, outputs: int) -> None:
        self.sizes = sizes
        self.gru = nn.GRU(self.num_observations, sizes.units, batch_first=True)
        widths = pairwise((sizes.units + inputs, *sizes.layers))
        hidden = [part for before, after in widths for part in (nn.Linear(before, after), nn.ReLU())]
        self.net = nn.Sequential(*hidden, nn.Linear(sizes.layers[-1], outputs))

    def get_specification(self) -> dict[str, Any]:
        return {"rnn": {"sequence_length": self.sizes.row, "sizes": [(1, 1, self.sizes.units)]}}

    def remember(self, inputs: dict[str, Any], rows: bool, first: int = 0) -> tuple[Tensor, Tensor]:
        """Of rows [N * row, ...] from the states stored at step ``first``, or of one step of all games."""
        seen, state, row = inputs["observations"], inputs["rnn"][0], self.sizes.row
        if rows:
            state = state.view(1, -1, row, self.sizes.units)[:, :, first].contiguous()  # [1, N, units]
        output, state = self.gru(seen.view(-1, row if rows else 1, seen.shape[-1]), state)
        return output.flatten(0, 1), state


class Actor(GaussianMixin, Remembering):
    """A normal distribution around a torque within -2 and 2; its spread does not depend on what is seen."""

    def __init__(self, sizes: Sizes, **spaces: Any) -> None:
        Model.__init__(self, **spaces)
        GaussianMixin.__init__(self)
        self.make(sizes, 0, self.num_actions)
        self.log_std = nn.Parameter(torch.zeros(self.num_actions))

    def compute(self, inputs: dict[str, Any], role: str) -> Outputs:
        output, state = self.remember(inputs, rows=self.training)
        return 2.0 * torch.tanh(self.net(output)), {"log_std": self.log_std, "rnn": [state]}


class Critic(DeterministicMixin, Remembering):
    """The value of an action; target critics look at the step after, and so begin one state later."""

    def __init__(self, sizes: Sizes, **spaces: Any) -> None:
        Model.__init__(self, **spaces)
        DeterministicMixin.__init__(self)
        self.make(sizes, self.num_actions, 1)

    def compute(self, inputs: dict[str, Any], role: str) -> Outputs:
        output, state = self.remember(inputs, rows=True, first=int(role.startswith("target")))
        return self.net(torch.cat((output, inputs["taken_actions"]), dim=1)), {"rnn": [state]}


def trainer(sizes: Sizes, seed: int, steps: int, part: int, folder: Path) -> SequentialTrainer:
    """Ready to train; its checkpoints, one after every ``part`` steps, go into the folder."""
    set_seed(seed)
    env = wrap_env(WithoutSpeed(gym.make("Pendulum-v1")))
    spaces = {
        "observation_space": env.observation_space,
        "state_space": env.state_space,
        "action_space": env.action_space,
        "device": env.device,
    }
    models: dict[str, Model] = {"policy": Actor(sizes, **spaces)}
    for name in ("critic_1", "critic_2", "target_critic_1", "target_critic_2"):
        models[name] = Critic(sizes, **spaces)
    for model in models.values():
        model.init_parameters(method_name="normal_", mean=0.0, std=0.1)
    settings = SAC_CFG(discount_factor=sizes.gamma, batch_size=sizes.rows, learning_starts=100)
    settings.experiment.directory = str(folder)
    settings.experiment.checkpoint_interval = part
    memory = RandomMemory(memory_size=15_000, num_envs=1, device=env.device, replacement=False)
    agent = SAC_RNN(models=models, memory=memory, cfg=settings, **spaces)
    quiet = {"headless": True, "disable_progressbar": True}
    return SequentialTrainer(cfg={"timesteps": steps, **quiet}, env=env, agents=agent)


def player(policy: Actor, games: int) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Acts by the mean of the distribution, from a memory of zeros on; the policy is not in training."""
    state = torch.zeros(1, games, policy.sizes.units)

    @torch.no_grad()
    def act(seen: NDArray[np.float32]) -> NDArray[np.float32]:
        nonlocal state
        assert not policy.training
        _, outputs = policy.act({"observations": torch.from_numpy(seen), "rnn": [state]}, role="policy")
        state = outputs["rnn"][0]
        return outputs["mean_actions"].numpy()

    return act


def main() -> None:
    """Play an episode and a fifth of one, with weights that stay; then compare what was stored."""
    sizes = Sizes(units=4, layers=(4,), row=5, rows=3, gamma=0.9)
    with TemporaryDirectory() as folder:
        played = trainer(sizes, 0, 240, 240, Path(folder))
        agent = played.agents
        agent.cfg.learning_starts = 1_000
        played.train()
        agent.writer.close()
    names = [name for name in agent.memory.get_tensor_names() if name.startswith("rnn")]
    seen = agent.memory.get_tensor_by_name("observations")[:240, 0]
    stored = agent.memory.get_tensor_by_name(names[0])[:240].view(240, -1)
    with torch.no_grad():
        episodes = [agent.policy.gru(part[None])[0][0] for part in (seen[:200], seen[200:])]
    after = torch.cat(episodes)  # [240, units] each step was seen
    before = torch.cat([torch.cat((torch.zeros(1, 4), states[:-1])) for states in episodes])
    print("states that the memory holds:", ", ".join(names))
    for name, states in ("before", before), ("after", after):
        apart = (stored - states).abs().amax(dim=1)
        far = (apart > 1e-6).nonzero().flatten().tolist()
        print(f"those stored differ from the states {name} their step was seen at {len(far)} steps of 240")


if __name__ == "__main__":
    main()
