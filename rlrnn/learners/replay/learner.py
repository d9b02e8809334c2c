"""What learners from replay have in common: they play, keep what was played, and learn from rows of it.

In the order it runs: ``collect_rollouts`` plays some steps and puts them into the replay; then ``train``
draws rows from it, each with the memory it began with, and improves the network on them.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import (
    GymEnv,
    MaybeCallback,
    RolloutReturn,
    Schedule,
    TrainFreq,
    TrainFrequencyUnit,
)
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

from rlrnn.common.batches import map_arrays
from rlrnn.common.settings import (
    check_seed,
    is_whole,
    plain,
)
from rlrnn.common.threads import keep_freed_memory, one_thread
from rlrnn.errors import OptionsError, UserError
from rlrnn.learners.base import Learner, check_learning
from rlrnn.learners.features import has_modes
from rlrnn.learners.policy.policy import RecurrentPolicy
from rlrnn.learners.replay import checking, files, playing, remembering
from rlrnn.learners.replay.buffer import Rows, SequenceReplay
from rlrnn.learners.scaling import RewardScaler
from rlrnn.learners.schedules import value_now
from rlrnn.learners.sequences.episodes import Episode
from rlrnn.network import acting
from rlrnn.network.stream import Stream
from rlrnn.storage import archive


class ReplayLearner(Learner, OffPolicyAlgorithm):
    """Plays, keeps, draws; how a minibatch changes the network, and how it explores, is a learner's own."""

    replay_buffer: SequenceReplay  # type: ignore[assignment]
    gradient_steps: int | None  # type: ignore[assignment]
    has_value = False
    copies_of_weights = 5  # with a target network, their gradient and Adam's two means

    def __init__(
        self,
        policy: str | type[RecurrentPolicy],
        env: GymEnv | str | None,
        *,
        gradient_steps: int | None,
        replayed_steps: float,
        seq_len: int,
        burn_in: int,
        first_state: str,
        whole_episodes: bool,
        encoder_learning_rate: float | Schedule | None,
        max_grad_norm: float,
        target_update_interval: int,
        normalize_rewards: bool,
        seed: int | None,
        _init_setup_model: bool,
        **settings: Any,
    ) -> None:
        if isinstance(policy, type) and not issubclass(policy, RecurrentPolicy):
            raise UserError(
                f"the policy class {policy.__module__}.{policy.__name__} is not one of rlrnn's: use its name "
                'as a string, such as "MlpGruPolicy", or a class that rlrnn exports (rlrnn.MlpGruPolicy).'
            )
        check_seed(seed)  # before any game is made
        super().__init__(
            policy,
            env,
            gradient_steps=gradient_steps,
            seed=seed,
            sde_support=False,
            support_multi_env=True,
            **settings,
        )
        self.replayed_steps, self.seq_len, self.burn_in = replayed_steps, seq_len, burn_in
        self.first_state, self.whole_episodes = first_state, whole_episodes
        self.encoder_learning_rate, self.max_grad_norm = encoder_learning_rate, max_grad_norm
        self.target_update_interval = target_update_interval
        self.normalize_rewards = normalize_rewards
        self._reward_scaler: RewardScaler | None = None
        self._last_state: Tensor | None = None  # [B, S] what is remembered before the next step
        self._threads = 1  # that an update may use
        self._modal: bool | None = None  # whether a network computes otherwise while it learns
        self._checked: list[Any] | None = None  # settings
        self._made: tuple[Any, Any] | None = None  # of an update, while the weights stay where they are
        self._act: tuple[Any, acting.Decide] | None = None  # and of acting
        self._due = 0.0  # updates that the steps played so far have paid for
        if _init_setup_model:
            self._setup_model()

    # What a learner has of its own.

    @abstractmethod
    def _make_networks(self) -> None:
        """The policy, and what learns beside it."""

    @abstractmethod
    def _improve(self, rows: Rows) -> dict[str, float]:
        """One update on some rows; returns figures for the log."""

    @abstractmethod
    def _networks(self) -> list[Any]:
        """All modules that read observations, whose statistics move together."""

    @property
    def _beside(self) -> Stream | None:
        """What remembers along with the actor at play, if anything."""
        return None

    def _warm_up(self, rows: int) -> npt.NDArray[Any]:
        """Actions [B, A] that are drawn evenly, before learning starts."""
        raise NotImplementedError

    # Setting up.

    def _setup_model(self) -> None:
        self._check_settings()
        self._setup_lr_schedule()
        value_now("learning_rate", self.lr_schedule, 1.0)
        self.set_random_seed(self.seed)
        self._make_networks()
        self._weights = [p for module in self._networks() for p in module.parameters()]
        self._last_state = self._empty_state()
        self.replay_buffer = self._empty_replay()
        if self.verbose >= 1:
            print(self._describe())

    def _describe(self) -> str:
        rows = self._rows_of_a_batch(self.batch_size)
        return (
            f"A minibatch is {rows} row(s) of {self._length} steps; {self.replay_ratio:g} steps are replayed "
            f"for each step of the game; the replay holds {self.replay_buffer.buffer_size:,} steps in "
            f"{self.replay_buffer.bytes / 1e6:,.1f} MB."
        )

    @property
    def _length(self) -> int:
        """Steps of a row that are learned from: one where nothing remembers."""
        return self.seq_len if self._empty_state().shape[1] else 1

    @property
    def replay_ratio(self) -> float:
        """Steps replayed for each step of the game."""
        if self.gradient_steps is None:
            return self.replayed_steps
        drawn = self._rows_of_a_batch(self.batch_size) * self._length
        if self.gradient_steps < 0:  # an update for each step
            return float(drawn)
        return self.gradient_steps * drawn / (self._frequency().frequency * self.n_envs)

    def _rows_of_a_batch(self, batch_size: int) -> int:
        return max(1, round(batch_size / self._length))

    def _empty_state(self) -> Tensor:
        """An empty memory of everything that remembers at play: [B, S]."""
        network, beside = self.policy.network, self._beside
        further = 0 if beside is None else getattr(beside.memory, "state_size", 0)
        return network.like.new_zeros(self.n_envs, network.state_sizes[0] + further)

    def _empty_replay(self) -> SequenceReplay:
        actuators = self.policy.network.actuators
        remembers = self._length > 1 or self.seq_len == 1
        replay = SequenceReplay(
            self.buffer_size,
            self.n_envs,
            self._length,
            self.burn_in if remembers else 0,
            self.observation_space,
            actuators.action_size,
            actuators.action_dtype,
            self._empty_state().shape[1],
            whole_episodes=self.whole_episodes and remembers,
        )
        rows, wanted = len(replay.states) * self.n_envs, self._rows_of_a_batch(self.batch_size)
        before = f" after burn_in={replay.burn_in}" if replay.burn_in else ""
        if self.buffer_size < replay.burn_in + self._length or rows < wanted:
            raise OptionsError(
                f"buffer_size is {self.buffer_size:,}, which is fewer than the steps of a minibatch "
                f"(batch_size={self.batch_size:,} in rows of seq_len={self._length}{before}): raise it, or "
                "lower those."
            )
        return replay

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed everything that draws: SB3's global generators, exploration, and what is replayed."""
        seed = plain(seed)
        check_seed(seed)
        super().set_random_seed(seed)
        entropy = int(torch.randint(2**62, ())) if seed is None else seed
        noise, order = np.random.SeedSequence(entropy).spawn(2)
        self._noise = torch.Generator(self.device)
        self._noise.manual_seed(int(noise.generate_state(1, np.uint64)[0] >> np.uint64(1)))
        self._order = np.random.default_rng(order)

    def remember(self, episodes: Sequence[Episode]) -> int:
        """Put recorded episodes into the replay, to be learned from as if they had been played; their steps.

            agent.remember(rlrnn.record(player, "pendulum-no-velocity", 50))

        Anybody may have played them, well or badly: it is their rewards that are learned from, not their
        actions. The memory at every step is the one that the network has when it sees them now. The last step
        of an episode that was cut off is left out, as what came of it is not in the record. Where more steps
        are given than ``buffer_size``, the last ones are kept.
        """
        return remembering.remember(self, episodes)

    # Learning.

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str = "",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Play and learn for so many steps; ``log_interval`` counts episodes, as of SB3's off-policy
        learners.
        """
        check_learning(self.env, total_timesteps, callback, log_interval)
        keep_freed_memory()
        name = tb_log_name or type(self).__name__
        self._weights = [p for module in self._networks() for p in module.parameters()]
        with one_thread(self.device):
            total_timesteps, callback = self._setup_learn(
                total_timesteps, callback, reset_num_timesteps, name, progress_bar
            )
            callback.on_training_start(locals(), globals())
            assert self.env is not None
            while self.num_timesteps < total_timesteps:
                played = self.collect_rollouts(
                    self.env,
                    callback,
                    self._frequency(),
                    self.replay_buffer,
                    learning_starts=self.learning_starts,
                    log_interval=log_interval,
                )
                if not played.continue_training:
                    break
                if self.num_timesteps > self.learning_starts:
                    updates = self._updates_for(played.episode_timesteps)
                    if updates > 0 and self.replay_buffer.n_rows() > 0:
                        self.train(updates, self.batch_size)
            callback.on_training_end()
        return self

    def _frequency(self) -> TrainFreq:
        """How long is played between two rounds of updates; ``train_freq`` stays as it was given."""
        given: Any = self.train_freq
        number, unit = given if isinstance(given, tuple | list) and len(given) == 2 else (given, "step")
        units = {each.value: each for each in TrainFrequencyUnit}
        if not is_whole(number) or number < 1 or unit not in units:
            raise UserError(
                f'train_freq is {given!r}: give a whole number of steps of at least 1, or (n, "episode").'
            )
        if unit == TrainFrequencyUnit.EPISODE.value and self.n_envs > 1:
            raise OptionsError(
                f"train_freq is {number} episode(s), but {self.n_envs} copies are played at once, which end "
                "at different steps: give a number of steps, or one copy."
            )
        return TrainFreq(int(number), units[unit])

    def _updates_for(self, steps: int) -> int:
        """How many updates so many more steps of play pay for."""
        if self.gradient_steps is not None:
            return self.gradient_steps if self.gradient_steps >= 0 else steps
        self._due += steps * self.replayed_steps / (self._rows_of_a_batch(self.batch_size) * self._length)
        updates = int(self._due)
        self._due -= updates
        return updates

    def collect_rollouts(  # type: ignore[override]
        self,
        env: VecEnv,
        callback: BaseCallback,
        train_freq: TrainFreq,
        replay_buffer: SequenceReplay,
        action_noise: None = None,
        learning_starts: int = 0,
        log_interval: int | None = None,
    ) -> RolloutReturn:
        """Play some steps in every environment and keep them; SB3's callbacks hear of each."""
        self._check_settings_if_changed()
        return playing.collect(self, env, callback, train_freq, replay_buffer, learning_starts, log_interval)

    def _acting(self) -> acting.Decide:
        """The network at play, made once and kept while its weights stay where they are."""
        where = self._where()
        if self._act is None or self._act[0] != where:
            self._act = where, acting.deciding(self.policy.network, self._beside)
        return self._act[1]

    def _set_mode(self, *, learns: bool) -> None:
        """For dropout and the like: to go through all modules takes long, so only if one has it."""
        if self._modal is None:
            self._modal = any(map(has_modes, self._networks()))
        if self._modal or self.policy.training:
            self.policy.set_training_mode(learns)

    def _where(self) -> tuple[Any, ...]:
        """Where all weights and the optimizers' states are."""
        kept = [id(state) for each in self._optimizers() for state in each.state.values()]
        return (self._threads, *(p.data_ptr() for p in self._weights), *kept)

    def _explore(self) -> None:
        """Set how much is explored by now, where that changes."""

    def _scaler(self) -> RewardScaler:
        """What rewards are divided by; begun when it is first asked for."""
        scaler = self._reward_scaler or RewardScaler(self.gamma, np.zeros(self.n_envs))
        if len(scaler.discounted) != self.n_envs:  # of an agent loaded with fewer or more environments
            scaler.discounted = np.zeros(self.n_envs)
        self._reward_scaler = scaler
        return scaler

    def observe(self, observation: Any) -> None:
        for network in self._networks():
            network.observe(observation)

    def train(self, gradient_steps: int, batch_size: int) -> None:
        """So many updates, each on rows of ``batch_size`` steps together."""
        # A game may have switched gradients off, which torch does for all.
        with torch.enable_grad(), one_thread(self.device) as self._threads:
            self._set_mode(learns=True)
            figures: list[dict[str, float]] = []
            self._set_rates()
            for _ in range(gradient_steps):
                rows = self.replay_buffer.sample(self._order, self._rows_of_a_batch(batch_size), self.device)
                figures.append(self._improve(self._normalized(rows)))
                self._n_updates += 1
                if self._n_updates % self.target_update_interval == 0:
                    self._update_targets()
            for name in figures[-1]:
                self.logger.record(f"train/{name}", float(np.mean([each[name] for each in figures])))
            self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
            self.logger.record("train/replay_ratio", self.replay_ratio)

    def _normalized(self, rows: Rows) -> Rows:
        """Rows as the network is to see them, where observations or rewards are normalised."""
        if self._vec_normalize_env is not None:
            env = self._vec_normalize_env
            seen = map_arrays(lambda t: t.cpu().numpy(), rows.observation)
            observation = map_arrays(
                lambda a: torch.as_tensor(a, device=self.device), env.normalize_obs(seen)
            )
            reward = torch.as_tensor(env.normalize_reward(rows.reward.cpu().numpy()), device=self.device)
            rows = replace(rows, observation=observation, reward=reward.float())
        if self.normalize_rewards:
            rows = replace(rows, reward=self._scaler().scaled(rows.reward).float())
        if self.first_state == "zero":
            rows = replace(rows, state=torch.zeros_like(rows.state))
        return rows

    def _set_rates(self) -> None:
        """Of every optimizer, by the schedules: encoders (sensors and memories) may have one of their own."""
        remaining = self._current_progress_remaining
        heads = value_now("learning_rate", self.lr_schedule, remaining)
        encoders = heads
        if self.encoder_learning_rate is not None:
            encoders = value_now("encoder_learning_rate", self.encoder_learning_rate, remaining)
        self.logger.record("train/learning_rate", heads)
        for optimizer in self._optimizers():
            for group in optimizer.param_groups:
                group["lr"] = encoders if group["encodes"] else heads

    @abstractmethod
    def _optimizers(self) -> list[torch.optim.Optimizer]:
        """Whose parameters are parted in groups with a key ``encodes``."""

    @abstractmethod
    def _update_targets(self) -> None:
        """Move target networks toward the others."""

    @abstractmethod
    def follow_policy(self) -> None:
        """Begin what goes beside the policy as that is, whose weights came from elsewhere."""

    def _diverged(self, loss: float, norm: float) -> UserError:
        """Raised before such a gradient moves any weight."""
        rewards = self.replay_buffer.rewards
        return UserError(
            f"learning broke down after {self.num_timesteps} steps (the loss is {loss:g}, the gradient's "
            f"norm {norm:g}, with rewards from {rewards.min():g} to {rewards.max():g}): try a smaller "
            "learning_rate or max_grad_norm, or normalise observations and rewards."
        )

    def _check_finite(self, loss: float, norm: float) -> None:
        """Refuse a loss or a gradient's norm that is not finite."""
        if not math.isfinite(loss + norm):
            raise self._diverged(loss, norm)

    # Settings and files.

    def _check_settings_if_changed(self) -> None:
        """A callback may have changed them; the check takes as long as many steps of play."""
        now = [vars(self)[name] for name in self._settings()]
        if now != self._checked:
            self._check_settings()
            self._checked = now

    def _settings(self) -> list[str]:
        """The arguments that are kept under their names."""
        others = "policy", "env"
        return [
            name for name in type(self).__init__.__annotations__ if name in vars(self) and name not in others
        ]

    def _check_settings(self) -> None:
        checking.check(self)

    def random_state(self) -> dict[str, Any]:
        return {"noise": self._noise.get_state(), "order": self._order.bit_generator.state}

    def set_random_state(self, state: Mapping[str, Any]) -> None:
        self._noise.set_state(state["noise"].cpu())
        self._order.bit_generator.state = state["order"]

    def experience(self) -> dict[str, Any]:
        return self.replay_buffer.contents()

    def set_experience(self, contents: Mapping[str, Any]) -> None:
        files.check(self.replay_buffer, contents, self.policy.network.actuators, self.replay_buffer.slots)
        self.replay_buffer.restore(dict(contents))

    def save_replay_buffer(self, path: archive.File) -> None:
        """All that was kept of the play, in one file without pickle; without suffix it is ``.replay``."""
        files.save(self, path)

    def load_replay_buffer(self, path: archive.File, truncate_last_traj: bool = True) -> None:
        """Take over what ``save_replay_buffer`` wrote; what does not fit leaves the replay as it was.

        :param truncate_last_traj: the next step begins an episode. False: games and agent stand just where
            the replay ends, and go on from there.
        """
        files.load(self, path)
        if truncate_last_traj:
            self._last_obs = None  # so that ``learn`` begins episodes

    def _excluded_save_params(self) -> list[str]:
        return [
            *super()._excluded_save_params(),
            "_noise",
            "_order",
            "_act",
            "_made",
            "_threads",
            "_modal",
            "_weights",
            "_checked",
        ]


def parted(modules: list[nn.Module], encoders: list[nn.Module | None]) -> list[dict[str, Any]]:
    """Parameters as an optimizer's groups: those of the encoders, and the others."""
    every = [p for module in modules for p in module.parameters() if p.requires_grad]
    inside = {id(p) for module in encoders if module is not None for p in module.parameters()}
    groups = [
        {"params": [p for p in every if (id(p) in inside) == encodes], "encodes": encodes}
        for encodes in (True, False)
    ]
    return [group for group in groups if group["params"]]
