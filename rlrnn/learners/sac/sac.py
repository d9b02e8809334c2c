"""RecurrentSAC: an actor and critics of its actions, with memories, learned from replayed sequences.

Haarnoja et al. 2018, with memory after Ni et al. 2022; encoders that learn more slowly than what reads them
after Luo et al. 2024; Discrete actions after Christodoulou 2019.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, cast

import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch import Tensor, nn

from rlrnn.common.settings import check_whole, is_number, takes_plain
from rlrnn.common.threads import one_thread
from rlrnn.errors import UserError
from rlrnn.learners.adam import optimizer_step
from rlrnn.learners.policy.policy import RecurrentPolicy
from rlrnn.learners.replay.buffer import Rows
from rlrnn.learners.replay.learner import ReplayLearner, parted
from rlrnn.learners.sac.critics import Critics, Temperature, check_room
from rlrnn.learners.sac.gradient import Networks, SacGradient, gradient_of
from rlrnn.network.actuators import ChoiceActuators, SquashedActuators
from rlrnn.network.stream import Stream

MOST_CRITICS = 100
OF_CHOICES = 0.7  # of the largest entropy: the target where actions are choices


class RecurrentSAC(ReplayLearner):
    """Learns an actor by critics of its actions, both with a memory; the names are those of SB3's SAC.

    :param policy: a name, "Mlp", "Cnn" (images) or "MultiInput" (Dict) and then a cell: "MlpGruPolicy"; or a
        class
    :param env: copies of a game with Box or Discrete actions, or its name. More copies bring more various
        steps, and cost less each.
    :param learning_rate: of Adam, for what reads the memories. Or a function of the progress remaining (from
        1 to 0).
    :param buffer_size: steps that are kept, of all copies together. More: older and more various play, and
        more memory.
    :param learning_starts: steps of play before the first update, all of them drawn evenly
    :param batch_size: steps of a minibatch, taken as whole rows: ``max(1, round(batch_size / seq_len))`` of
        them. Larger: steadier, but fewer updates, as ``replayed_steps`` says how many steps are replayed.
    :param tau: how far the target critics go toward the critics at each of their updates; 1 copies them
    :param gamma: discount per step, 0 to 1: rewards count for about 1 / (1 - gamma) steps ahead
    :param train_freq: steps of all copies at once between two rounds of updates, or (n, "episode") of one
        copy
    :param gradient_steps: updates in a round; -1: as many as steps were played. None, the default: as many as
        ``replayed_steps`` asks for.
    :param replayed_steps: steps that are replayed for each step of the game. It decides what learning costs:
        more learn from fewer steps of the game and take longer.
    :param ent_coef: weight of the entropy, alpha: a number, "auto" (learned, so that the entropy is
        ``target_entropy``) or "auto_0.1" (from 0.1 on). Where rewards come late, a number holds better.
    :param target_update_interval: updates between two of the target critics
    :param target_entropy: in nats; "auto": minus the number of actions, or, of choices, 0.7 of what drawing
        evenly has
    :param seq_len: steps of a row, which is how far back gradients flow; where nothing remembers a row is one
    :param burn_in: steps before those, over which the memories are brought up to date with the present
        networks and nothing is learned (Kapturowski et al. 2019)
    :param first_state: the memories at a row's first step: "stored" as they were at play, or "zero"
    :param whole_episodes: every episode begins a row of its own; with ``seq_len`` above the longest episode,
        gradients reach back to its beginning
    :param n_critics: estimates of a value, of which the least counts
    :param encoder_learning_rate: of sensors and memories: what one update changes in them adds up along a
        row, so that they are best taught more slowly than what reads them. None: ``learning_rate``.
    :param max_grad_norm: longest gradient of actor and critics each: longer ones are shortened to it
    :param normalize_rewards: divide rewards by the running std of the discounted return, so that values have
        one size whatever the points
    :param stats_window_size: episodes over which the logged ``rollout/ep_rew_mean`` is taken
    :param tensorboard_log: folder for TensorBoard's logs; None: none
    :param policy_kwargs: settings of the networks, such as ``{"hidden_size": 64}``: see
        ``rlrnn.RecurrentPolicy``
    :param verbose: 0: silent; 1: the log's tables, and what is replayed; 2: SB3's debug messages, too
    :param seed: of weights, actions, rows and games: the same seed is the same run. None: drawn.
    :param device: of the networks: "cpu", "cuda", or "auto", which takes a GPU where there is one
    :param _init_setup_model: False leaves the networks to ``load``, which calls for it
    """

    recipe_table = "sac"
    actions = (spaces.Box, spaces.Discrete)
    copies_of_weights = 10

    @takes_plain
    def __init__(
        self,
        policy: str | type[RecurrentPolicy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule = 3e-4,
        buffer_size: int = 200_000,
        learning_starts: int = 1000,
        batch_size: int = 1024,
        tau: float = 0.005,
        gamma: float = 0.99,
        train_freq: int | tuple[int, str] = 1,
        gradient_steps: int | None = None,
        *,
        replayed_steps: float = 64.0,
        ent_coef: str | float = "auto",
        target_update_interval: int = 1,
        target_entropy: str | float = "auto",
        seq_len: int = 64,
        burn_in: int = 0,
        first_state: str = "stored",
        whole_episodes: bool = False,
        n_critics: int = 2,
        encoder_learning_rate: float | Schedule | None = 1e-4,
        max_grad_norm: float = 10.0,
        normalize_rewards: bool = False,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        self.ent_coef, self.target_entropy, self.n_critics = ent_coef, target_entropy, n_critics
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            buffer_size=buffer_size,
            learning_starts=learning_starts,
            batch_size=batch_size,
            tau=tau,
            gamma=gamma,
            train_freq=train_freq,
            gradient_steps=gradient_steps,
            replayed_steps=replayed_steps,
            seq_len=seq_len,
            burn_in=burn_in,
            first_state=first_state,
            whole_episodes=whole_episodes,
            target_update_interval=target_update_interval,
            encoder_learning_rate=encoder_learning_rate,
            max_grad_norm=max_grad_norm,
            normalize_rewards=normalize_rewards,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=_init_setup_model,
        )

    @property
    def policy_options(self) -> dict[str, Any]:
        chooses = isinstance(self.action_space, spaces.Discrete)
        return {"critic": "none", "actions": "drawn" if chooses else "squashed"}

    def _make_networks(self) -> None:
        chooses = isinstance(self.action_space, spaces.Discrete)
        self.policy = self._make_policy()
        network, size = self.policy.network, self.policy.network.actuators.action_size
        spaces_of = self.observation_space, self.action_space
        first = network.state_sizes[0]
        check_room(network.description, network.memory.output_size + size, self.action_space, self.n_critics)
        with one_thread(self.device):  # orthogonal weights depend on how many threads compute them
            critic = Critics(network.description, *spaces_of, size, self.n_critics, first)
        self.critic = critic.to(self.device)
        self.critic_target = copy.deepcopy(self.critic).requires_grad_(False)
        kind: Any = self.policy.optimizer_class
        options = self.policy.optimizer_kwargs
        rate = self.lr_schedule(1)
        self.policy.optimizer = kind(parted([network], [network.sensors, network.memory]), lr=rate, **options)
        encoders: list[nn.Module | None] = [self.critic.sensors, self.critic.memory]
        self.critic_optimizer = kind(parted([self.critic], encoders), lr=rate, **options)
        self.temperature = Temperature(*temperature(self.ent_coef)).to(self.device)
        self.temperature_optimizer = torch.optim.Adam(
            [{"params": [self.temperature.log], "encodes": False}], lr=rate
        )
        largest = math.log(self.action_space.n) if isinstance(self.action_space, spaces.Discrete) else 0.0
        by_default = OF_CHOICES * largest if chooses else -float(size)
        self._entropy = by_default if self.target_entropy == "auto" else float(self.target_entropy)

    @property
    def _beside(self) -> Stream:
        return self.critic.stream

    def _networks(self) -> list[Any]:
        return [self.policy.network, self.critic, self.critic_target]

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.policy.optimizer, self.critic_optimizer, self.temperature_optimizer]

    def _warm_up(self, rows: int) -> npt.NDArray[Any]:
        actuators = self.policy.network.actuators
        if isinstance(actuators, SquashedActuators):
            drawn = torch.empty(rows, actuators.action_size, device=self.device)
            drawn.uniform_(-1.0, 1.0, generator=self._noise)
        else:
            choices = cast("ChoiceActuators", actuators).sizes[0]
            drawn = torch.randint(choices, (rows, 1), generator=self._noise, device=self.device)
        return drawn.cpu().numpy()

    def _improve(self, rows: Rows) -> dict[str, float]:
        gradient, step_actor, step_critics = self._update()
        noise = None
        if not self.critic.chooses:
            size = self.policy.network.actuators.action_size
            steps = len(rows.weight) - min(self.burn_in, len(rows.action) - 1)
            noise = self._draw_noise(torch.empty(steps, len(rows), size, device=self.device))
        negentropy = gradient.begin(rows, noise, self.burn_in)
        alpha = float(self.temperature.log.detach().exp())
        critic_loss, q_mean = gradient.of_critics(alpha, self.gamma)
        self._check_finite(critic_loss, gradient.of_values.clip(self.max_grad_norm))
        step_critics()
        if self.temperature.learns:  # its loss: - log alpha (log pi + target entropy)
            self.temperature.log.grad = torch.full_like(self.temperature.log, -(negentropy + self._entropy))
            self.temperature_optimizer.step()
        actor_loss = gradient.of_actor(alpha)
        self._check_finite(actor_loss, gradient.of_actions.clip(self.max_grad_norm))
        step_actor()
        figures = {"actor_loss": actor_loss, "critic_loss": critic_loss, "q_mean": q_mean}
        return {**figures, "ent_coef": alpha, "entropy": -negentropy}

    def _update(self) -> tuple[SacGradient, Callable[[], Any], Callable[[], Any]]:
        """What makes gradients and steps, made once while weights stay where they are."""
        where = self._where()
        if self._made is None or self._made[0] != where:
            optimizers = self.policy.optimizer, self.critic_optimizer
            orders = [[p for group in each.param_groups for p in group["params"]] for each in optimizers]
            networks = Networks(self.policy.network, self.critic, self.critic_target)
            gradient = gradient_of(networks, orders[0], orders[1], self._threads)
            vectors = gradient.of_actions, gradient.of_values
            steps = [
                optimizer_step(optimizer, order, vector.gradient)
                for optimizer, order, vector in zip(optimizers, orders, vectors, strict=True)
            ]
            self._made = self._where(), (gradient, *steps)
        made: tuple[SacGradient, Callable[[], Any], Callable[[], Any]] = self._made[1]
        return made

    def _draw_noise(self, like: Tensor) -> Tensor:
        """Standard normal numbers of that shape."""
        return like.normal_(generator=self._noise)

    def _update_targets(self) -> None:
        pairs = zip(self.critic_target.parameters(), self.critic.parameters(), strict=True)
        targets, own = zip(*pairs, strict=True)
        with torch.no_grad():
            torch._foreach_lerp_(list(targets), list(own), self.tau)

    def follow_policy(self) -> None:
        seen = self.policy.network.sensors.normalizers.state_dict()  # all networks see alike
        for critic in (self.critic, self.critic_target):
            critic.sensors.normalizers.load_state_dict(seen)

    def _check_settings(self) -> None:
        super()._check_settings()
        check_whole("n_critics", self.n_critics, 1, MOST_CRITICS)
        temperature(self.ent_coef)
        if self.target_entropy != "auto" and not is_number(self.target_entropy):
            raise UserError(f'target_entropy is {self.target_entropy!r}: give a number of nats, or "auto".')

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        names = ["policy", "policy.optimizer", "critic", "critic_target", "critic_optimizer"]
        return [*names, "temperature", "temperature_optimizer"], []


def temperature(ent_coef: str | float) -> tuple[float, bool]:
    """The weight of the entropy to begin with, and whether it is learned."""
    text = str(ent_coef)
    learns = text.partition("_")[0] == "auto"
    try:
        first = 1.0 if text == "auto" else float(text.removeprefix("auto_"))
    except ValueError:
        first = math.nan
    if isinstance(ent_coef, bool) or not 0.0 <= first < math.inf or (learns and first == 0.0):
        raise UserError(
            f'ent_coef is {ent_coef!r}: give a number of at least 0, "auto", or "auto_" and the number above '
            '0 to begin with, such as "auto_0.1".'
        )
    return first, learns
