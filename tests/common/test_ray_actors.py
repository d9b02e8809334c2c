"""Ray's actors are workers as processes are; what cannot be joined or would round otherwise is refused."""

from __future__ import annotations

import socket
import sys
from typing import Any

import pytest

from rlrnn.common import ray_actors
from rlrnn.errors import EnvironmentFault, MissingExtraError, UserError


def test_a_node_that_would_round_otherwise_is_refused() -> None:
    here = ray_actors.facts()
    assert set(here) == {"rlrnn", "torch", "numpy", "numba", "processor"}
    ray_actors.check_alike(dict(here), "a")
    with pytest.raises(
        EnvironmentFault, match=r"^node b has torch 1\.0, but here it is .*: install the same there\.$"
    ):
        ray_actors.check_alike({**here, "torch": "1.0"}, "b")
    with pytest.raises(
        EnvironmentFault, match=r"^the processor of node c computes other last bits \(a 386\)"
    ):
        ray_actors.check_alike({**here, "processor": "a 386"}, "c")
    with pytest.raises(EnvironmentFault, match=r"^node d has rlrnn None"):
        ray_actors.check_alike({}, "d")


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"on all nodes with pip install 'rlrnn\[ray\]'"):
        ray_actors.connect("ray")


class Absent:
    """A Ray that has joined no cluster and can join none."""

    asked: Any = None

    @staticmethod
    def is_initialized() -> bool:
        return False

    def init(self, **settings: Any) -> None:
        self.asked = settings
        raise ConnectionError("Could not read 'x' from GCS.\nDid GCS start?")


def test_a_cluster_that_cannot_be_joined_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = Absent()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setitem(sys.modules, "ray", absent)  # type: ignore[arg-type]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]  # nobody listens there
        for on in (f"ray:127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
            with pytest.raises(EnvironmentFault, match=rf"^no Ray cluster answers at 127\.0\.0\.1:{port} \("):
                ray_actors.connect(on)
        assert absent.asked is None
        taken.listen()
        with pytest.raises(
            EnvironmentFault, match=r"could not be joined \(ConnectionError: Could not read 'x' "
        ):
            ray_actors.connect(f"ray:127.0.0.1:{port}")
        assert absent.asked["address"] == f"127.0.0.1:{port}"
    with pytest.raises(EnvironmentFault, match=r"^the Ray cluster of 'ray' could not be joined"):
        ray_actors.connect("ray")
    assert absent.asked["address"] == "local"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(EnvironmentFault, match=r"^the Ray cluster of 'ray' could not be joined"):
        ray_actors.connect("ray")
    assert absent.asked["address"] is None  # which is for Ray to find
    for on in ("rays", "dask", "ray:", "", "ray:host:port"):
        with pytest.raises(UserError, match=rf"^on is {on!r}, but "):
            ray_actors.connect(on)


def test_a_head_that_died_is_noticed_before_ray_ends_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(ray_actors.time, "monotonic", lambda: now[0])
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        address = "{}:{}".format(*listening.getsockname())
        head = ray_actors.Head(address)
        looks = []
        for answers in [True] * 9 + [False] * 4 + [True] + [False] * 4:  # what is silent for 15 s may live
            monkeypatch.setattr(head, "answers", lambda answers=answers: looks.append(answers) or answers)
            wait(head, now, 5)
        assert len(looks) == 18
        monkeypatch.delattr(head, "answers")
        assert not head.is_gone()
    assert head.is_gone()
    never = ray_actors.Head(address)  # as by Ray's client, from another network
    with pytest.raises(EnvironmentFault, match=rf"^the head of the Ray cluster at {address} does not answer"):
        wait(head, now, 30)
    assert now[0] < 18 * 5 + 60 - 20  # seconds that Ray waits before it ends the program
    wait(never, now, 300)
    assert not never.is_gone()


def wait(head: ray_actors.Head, now: list[float], seconds: int) -> None:
    for _ in range(seconds):
        now[0] += 1.0
        head.check()


class Left:
    """What Ray's client is when its server is gone."""

    def wait(self, *_: Any, **__: Any) -> Any:
        raise ConnectionError("GRPC connection failed: None\nand more")

    def is_initialized(self) -> bool:
        return False


def test_a_client_whose_server_is_gone_says_so() -> None:
    pool: Any = object.__new__(ray_actors.Actors)
    worker: Any = type("Waiting", (), {"pending": True, "reference": 1, "ended": False})()
    pool._ray, pool._head, pool._warned = Left(), ray_actors.Head("127.0.0.1:1"), False
    for wait_for in (pool.wait, pool.wait_all):
        with pytest.raises(
            EnvironmentFault,
            match=r"^the Ray cluster does not answer any more \(ConnectionError: GRPC .* None\)",
        ):
            wait_for([worker])
    pool.end([worker])  # of which nothing is left to be ended
