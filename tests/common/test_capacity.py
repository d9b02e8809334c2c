"""What would not fit into memory is refused with its bytes and the setting to lower, before it is made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_games import clocks

import rlrnn
from rlrnn import Evolution, RecurrentPPO, SequenceLearner
from rlrnn.cells import make_cell
from rlrnn.common import capacity
from rlrnn.envs.wrappers import wrap
from rlrnn.errors import UserError
from rlrnn.learners.policy import sizing

SMALL = {"hidden_size": 4, "net_arch": [4]}


@pytest.fixture(autouse=True)
def _small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 1 GB, where networks of a hundred units are asked for their size."""
    monkeypatch.setattr(capacity, "memory", lambda: 10**9)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: RecurrentPPO("MlpGruPolicy", clocks(2), n_steps=10**9, policy_kwargs=SMALL),
            # 12 bytes seen, an action of 8, six numbers, three flags, a memory of 2 * 4 numbers
            r"n_steps=1,000,000,000 in 2 environment\(s\) would need 158 GB .* has 1 GB: lower n_steps",
        ),
        (
            lambda: RecurrentPPO("MlpGruPolicy", clocks(), policy_kwargs={"hidden_size": 100_000}),
            r"the network, its gradient and its optimizer would need \d+ GB of memory.*lower hidden_size",
        ),
        (
            lambda: RecurrentPPO(
                "MlpPolicy", clocks(), policy_kwargs={"net_arch": {"pi": [100_000, 100_000]}}
            ),
            r"would need 160 GB of memory.*lower hidden_size, net_arch",
        ),
        (
            lambda: Evolution("MlpMingruPolicy", clocks(), policy_kwargs={"hidden_size": 10**8}),
            r"the network would need \d+\.?\d* GB of memory",
        ),
        (
            lambda: Evolution("MlpGruPolicy", clocks(), "snes", {"population": 10**8}, policy_kwargs=SMALL),
            r"a generation of 100,000,000 members of \d+ weights would need \d+ GB .*lower population",
        ),
        (lambda: make_cell("graph", 2, 100_000), "a graph of 100,000 units would need 3 TB .*or the density"),
        (lambda: rlrnn.make_vec("cartpole-no-velocity", 10**8), r"n_envs=100,000,000 copies .* need 50 GB"),
        (
            lambda: wrap(clocks(2), [{"name": "delay", "steps": 10**9}]),
            "delay with 1,000,000,001 observations of 2 copies would need 24 GB .*lower its steps",
        ),
        (lambda: wrap(clocks(2), [{"name": "stack", "frames": 10**9}]), "stack .* need 24 GB .*its frames"),
        (
            lambda: SequenceLearner("mingru", 10**8).fit(
                np.ones((2, 2, 1)), np.ones((2, 2, 1)), progress=False
            ),
            r"the network, its gradient and its optimizer would need \d",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_it_is_made(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        make()


def test_networks_of_usual_sizes_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "on_meta", lambda *_: pytest.fail("asked"))
    RecurrentPPO("MlpGruPolicy", clocks(), policy_kwargs=SMALL)


def test_a_rollouts_bytes_are_those_of_its_arrays() -> None:
    agent = RecurrentPPO("MlpGruPolicy", clocks(2), n_steps=4, policy_kwargs=SMALL).learn(8)
    rollout, space = agent.rollout_buffer, agent.observation_space
    arrays = [a for a in vars(rollout).values() if isinstance(a, np.ndarray)]
    held = sum(a.nbytes for a in arrays) + sum(state.nbytes for state in rollout.states)
    one = rlrnn.learners.ppo.rollout.bytes_of_a_step(space, rollout.actions.shape[-1], rollout.actions.dtype)
    extra = 2 * 4  # the value after the last step
    assert held == 8 * (one + 4 * agent.policy.network.state_size) + extra


def test_memory_is_the_machines_or_what_a_container_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    whole = capacity.memory()
    assert whole is None or whole > 10**8
    if whole is not None:
        (tmp_path / "max").write_text("123456789\n")
        (tmp_path / "none").write_text("max\n")
        monkeypatch.setattr(capacity, "LIMITS", [str(tmp_path / name) for name in ("max", "none", "missing")])
        assert capacity.memory() == 123456789
    monkeypatch.delattr("os.sysconf", raising=False)
    assert capacity.memory() is None
    capacity.check_fits("anything", 10**30, "nothing")  # nobody knows


@pytest.mark.parametrize(("size", "text"), [(12, "12 bytes"), (25.3e9, "25.3 GB"), (10**24, "1e+06 EB")])
def test_bytes_are_shown_with_three_digits(size: float, text: str) -> None:
    assert capacity.readable(size) == text
