"""The ruler itself: every episode counts once, the same seed gives the same points, intervals are right."""

from contextlib import closing

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from rich.console import Console
from scipy import stats
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecTransposeImage
from toy_envs import Walk

import rlrnn
from rlrnn.common import arrays
from rlrnn.envs.games import Game, Points, Reference, References, make_vec
from rlrnn.errors import EnvironmentFault, UserError
from rlrnn.experiment import evaluation, judging
from rlrnn.experiment.evaluation import (
    RANDOM,
    WIPED,
    WITH_MEMORY,
    Score,
    evaluate,
    judge,
    play,
    shown,
    table,
)
from rlrnn.experiment.pictures import film
from rlrnn.experiment.players import RandomPlayer
from rlrnn.learners.ppo.ppo import RecurrentPPO


class ShortAndLong(gym.Env):
    """Episodes of 1 step and 0 points, and of 9 steps and 1 point, in turn."""

    observation_space = spaces.Box(0, 1, (1,))
    action_space = spaces.Discrete(2)

    def __init__(self):
        self.episode = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.left = self.episode + 1, 1 if self.episode % 2 == 0 else 9
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.left -= 1
        reward = float(self.left == 0 and self.episode % 2 == 0)
        return np.zeros(1, np.float32), reward, self.left == 0, False, {}


class Guess(gym.Env):
    """Five steps; a point for every action 1."""

    observation_space = spaces.Box(0, 1, (1,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 5
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.left -= 1
        return np.zeros(1, np.float32), float(action), self.left == 0, False, {}


class Picture(Guess):
    """The same, but what is seen is an image with its channels last."""

    observation_space = spaces.Box(0, 255, (36, 36, 3), np.uint8)

    def reset(self, **options):
        return np.zeros((36, 36, 3), np.uint8), super().reset(**options)[1]

    def step(self, action):
        return np.zeros((36, 36, 3), np.uint8), *super().step(action)[1:]


for kind in (ShortAndLong, Guess, Picture):
    gym.register(f"test_evaluation/{kind.__name__}-v0", entry_point=kind)


class Always:
    """A player that repeats one action and notes what it was told."""

    def __init__(self, action=1):
        self.action, self.told = action, []

    def reset(self):
        self.told.append("reset")

    def act(self, observations, starts=None):
        self.told.append(starts.copy())
        return np.full(len(observations), self.action)


class WinsByMemory:
    """Stands in for an agent: its player wins while it may remember."""

    device = torch.device("cpu")
    observation_space = Guess.observation_space
    action_space = Guess.action_space

    def player(self, n_envs, *, deterministic, wiped, seed):
        return Always(0 if wiped else 1)


def tiny_agent(game="rlrnn/CartPole-v1"):
    return RecurrentPPO(
        "MlpGruPolicy", make_vec(game, 1), policy_kwargs={"hidden_size": 4}, seed=0, device="cpu"
    )


@pytest.mark.parametrize("n_envs", [1, 3, 4, 8])
def test_short_episodes_are_not_favoured(n_envs):
    score = play(Always(), "test_evaluation/ShortAndLong-v0", episodes=8, n_envs=n_envs)
    # Each copy plays its own quota in turn; the first 8 to end would nearly all be short ones.
    quota = [8 // n_envs + (b < 8 % n_envs) for b in range(n_envs)]
    assert score.points == tuple(float(k % 2) for q in quota for k in range(q))
    assert score.lengths == tuple(9 if k % 2 else 1 for q in quota for k in range(q))


def test_a_player_is_told_where_episodes_begin():
    player = Always()
    play(player, "test_evaluation/ShortAndLong-v0", episodes=2, n_envs=1)
    assert player.told[0] == "reset"
    assert [bool(starts[0]) for starts in player.told[1:]] == [True, True] + [False] * 8


def test_mean_spread_and_wins_by_hand():
    score = Score((1.0, 2.0, 6.0), (1, 1, 4), win=2.0)
    assert (score.mean, score.sd, score.won, score.episodes) == (
        3.0,
        pytest.approx(14**0.5 / 3**0.5),
        2 / 3,
        3,
    )
    assert Score((1.0,), (1,)).won is None and Score((1.0,), (1,)).interval == (1.0, 1.0)
    assert (score.median, score.iqm) == (2.0, 3.0)  # of three episodes no quarter can be left out
    assert Score.from_json(score.to_json()) == score


def test_a_score_is_written_for_readers_and_older_ones_still_open():
    written = Score((1.0, 2.0, 3.0, 10.0), (1, 1, 1, 4)).to_json()
    assert (written["mean"], written["median"], written["iqm"]) == (4.0, 2.5, 2.5)
    older = {key: value for key, value in written.items() if key not in ("median", "iqm")}
    assert Score.from_json(older) == Score.from_json(written)


def test_the_interval_is_the_bootstraps():
    points = np.random.default_rng(3).exponential(10, 60)
    low, high = Score(tuple(points), (1,) * 60).interval
    theirs = stats.bootstrap(
        (points,), np.mean, n_resamples=10_000, method="percentile", random_state=np.random.default_rng(1)
    ).confidence_interval
    # Ends of 10,000 resamples scatter by about 2 % of the interval's width.
    width = theirs.high - theirs.low
    assert low == pytest.approx(theirs.low, abs=0.05 * width)
    assert high == pytest.approx(theirs.high, abs=0.05 * width)
    assert low < points.mean() < high


def test_memory_is_judged_by_what_is_lost_without_it():
    scores = judge(WinsByMemory(), "test_evaluation/Guess-v0", episodes=200, n_envs=50)
    assert list(scores) == [WITH_MEMORY, WIPED, RANDOM]
    assert set(scores[WITH_MEMORY].points) == {5.0} and set(scores[WIPED].points) == {0.0}
    # A fair coin five times over 200 episodes: 2.5 +- 0.08.
    assert scores[RANDOM].mean == pytest.approx(2.5, abs=0.4)


def test_a_random_player_draws_again_from_its_seed_and_inside_the_space():
    space = spaces.Box(-2, 3, (2,))
    draws = []
    for seed in (1, 1, 2):
        player = RandomPlayer(space, 50, seed)
        player.reset()
        draws.append(player.act(None))
        assert draws[-1].shape == (50, 2) and all(row in space for row in draws[-1])
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


@pytest.mark.parametrize("deterministic", [True, False])
def test_the_same_seed_gives_the_same_points(deterministic):
    agent = tiny_agent()
    before = torch.random.get_rng_state()
    first, again = (evaluate(agent, "rlrnn/CartPole-v1", 12, deterministic) for _ in range(2))
    other = evaluate(agent, "rlrnn/CartPole-v1", 12, deterministic, seed=7)
    assert first == again and first.points != other.points
    assert first.episodes == 12
    assert torch.equal(before, torch.random.get_rng_state())


def test_batches_do_not_change_what_is_played():
    agent = tiny_agent()
    # One episode per copy, or every episode in a batch of its own: copy b begins with seed + b.
    together = evaluate(agent, "rlrnn/CartPole-v1", 3, n_envs=3, seed=20)
    alone = [evaluate(agent, "rlrnn/CartPole-v1", 1, seed=20 + b).points[0] for b in range(3)]
    assert together.points == tuple(alone)


def test_wiped_memory_is_no_memory():
    game = "rlrnn/Pendulum-v1"  # whose points tell apart the smallest difference between actions
    agent = tiny_agent(game)
    points = {wiped: evaluate(agent, game, 3, wiped=wiped).points for wiped in (True, False)}
    assert points[True] != points[False]
    with torch.no_grad():
        agent.policy.network.memory.layers[0].weight_hidden.zero_()  # what the state is multiplied with
    assert evaluate(agent, game, 3, wiped=True).points == points[True]


def test_an_agent_of_another_game_is_refused():
    with pytest.raises(UserError, match=r"observation space is Box.*4,.* but rlrnn/Pendulum-v1 has Box.*3,"):
        evaluate(tiny_agent(), "rlrnn/Pendulum-v1")


def test_images_are_turned_as_in_training():
    agent = RecurrentPPO(
        "CnnGruPolicy",
        make_vec("test_evaluation/Picture-v0", 1),
        policy_kwargs={"hidden_size": 4},
        device="cpu",
    )
    assert isinstance(agent.get_env(), VecTransposeImage)
    assert evaluate(agent, "test_evaluation/Picture-v0", 2).lengths == (5, 5)


@pytest.mark.parametrize("sizes", [{"episodes": 0}, {"n_envs": 0}, {"episodes": -3, "n_envs": 2}])
def test_nothing_to_play_is_refused(sizes):
    with pytest.raises(UserError, match=r"is (0|-3), but must be a whole number of at least 1"):
        play(Always(), "test_evaluation/Guess-v0", **sizes)


def test_the_table_shows_scores_beside_their_references():
    game = Game(
        "g",
        "x",
        "a game",
        points=Points("points won", 2.0),
        references=References(best=Reference(9.25, "A 1996")),
    )
    console = Console(width=120, record=True)
    console.print(shown({WITH_MEMORY: Score((1.0, 3.0), (5, 7), 2.0)}, game))
    text = console.export_text()
    for words in ("a game: points won, 2 episodes", "with memory", "2.00", "50%", "best", "9.25", "A 1996"):
        assert words in text


def test_sources_have_the_whole_width_and_not_the_tables() -> None:
    source = "A 1996, one run of 100,000 steps, as its third table has it, in words"
    game = Game("g", "x", references=References(best=Reference(9.25, source)))
    console = Console(width=80, record=True)
    console.print(shown({WITH_MEMORY: Score((1.0, 3.0), (5, 7))}, game))
    assert f"\nbest: {source}\n" in console.export_text()


def test_a_network_without_memory_has_one_row() -> None:
    scores = {name: Score((1.0, 3.0), (5, 7)) for name in (WITH_MEMORY, WIPED, RANDOM)}
    grid = table(scores, Game("g", "x"), memory=False)
    assert list(grid.columns[0].cells) == ["without memory", RANDOM]
    assert list(table(scores, Game("g", "x")).columns[0].cells) == [WITH_MEMORY, WIPED, RANDOM]


def test_the_game_says_how_many_episodes():
    score = play(Always(), Game("g", "test_evaluation/Guess-v0", episodes=7))
    assert score.episodes == 7
    assert evaluation.BATCH == 100


class Lives(gym.Wrapper):
    """Ends an episode at every step; where the game ends, SB3's Monitor beneath knows."""

    over = True

    def reset(self, **options):
        return self.env.reset(**options) if self.over else (self.unwrapped.seen, {})

    def step(self, action):
        seen, reward, over, cut, info = self.env.step(action)
        self.over = over or cut
        return seen, reward, True, False, info


gym.register("toys/Lives-v0", entry_point=lambda render_mode=None: Lives(Monitor(Walk())))
gym.register("toys/Endless-v0", entry_point=lambda render_mode=None: Endless())


class Endless(Walk):
    """Never ends."""

    def step(self, action):
        seen, reward, *_ = super().step(action)
        return seen, reward, False, False, {}


class Idle:
    """Does always the same."""

    def __init__(self, n_envs):
        self.actions = np.ones(n_envs, np.int64)

    def reset(self):
        """There is nothing to forget."""

    def act(self, observations, starts=None):
        return self.actions


def test_a_lost_life_ends_no_episode_where_a_monitor_is_inside():
    score = evaluation.play(Idle(3), "toys/Lives-v0", 7, 3)
    assert score.episodes == 7 and min(score.lengths) >= 2
    assert score.points == pytest.approx([0.11 * steps for steps in score.lengths])


def test_a_game_that_never_ends_is_ended_with_a_way_to_limit_it(monkeypatch):
    told = []
    monkeypatch.setattr(arrays, "LONGEST", 50)
    with pytest.raises(
        EnvironmentFault, match=r"Endless-v0 has not ended after 50 steps.*max_episode_steps = 10"
    ):
        evaluation.play(Idle(2), "toys/Endless-v0", 4, 2, progress=lambda *how: told.append(how))
    assert told == [(0, 4, step) for step in range(1, 50)]
    with pytest.raises(EnvironmentFault, match="has not ended after 50 steps"):
        rlrnn.record(lambda seen: np.ones(len(seen), np.int64), "toys/Endless-v0", 2)
    limited = Game(name="limited", id="toys/Endless-v0", kwargs={"max_episode_steps": 7})
    assert evaluation.play(Idle(2), limited, 4, 2).lengths == (7,) * 4  # as the sentence says
    with (
        closing(rlrnn.make_vec("toys/Endless-v0", 1)) as env,
        pytest.raises(EnvironmentFault, match="50 steps"),
    ):
        list(film.steps(Idle(1), env, 1))


def test_the_progress_of_an_evaluation_is_printed_without_a_terminal(monkeypatch, capsys):
    """A clock that a test turns: a line every ten seconds."""
    now = [0.0]
    monkeypatch.setattr("rlrnn.common.progress.time.perf_counter", lambda: now[0])
    with judging.Judging("mine[1]") as show:
        for step in range(1, 26):
            now[0] += 1.0
            show("memory wiped", step // 5, 100, 1000 * step)
    assert capsys.readouterr().err.splitlines() == [
        "evaluating mine[1]: memory wiped, 2 of 100 episodes, 10,000 steps per copy",
        "evaluating mine[1]: memory wiped, 4 of 100 episodes, 20,000 steps per copy",
    ]


def test_a_score_says_what_was_won_rather_than_every_episode():
    assert repr(Score((1.0, 1.0, 1.0), (2, 2, 2))) == "1.00 points (95 % interval 1.00 to 1.00), 3 episodes"
    assert repr(Score((4.0,), (2,), 4.0)) == "4.00 points (95 % interval 4.00 to 4.00), 1 episode, 100% won"
