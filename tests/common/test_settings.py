"""A number of numpy's is as good a setting as Python's own, everywhere; a seed is one that can be used."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from tiny_games import Target, clocks

import rlrnn
from rlrnn import Evolution, RecurrentPPO, SequenceLearner
from rlrnn.cells import make_cell
from rlrnn.common.settings import (
    check_choice,
    check_number,
    check_seed,
    check_whole,
    choices,
    is_number,
    is_whole,
    meant,
    plain,
    takes_plain,
)
from rlrnn.envs.vec import from_envs, vectorize
from rlrnn.envs.wrappers import wrap
from rlrnn.errors import UserError
from rlrnn.experiment import recipes
from rlrnn.learners.evolution.strategies import STRATEGIES, Snes, make_strategy
from rlrnn.learners.player import Player
from rlrnn.network.memory import Memory
from rlrnn.shell.cli import main

NETWORK = {"hidden_size": 4, "net_arch": [4]}


def agent(policy: str = "MlpGruPolicy", **settings: Any) -> RecurrentPPO:
    return RecurrentPPO(policy, clocks(1), device="cpu", **settings)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: agent("MlpGurPolicy"), "MlpGruPolicy"),
        (lambda: agent(first_state="zeor"), "zero"),
        (lambda: agent(policy_kwargs={"critic": "shraed"}), "shared"),
        (lambda: agent(policy_kwargs={"cell": "lsmt"}), "lstm"),
        (lambda: agent(policy_kwargs={"hiden_size": 4}), "hidden_size"),
        (lambda: make_cell("elman", 1, 1, nonlinearity="rleu"), "relu"),
        (lambda: make_cell("lru", 1, 2, nonlinearity="thanh"), "tanh"),
        (lambda: make_cell("graph", 1, 1, nonlinearity="rleu"), "relu"),
        (lambda: make_cell("gru", 1, 1, init="trorch"), "torch"),
        (lambda: make_cell("mingru", 1, 1, candidate="liner"), "linear"),
        (lambda: make_strategy("cma_se"), "cma_es"),
        (lambda: make_strategy("snes", populaton=4), "population"),
        (lambda: Evolution("MlpPolicy", clocks(9), "snes", {"population": 8}, keep="bset"), "best"),
        (lambda: SequenceLearner("gru", loss="sqaured").fit([[[1.0]]], [1.0]), "squared"),
        (lambda: wrap(vectorize("CartPole-v1", 1), [{"name": "satck"}]), "stack"),
        (lambda: wrap(vectorize("CartPole-v1", 1), [{"name": "stack", "farmes": 2}]), "frames"),
        (lambda: recipes.override(rlrnn.read_recipe("pong-gru"), ["ppo.first_state=zeor"]), "zero"),
        (lambda: recipes.control(rlrnn.read_recipe("pong-gru"), "stakced"), "stacked"),
        (lambda: rlrnn.make_vec("pogn"), "pong"),
        (lambda: rlrnn.make_vec("CratPole-v1"), "CartPole-v1"),
        (lambda: rlrnn.read_recipe("pong-gur"), "pong-gru"),
    ],
)
def test_a_mistyped_name_is_answered_with_the_one_that_was_meant(make: Callable[[], Any], name: str) -> None:
    with pytest.raises(UserError, match=rf"did you mean '{name}'"):
        make()


def test_a_name_like_none_is_answered_with_all_alone() -> None:
    assert choices("xyz", ["zero", "stored"]) == "zero, stored" and meant("xyz", ["zero", "stored"]) == ""
    assert choices("zeor", ["zero", "stored"]) == "zero, stored (did you mean 'zero'?)"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (np.int64(3), 3),
        (np.uint8(3), 3),
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.longdouble(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("gru"), "gru"),
        (np.array(3), 3),
        (Fraction(1, 2), 0.5),
        ([np.int64(1), (np.float32(0.5), {"a": np.int8(2)})], [1, (0.5, {"a": 2})]),
    ],
)
def test_scalars_become_pythons_own(given: Any, wanted: Any) -> None:
    def kinds(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return type(value), [kinds(inner) for inner in value]
        return {key: kinds(inner) for key, inner in value.items()} if isinstance(value, dict) else type(value)

    assert plain(given) == wanted and kinds(plain(given)) == kinds(wanted)


def test_whatever_else_it_is_stays_itself() -> None:
    for value in (True, None, 1, 0.5, np.arange(3), torch.tensor(1.0), RecurrentPPO, iter(())):
        assert plain(value) is value


def test_the_gate_keeps_what_a_function_says_of_itself() -> None:
    @takes_plain
    def kinds(a: Any, *, b: Any = None) -> Any:
        """Types."""
        return type(a), type(b)

    assert kinds(np.int64(1), b=[np.float32(1)]) == (int, list) and kinds.__doc__ == "Types."


def test_a_tuners_settings_make_the_same_agent_as_plain_ones() -> None:
    """Of every kind of learner's setting that is a number; float32 stands for the float that it is."""
    settings: dict[str, Any] = {
        **{"n_steps": 8, "batch_size": 8, "n_epochs": 2, "seq_len": 4, "seed": 3, "target_kl": 10.0},
        **{"ent_coef": 0.25, "vf_coef": 0.5, "clip_range": 0.125, "clip_range_vf": 0.25},
        **{"learning_rate": 0.0078125, "gamma": 0.75, "gae_lambda": 0.5, "max_grad_norm": 0.5},
    }
    kwargs: dict[str, Any] = {
        **{"lstm_hidden_size": 4, "n_lstm_layers": 2, "net_arch": {"pi": [4], "vf": [3]}, "ortho_init": True},
        **{"lstm_kwargs": {"dropout": 0.5}, "optimizer_kwargs": {"weight_decay": 0.25}},
    }
    agents = []
    for make in (lambda value: value, numpys):
        agent = RecurrentPPO("MlpLstmPolicy", clocks(2), policy_kwargs=make(kwargs), **make(settings))
        agents.append(agent.learn(make(32)).policy.parameters_to_vector())
    np.testing.assert_array_equal(*agents)


def numpys(value: Any) -> Any:
    """The same in numpy's types."""
    if isinstance(value, dict):
        return {key: numpys(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [numpys(inner) for inner in value]
    return {bool: np.bool_, int: np.int64, float: np.float32}[type(value)](value)


def test_a_setting_changed_while_learning_may_be_numpys() -> None:
    agent = RecurrentPPO(
        "MlpGruPolicy", clocks(2), n_steps=8, batch_size=8, n_epochs=1, policy_kwargs=NETWORK
    )
    agent.ent_coef, agent.clip_range, agent.clip_range_vf = np.float32(0.1), np.float32(0.1), np.float32(0.1)  # type: ignore[assignment]
    agent.set_random_seed(np.int64(3))  # type: ignore[arg-type]
    agent.learn(16)


@pytest.mark.parametrize("name", STRATEGIES)
def test_strategies_take_numpys_numbers(name: str) -> None:
    made = make_strategy(name, population=np.int64(32), sigma=np.float32(0.5))
    assert made == make_strategy(name, population=32, sigma=0.5) and type(vars(made)["population"]) is int
    with pytest.raises(UserError, match="population is 1, but must be"):
        make_strategy(name, population=np.int64(1))


def test_everything_else_that_counts_takes_numpys_numbers() -> None:
    two = np.int64(2)
    env = from_envs([Target] * 4)
    agent = Evolution(
        "MlpGruPolicy",
        env,
        "snes",
        {"population": np.int64(4), "sigma": np.float32(0.1)},
        episodes=two,  # type: ignore[arg-type]
        checks=two,  # type: ignore[arg-type]
        seed=two,  # type: ignore[arg-type]
        policy_kwargs=NETWORK,
    ).learn(np.int64(40))  # type: ignore[arg-type]
    assert Snes(population=two).population == 2  # type: ignore[arg-type]
    assert len(rlrnn.record(agent, env, episodes=two)) == 2
    assert Player(agent.policy, two, seed=two).n_envs == 2  # type: ignore[arg-type]
    games = rlrnn.make_vec("cartpole-no-velocity", two, two, workers=np.int64(0))  # type: ignore[arg-type]
    assert games.num_envs == 2 and type(games.num_envs) is int
    player = RecurrentPPO("MlpGruPolicy", games, n_steps=8, policy_kwargs=NETWORK)
    assert rlrnn.evaluate(player, "cartpole-no-velocity", episodes=two, n_envs=two, seed=two).episodes == 2
    assert make_cell("gru", 2, np.int64(3)).output_size == Memory("gru", 2, np.int64(3)).output_size == 3  # type: ignore[arg-type]
    SequenceLearner(hidden_size=np.int64(3), learning_rate=np.float32(0.1), seed=two).fit(  # type: ignore[arg-type]
        np.ones((4, 2, 1)), np.ones((4, 2, 1)), epochs=np.int64(1), progress=False
    )


def test_a_setting_given_to_load_may_be_numpys(tmp_path: Any) -> None:
    agent = RecurrentPPO("MlpGruPolicy", clocks(2), n_steps=8, batch_size=8, policy_kwargs=NETWORK)
    agent.save(tmp_path / "agent")
    again = RecurrentPPO.load(tmp_path / "agent", clocks(2), n_steps=np.int64(4), ent_coef=np.float32(0.5))
    assert type(again.n_steps) is int and again.ent_coef == 0.5


# ---- seeds


def never() -> Any:
    raise AssertionError("a game was made")


@pytest.mark.parametrize(
    ("value", "whole", "number"),
    [
        *((3, True, True), (np.int8(3), True, True), (10**400, True, True)),
        *((0.5, False, True), (np.float32(0.5), False, True), (Fraction(1, 3), False, True)),
        *((True, False, False), (np.True_, False, False), ("3", False, False), (None, False, False)),
        *((np.nan, False, False), (np.inf, False, False), (1j, False, False), (np.ones(2), False, False)),
    ],
)
def test_what_a_number_is(value: Any, whole: bool, number: bool) -> None:
    assert is_whole(value) is whole
    assert is_number(value) is number


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (lambda: check_whole("n", 0, 1), "n is 0, but must be a whole number of at least 1."),
        (lambda: check_whole("n", 2.0, 1), "n is 2.0, but must be a whole number of at least 1."),
        (lambda: check_whole("n", 9, 1, 8, ", as"), "n is 9, but must be a whole number from 1 to 8, as."),
        (lambda: check_number("x", "1", 0), "x is '1', but must be a number of at least 0."),
        (lambda: check_number("x", np.nan, 0), "x is nan, but must be a finite number of at least 0."),
        (lambda: check_number("x", np.inf, 0), "x is inf, but must be a finite number of at least 0."),
        (lambda: check_number("x", 0, 0, ends="(]"), "x is 0, but must be a number above 0."),
        (lambda: check_number("x", 1.5, 0, 1), "x is 1.5, but must be a number from 0 to 1."),
        (lambda: check_number("x", 0.0, 0, 1, "(]"), "x is 0.0, but must be a number above 0 and at most 1."),
        (lambda: check_number("x", 1, 0, 1, "[)"), "x is 1, but must be a number of at least 0 and below 1."),
        (lambda: check_number("x", 2, 0, 1, "()"), "x is 2, but must be a number above 0 and below 1."),
        (lambda: check_choice("x", "on", ["one"]), "x is 'on': choose one of one (did you mean 'one'?)."),
        (lambda: check_choice("x", ["one"], {"one": 1}), "x is ['one']: choose one of one"),
    ],
)
def test_a_setting_out_of_bounds_is_answered_with_what_is_allowed(
    check: Callable[[], None], words: str
) -> None:
    with pytest.raises(UserError) as caught:
        check()
    assert str(caught.value).startswith(words)


def test_bounds_are_inside_where_they_are_not_left_out() -> None:
    for value in (0, 1, np.float64(0.5)):
        check_number("x", value, 0, 1)
    check_number("x", 1, 0, 1, "(]")
    check_number("x", 0, 0, 1, "[)")
    check_whole("n", np.int64(8), 8, 8)
    check_choice("x", "one", ("one", "two"))


@pytest.mark.parametrize("seed", [2**32, -1, 1.5, True, "1"])
@pytest.mark.parametrize(
    "make",
    [
        lambda seed: RecurrentPPO("MlpPolicy", "CartPole-v1", seed=seed),
        lambda seed: Evolution("MlpPolicy", "CartPole-v1", seed=seed),
        lambda seed: SequenceLearner(seed=seed),
        lambda seed: rlrnn.train("cartpole-gru", seed),
    ],
)
def test_a_seed_that_no_generator_takes_is_refused_before_games_are_made(
    seed: Any, make: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlrnn.learners.base.make_vec", never)
    monkeypatch.setattr("gymnasium.make", never)
    with pytest.raises(UserError, match=r"seed is .*, but must be a whole number from 0 to 4294967295"):
        make(seed)


def test_the_largest_seed_is_one() -> None:
    check_seed(2**32 - 1)
    check_seed(None)
    agent = RecurrentPPO("MlpGruPolicy", clocks(), seed=2**32 - 1, policy_kwargs=NETWORK)
    with pytest.raises(UserError, match="seed is 4294967296"):
        agent.set_random_seed(2**32)


@pytest.mark.parametrize("seeds", [["--seed", "4294967296"], ["--seed", "4294967295", "--seeds", "2"]])
def test_the_shell_says_so_in_a_sentence(seeds: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "cartpole-gru", *seeds]) != 0
    assert "seed is 4294967296, but must be a whole number from 0 to 4294967295" in capsys.readouterr().err
