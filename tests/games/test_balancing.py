"""The compiled test of double pole balancing balances exactly as the public way does."""

from pathlib import Path

import numpy as np
import pytest

from rlrnn.common import compiling
from rlrnn.envs.vec import vectorize
from rlrnn.games.double_pole import START, STARTS
from rlrnn.games.players.double_pole import TWO_POLES
from rlrnn.learners.evolution.evolution import Evolution
from rlrnn.learners.evolution.fitness import SerialFitness

BARE = {"n_layers": 1, "net_arch": [], "output_layer": False}
UNIT = {**BARE, "hidden_size": 1, "cell_options": {"bias": False}}
FOUR = {**BARE, "hidden_size": 4, "cell_options": {"nonlinearity": "softsign"}}  # with biases
DRAWN = 0.1 * np.random.default_rng(0).normal(size=(8, 4))  # inputs, units, biases
DRAWN[:4, 0] += TWO_POLES  # so that the first of four does something


@pytest.mark.skipif(not compiling.can_compile(), reason="numba is missing or switched off")
@pytest.mark.parametrize(("layer", "genome"), [(UNIT, np.array(TWO_POLES)), (FOUR, DRAWN.ravel())])
def test_every_start_is_balanced_for_as_long(layer, genome, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    from balancing import balance

    steps = {"start": "grid", "max_episode_steps": 400}
    env = vectorize("rlrnn/DoublePole-v0", 625, kwargs=steps)
    agent = Evolution("MlpElmanPolicy", env, policy_kwargs=layer, seed=0)
    network = agent.policy.network
    expected = SerialFitness(env).play(network, genome[None], range(625)).points[0]
    balanced = balance(network, genome, STARTS, 400)
    assert (balanced == expected).all() and len(set(expected)) > 20
    early = balance(network, genome, STARTS, 400, enough=int((expected == 400).sum()) + 1)
    assert early.max() < 400 and (early == np.minimum(expected, early.max())).all()
    alone = SerialFitness(vectorize("rlrnn/DoublePole-v0", 1, kwargs={"max_episode_steps": 400}))
    expected = alone.play(network, genome[None], [0]).points[0]
    assert (balance(network, genome, START[:, None], 400) == expected).all()
