"""A fitness of the user's own: the search maximises it, and the points stay the game's."""

import dataclasses
import io
import threading
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv
from tiny_runs import EVOLVED
from toy_envs import Walk

import rlrnn
from rlrnn import Evolution, make_vec
from rlrnn.errors import UserError
from rlrnn.experiment.training.training import train
from rlrnn.learners.evolution import judging
from rlrnn.learners.evolution.fitness import SerialFitness
from rlrnn.learners.evolution.judging import PlayedEpisode

SMALL = {"cell": "elman", "hidden_size": 4, "net_arch": []}


def summed(episode: PlayedEpisode) -> float:
    """The points once more, added in the order in which they were won."""
    return float(np.add.accumulate(episode.rewards)[-1])


def short(episode: PlayedEpisode) -> float:
    return -episode.length


def evolved(fitness: Any = "points", **more: Any) -> Evolution:
    how: dict[str, Any] = {"episodes": 2, "policy_kwargs": SMALL, "seed": 3, **more}
    env = make_vec("pendulum-no-velocity", 8, kwargs={"max_episode_steps": 20})
    return Evolution("MlpPolicy", env, "snes", {"population": 6}, fitness=fitness, **how)


def content(agent: Evolution) -> bytes:
    file = io.BytesIO()
    agent.save(file, exclude=["fitness"])
    return file.getvalue()


@pytest.mark.parametrize("keep", ["center", "best"])
def test_the_sum_of_rewards_is_the_points_byte_for_byte(keep: str) -> None:
    """Ours are played in compiled calls without it, and step by step with it."""
    plain, own, other = (evolved(f, keep=keep, checks=3).learn(900) for f in ("points", summed, short))
    assert content(plain) == content(own) != content(other)
    assert plain.generations == own.generations >= 3


def test_any_number_of_workers_finds_the_same() -> None:
    def calm(episode: PlayedEpisode) -> float:
        return episode.points - float(np.abs(np.diff(episode.actions, axis=0)).sum())

    def games() -> Any:
        return make_vec("pendulum-no-velocity", 8, kwargs={"max_episode_steps": 20})

    alone, shared = (evolved(calm, workers=w, make_env=games).learn(300) for w in (0, 2))
    assert content(alone) == content(shared)
    assert not np.array_equal(alone.search["center"], evolved().learn(300).search["center"])


@pytest.mark.parametrize("foreign", [False, True], ids=["ours", "sb3's"])
def test_an_episode_is_what_was_played(foreign: bool) -> None:
    seen: list[PlayedEpisode] = []
    env: Any = DummyVecEnv([Walk] * 6) if foreign else rlrnn.envs.vec.from_envs([Walk] * 6)
    agent = Evolution("MlpPolicy", env, "snes", {"population": 2}, episodes=2, policy_kwargs=SMALL, seed=0)
    fitness = SerialFitness(env, lambda episode: seen.append(episode) or 7.0)
    from rlrnn.network import population

    genomes = np.stack([population.genome(agent.policy.network) * k for k in (1.0, -2.0, 3.0)])
    result = fitness.play(agent.policy.network, genomes, [5, 6])
    assert (result.fitness == 7.0).all() and len(seen) == 6
    assert sorted(e.points for e in seen) == sorted(result.points.ravel().tolist())
    assert sorted(e.length for e in seen) == sorted(result.lengths.ravel().tolist())
    for episode in seen:
        assert len(episode.observations) == len(episode.rewards) == episode.length
        again = Walk(fresh=True)
        observation, _ = again.reset(seed=5)
        other, _ = again.reset(seed=6)
        first = episode.observations[0]
        seed = 5 if np.array_equal(first, observation) else 6
        assert np.array_equal(first, observation if seed == 5 else other)
        now, _ = again.reset(seed=seed)
        for t in range(episode.length):
            np.testing.assert_array_equal(episode.observations[t], now)
            now, reward, *_ = again.step(episode.actions[t])
            assert episode.rewards[t] == (np.float32(reward) if foreign else reward)  # SB3's kind


def test_the_best_and_its_checks_go_by_fitness_and_the_target_by_points() -> None:
    agent = evolved(short, keep="best", checks=2)
    agent.learn(600, target=-1e9)
    assert agent.generations == 1 and agent.best_fitness == -20.0
    assert agent.best_points < -20.0 == agent.best_fitness
    assert np.mean([info["r"] for info in agent.ep_info_buffer]) < -20.0


@pytest.mark.parametrize(
    ("fitness", "words"),
    [
        (lambda _: float("nan"), "returned nan for an episode of 20 steps and -.* points, but must return a"),
        (lambda _: "good", "returned 'good' for an episode"),
        (lambda _: None, "returned None for an episode"),
        (lambda _: 1 / 0, "raised ZeroDivisionError for an episode of 20 steps .*test_judging.py, line"),
    ],
)
def test_what_is_no_number_is_named(fitness: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        evolved(fitness).learn(1)


def test_what_cannot_be_sent_to_workers_is_named() -> None:
    lock = threading.Lock()
    agent = evolved(lambda _: float(lock.locked()), workers=2, make_env=lambda: make_vec("pendulum", 8))
    with pytest.raises(UserError, match=r"the fitness .*lambda.* cannot be sent to a worker .*pickle .*lock"):
        agent.learn(1)


def test_a_function_is_asked_for_again_where_it_would_search_and_a_name_is_kept(tmp_path: Path) -> None:
    agent = evolved(short).learn(1)
    agent.save(tmp_path / "a.zip")
    env = agent.get_env()
    loaded = Evolution.load(tmp_path / "a.zip", env)
    loaded.predict(np.zeros((8, 2), np.float32))
    with pytest.raises(UserError, match=r"fitness could not be stored .*give it to load, as fitness=\.\.\."):
        loaded.learn(1)
    assert Evolution.load(tmp_path / "a.zip", env, fitness=short).learn(1).generations == 2
    with patch.dict(judging.FITNESSES):
        rlrnn.register_fitness("short", short)
        rlrnn.register_fitness("short", short)  # twice is harmless
        evolved("short").learn(1).save(tmp_path / "b.zip")
        assert Evolution.load(tmp_path / "b.zip", env).fitness == "short"
        recipe = dataclasses.replace(EVOLVED, steps=400)
        assert recipe.evolution is not None
        how = dataclasses.replace(recipe.evolution, fitness="short")
        run = train(dataclasses.replace(recipe, evolution=how), 1, tmp_path / "run", progress=False)
        agent = run.agent()
        assert agent.best_fitness < 0 < agent.best_points
        for taken, words in (("short", "belongs to short already"), ("points", "belongs to the points")):
            with pytest.raises(UserError, match=words):
                rlrnn.register_fitness(taken, summed)
        with pytest.raises(UserError, match="5 is no fitness: register a function"):
            rlrnn.register_fitness("five", 5)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"fitness 'short' is not known: choose one of points, .*--import"):
        train(dataclasses.replace(recipe, evolution=how), 1, tmp_path / "none", progress=False)
    assert not (tmp_path / "none").exists()
    with pytest.raises(UserError, match="fitness is 5: give 'points', a name that"):
        evolved(5)
