"""POPGym's own games: ours equal them step for step, and an agent sees the same of both."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import flatten
from stable_baselines3.common.torch_layers import FlattenExtractor

from rlrnn.envs.engines.ids import find_spec, make_single
from rlrnn.envs.games import games, make_vec
from rlrnn.network.sensors import Sensors

pytest.importorskip("popgym", reason="POPGym is the extra [popgym]")
from popgym.envs.autoencode import Autoencode
from popgym.envs.count_recall import CountRecall
from popgym.envs.multiarmed_bandit import MultiarmedBandit
from popgym.envs.position_only_cartpole import PositionOnlyCartPole
from popgym.envs.repeat_previous import RepeatPrevious

PAIRS = {name.removeprefix("popgym-"): name for name in games() if name.startswith("popgym-")}


def stacked(kinds, of_card):
    """A pack, as numbers of cards, from which these kinds are dealt in turn: POPGym deals from the end."""
    cards = {kind: list(np.flatnonzero(of_card == kind)) for kind in np.unique(of_card)}
    return np.array([cards[kind].pop() for kind in kinds])[::-1]


class Rigged:
    """A generator that shuffles into given packs, one after the other."""

    def __init__(self, *packs):
        self.packs = list(packs)

    def shuffle(self, cards):
        cards[:] = self.packs.pop(0)


def equal_episode(ours, theirs, first, rng):
    """Random actions to both until they end, in the same step."""
    observation, seen = first
    steps, over, cut = 0, False, False
    while True:
        known = flatten(theirs.observation_space, seen).astype(np.float32)
        assert observation.tolist() == known.tolist()
        if over or cut:
            return steps
        action = int(rng.integers(theirs.action_space.n))
        observation, *mine = ours.step(action)
        seen, reward, over, cut, _ = theirs.step(action)
        assert mine[:3] == [reward, over, cut]
        steps += 1


@pytest.mark.parametrize(
    ("name", "options", "other", "kinds"),
    [
        ("RepeatPrevious", {"k": 4, "decks": 1}, RepeatPrevious(1, 4), "suits_idx"),
        ("RepeatPrevious", {"k": 1, "decks": 1}, RepeatPrevious(1, 1), "suits_idx"),
        ("RepeatPrevious", {"k": 51, "decks": 1}, RepeatPrevious(1, 51), "suits_idx"),
        ("RepeatPrevious", {"k": 32, "decks": 2}, RepeatPrevious(2, 32), "suits_idx"),
        ("CountRecall", {"decks": 1, "kind": "colors"}, CountRecall(1), "colors_idx"),
        ("CountRecall", {"decks": 2, "kind": "suits"}, CountRecall(2, deck_type="suits"), "suits_idx"),
        ("CountRecall", {"decks": 4, "kind": "ranks"}, CountRecall(4, deck_type="ranks"), "ranks_idx"),
        ("Autoencode", {"decks": 1}, Autoencode(1), "suits_idx"),
        ("Autoencode", {"decks": 3}, Autoencode(3), "suits_idx"),
    ],
)
def test_games_of_cards_equal_popgyms_from_the_same_packs(name, options, other, kinds):
    ours = gym.make(f"rlrnn/{name}-v0", **options).unwrapped
    game = ours.copies
    assert ours.action_space == other.action_space
    rng = np.random.default_rng(0)
    of_card = getattr(other.value_deck if name == "CountRecall" else other.deck, kinds)
    for episode in range(12):
        observation, _ = ours.reset(seed=episode)
        packs = game.state[2:, 0].astype(int).reshape(game.packs, -1)
        other.np_random = Rigged(*(stacked(pack, of_card) for pack in packs))
        seen, _ = other.reset()
        assert equal_episode(ours, other, (observation, seen), rng) == game.length


@pytest.mark.parametrize(("arms", "steps"), [(10, 200), (30, 600)])
def test_the_bandit_equals_popgyms_from_the_same_arms_and_luck(arms, steps):
    ours = gym.make("rlrnn/MultiarmedBandit-v0", arms=arms, steps_per_point=steps, max_episode_steps=steps)
    other = MultiarmedBandit(arms, steps)
    assert ours.action_space == other.action_space
    game = ours.unwrapped.copies

    class Luck:
        """The number that our next pull will be compared with; ours plays first, and has drawn it."""

        def random(self):
            game.draws.drawn -= np.uint64(1)
            return game.draws.uniform(np.array([0]), 1)[0, 0]

    rng = np.random.default_rng(0)
    for episode in range(6):
        observation, _ = ours.reset(seed=episode)
        seen, _ = other.reset(seed=episode)
        assert other.bandits.shape == game.state[3:, 0].shape
        other.bandits, other.np_random = game.state[3:, 0].copy(), Luck()
        assert equal_episode(ours, other, (observation, seen), rng) == steps


@pytest.mark.parametrize("steps", [200, 600])
def test_cartpole_by_positions_equals_popgyms_from_the_same_state(steps):
    ours = gym.make("rlrnn/CartPole-v1", max_episode_steps=steps, steps_per_point=steps)
    other = PositionOnlyCartPole(max_episode_length=steps)
    for episode in range(6):
        ours.reset(seed=episode)
        other.reset(seed=episode)
        state = ours.unwrapped.copies.state[:, 0]
        other.state = state.copy()
        lengths = 0
        while True:
            # Half of the episodes are balanced to the end, with the speeds that only we can read here.
            x, v, angle, speed = state
            good = angle + 0.5 * speed + 0.02 * x + 0.05 * v > 0
            action = int(good) if episode % 2 else lengths // 2 % 2
            seen, *mine, _ = ours.step(action)
            known, *theirs, _ = other.step(action)
            lengths += 1
            assert seen[[0, 2]].tobytes() == known.tobytes() and mine == theirs
            if mine[1] or mine[2]:
                break
        assert (lengths == steps) == bool(episode % 2) and mine[1:] == [not episode % 2, bool(episode % 2)]


def test_every_original_of_the_catalogue_has_its_twin():
    assert len(PAIRS) == 8


@pytest.mark.parametrize("name", PAIRS)
def test_an_agent_of_ours_plays_the_original(name):
    """The spaces are equal and so are the counts; observations are those of the space."""
    ours, theirs = make_vec(name, 4, seed=0), make_vec(PAIRS[name], 4, seed=0, workers=0)
    assert ours.observation_space == theirs.observation_space and ours.action_space == theirs.action_space
    one, other = games()[name], games()[PAIRS[name]]
    assert (one.points, one.remember, one.episodes) == (other.points, other.remember, other.episodes)
    assert [(key, ref.points) for key, ref in one.references.items()] == [
        (key, ref.points) for key, ref in other.references.items()
    ]
    again = make_vec(PAIRS[name], 4, seed=0, workers=0)
    first = theirs.reset()
    assert (first == again.reset()).all()
    rng = np.random.default_rng(0)
    ended = 0
    for _ in range(610):
        actions = rng.integers(theirs.action_space.n, size=4)
        observations, rewards, dones, infos = theirs.step(actions)
        repeated = again.step(actions)
        assert (observations == repeated[0]).all() and (rewards == repeated[1]).all()
        assert observations.dtype == np.float32 and observations[0] in ours.observation_space
        ended += dones.sum()
        for b in np.flatnonzero(dones):
            assert infos[b]["terminal_observation"] in ours.observation_space
    assert ended >= 8


@pytest.mark.parametrize(
    "name", ["repeat-previous-easy", "count-recall-easy", "count-recall-medium", "autoencode-easy"]
)
def test_sensors_make_the_same_features_of_both(name):
    """Without the wrapper too: SB3's one-hot units stand in the order of ours."""
    spec = find_spec(games()[PAIRS[name]].id)
    env = make_single(spec, {})
    flat = make_vec(PAIRS[name], 1, workers=0)
    plain, ours = (
        Sensors(space, FlattenExtractor, {}) for space in (env.observation_space, flat.observation_space)
    )
    env.reset(seed=0)
    for _ in range(20):
        seen, *_ = env.step(0)
        known = torch.as_tensor(flatten(env.observation_space, seen)).float()[None]
        torch.testing.assert_close(plain(torch.as_tensor(np.asarray(seen))[None]), known)
        torch.testing.assert_close(ours(known), known)
