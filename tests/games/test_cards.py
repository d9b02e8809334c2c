"""Games of cards: packs are packs, answers count as the rules say, and what memory is worth is exact."""

import tomllib
from itertools import pairwise
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from scipy import stats

from rlrnn.errors import UserError
from rlrnn.games.cards import KINDS, Autoencode, CountRecall, RepeatPrevious
from rlrnn.games.players.base import play_once
from rlrnn.games.players.cards import AUTOENCODE, COUNT_RECALL, REPEAT_PREVIOUS

ENVS = Path(__file__).parents[2] / "envs"
GAMES = [
    (RepeatPrevious, {}, "queue", "other_suit"),
    (RepeatPrevious, {"k": 1}, "queue", None),  # what is seen is what is asked for
    (RepeatPrevious, {"k": 32, "decks": 2}, "queue", "other_suit"),
    (CountRecall, {}, "counter", "likely_count"),
    (CountRecall, {"decks": 2, "kind": "suits"}, "counter", "likely_count"),
    (CountRecall, {"decks": 4, "kind": "ranks"}, "counter", "likely_count"),
    (Autoencode, {}, "stack", "echo"),
    (Autoencode, {"decks": 2}, "stack", "echo"),
]
PLAYERS = {RepeatPrevious: REPEAT_PREVIOUS, CountRecall: COUNT_RECALL, Autoencode: AUTOENCODE}


def numbers(game, seen):
    """What one-hot observations [B, F] say, [numbers, B]."""
    parts = np.split(seen, np.cumsum(game.hots)[:-1], axis=1)
    assert all((part.sum(1) == 1).all() and set(np.unique(part)) <= {0, 1} for part in parts)
    return np.stack([part.argmax(1) for part in parts])


def watched(game, seed=0):
    """A first episode: numbers seen [T + 1, numbers, B] and what the game says is right [T, B]."""
    seen, _ = game.reset(seed=seed)
    rows, answers = [numbers(game, seen)], []
    for t in range(game.length):
        answers.append(game.due())
        seen, _, ended, cut, infos = game.step(np.zeros(game.num_envs, int))
        assert (ended == (t + 1 == game.length)).all() and not cut.any()
        rows.append(numbers(game, infos["final_obs"] if ended.any() else seen))
    return np.stack(rows), np.stack(answers)


def asked(game, seen):
    """The right answers by the rules, from all that one player saw, [T]; -1 where nothing counts."""
    dealt = [card for card, *_ in seen]
    if isinstance(game, RepeatPrevious):
        return [dealt[t + 1 - game.k] if t + 1 >= game.k else -1 for t in range(len(seen) - 1)]
    if isinstance(game, CountRecall):
        return [dealt[: t + 1].count(query) for t, (_, query) in enumerate(seen[:-1])]
    assert dealt == [1] * (game.cards - 1) + [0] * (game.cards + 1)  # whether more cards come
    suits = [suit for _, suit in seen[: game.cards]]
    return [-1] * (game.cards - 1) + suits[::-1]


@pytest.mark.parametrize(("make", "options", "perfect", "blind"), GAMES)
def test_answers_are_right_by_the_rules_and_add_up(make, options, perfect, blind):
    game = make(num_envs=3, **options)
    seen, answers = watched(game)
    for b in range(3):
        assert answers[:, b].tolist() == asked(game, seen[:, :, b].tolist())
    assert ((answers >= 0).sum(0) == game.answers).all()
    # A right answer wins what a wrong one loses; where none counts, nothing is won.
    game.reset(seed=0)
    rng = np.random.default_rng(0)
    for due in answers:
        said = np.where(
            rng.random(3) < 0.5, np.maximum(due, 0), rng.integers(game.single_action_space.n, size=3)
        )
        reward = game.step(said)[1]
        worth = np.where(due < 0, 0.0, np.where(said == due, 1, -1) / game.answers)
        assert reward.tolist() == worth.tolist()
    points = play_once(game, PLAYERS[make][perfect](game), seed=5)
    assert points == pytest.approx(1.0, abs=1e-12)

    def wrong(_):
        return (np.maximum(game.due(), 0) + 1) % game.single_action_space.n

    assert play_once(game, wrong, seed=5) == pytest.approx(-1.0, abs=1e-12)


@pytest.mark.parametrize(("make", "options", "perfect", "blind"), [row for row in GAMES if row[3]])
def test_no_function_of_what_is_seen_wins_more_than_the_script_without_memory(make, options, perfect, blind):
    game = make(num_envs=1000, **options)
    script = PLAYERS[make][blind](game)
    seen, answers = watched(game)
    tables = {}  # by what is seen: how often each answer is right; kinds are alike but to themselves
    mine = 0
    for row, due in zip(seen[:-1], answers, strict=True):
        flat = np.concatenate([np.eye(n)[column] for n, column in zip(game.hots, row, strict=True)], axis=1)
        mine += (script(flat) == due).sum()
        what_seen = (row[:1] == row[1:]) if make is CountRecall else row
        for what in map(tuple, np.unique(what_seen.T, axis=0)):
            here = (what == what_seen.T).all(1) & (due >= 0)
            table = tables.setdefault(what, np.zeros(game.single_action_space.n))
            table += np.bincount(due[here].astype(int), minlength=len(table))
    best = sum(table.max() for table in tables.values())  # chosen after the fact, thus a little too good
    assert 0 <= best - mine < 0.01 * answers.size


def test_points_without_memory_are_those_of_the_sums_by_hand():
    def points(game, name):
        return play_once(game, PLAYERS[type(game)][name](game), seed=3)

    for k, decks in ((4, 1), (32, 2)):
        game = RepeatPrevious(k, decks, num_envs=4000)
        expected = 2 * 13 * decks / (52 * decks - 1) - 1  # -25/51 for one deck
        mine = points(game, "other_suit")
        assert mine.mean() == pytest.approx(expected, abs=4 * mine.std() / np.sqrt(4000))
    mine = points(Autoencode(num_envs=4000), "echo")
    assert mine.mean() == pytest.approx(-49 / 104, abs=4 * mine.std() / np.sqrt(4000))
    # One question in `kinds` is for the kind just dealt; t of the other cards were dealt before it.
    for decks, kind, kinds in ((1, "colors", 2), (2, "suits", 4)):
        others = 52 * decks - 1
        before = np.arange(others)[:, None]
        chances = [
            stats.hypergeom(others, 26 - same, before).pmf(np.arange(27) - same).mean(0) for same in (0, 1)
        ]
        expected = 2 * np.average([chance.max() for chance in chances], weights=(kinds - 1, 1)) - 1
        mine = points(CountRecall(decks, kind, num_envs=4000), "likely_count")
        assert mine.mean() == pytest.approx(expected, abs=4 * mine.std() / np.sqrt(4000))
        if kinds == 2:
            assert expected == pytest.approx((52 / 27 + 2) / 51 - 1)  # every count lasts as long
    assert expected == pytest.approx(-0.924, abs=5e-4)  # as envs/count-recall-medium.toml says


@pytest.mark.parametrize(("make", "options", "perfect", "blind"), GAMES)
def test_a_pack_holds_every_kind_equally_often_in_any_order(make, options, perfect, blind):
    game = make(num_envs=1000, **options)
    game.reset(seed=1)
    for pack in range(game.packs):
        cards = np.stack([game.card(np.full(1000, i), pack) for i in range(game.cards)])  # [cards, 1000]
        assert (
            np.sort(cards, axis=0) == np.repeat(np.arange(game.kinds), game.cards // game.kinds)[:, None]
        ).all()
        for place in (0, 1, game.cards // 2, game.cards - 1):
            assert stats.chisquare(np.bincount(cards[place].astype(int), minlength=game.kinds)).pvalue > 1e-3
        # The next card is as often like the last one as drawing without putting back has it.
        alike = np.mean([(one == other).mean() for one, other in pairwise(cards)])
        expected = (game.cards // game.kinds - 1) / (game.cards - 1)
        assert alike == pytest.approx(expected, abs=5 * np.sqrt(expected / (1000 * game.cards)))
    if game.packs == 2:  # and one pack tells nothing of the other
        same = np.mean(
            [game.card(np.full(1000, i)) == game.card(np.full(1000, i), 1) for i in range(game.cards)]
        )
        assert same == pytest.approx(1 / game.kinds, abs=5 * np.sqrt(1 / (1000 * game.cards)))


@pytest.mark.parametrize(("make", "options", "perfect", "blind"), GAMES)
def test_what_is_seen_does_not_depend_on_what_was_said(make, options, perfect, blind):
    def seen(say):
        game = make(num_envs=4, **options)
        rows = [game.reset(seed=9)[0]]
        rows += [game.step(say())[0] for _ in range(game.length + 20)]  # into the next episode
        return np.stack(rows)

    rng = np.random.default_rng(0)
    one, other = seen(lambda: rng.integers(4, size=4)), seen(lambda: np.zeros(4, int))
    assert one.tobytes() == other.tobytes() and one.dtype == np.float32


@pytest.mark.parametrize(
    "name", ["repeat-previous-easy", "count-recall-easy", "count-recall-medium", "autoencode-easy"]
)
def test_the_game_files_scores_are_those_of_the_scripts(name):
    file = tomllib.loads((ENVS / f"{name}.toml").read_text())
    game = gym.make_vec(file["id"], num_envs=file["episodes"], **file["kwargs"])
    for reference, script in zip(("random", "memoryless", "ceiling"), PLAYERS[type(game)], strict=True):
        points = play_once(game, PLAYERS[type(game)][script](game), seed=1_000_000)
        assert points.mean() == pytest.approx(file["references"][reference]["points"], abs=0.006)
        assert f"the script {script}" in file["references"][reference]["source"] or script == "random"
    assert (points >= file["points"]["win"]).all()
    assert 1 - 2 / game.answers < file["points"]["win"]  # a single mistake is no win


@pytest.mark.parametrize(("make", "options", "perfect", "blind"), GAMES)
def test_the_picture_tells_right_from_wrong(make, options, perfect, blind):
    game = make(num_envs=2, render_mode="rgb_array", **options)
    game.reset(seed=[4, 4])  # twice the same cards
    assert (game.render()[0] == game.render()[1]).all()
    for t in range(game.length):
        due = game.due()
        game.step(
            np.where([True, False], np.maximum(due, 0), (due + 1) % game.single_action_space.n).astype(int)
        )
        if t % 23 == 0 and 0 < t < game.length - 1:
            right, wrong = game.render()
            if (game.state[1, 0] > 0) and due[0] >= 0:
                blue = [int((picture == (84, 144, 200)).all(-1).sum()) for picture in (right, wrong)]
                assert blue[0] > blue[1] > 0
            assert right.shape == wrong.shape


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("RepeatPrevious", {"k": 0}, "k is 0, but must be a whole number from 1 to 51, one"),
        ("RepeatPrevious", {"k": 104, "decks": 2}, "k is 104, but must be a whole number from 1 to 103"),
        ("RepeatPrevious", {"decks": 0}, "decks is 0, but must be a whole number of at least 1"),
        ("CountRecall", {"decks": -1}, "decks is -1, but must be a whole number of at least 1"),
        ("CountRecall", {"kind": "suit"}, f"kind is 'suit': .* {', '.join(KINDS)}"),
        ("Autoencode", {"decks": 0}, "decks is 0"),
    ],
)
def test_impossible_games_are_refused(name, options, words):
    with pytest.raises(UserError, match=words):
        gym.make(f"rlrnn/{name}-v0", **options)
