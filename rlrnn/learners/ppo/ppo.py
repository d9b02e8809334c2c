"""RecurrentPPO: proximal policy optimisation (Schulman et al. 2017) for networks with memory.

In the order it runs: ``collect_rollouts`` plays, ``train`` cuts what was played into rows of
``seq_len`` steps of one environment, each with the memory it began with, and improves the network on
minibatches of whole rows (see ``cutting``). Within a row time is never shuffled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.utils import FloatSchedule, LinearSchedule, explained_variance
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from rlrnn.cells.options import check_options
from rlrnn.common.batches import map_arrays
from rlrnn.common.capacity import check_fits
from rlrnn.common.settings import check_choice, check_number, check_seed, check_whole, plain, takes_plain
from rlrnn.common.threads import keep_freed_memory, one_thread
from rlrnn.errors import OptionsError, UserError
from rlrnn.learners.adam import optimizer_step
from rlrnn.learners.base import Learner, check_learning
from rlrnn.learners.policy.policy import RecurrentPolicy
from rlrnn.learners.policy.states import RNNStates
from rlrnn.learners.ppo.ahead import may_be_late
from rlrnn.learners.ppo.collect import Position, collect
from rlrnn.learners.ppo.cutting import Cut
from rlrnn.learners.ppo.gradient import MinibatchGradient
from rlrnn.learners.ppo.loss import FIGURES, Objective, normalized
from rlrnn.learners.ppo.rollout import Rollout, bytes_of_a_step, to_tensors
from rlrnn.learners.scaling import RewardScaler
from rlrnn.learners.schedules import value_now

KL, LOSS = FIGURES.index("approx_kl"), FIGURES.index("loss")
FIRST_STATES = ("stored", "zero", "recomputed")
SETTINGS = (  # that learning reads, of the kinds that the constructor says
    *("learning_rate", "n_steps", "batch_size", "n_epochs", "gamma", "gae_lambda", "clip_range"),
    *("clip_range_vf", "normalize_advantage", "ent_coef", "vf_coef", "max_grad_norm", "use_sde"),
    *("sde_sample_freq", "target_kl", "policy_kwargs", "seq_len", "normalize_rewards"),
)


class RecurrentPPO(Learner, OnPolicyAlgorithm):  # type: ignore[misc]
    """Learns from reward; a drop-in for ``sb3_contrib.RecurrentPPO``, whose arguments come first.

    Their defaults are contrib's, so that a script which changes its import learns by the same settings; what
    games of memory asked for, mostly others, stands in docs/guide.md. Steps are those of the game.

    :param policy: a name, "Mlp", "Cnn" (images) or "MultiInput" (Dict) and then a cell: "MlpGruPolicy"; or a
        class
    :param env: copies of a game, or its name. More copies bring more various steps into an update, and cost
        less each. None only for an agent that is loaded to play.
    :param learning_rate: of Adam: how far a minibatch moves the weights. Larger learns in fewer steps, up to
        where points jump about or learning breaks down. Or a function of the progress remaining (from 1 to
        0): one that ends at 0 lets the last agent settle.
    :param n_steps: steps of each copy between two updates. More: steadier gradients, longer rows, more memory
        and fewer updates; fewer: the reverse.
    :param batch_size: steps of a minibatch, taken as whole rows: ``max(1, round(batch_size / seq_len))`` of
        them. Smaller: more and noisier steps of Adam in an epoch; larger: fewer and steadier. None: all in
        one.
    :param n_epochs: passes over each rollout. More get more out of each step of the game and take longer, up
        to where the network has left the one that played (see ``clip_range``); fewer where steps are cheap.
    :param gamma: discount per step, 0 to 1. Rewards count for about 1 / (1 - gamma) steps ahead: nearer to 1
        looks further, to what is harder to foresee; 0 is right where an action changes nothing later.
    :param gae_lambda: 0 to 1, how far advantages look before they trust the critic. Nearer to 1: unbiased and
        noisy; nearer to 0: steady, and as wrong as the critic is.
    :param clip_range: how far the probability ratio of an action may leave 1 before its step has no gradient.
        Larger: bolder updates, which may undo what was learned; smaller: safer and slower. Or a function.
    :param clip_range_vf: how far a value may leave the one that was played with, in points (scaled ones where
        rewards are). Smaller: a steadier critic that follows slowly; what fits depends on the points, so the
        default is None: freely. Or a function.
    :param normalize_advantage: bring advantages to mean 0 and standard deviation 1 in each minibatch, so that
        a game's points have any size; False: their size weighs against entropy and value, too
    :param ent_coef: weight of the entropy in the loss. More keeps trying for longer, which helps where many
        actions are nearly right; too much never settles. Or a function, such as one from 0.1 to 0.
    :param vf_coef: weight of the critic's squared error in the loss. Larger gives the critic more of what it
        shares with the actor (a memory, the norm of ``max_grad_norm``); smaller gives the actor more.
    :param max_grad_norm: longest gradient, over all weights: longer ones are shortened to it. Smaller takes
        more of its weight from a rare huge one; ``inf`` shortens none.
    :param use_sde: draw noise as a function of the network's units (gSDE), smooth in time as motors like it,
        and not for each step by itself. Continuous actions alone.
    :param sde_sample_freq: steps between two draws of that function; fewer: less smooth; -1: one draw for a
        rollout
    :param target_kl: an update ends with the first minibatch in which the policy has moved by more than 1.5
        times this divergence (nats). Smaller ends it sooner; None: never.
    :param stats_window_size: episodes over which the logged ``rollout/ep_rew_mean`` is taken; learning does
        not read it
    :param tensorboard_log: folder for TensorBoard's logs; None: none
    :param policy_kwargs: settings of the network, such as ``{"hidden_size": 64}``: see
        ``rlrnn.RecurrentPolicy``
    :param verbose: 0: silent; 1: the log's tables, and how rollouts are cut; 2: SB3's debug messages, too
    :param seed: of weights, actions, minibatches and games: the same seed is the same run. None: drawn.
    :param device: of the network: "cpu", "cuda", or "auto", which takes a GPU where there is one
    :param _init_setup_model: False leaves the network to ``load``, which calls for it
    :param seq_len: steps of a row, which is how far back gradients flow; default ``min(n_steps,
        batch_size)``, as shorter rows brought nothing where it was measured (benchmarks/README.md). Longer:
        gradients reach further back; shorter: more rows in a minibatch, which are less alike. Where nothing
        remembers ("MlpPolicy") a row is one step, whatever this says: SB3's own PPO.
    :param first_state: the memory at a row's first step: "stored" as it was when played, which costs nothing;
        "recomputed" by the present network before every epoch, which is truer and slower; or "zero"
    :param normalize_rewards: divide rewards by the running std of the discounted return, so that the critic's
        error has one size whatever the points; in training alone. Off by default, as in contrib.
    """

    rollout_buffer: Rollout  # type: ignore[assignment]
    copies_of_weights = 4  # with their gradient and Adam's two means
    recipe_table = "ppo"

    @takes_plain
    def __init__(
        self,
        policy: str | type[RecurrentPolicy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule = 3e-4,
        n_steps: int = 128,
        batch_size: int | None = 128,
        n_epochs: int = 10,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        clip_range: float | Schedule = 0.2,
        clip_range_vf: float | Schedule | None = None,
        normalize_advantage: bool = True,
        ent_coef: float | Schedule = 0.0,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        use_sde: bool = False,
        sde_sample_freq: int = -1,
        target_kl: float | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
        *,
        seq_len: int | None = None,
        first_state: str = "stored",
        normalize_rewards: bool = False,
    ) -> None:
        if isinstance(policy, type) and not issubclass(policy, RecurrentPolicy):
            raise UserError(
                f"the policy class {policy.__module__}.{policy.__name__} is not one of rlrnn's: use its name "
                'as a string, such as "MlpLstmPolicy", or a class that rlrnn exports (rlrnn.MlpLstmPolicy).'
            )
        check_seed(seed)  # before any game is made
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            n_steps=n_steps,
            gamma=gamma,
            gae_lambda=gae_lambda,
            ent_coef=ent_coef,
            vf_coef=vf_coef,
            max_grad_norm=max_grad_norm,
            use_sde=use_sde,
            sde_sample_freq=sde_sample_freq,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=False,
        )
        self.batch_size = batch_size
        self.n_epochs = n_epochs
        self.clip_range = clip_range
        self.clip_range_vf = clip_range_vf
        self.normalize_advantage = normalize_advantage
        self.target_kl = target_kl
        self.seq_len = seq_len
        self.first_state = first_state
        self.normalize_rewards = normalize_rewards
        self._last_state: Tensor | None = None
        self._reward_scaler: RewardScaler | None = None
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        self._check_settings()
        self._setup_lr_schedule()
        value_now("learning_rate", self.lr_schedule, 1.0)
        self.set_random_seed(self.seed)
        self.policy = self._make_policy()
        self._last_state = self.policy.network.initial_state(self.n_envs)
        self.rollout_buffer = self._empty_rollout()
        self._scaler()
        self.clip_range = FloatSchedule(self.clip_range)
        if self.clip_range_vf is not None:
            self.clip_range_vf = FloatSchedule(self.clip_range_vf)
        if self.verbose >= 1:
            cut = self._cut()
            steps = self.n_steps * self.n_envs
            whole = self.batch_size is not None and self.batch_size > steps
            note = f", but a rollout has {steps} steps: a minibatch is all of it" if whole else ""
            print(
                f"A minibatch is {cut.rows} row(s) of {cut.length} steps (batch_size={self.batch_size}{note})"
            )

    @property
    def policy_options(self) -> dict[str, Any]:
        return {**super().policy_options, "use_sde": self.use_sde}

    def _empty_rollout(self) -> Rollout:
        actuators = self.policy.network.actuators
        step = bytes_of_a_step(self.observation_space, actuators.action_size, actuators.action_dtype)
        step += 4 * self.policy.network.state_size  # the memory before it
        check_fits(
            f"a rollout of n_steps={self.n_steps:,} in {self.n_envs:,} environment(s)",
            self.n_steps * self.n_envs * step,
            "n_steps, n_envs or hidden_size",
        )
        return Rollout(
            self.n_steps,
            self.n_envs,
            self.observation_space,
            actuators.action_size,
            actuators.action_dtype,
        )

    def _scaler(self) -> RewardScaler | None:
        """What scales the rewards, if anything, by the settings that hold now."""
        if not self.normalize_rewards:
            return None
        scaler = self._reward_scaler or RewardScaler(self.gamma, np.zeros(self.n_envs))
        if len(scaler.discounted) != self.n_envs:  # of an agent loaded with fewer or more environments
            scaler.discounted = np.zeros(self.n_envs)
        scaler.gamma, self._reward_scaler = self.gamma, scaler
        return scaler

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed everything that draws: SB3's global generators, action noise and minibatch order."""
        seed = plain(seed)
        check_seed(seed)
        super().set_random_seed(seed)
        entropy = int(torch.randint(2**62, ())) if seed is None else seed
        noise, order = np.random.SeedSequence(entropy).spawn(2)
        self._noise = torch.Generator(self.device)
        self._noise.manual_seed(int(noise.generate_state(1, np.uint64)[0] >> np.uint64(1)))
        self._order = np.random.default_rng(order)

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "RecurrentPPO",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> RecurrentPPO:
        check_learning(self.env, total_timesteps, callback, log_interval)
        keep_freed_memory()
        with one_thread(self.device):
            return super().learn(
                total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar
            )

    def collect_rollouts(  # type: ignore[override]
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: Rollout, n_rollout_steps: int
    ) -> bool:
        """Play ``n_rollout_steps`` steps in every environment; False if a callback asked to stop."""
        assert self._last_obs is not None and self._last_episode_starts is not None
        assert self._last_state is not None and n_rollout_steps == self.n_steps
        if rollout_buffer.buffer_size != n_rollout_steps:  # n_steps was changed
            rollout_buffer = self.rollout_buffer = self._empty_rollout()
        self.policy.set_training_mode(False)
        callback.on_rollout_start()
        self._check_settings()  # which callbacks may have changed, as they may within the rollout

        late = may_be_late(callback)

        def on_step(local: dict[str, Any]) -> bool:
            self._set_position(position)
            self.num_timesteps += env.num_envs
            if late:
                callback.update_locals({**local, "self": self, "rollout_buffer": rollout_buffer})
                if not callback.on_step():
                    return False
                self._note_ends(local["infos"], local["dones"])
                return True
            extra = {
                "values": local["values"].unsqueeze(-1),  # [B, 1], as SB3's callbacks know them
                "episode_starts": local["episode_starts"].float(),
                "lstm_states": self.policy.parts.to_parts(local["state"]),
                "rollout_buffer": rollout_buffer,
                "n_rollout_steps": n_rollout_steps,
            }
            callback.update_locals({**local, **extra, "self": self, "callback": callback})
            if not callback.on_step():
                return False
            self._note_ends(local["infos"], local["dones"])
            return True

        position = Position(
            self._last_obs, np.asarray(self._last_episode_starts, dtype=np.bool_), self._last_state
        )
        try:
            with one_thread(self.device) as threads:
                complete = collect(
                    self.policy.network,
                    env,
                    rollout_buffer,
                    position,
                    generator=self._noise,
                    sde_sample_freq=self.sde_sample_freq if self.use_sde else -1,
                    reward_scaler=self._scaler(),
                    on_step=on_step,
                    threads=threads,
                    late=late,
                )
        finally:
            self._set_position(position)
            self.policy.network.sample_exploration(0)  # none is left over: the next player draws its own
        if not complete:
            return False
        self._check_settings()
        rollout_buffer.finish(self.gamma, self.gae_lambda)
        callback.update_locals({"self": self, "rollout_buffer": rollout_buffer, "env": env})
        callback.on_rollout_end()
        return True

    def _note_ends(self, infos: list[dict[str, Any]], dones: npt.NDArray[np.bool_]) -> None:
        """As SB3 does, but for what of the episodes ends in this step alone."""
        ended = np.flatnonzero(dones)
        if len(ended):
            self._update_info_buffer([infos[i] for i in ended], dones[ended])

    def _set_position(self, position: Position) -> None:
        """Note where the play stands; where that is unknown, SB3's ``learn`` resets the games."""
        self._last_obs, self._last_episode_starts = position.observation, position.start
        self._last_state = position.state

    @property
    def _last_lstm_states(self) -> RNNStates | None:
        """What is remembered before the next step, under sb3-contrib's name and in its form."""
        return None if self._last_state is None else self.policy.parts.to_parts(self._last_state)

    def train(self) -> None:
        """Improve the network on the rollout: epochs of minibatches of whole rows."""
        # A game may have switched gradients off, which torch does for all.
        with torch.enable_grad(), one_thread(self.device) as threads:
            self._improve(MinibatchGradient(self.policy.network, threads))

    def _improve(self, gradient: MinibatchGradient) -> None:
        self.policy.set_training_mode(True)
        remaining = self._current_progress_remaining
        value_now("learning_rate", self.lr_schedule, remaining)
        self._update_learning_rate(self.policy.optimizer)
        rollout, network, cut = self.rollout_buffer, self.policy.network, self._cut()
        clip_range, ent_coef = (
            value_now(name, getattr(self, name), remaining) for name in ("clip_range", "ent_coef")
        )
        clip_range_vf = None
        if self.clip_range_vf is not None:
            clip_range_vf = value_now("clip_range_vf", self.clip_range_vf, remaining)
        objective = Objective(clip_range, clip_range_vf, ent_coef, self.vf_coef)
        step = optimizer_step(self.policy.optimizer, gradient.parameters, gradient.gradient)
        figures: list[Tensor] = []
        proceed = True
        for epoch in range(self.n_epochs):
            first = cut.first(self._order)
            if self.first_state == "recomputed" and epoch > 0:
                rollout.recompute_states(network, self.device, cut.length, first)
            rows = rollout.rows(self.device, cut.length, first)
            if self.first_state == "zero":
                rows = replace(rows, state=torch.zeros_like(rows.state))
            for indices in cut.minibatches(self._order, len(rows)):
                whole = len(indices) == len(rows)
                batch = rows if whole else rows.select(torch.as_tensor(indices, device=self.device))
                figures.append(gradient(normalized(batch) if self.normalize_advantage else batch, objective))
                if self.target_kl is not None and figures[-1][KL] > 1.5 * self.target_kl:
                    proceed = False
                    if self.verbose >= 1:
                        print(f"Stopped at epoch {epoch}: KL divergence {figures[-1][KL]:.2f}")
                    break
                norm = gradient.clip(self.max_grad_norm)
                if not math.isfinite(norm + float(figures[-1][LOSS])):
                    raise self._diverged(float(figures[-1][LOSS]), norm)
                step()
            self._n_updates += 1
            if not proceed:
                break
        # Statistics move between updates, never within one: the first ratio of an update is 1.
        network.observe(map_arrays(lambda a: a.flatten(0, 1), to_tensors(rollout.observations, self.device)))
        self._log(figures, clip_range, clip_range_vf)

    def _diverged(self, loss: float, norm: float) -> UserError:
        """Raised before such a gradient moves any weight."""
        rewards = self.rollout_buffer.rewards
        return UserError(
            f"learning broke down after {self.num_timesteps} steps (the loss is {loss:g}, the gradient's "
            f"norm {norm:g}, with rewards from {rewards.min():g} to {rewards.max():g}): try a smaller "
            "learning_rate or max_grad_norm, or normalise observations and rewards."
        )

    def _cut(self) -> Cut:
        """How a rollout is cut, by the settings that hold now: nothing else reads them."""
        self._check_settings()
        remembers = self.policy.network.state_size > 0
        rollout = self.rollout_buffer
        return Cut.of(rollout.buffer_size, rollout.n_envs, self.batch_size, self.seq_len if remembers else 1)

    def _log(self, figures: list[Tensor], clip_range: float, clip_range_vf: float | None) -> None:
        """SB3's keys; one transfer from the device for all of them."""
        table = torch.stack(figures).cpu().numpy()  # [minibatches, FIGURES]
        for column, name in enumerate(FIGURES):
            value = table[-1, column] if name == "loss" else table[:, column].mean()
            self.logger.record(f"train/{name}", float(value))
        rollout = self.rollout_buffer
        explained = explained_variance(rollout.values.flatten(), rollout.returns.flatten())
        self.logger.record("train/explained_variance", explained)
        log_std = getattr(self.policy.network.actuators, "log_std", None)
        if log_std is not None:
            self.logger.record("train/std", log_std.exp().mean().item())
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/clip_range", clip_range)
        if clip_range_vf is not None:
            self.logger.record("train/clip_range_vf", clip_range_vf)

    def _check_settings(self) -> None:
        if not hasattr(self, "observation_space"):
            raise UserError("there is no env to take the spaces from: give one, or load a saved agent.")
        settings = {name: getattr(self, name) for name in SETTINGS}
        finite = {name: value for name, value in settings.items() if value != math.inf}  # no bound at all
        check_options("RecurrentPPO", RecurrentPPO.__init__, finite)
        if self.seq_len is not None and not 1 <= self.seq_len <= self.n_steps:
            raise UserError(
                f"seq_len is {self.seq_len}, but a row lies within one rollout: choose 1 to n_steps="
                f"{self.n_steps}."
            )
        check_choice("first_state", self.first_state, FIRST_STATES)
        for name in ("n_steps", "n_epochs"):
            check_whole(name, getattr(self, name), 1)
        for name in ("gamma", "gae_lambda"):
            check_number(name, getattr(self, name), 0, 1)
        for name in ("learning_rate", "clip_range", "vf_coef", "max_grad_norm"):
            value = getattr(self, name)
            for number in (value.start, value.end) if isinstance(value, LinearSchedule) else (value,):
                if isinstance(number, float | int) and number != math.inf:
                    check_number(name, number, 0)
        if self.batch_size is not None:
            check_whole("batch_size", self.batch_size, 1, remedy=" (or None for everything)")
        if isinstance(self.clip_range_vf, float | int) and self.clip_range_vf <= 0:
            raise OptionsError(
                f"clip_range_vf is {self.clip_range_vf}, but must be positive; None switches it off."
            )

    def random_state(self) -> dict[str, Any]:
        return {"noise": self._noise.get_state(), "order": self._order.bit_generator.state}

    def set_random_state(self, state: Mapping[str, Any]) -> None:
        self._noise.set_state(state["noise"].cpu())
        self._order.bit_generator.state = state["order"]

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_noise", "_order"]
