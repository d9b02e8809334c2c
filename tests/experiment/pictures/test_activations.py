"""Hidden units at play: overheard as they are, ordered so that likeness shows, drawn in time."""

import numpy as np
import pytest
import torch
from PIL import Image

from rlrnn.envs import games
from rlrnn.envs.games import Game
from rlrnn.experiment.evaluation import evaluate
from rlrnn.experiment.pictures import activations
from rlrnn.experiment.pictures.activations import ActivationRecorder, Strip, order, record_episode
from rlrnn.experiment.pictures.film import Moment
from rlrnn.learners.ppo.ppo import RecurrentPPO

RECALL = Game("recall", "rlrnn/Recall-v0", title="Recall", kwargs={"lag": 2, "length": 30})
PONG = Game("pong", "rlrnn/Pong-v0")


def agent_for(game, cell="gru", **kwargs):
    options = {"cell": cell, "hidden_size": 6, "net_arch": {"pi": [7], "vf": []}} | kwargs
    env = games.make_vec(game, 1, seed=0)
    return RecurrentPPO(
        "MlpPolicy", env, policy_kwargs=options, n_steps=8, batch_size=8, seed=0, device="cpu"
    )


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("cell", ["lstm", "fir", "none"])
def test_overhearing_changes_nothing_and_hears_what_decides(cell, deterministic):
    agent = agent_for(RECALL, cell, n_layers=2)
    plain, heard = (agent.player(3, deterministic=deterministic, seed=4) for _ in range(2))
    heard = ActivationRecorder(heard)
    network, state = agent.policy.network, None
    env = games.make_vec(RECALL, 3, seed=1)
    observations, starts = env.reset(), np.ones(3, np.bool_)
    for _ in range(65):  # over two ends of episodes
        actions = heard.act(observations, starts)
        assert actions.tolist() == plain.act(observations, starts).tolist()
        assert torch.equal(heard.features, torch.as_tensor(observations))
        if state is not None:
            assert torch.equal(heard.state, state)
        state = heard.player.state
        units, after = network.memory.step(heard.features, torch.as_tensor(starts), heard.state)
        assert torch.equal(heard.units, units)
        torch.testing.assert_close(after, state)
        if deterministic:
            assert heard.distribution.mode()[:, 0].tolist() == actions.tolist()
        observations, _, starts, _ = env.step(actions)
    heard.reset()
    assert not heard.player.state.any()


def test_units_that_move_alike_stand_together():
    rng = np.random.default_rng(0)
    signals = np.cumsum(rng.normal(size=(3, 200)), axis=1)
    group = rng.permutation(np.repeat([0, 1, 2], 8))
    size = rng.uniform(0.1, 9, 24)  # loud and quiet ones
    units = (signals[group] * size[:, None] + rng.normal(size=(24, 200)) * 0.05).T + rng.normal(size=24)
    ranks = order(units)
    assert sorted(ranks.tolist()) == list(range(24))
    assert np.count_nonzero(np.diff(group[ranks])) == 2 < np.count_nonzero(np.diff(group))
    assert ranks[0] == units.std(axis=0).argmax()


def test_what_moves_against_the_others_or_not_at_all_has_a_place_too():
    wave = np.sin(np.arange(50.0))
    units = np.stack([wave, -wave, np.full(50, 0.3), 2 * wave], axis=1)
    assert order(units).tolist() == [3, 0, 2, 1]
    assert sorted(order(units[:, :2]).tolist()) == [0, 1]
    assert order(np.ones((5, 1))).tolist() == [0]


def test_an_episode_is_lived_as_it_is_judged():
    agent = agent_for(RECALL)
    lived, judged = record_episode(agent, RECALL, 100, True, 77), evaluate(agent, RECALL, episodes=1, seed=77)
    assert lived.ended and lived.points.sum() == pytest.approx(judged.mean)
    assert lived.units.shape == (30, 6) and lived.actions.shape == (30,) and len(lived.pictures) == 30
    assert lived.features.shape == (30, 4) and (lived.features.sum(1) == 1).all()
    assert lived.probabilities.shape == (30, 4) and (lived.probabilities.argmax(1) == lived.actions).all()
    np.testing.assert_allclose(lived.probabilities.sum(1), 1, rtol=1e-5)
    first = record_episode(agent, RECALL, 12, True, 77, draw=False)
    assert not first.ended and first.units.tobytes() == lived.units[:12].tobytes() and not first.pictures


def test_a_strip_shows_the_last_steps_beside_the_picture():
    agent = agent_for(RECALL)
    strip, heard = Strip(agent, RECALL, True, 77), ActivationRecorder(agent.player(1, seed=77))
    lived = record_episode(agent, RECALL, 30, True, 77)
    picture = np.full((100, 80, 3), 7, np.uint8)
    env = games.make_vec(RECALL, 1, seed=77)

    def steps():
        observations, starts = env.reset(), np.ones(1, np.bool_)
        for count in range(30):
            actions = heard.act(observations, starts)
            yield Moment(count)
            observations, _, starts, _ = env.step(actions)

    for moment in strip.follow(steps(), heard):
        assert (strip.pixels[:, moment.step + 1 : moment.step + 3] == 255).all()  # the gap
    whole = strip.beside(lambda moment: picture)(moment)
    tall = round(activations.LEAST_HEIGHT / 6)
    assert whole.shape == (6 * tall, 80 + activations.MARGIN + activations.COLUMNS * 4, 3)
    top = (6 * tall - 100) // 2
    np.testing.assert_array_equal(whole[top : top + 100, :80], picture)
    cells = whole[tall // 2 :: tall, 80 + activations.MARGIN :: 4].astype(int)  # [6, COLUMNS, 3]
    np.testing.assert_array_equal(cells, strip.pixels)
    warm = cells[:, :30, 0] - cells[:, :30, 2]  # red minus blue
    units = lived.units[:, order(lived.units)].T
    loud = np.abs(units) > 0.2 * np.abs(units).max()
    assert loud.any() and (np.sign(warm) == np.sign(units))[loud].all()
    assert (cells[:, 30:] == 255).all()


def test_colours_are_few():
    agent = agent_for(PONG, hidden_size=40)
    strip, heard = Strip(agent, PONG, True, 0), ActivationRecorder(agent.player(1, seed=0))
    env = games.make_vec(PONG, 1, seed=0)
    observations = env.reset()
    for count in range(100):
        actions = heard.act(observations)
        assert list(strip.follow([Moment(count)], heard)) == [Moment(count)]
        observations, *_ = env.step(actions)
    colours = np.unique(strip.pixels.reshape(-1, 3), axis=0)
    assert 4 < len(colours) <= activations.SHADES + 2  # and white
    Image.fromarray(strip.pixels)  # are pixels
