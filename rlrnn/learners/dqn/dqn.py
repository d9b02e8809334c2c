"""RecurrentDQN: values of actions, learned from replayed sequences by a network with memory.

Mnih et al. 2015, with memory after Hausknecht and Stone 2015 and Kapturowski et al. 2019, double estimates
(van Hasselt et al. 2016) and lambda-returns (Watkins 1989; Gallici et al. 2025).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.common.utils import LinearSchedule

from rlrnn.common.settings import check_choice, check_number, takes_plain
from rlrnn.learners.adam import optimizer_step
from rlrnn.learners.dqn.gradient import Objective, QGradient, gradient_of
from rlrnn.learners.dqn.targets import TRACES
from rlrnn.learners.policy.policy import RecurrentPolicy
from rlrnn.learners.replay.buffer import Rows
from rlrnn.learners.replay.learner import ReplayLearner, parted
from rlrnn.network.actuators import GreedyActuators
from rlrnn.network.network import RecurrentNetwork


class RecurrentDQN(ReplayLearner):
    """Learns the values of actions from what it has played, with memory; the names are those of SB3's DQN.

    :param policy: a name, "Mlp", "Cnn" (images) or "MultiInput" (Dict) and then a cell: "MlpGruPolicy"; or a
        class
    :param env: copies of a game with Discrete actions, or its name. More copies bring more various steps, and
        cost less each.
    :param learning_rate: of Adam, for the layers between memory and values. Larger learns in fewer updates,
        up to where values run away. Or a function of the progress remaining (from 1 to 0).
    :param buffer_size: steps that are kept, of all copies together. More: older and more various play, and
        more memory.
    :param learning_starts: steps of play before the first update, all of them drawn evenly
    :param batch_size: steps of a minibatch, taken as whole rows: ``max(1, round(batch_size / seq_len))`` of
        them. Larger: steadier, but fewer updates, as ``replayed_steps`` says how many steps are replayed.
    :param tau: how far the target network goes toward the network at each of its updates; 1 copies it.
        Smaller: steadier targets that follow slowly.
    :param gamma: discount per step, 0 to 1: rewards count for about 1 / (1 - gamma) steps ahead
    :param train_freq: steps of all copies at once between two rounds of updates, or (n, "episode") of one
        copy
    :param gradient_steps: updates in a round; -1: as many as steps were played. None, the default: as many as
        ``replayed_steps`` asks for.
    :param replayed_steps: steps that are replayed for each step of the game. It decides what learning costs:
        more learn from fewer steps of the game and take longer.
    :param seq_len: steps of a row, which is how far back gradients flow; where nothing remembers a row is one
    :param burn_in: steps before those, over which the memory is brought up to date with the present network
        and nothing is learned (Kapturowski et al. 2019)
    :param first_state: the memory at a row's first step: "stored" as it was at play, or "zero"
    :param whole_episodes: every episode begins a row of its own; with ``seq_len`` above the longest episode,
        gradients reach back to its beginning
    :param target_update_interval: updates between two of the target network; 1 with ``tau`` 1: there is none
    :param double: the network chooses what the target network values; False: the target network does both,
        which promises too much
    :param q_lambda: 0 to 1, how far targets look along the row before they trust the values. Nearer to 1:
        news of a far reward come faster, noisier. 0: one step.
    :param trace: "watkins" cuts these targets where an action was not the best one, "peng" never does
    :param exploration_fraction: of the learning, over which the exploration rate falls
    :param exploration_initial_eps: how many of the actions are drawn evenly at first, 0 to 1
    :param exploration_final_eps: and at last. More keeps trying; fewer plays as it will be judged.
    :param encoder_learning_rate: of sensors and memory, where it is another: they are often taught more
        slowly, as what one update changes adds up along a row. None: ``learning_rate``.
    :param max_grad_norm: longest gradient: longer ones are shortened to it
    :param normalize_rewards: divide rewards by the running std of the discounted return, so that values have
        one size whatever the points
    :param stats_window_size: episodes over which the logged ``rollout/ep_rew_mean`` is taken
    :param tensorboard_log: folder for TensorBoard's logs; None: none
    :param policy_kwargs: settings of the network, such as ``{"hidden_size": 64}``: see
        ``rlrnn.RecurrentPolicy``
    :param verbose: 0: silent; 1: the log's tables, and what is replayed; 2: SB3's debug messages, too
    :param seed: of weights, actions, rows and games: the same seed is the same run. None: drawn.
    :param device: of the network: "cpu", "cuda", or "auto", which takes a GPU where there is one
    :param _init_setup_model: False leaves the network to ``load``, which calls for it
    """

    recipe_table = "dqn"
    actions = (spaces.Discrete,)

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
        train_freq: int | tuple[int, str] = 4,
        gradient_steps: int | None = None,
        *,
        replayed_steps: float = 64.0,
        seq_len: int = 64,
        burn_in: int = 0,
        first_state: str = "stored",
        whole_episodes: bool = False,
        target_update_interval: int = 1,
        double: bool = True,
        q_lambda: float = 0.8,
        trace: str = "watkins",
        exploration_fraction: float = 0.1,
        exploration_initial_eps: float = 1.0,
        exploration_final_eps: float = 0.05,
        encoder_learning_rate: float | Schedule | None = None,
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
        self.double, self.q_lambda, self.trace = double, q_lambda, trace
        self.exploration_fraction = exploration_fraction
        self.exploration_initial_eps = exploration_initial_eps
        self.exploration_final_eps = exploration_final_eps
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
    def q_net(self) -> RecurrentNetwork:
        """The network, under SB3's name."""
        return self.policy.network

    @property
    def exploration_rate(self) -> float:
        """How many of the actions are drawn evenly by now."""
        schedule = LinearSchedule(
            self.exploration_initial_eps, self.exploration_final_eps, self.exploration_fraction
        )
        return schedule(self._current_progress_remaining)

    @property
    def policy_options(self) -> dict[str, Any]:
        return {"critic": "none", "actions": "greedy"}

    def _make_networks(self) -> None:
        self.policy = self._make_policy()
        network = self.policy.network
        kind: Any = self.policy.optimizer_class
        options = self.policy.optimizer_kwargs
        groups = parted([network], [network.sensors, network.memory])
        self.policy.optimizer = kind(groups, lr=self.lr_schedule(1), **options)
        self.q_net_target = copy.deepcopy(network).requires_grad_(False)

    def _networks(self) -> list[Any]:
        return [self.policy.network, self.q_net_target]

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.policy.optimizer]

    def _explore(self) -> None:
        actuators = self.policy.network.actuators
        assert isinstance(actuators, GreedyActuators)
        actuators.exploration_rate.fill_(self.exploration_rate)

    def _warm_up(self, rows: int) -> npt.NDArray[Any]:
        actuators = self.policy.network.actuators
        assert isinstance(actuators, GreedyActuators)
        shape = (rows, 1)
        drawn = torch.randint(actuators.sizes[0], shape, generator=self._noise, device=self.device)
        actions: npt.NDArray[Any] = drawn.cpu().numpy()
        return actions

    def _improve(self, rows: Rows) -> dict[str, float]:
        gradient, step = self._update()
        objective = Objective(
            self.gamma,
            self.q_lambda,
            self.trace,
            self.double,
            has_target=self.tau < 1.0 or self.target_update_interval > 1,
            burn_in=self.burn_in,
        )
        figures = gradient(rows, objective)
        norm = gradient.vector.clip(self.max_grad_norm)
        self._check_finite(figures.loss, norm)
        step()
        return figures._asdict()

    def _update(self) -> tuple[QGradient, Callable[[], Any]]:
        """What works out the gradient and makes the step, made once while the weights stay where they are."""
        where = self._where()
        if self._made is None or self._made[0] != where:
            optimizer = self.policy.optimizer
            order = [p for group in optimizer.param_groups for p in group["params"]]
            gradient = gradient_of(self.q_net, self.q_net_target, order, self._threads)
            step = optimizer_step(optimizer, order, gradient.vector.gradient)
            self._made = self._where(), (gradient, step)
        made: tuple[QGradient, Callable[[], Any]] = self._made[1]
        return made

    def _update_targets(self) -> None:
        pairs = zip(self.q_net_target.parameters(), self.q_net.parameters(), strict=True)
        targets, own = zip(*pairs, strict=True)
        with torch.no_grad():
            torch._foreach_lerp_(list(targets), list(own), self.tau)

    def follow_policy(self) -> None:
        self.q_net_target.load_state_dict(self.q_net.state_dict())

    def _check_settings(self) -> None:
        super()._check_settings()
        check_choice("trace", self.trace, TRACES)
        for name in ("q_lambda", "exploration_initial_eps", "exploration_final_eps"):
            check_number(name, getattr(self, name), 0, 1)
        check_number("exploration_fraction", self.exploration_fraction, 0, 1, "(]")

    def dump_logs(self) -> None:
        self.logger.record("rollout/exploration_rate", self.exploration_rate)
        super().dump_logs()

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer", "q_net_target"], []
