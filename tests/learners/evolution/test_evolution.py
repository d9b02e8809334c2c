"""Evolution climbs, says how far it came, and is the same however it was run."""

from __future__ import annotations

import io
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv
from tiny_games import Target

from rlrnn import Evolution, RecurrentPPO, make_vec
from rlrnn.envs.vec import from_envs
from rlrnn.errors import OptionsError, UserError
from rlrnn.experiment import agents
from rlrnn.learners.bars import StepsBar
from rlrnn.learners.evolution.fitness import SerialFitness
from rlrnn.learners.evolution.strategies import STRATEGIES
from rlrnn.network.population import genome

SMALL: dict[str, Any] = {"hidden_size": 3, "net_arch": []}
SETTINGS: dict[str, dict[str, Any]] = {
    "openai_es": {"population": 20, "sigma": 0.1, "learning_rate": 0.05},
    "pgpe": {"population": 20, "max_speed": 0.1, "sigma": 0.2},
    "genetic": {"population": 20, "parents": 5, "sigma": 0.1},
}


def targets(n_envs: int) -> VecEnv:
    return from_envs([Target] * n_envs)


def evolution(
    n_envs: int = 63, strategy: str = "snes", settings: dict[str, Any] | None = None, **more: Any
) -> Evolution:
    given = {"population": 20, "sigma": 0.5} if settings is None else settings
    options = {"episodes": 3, "seed": 1, "policy_kwargs": SMALL, **more}
    return Evolution("MlpElmanPolicy", targets(n_envs), strategy, given, **options)


def judged(agent: Evolution) -> float:
    env = targets(50)
    env.seed(0)
    return float(evaluate_policy(agent, env, 50)[0])  # type: ignore[arg-type]


class Told(BaseCallback):
    def __init__(self) -> None:
        super().__init__()
        self.seeds: list[list[int]] = []
        self.now: list[float] = []
        self.steps: list[int] = []

    def _on_step(self) -> bool:
        self.seeds.append(self.locals["seeds"])
        self.now.append(self.locals["score"])
        self.steps.append(int(self.locals["result"].lengths.sum()))
        won = [info["episode"]["r"] for info in self.locals["infos"]]
        assert float(np.mean(won)) == pytest.approx(self.locals["result"].points[-1].mean())
        return True


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_learns_to_do_what_is_paid(strategy: str) -> None:
    settings = SETTINGS.get(strategy, {"population": 20, "sigma": 0.5})
    agent = evolution(strategy=strategy, settings=settings)
    before = judged(agent)
    agent.learn(40_000)
    assert before < -0.45 and judged(agent) > -0.25  # the best is 0; with a sign turned round it falls


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    files = []
    for seed, workers in ((1, 0), (1, 0), (1, 1), (2, 0)):
        agent = evolution(seed=seed, workers=workers, make_env=partial(targets, 63))
        agent.learn(2_000)
        buffer = io.BytesIO()
        agent.save(buffer)
        files.append(buffer.getvalue())
    assert files[0] == files[1] == files[2] != files[3]


def test_all_members_meet_the_same_starts_and_every_generation_others() -> None:
    told = Told()
    agent = evolution()
    agent.learn(1_500, told)
    assert len(told.seeds) == agent.generations > 2
    drawn = [seed for seeds in told.seeds for seed in seeds]
    assert len(set(drawn)) == len(drawn) and min(drawn) >= 2**31
    assert agent.num_timesteps == sum(told.steps) and agent.evaluations == 20 * agent.generations


def test_budgets_end_it() -> None:
    agent = evolution()
    agent.learn(10**9, evaluations=45)
    assert (agent.generations, agent.evaluations) == (3, 60)
    agent.learn(10**9, evaluations=80, reset_num_timesteps=False)
    assert agent.evaluations == 80
    agent.learn(10**9, seconds=0.05)
    agent.learn(10**9, target=-0.3)
    assert judged(agent) > -0.4


def test_a_target_is_reached_in_fresh_episodes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent wins enough in its generation, but not afterwards."""
    agent = evolution(checks=7)
    real, asked, trained = agent._play, [], set()

    def play(genomes: np.ndarray, seeds: list[int]) -> Any:
        played = real(genomes, seeds)
        if len(seeds) == 7:
            asked.append(seeds)
            played.points[:] = -9.0
        else:
            trained.update(seeds)
        return played

    monkeypatch.setattr(agent, "_play", play)
    agent.learn(1_000, target=-5.0)
    assert agent.generations > 2 and len(asked) == agent.generations
    assert trained and trained.isdisjoint(seed for seeds in asked for seed in seeds)


def test_the_best_has_won_more_in_fresh_episodes_than_any_before() -> None:
    agent = evolution(strategy="genetic", settings=SETTINGS["genetic"], keep="best")
    agent.learn(10_000)
    assert agent.best is not None and agent.best_points > -1.0
    np.testing.assert_array_equal(genome(agent.policy.network), agent.best.astype(np.float32))


@pytest.mark.parametrize("keep", ["best", "center"])
def test_the_agent_is_what_won_in_fresh_episodes_its_statistics_included(
    keep: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kwargs = {**SMALL, "normalize_observations": True}
    agent = evolution(keep=keep, checks=7, policy_kwargs=kwargs)
    real, checked = agent._play, []

    def play(genomes: np.ndarray, seeds: list[int]) -> Any:
        played = real(genomes, seeds)
        if len(seeds) == 7:
            checked.append((float(played.points.mean()), seeds))
        return played

    monkeypatch.setattr(agent, "_play", play)
    agent.learn(4_000, target=None if keep == "best" else -0.5)
    points, seeds = checked[-1]
    if keep == "best":  # the holder plays on the challenger's starts, too
        assert {sum(s == seeds for _, s in checked) for _, seeds in checked[1:]} == {2}
        points = max(p for p, s in checked if s == seeds)
        assert agent.best_points == points
    network = agent.policy.network
    again = SerialFitness(targets(7)).play(network, genome(network)[None], seeds)
    assert float(again.points.mean()) == points


def test_a_search_begins_around_the_weights_that_the_network_has(tmp_path: Any) -> None:
    shared = {**SMALL, "critic": "shared"}
    rewarded = RecurrentPPO("MlpElmanPolicy", targets(2), n_steps=8, policy_kwargs=shared, seed=7)
    rewarded.save(tmp_path / "rewarded")
    agent = evolution()
    agent.set_parameters(tmp_path / "rewarded.zip")
    agent.learn(1, evaluations=0)
    np.testing.assert_array_equal(agent.search["center"], genome(rewarded.policy.network))
    zero = evolution(from_zero=True)
    zero.learn(1, evaluations=0)
    assert not zero.search["center"].any()
    with pytest.raises(UserError, match="learned by RecurrentPPO, not by Evolution: load it by"):
        Evolution.load(tmp_path / "rewarded.zip")
    agent.save(tmp_path / "evolved")
    with pytest.raises(UserError, match="learned by Evolution, not by RecurrentPPO"):
        RecurrentPPO.load(tmp_path / "evolved.zip")
    with pytest.raises(UserError, match="the search that was saved is not one of cma_es"):
        Evolution.load(tmp_path / "evolved.zip", strategy="cma_es")


def test_options_of_continuous_actions_are_saved() -> None:
    agent = evolution(policy_kwargs={**SMALL, "use_sde": True, "squash_output": True})
    agent.learn(300)
    buffer = io.BytesIO()
    agent.save(buffer)
    buffer.seek(0)
    seen = targets(4).reset()
    ours, theirs = (a.predict(seen, deterministic=True)[0] for a in (agent, Evolution.load(buffer)))
    assert (ours == theirs).all()


@pytest.mark.parametrize("make", [targets, partial(make_vec, "cartpole")])
def test_copies_are_not_alike_afterwards(make: Any) -> None:
    env = make(9)
    agent = Evolution("MlpGruPolicy", env, "snes", {"population": 8}, policy_kwargs=SMALL, seed=0)
    agent.learn(100)
    assert len(np.unique(env.reset(), axis=0)) == 9


def test_the_progress_bar_counts_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tqdm")
    pytest.importorskip("rich")
    ended, told = [], Told()
    real = StepsBar._on_training_end
    monkeypatch.setattr(StepsBar, "_on_training_end", lambda bar: (ended.append(bar.pbar.n), real(bar)))
    agent = evolution()
    agent.learn(1_000, told, progress_bar=True)
    agent.learn(1_000, reset_num_timesteps=False, progress_bar=True)
    assert ended == [sum(told.steps), agent.num_timesteps - sum(told.steps)]


def test_it_goes_on_where_it_was_saved() -> None:
    whole, half = evolution(), evolution()
    whole.learn(10**9, evaluations=100)
    half.learn(10**9, evaluations=40)
    buffer = io.BytesIO()
    half.save(buffer)
    buffer.seek(0)
    again = Evolution.load(buffer, targets(63))
    again.learn(10**9, evaluations=100, reset_num_timesteps=False)
    for name in whole.search:
        np.testing.assert_array_equal(whole.search[name], again.search[name])
    assert (genome(whole.policy.network) == genome(again.policy.network)).all()


def test_an_agent_does_not_show_which_way_it_learned(tmp_path: Any) -> None:
    agent = evolution()
    agent.save(tmp_path / "evolved")
    loaded = agents.load(tmp_path / "evolved.zip")
    assert isinstance(loaded, Evolution)
    seen = targets(4).reset()
    a, state = agent.predict(seen, deterministic=True)
    b, _ = loaded.predict(seen, deterministic=True)
    assert (a == b).all() and state is not None
    assert (agent.player(4).act(seen) == a).all()
    rewarded = RecurrentPPO("MlpElmanPolicy", targets(2), n_steps=8, policy_kwargs=SMALL)
    rewarded.save(tmp_path / "rewarded")
    assert isinstance(agents.load(tmp_path / "rewarded.zip"), RecurrentPPO)
    assert type(agent.policy) is type(rewarded.policy)


def test_sb3s_own_environments_callbacks_and_logs_work() -> None:
    env = make_vec_env("CartPole-v1", 4)
    agent = Evolution("MlpLstmPolicy", env, "snes", {"population": 6}, policy_kwargs=SMALL, seed=0)
    watch = EvalCallback(make_vec_env("CartPole-v1", 1), eval_freq=2, n_eval_episodes=2, verbose=0)
    agent.learn(1_000, watch)
    logged = agent.logger.name_to_value
    assert watch.n_calls == agent.generations and watch.best_mean_reward > 0 and not logged
    assert len(agent.ep_info_buffer or ()) == min(100, agent.generations)


def test_it_may_learn_again_in_games_that_are_arrays() -> None:
    env = make_vec("cartpole-no-velocity", 10, wrappers=[{"name": "stack", "frames": 2}])
    agent = Evolution("MlpGruPolicy", env, "snes", {"population": 9}, policy_kwargs=SMALL, seed=0)
    for _ in range(2):
        agent.learn(500)
        assert agent.num_timesteps >= 500


def test_the_statistics_of_what_was_seen_stay_with_the_agent() -> None:
    agent = evolution(policy_kwargs={**SMALL, "normalize_observations": True})
    agent.learn(600)
    normalizer = agent.policy.network.sensors.normalizers["field_"]
    assert float(normalizer.count) == agent.num_timesteps
    with torch.no_grad():
        seen = torch.as_tensor(np.concatenate([targets(200).reset()]))
    assert abs(float(normalizer.mean[0]) - float(seen[:, 0].mean())) < 0.2


def test_a_strategy_works_with_one_blas_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """With more, its matrices would round otherwise on another machine."""
    from threadpoolctl import threadpool_info, threadpool_limits

    agent, threads = evolution(strategy="cma_es"), []
    for name in ("ask", "tell"):
        real = getattr(type(agent._strategy), name)

        def watched(*given: Any, real: Any = real) -> Any:
            threads.append([one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"])
            return real(*given)

        monkeypatch.setattr(type(agent._strategy), name, watched)
    with threadpool_limits(2, user_api="blas"):
        agent.learn(1)
        after = [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]
    assert len(threads) == 2 and all(set(numbers) == {1} for numbers in threads) and 2 in after


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(UserError, match="episodes is 3, which a member plays at once, but env has 1 copy"):
        evolution(1)
    with pytest.raises(UserError, match="keep is 'mean': choose one of center, best"):
        evolution(keep="mean")
    with pytest.raises(UserError, match="strategy 'sness' is not known"):
        evolution(strategy="sness")
    with pytest.raises(UserError, match="no setting 'speed'"):
        evolution(settings={"speed": 1})
    with pytest.raises(OptionsError, match="workers is 2, but nothing says how"):
        evolution(workers=2).learn(100)
    with pytest.raises(UserError, match="checks is 0, but must be a whole number of at least 1"):
        evolution(checks=0)
    with pytest.raises(UserError, match=r"episodes is 2\.5, but must be a whole number"):
        evolution(episodes=2.5)
    agent = evolution()
    agent.env = None
    with pytest.raises(OptionsError, match="no environment to learn in"):
        agent.learn(1)


def test_a_critic_nobody_asks_does_not_contradict_what_the_user_said() -> None:
    for said, critic in (
        ({}, "shared"),
        ({"share_features_extractor": False}, "feedforward"),
        ({"critic": "own"}, "own"),
    ):
        agent = Evolution("MlpGruPolicy", targets(5), policy_kwargs={"hidden_size": 4, **said})
        assert agent.policy.description.critic == critic
