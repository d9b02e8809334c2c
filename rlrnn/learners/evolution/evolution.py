"""Evolution: networks with memory improved by their fitness, the points that they win in whole episodes.

A generation in the order it runs: ``strategy.ask`` draws genomes, ``fitness`` evaluates them, and the center
of the search along with them, ``strategy.tell`` moves the search. Everything that is drawn is a function of
seed and generation.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.utils import safe_mean
from stable_baselines3.common.vec_env import VecEnv

from rlrnn.cells.options import check_options
from rlrnn.common.capacity import check_fits
from rlrnn.common.settings import check_choice, check_seed, check_whole, plain, takes_plain
from rlrnn.common.threads import keep_freed_memory, one_blas_thread
from rlrnn.errors import OptionsError, UserError
from rlrnn.learners.base import Learner, check_learning
from rlrnn.learners.evolution.fitness import (
    Fitness,
    ParallelFitness,
    Round,
    SerialFitness,
    learn_statistics,
    set_statistics,
    statistics,
)
from rlrnn.learners.evolution.judging import POINTS, Judge, check_fitness
from rlrnn.learners.evolution.strategies import State, make_strategy
from rlrnn.learners.policy.policy import RecurrentPolicy
from rlrnn.network import population

KEEPS = ("center", "best")
TRAINING, CHECK, NOISE, AFTERWARDS = range(4)  # what a seed is for
FIRST_SEED = 2**31  # of training episodes; those of evaluations are smaller numbers


class Evolution(Learner):
    """Learns from fitness: the points that a member of a population wins, and nothing else.

        agent = Evolution("MlpGruPolicy", env, "snes", episodes=4)
        agent.learn(1_000_000)

    :param policy: as in ``RecurrentPPO``; its critic is not used, and by default has no memory of its own
    :param env: one or several copies of a game: as many members play at once as fit, ``episodes`` copies
        each; (population + 1) * episodes make a generation one batch, as the center of the search plays
        along. More are faster, up to that number; the result is the same for any.
    :param strategy: a name in ``rlrnn.learners.evolution.strategies.STRATEGIES``. "snes" searches each weight
        by itself, so that networks may be large; "cma_es" and "xnes" learn how weights go together, for some
        hundred of them;
        docs/guide.md tells what each was measured to do.
    :param strategy_kwargs: its settings, such as ``{"population": 64, "sigma": 0.1}``; those not given are as
        published. A larger population sees through more noise, at more steps per generation; a larger
        ``sigma`` begins with members that differ more.
    :param episodes: of each member, the mean of which is its fitness; all members meet the same starts. More
        tell members apart where chance decides, at as many times the steps; 1 is enough where it does not.
    :param keep: what the agent is: the "center" of the search, which luck moves little, or the "best" member
        so far
    :param checks: episodes on fresh starts, in which a member must win more than the best so far does there
        to take its place, and the agent must win ``target`` before that is said to be reached. More: fewer
        are called good by luck, and each check takes more steps.
    :param from_zero: the search begins at weights of 0, not at those that the network has by then: for
        searches that are published so, and wherever the first spread is to be all that tells members apart
    :param workers: processes that share the work, each with copies of its own; 0: this one. The result is the
        same for any number, and more than there are cores bring nothing.
    :param make_env: makes a worker's copies, as many as ``env`` has; needed only for workers
    :param on: a Ray cluster whose machines are the workers: "ray" (the one that this program or RAY_ADDRESS
        names, else this machine's cores), "ray:ADDRESS" or "ray://HOST:PORT"; ``workers`` 0 is then one for
        every core of it. The result is the same again: machines that would round otherwise are refused.
    :param fitness: what the search maximises in the place of the game's "points": a function of an episode,
        or the name of one that ``rlrnn.register_fitness`` was given. It gets the episode's ``observations``
        [T, ...], ``actions`` [T, ...], ``rewards`` [T], ``points`` and ``length`` and returns a finite
        number; the mean over ``episodes`` counts, and decides which member is the best. Logged points,
        evaluations and ``target`` stay the game's. All games are then stepped one step at a time, which takes
        ours longer. A function is not saved with the agent, a registered name is.
    :param stats_window_size: episodes of the center over which the logged ``rollout/ep_rew_mean`` is taken
    :param tensorboard_log: folder for TensorBoard's logs; None: none
    :param policy_kwargs: settings of the network, as in ``RecurrentPPO``. Small networks have fewer weights
        to search; ``normalize_observations`` decided much in docs/guide.md.
    :param verbose: 0: silent; 1: the log's tables, and how large a generation is; 2: SB3's debug messages,
        too
    :param seed: of weights, members and games: the same seed is the same run. None: drawn.
    :param device: "cpu", which "auto" means, too: populations play nowhere else
    :param _init_setup_model: False leaves the network to ``load``, which calls for it

    A callback's step is a generation: its locals hold ``genomes`` and ``fitness``, and in ``infos`` the
    episodes of the center, which plays along in every generation.
    """

    recipe_table = "evolution"
    has_value = False
    keeps_episodes = False  # each generation begins its own, by functions of the seed, as all that it draws
    shares_play = True

    @takes_plain
    def __init__(
        self,
        policy: str | type[RecurrentPolicy],
        env: GymEnv | str | None,
        strategy: str = "snes",
        strategy_kwargs: dict[str, Any] | None = None,
        episodes: int = 1,
        keep: str = "center",
        checks: int = 20,
        from_zero: bool = False,
        workers: int = 0,
        make_env: Callable[[], VecEnv] | None = None,
        on: str | None = None,
        fitness: str | Judge = POINTS,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "cpu",
        _init_setup_model: bool = True,
    ) -> None:
        kinds = {"strategy_kwargs": strategy_kwargs, "policy_kwargs": policy_kwargs, "from_zero": from_zero}
        check_options("Evolution", Evolution.__init__, kinds)
        check_seed(seed)  # before any game is made
        super().__init__(
            policy,
            env,
            learning_rate=0.0,
            policy_kwargs=_without_critic(policy_kwargs or {}),
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device="cpu" if device == "auto" else device,
            support_multi_env=True,
            seed=seed,
            supported_action_spaces=(
                spaces.Box,
                spaces.Discrete,
                spaces.MultiDiscrete,
                spaces.MultiBinary,
            ),
        )
        self.strategy, self.strategy_kwargs = strategy, dict(strategy_kwargs or {})
        self.episodes, self.keep, self.checks, self.from_zero = episodes, keep, checks, from_zero
        self.workers, self.on = workers, on
        self.make_env, self.fitness = make_env, fitness
        self._fitness: Fitness | None = None
        self._entropy: int | None = None  # what all seeds are made of
        self.generations = 0  # played so far
        self.evaluations = 0  # members of generations that were played
        self.search: State = {}
        self.statistics: State = {}  # of observations, by which the next generation normalises
        self.best: np.ndarray | None = None  # genome [D] of the best so far
        self.best_statistics: State = {}  # by which it normalised
        self.best_fitness = self.best_points = -np.inf  # in checks
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        self._check_settings()
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self.policy = self._make_policy()
        self._strategy = make_strategy(self.strategy, **self.strategy_kwargs)
        weights = len(population.genome(self.policy.network))
        check_fits(
            f"a generation of {self._strategy.size(weights):,} members of {weights:,} weights",
            self._strategy.size(weights) * weights * 8,  # float64
            "population in strategy_kwargs, or hidden_size",
        )
        loaded, self.search = self.search, self._initial_search()
        if loaded and loaded.keys() != self.search.keys():
            raise UserError(
                f"the search that was saved is not one of {self.strategy}: leave out strategy, or take the "
                "weights alone to a new Evolution by set_parameters."
            )
        self.search = loaded or self.search
        if self.verbose >= 1:
            size = f"{self.population} members of {self._strategy.center(self.search).size} weights"
            print(f"A generation is {size}, {self.episodes} episode(s) each")

    def _initial_search(self) -> State:
        """The search around the network as it is."""
        first = population.genome(self.policy.network)
        return self._strategy.start(np.zeros_like(first) if self.from_zero else first)

    def check_takes_weights(self) -> None:
        if self.generations:
            raise UserError(
                f"the agent has searched for {self.generations} generation(s), which would overwrite what it "
                "imitates: imitate first, then learn."
            )

    @property
    def population(self) -> int:
        """Members of a generation."""
        return self._strategy.size(self._strategy.center(self.search).size)

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed SB3's global generators, and all that is drawn here."""
        seed = plain(seed)
        check_seed(seed)
        super().set_random_seed(seed)
        if seed is not None:
            self._entropy = seed
        elif self._entropy is None:
            self._entropy = int(torch.randint(2**62, ()))

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "Evolution",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
        *,
        evaluations: int | None = None,
        seconds: float | None = None,
        target: float | None = None,
    ) -> Evolution:
        """Generations until a budget is used up: steps of the game, evaluations of members, or seconds.

        ``target``: stop as soon as the agent wins so many points, in its generation and in fresh episodes.
        """
        check_learning(self.env, total_timesteps, callback, log_interval)
        assert self.env is not None
        keep_freed_memory()
        began = time.perf_counter()
        if reset_num_timesteps:
            self.evaluations = 0
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        callback.on_training_start(locals(), globals())
        if not self.generations:  # the network's weights may be others by now
            self.search, self.statistics = self._initial_search(), statistics(self.policy.network)
        try:
            self._fitness = self._make_fitness()
            while self.num_timesteps < total_timesteps:
                if evaluations is not None and self.evaluations >= evaluations:
                    break
                if seconds is not None and time.perf_counter() - began >= seconds:
                    break
                if not self._generation(callback, log_interval, target):
                    break
        finally:
            if self._fitness is not None:
                self._fitness.close()
                self._fitness = None
            self.env.seed(self._seeds(AFTERWARDS, 1)[0])  # else copies that shared a start would be alike
        callback.on_training_end()
        return self

    def _generation(self, callback: BaseCallback, log_interval: int, target: float | None) -> bool:
        """Play one; False where a callback asks to stop or the target is reached."""
        callback.on_rollout_start()
        network = self.policy.network
        set_statistics(network, self.statistics)
        with one_blas_thread():
            genomes = self._strategy.ask(self.search, self._seeds(NOISE, 1)[0])
        seeds, center = self._seeds(TRAINING, self.episodes), self._strategy.center(self.search)
        result = self._play(np.concatenate((genomes, center[None])), seeds)
        fitness = result.fitness[:-1].mean(axis=1)  # [P]
        with one_blas_thread():
            self.search = self._strategy.tell(self.search, genomes, fitness)
        score = float(result.points[-1].mean())  # points of the center that these genomes were drawn around
        self.logger.record("fitness/center", float(result.fitness[-1].mean()))
        if self.keep == "best":
            center = self._consider(genomes[fitness.argmax()], float(fitness.max()))
            score = self.best_points
            self.logger.record("fitness/best_so_far", self.best_fitness)
        solved = target is not None and score >= target
        if target is not None and solved and self.keep == "center":
            solved = self._check(center, self.statistics)[1] >= target
        present_statistics = self.statistics
        set_statistics(network, present_statistics)
        learn_statistics(network, result.moments)
        self.statistics = statistics(network)
        # Where the target is reached, the agent is the genome that reached it, else the new center.
        if self.keep == "best":
            set_statistics(network, self.best_statistics)
        elif solved:
            set_statistics(network, present_statistics)
        else:
            center = self._strategy.center(self.search)
        population.write(network, center)
        self.generations += 1
        self.evaluations += len(genomes)
        # The episodes that are logged are those of the center, which stands for the agent.
        seconds = round((time.time_ns() - self.start_time) / 1e9, 6)
        infos = [
            {"episode": {"r": float(points), "l": int(steps), "t": seconds}}
            for points, steps in zip(result.points[-1], result.lengths[-1], strict=True)
        ]
        dones = np.ones(len(infos), np.bool_)
        self._update_info_buffer(infos, dones)
        self._log(fitness, log_interval)
        callback.update_locals({**locals(), "env": self.env})
        proceed = callback.on_step()
        callback.on_rollout_end()
        return proceed and not solved

    def _consider(self, genome: np.ndarray, fitness: float) -> np.ndarray:
        """The best genome so far; a fitter challenger and it are evaluated on the same fresh starts."""
        if self.best is not None and fitness <= self.best_fitness:
            return self.best
        challenger, points = self._check(genome, self.statistics)
        if self.best is not None:  # the incumbent is re-evaluated on the same seeds
            self.best_fitness, self.best_points = self._check(self.best, self.best_statistics)
        if self.best is None or challenger > self.best_fitness:
            self.best, self.best_statistics = genome, self.statistics
            self.best_fitness, self.best_points = challenger, points
        return self.best

    def _check(self, genome: np.ndarray, stats: State) -> tuple[float, float]:
        """Mean fitness and mean points on fresh starts, with these statistics of observations."""
        set_statistics(self.policy.network, stats)
        result = self._play(genome[None], self._seeds(CHECK, self.checks))
        return float(result.fitness.mean()), float(result.points.mean())

    def _play(self, genomes: np.ndarray, seeds: list[int]) -> Round:
        """In as many rounds as the copies of the game require; counts the steps."""
        assert self._fitness is not None and self.env is not None
        at_once = self.env.num_envs
        parts = [seeds[first : first + at_once] for first in range(0, len(seeds), at_once)]
        rounds = [self._fitness.play(self.policy.network, genomes, part) for part in parts]
        points, lengths, fitness = (
            np.concatenate([getattr(r, name) for r in rounds], axis=1)
            for name in ("points", "lengths", "fitness")
        )
        self.num_timesteps += int(lengths.sum())
        return Round(points, lengths, rounds[0].moments, fitness)

    def _seeds(self, purpose: int, count: int) -> list[int]:
        """A function of the run's seed, what they are for, and the generation."""
        assert self._entropy is not None
        numbers = np.random.SeedSequence((self._entropy, purpose, self.generations)).generate_state(count)
        return [int(number) // 2 + FIRST_SEED for number in numbers]

    def _make_fitness(self) -> Fitness:
        assert self.env is not None
        if not self.workers and self.on is None:
            return SerialFitness(self.env, self.fitness)
        if self.make_env is None:
            which = f"workers is {self.workers}" if self.on is None else f"on is {self.on!r}"
            raise OptionsError(
                f"{which}, but nothing says how each worker makes its games: give make_env, a function that "
                "returns copies of the game, or leave it out."
            )
        what = self.make_env, self.env.num_envs, self.workers, self.policy.network, self.on, self.fitness
        return ParallelFitness(*what)

    def _log(self, fitness: np.ndarray, log_interval: int) -> None:
        record = self.logger.record
        record("fitness/best", float(fitness.max()))
        record("fitness/median", float(np.median(fitness)))
        record("fitness/mean", float(fitness.mean()))
        record("search/spread", self._strategy.spread(self.search))
        record("time/generations", self.generations, exclude="tensorboard")
        record("time/evaluations", self.evaluations, exclude="tensorboard")
        if log_interval is None or self.generations % log_interval:
            return
        elapsed = max((time.time_ns() - self.start_time) / 1e9, sys.float_info.epsilon)
        steps = self.num_timesteps - self._num_timesteps_at_start
        record("time/fps", int(steps / elapsed))
        record("time/time_elapsed", int(elapsed), exclude="tensorboard")
        record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        record("rollout/ep_rew_mean", safe_mean([info["r"] for info in self.ep_info_buffer or ()]))
        record("rollout/ep_len_mean", safe_mean([info["l"] for info in self.ep_info_buffer or ()]))
        self.logger.dump(step=self.num_timesteps)

    def _check_settings(self) -> None:
        if not hasattr(self, "observation_space"):
            raise UserError("there is no env to take the spaces from: give one, or load a saved agent.")
        for name, least in (("episodes", 1), ("checks", 1), ("workers", 0)):
            check_whole(name, getattr(self, name), least)
        check_choice("keep", self.keep, KEEPS)
        check_fitness(self.fitness)
        if torch.device(self.device).type != "cpu":
            raise UserError(f"populations play on the CPU, not on {self.device}: leave device out.")
        if self.env is not None and self.episodes > self.env.num_envs:
            raise UserError(
                f"episodes is {self.episodes}, which a member plays at once, but env has {self.env.num_envs} "
                f"cop{'y' if self.env.num_envs == 1 else 'ies'}: make at least as many."
            )

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy"], []

    def _excluded_save_params(self) -> list[str]:
        last = "_last_obs", "_last_episode_starts", "_last_original_obs"
        return [*super()._excluded_save_params(), "_fitness", "make_env", "_strategy", "workers", "on", *last]


def _without_critic(settings: dict[str, Any]) -> dict[str, Any]:
    """policy_kwargs of a network whose critic, which is not used, has no memory of its own."""
    explicit = settings.keys() & {"critic", "shared_lstm", "enable_critic_lstm"}
    shares = settings.get("share_features_extractor", True)  # else it cannot read the actor's memory
    return dict(settings) if explicit else {**settings, "critic": "shared" if shares else "feedforward"}
