"""The bandit: arms pay with their chances, scripts win what sums say, and foresight is near the best."""

import tomllib
from functools import cache
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from scipy import stats

from rlrnn.errors import UserError
from rlrnn.games.bandit import MultiarmedBandit
from rlrnn.games.players.bandit import PLAYERS, gittins_indices
from rlrnn.games.players.base import play_once

ENVS = Path(__file__).parents[2] / "envs"


def test_an_arm_pays_with_its_chance_and_a_pull_wins_or_loses_its_share():
    game = MultiarmedBandit(arms=3, steps_per_point=50, max_episode_steps=60, num_envs=500)
    seen, _ = game.reset(seed=0)
    assert seen.tolist() == [[1, 0]] * 500
    arms = game.state[3:].copy()  # [3, 500]
    assert stats.kstest(arms.ravel(), "uniform").pvalue > 0.01
    pulled, paid = [], []
    rng = np.random.default_rng(0)
    for t in range(60):
        pulled.append(rng.integers(3, size=500))
        seen, reward, ended, cut, infos = game.step(pulled[-1])
        assert (cut == (t == 59)).all() and not ended.any()
        seen = infos["final_obs"] if cut.any() else seen
        paid.append(seen[:, 1])
        assert (seen.sum(1) == 1).all() and seen.dtype == np.float32
        assert reward.tolist() == np.where(seen[:, 1] == 1, 1 / 50, -1 / 50).tolist()
        assert cut.any() or (game.state[3:] == arms).all()  # for the whole episode
    assert (game.state[3:] != arms).all()  # and other ones for the next
    chance = np.take_along_axis(arms, np.stack(pulled), axis=0)  # [60, 500]
    paid = np.stack(paid)
    error = (paid - chance).sum() / np.sqrt((chance * (1 - chance)).sum())
    assert abs(error) < 4
    for low in np.arange(0, 1, 0.1):  # at every chance
        here = (chance >= low) & (chance < low + 0.1)
        assert paid[here].mean() == pytest.approx(chance[here].mean(), abs=4 * 0.5 / np.sqrt(here.sum()))


def test_scripts_win_what_their_formulas_say():
    game = gym.make_vec("rlrnn/MultiarmedBandit-v0", num_envs=1500)
    arms = np.random.default_rng(0).random((100_000, 10))
    first, rest = arms[:, 0], arms[:, 1:].mean(1)
    after_many = {
        "random": 0.0,
        "homebody": 2 * np.mean(rest / (1 - first + rest)) - 1,
        "stayer": 2 * np.mean(1 - 10 / (1 / (1 - arms)).sum(1)) - 1,  # stays 1 / (1 - p) pulls at each arm
        "oracle": 2 * 10 / 11 - 1,  # the mean of the highest of ten
    }
    points = {name: play_once(game, make(game), seed=7) for name, make in PLAYERS.items()}
    for name, expected in after_many.items():
        late = {"stayer": 0.04}.get(name, 0.03)  # 200 pulls are not forever, 1,500 players not all
        assert points[name].mean() == pytest.approx(expected, abs=late)
    assert points["thompson"].mean() > points["stayer"].mean() + 0.1
    assert 0.06 < points["gittins"].mean() - points["thompson"].mean() < 0.12
    one = MultiarmedBandit(arms=1, max_episode_steps=200, num_envs=20)  # nothing to choose
    assert len({tuple(play_once(one, make(one), seed=1)) for make in PLAYERS.values()}) == 1


def test_gittins_indices_by_hand():
    (only,) = gittins_indices(1)
    assert only == pytest.approx(0.5)
    first, second = gittins_indices(2, rivals=1001)
    # x = 1/2 + (1/2) (2/3) + (1/2) x - x: after a payout it goes on, after none the rival takes over.
    assert first == pytest.approx(5 / 9, abs=1e-6)
    assert (second[0, 0], second[1, 0], second[0, 1]) == pytest.approx((1 / 2, 2 / 3, 1 / 3), abs=1e-6)
    indices = gittins_indices(40)
    assert indices[0][0, 0] == pytest.approx(gittins_indices(40, rivals=801)[0][0, 0], abs=2e-3)
    for t in range(40):
        s, f = np.nonzero(np.add.outer(np.arange(t + 1), np.arange(t + 1)) <= t)
        assert (indices[t][s, f] >= (s + 1) / (s + f + 2) - 1e-3).all()  # what can be learned is never bad
    assert (np.diff([indices[t][0, 0] for t in range(40)]) < 1e-9).all()  # and worth less as time runs out


def test_gittins_is_near_the_best_there_can_be():
    """Against the optimum of a small bandit, by going through all that can happen."""
    steps, indices = 10, gittins_indices(10, rivals=401)

    @cache
    def expected(state, optimal):  # state: (paid, unpaid) of each arm; payouts still to come
        t = sum(map(sum, state))
        if t == steps:
            return 0.0

        def after(arm):
            s, f = state[arm]
            p = (s + 1) / (s + f + 2)
            won, lost = ((*state[:arm], pair, *state[arm + 1 :]) for pair in ((s + 1, f), (s, f + 1)))
            return p * (1 + expected(won, optimal)) + (1 - p) * expected(lost, optimal)

        if optimal:
            return max(map(after, range(len(state))))
        return after(int(np.argmax([indices[t][pair] for pair in state])))

    best, index = (expected(((0, 0),) * 3, optimal) for optimal in (True, False))
    assert best > 6 and index <= best + 1e-12  # of 10 pulls; 5 by chance
    assert index == pytest.approx(best, rel=0.005)


def test_the_game_files_scores_are_those_of_the_scripts():
    file = tomllib.loads((ENVS / "bandit-easy.toml").read_text())
    game = gym.make_vec(file["id"], num_envs=file["episodes"], **file["kwargs"])
    for name, script in (("random", "random"), ("memoryless", "stayer"), ("ceiling", "gittins")):
        points = play_once(game, PLAYERS[script](game), seed=1_000_000)
        assert points.mean() == pytest.approx(file["references"][name]["points"], abs=0.006)
    assert game.max_episode_steps == game.steps_per_point == 200


@pytest.mark.parametrize("options", [{"arms": 0}, {"steps_per_point": 0}])
def test_impossible_bandits_are_refused(options):
    with pytest.raises(UserError, match=r"is 0, but must be a .*number of at least 1"):
        gym.make("rlrnn/MultiarmedBandit-v0", **options)
