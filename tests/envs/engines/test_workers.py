"""Worker processes play exactly what one process would, say what went wrong, and leave nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from playing import play, same
from stable_baselines3.common.monitor import Monitor
from toy_envs import Echo, Stubborn, Talker, Walk, thing, work

from rlrnn import RecurrentPPO
from rlrnn.common import processes
from rlrnn.common.processes import Process, end, gather
from rlrnn.envs.engines import serial
from rlrnn.envs.vec import GameVecEnv, from_envs, vectorize
from rlrnn.errors import EnvironmentFault, GameExit, UserError


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def walks(n_envs: int, workers: int, **kwargs: Any) -> Iterator[GameVecEnv]:
    """Walks with seeds 7, 8, ..., reset, and closed with every worker gone."""
    render_mode = kwargs.pop("render_mode", None)
    env = vectorize("toys/Walk-v0", n_envs, seed=7, workers=workers, kwargs=kwargs, render_mode=render_mode)
    pids = {pid for pid in env.env_method("pid") if pid != os.getpid()}
    assert len(pids) == workers
    try:
        env.reset()
        yield env
    finally:
        env.close()
        env.close()
        assert not any(alive(pid) for pid in pids)


def without_clock(log: list[Any]) -> list[Any]:
    for entry in log[1:]:
        for info in entry[3]:
            info.get("episode", {}).pop("t", None)
    return log


@pytest.mark.parametrize(("keyed", "numbers"), [(False, (0, 1, 2)), (True, (0, 3))])
def test_the_number_of_workers_changes_nothing(keyed: bool, numbers: tuple[int, ...]) -> None:
    """5 copies in none, some or more processes: observations, rewards, ends, infos, reset infos."""
    logs = [
        without_clock(play(vectorize("toys/Walk-v0", 5, kwargs={"keyed": keyed}, workers=workers), 30))
        for workers in numbers
    ]
    assert sum(entry[2].sum() for entry in logs[0][1:]) > 30
    for log in logs[1:]:
        same(log, logs[0])
    assert any(info["episode"]["r"] > 0 for entry in logs[0][1:] for info in entry[3] if "episode" in info)


def test_attributes_methods_and_pictures_across_workers() -> None:
    with walks(5, workers=2, render_mode="rgb_array") as env:
        env.set_attr("color", "red", indices=[3, 0])
        assert env.get_attr("color", [4, 3, 2, 1, 0]) == ["green", "red", "green", "green", "red"]
        assert env.get_attr("first_seed", [4, 0, -2]) == [11, 7, 10]
        assert env.env_method("double", 4, indices=2, extra=1) == [9]
        assert env.has_attr("color") and not env.has_attr("colour")
        with pytest.raises(AttributeError, match="colour"):
            env.get_attr("colour")
        assert env.env_is_wrapped(gym.wrappers.TimeLimit) == [True] * 5 == env.env_is_wrapped(Monitor)
        assert env.get_images()[4].shape == (4, 6, 3) and env.render().max() == 0
        assert env.metadata["render_fps"] == 7
        # A step that nobody waited for is dropped by whatever comes next.
        env.step_async(np.zeros(5, int))
        assert env.get_attr("color", 0) == ["red"]
        assert (env.reset()[:, 1] == 0).all()


def test_an_error_names_the_copy_and_leaves_the_other_workers_in_step() -> None:
    with walks(5, workers=2, trouble="raise", victim=10) as env:
        env.step(np.zeros(5, int))
        with pytest.raises(
            EnvironmentFault, match=r"Copy 3 of toys/Walk-v0 raised ZeroDivisionError"
        ) as caught:
            env.step(np.zeros(5, int))
        assert "toy_envs.py" in "".join(caught.value.__notes__)  # the traceback of the other process
        env.seed(20)
        assert (env.reset()[:, 1] == 0).all()
        assert (env.step(np.zeros(5, int))[0][:, 1] == 1).all()
        with pytest.raises(EnvironmentFault, match=r"Copy 4 .* KeyError in refuse\(\): 'not today'"):
            env.env_method("refuse", indices=4)


def test_a_worker_that_dies_is_named() -> None:
    with walks(5, workers=2, trouble="die", victim=10) as env:
        env.step(np.zeros(5, int))
        sentence = r"worker process with copies 2 to 4 of toys/Walk-v0 ended with status 7"
        for use in (lambda: env.step(np.zeros(5, int)), env.reset):  # and it stays dead
            with pytest.raises(EnvironmentFault, match=sentence):
                use()


def test_a_worker_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sleeper(Walk):
        def step(self, action: Any) -> Any:
            time.sleep(1000)

    monkeypatch.setattr("rlrnn.common.processes._PATIENCE", 0.2)
    env = from_envs([Sleeper], workers=1)
    (pid,) = env.env_method("pid")
    env.reset()
    env.step_async(np.zeros(1, int))
    env.close()
    assert not alive(pid)


def test_a_constructor_that_fails_in_a_worker() -> None:
    class Broken(Walk):
        def __init__(self) -> None:
            raise OSError("no screen")

    with pytest.raises(
        EnvironmentFault, match=r"Copy 2 of the environment raised OSError in its constructor: no screen"
    ):
        from_envs([Walk, Walk, Broken, Broken], workers=2)
    with pytest.raises(EnvironmentFault, match=r"Making toys/Walk-v0 with \{'colour': 1\} raised"):
        vectorize("toys/Walk-v0", 2, workers=1, kwargs={"colour": 1})
    with pytest.raises(UserError, match="differ in their spaces"):
        from_envs([Walk, lambda: Walk(keyed=True)], workers=2)


def test_prints_of_an_environment_do_not_mix_with_its_answers(capfd: pytest.CaptureFixture[str]) -> None:
    class Chatty(Walk):
        def step(self, action: Any) -> Any:
            print("hello", flush=True)
            return super().step(action)

    env = from_envs([Chatty] * 2, workers=1, seed=0)
    env.reset()
    assert env.step(np.zeros(2, int))[0][:, 1].tolist() == [1, 1]
    env.close()
    captured = capfd.readouterr()
    assert captured.err.count("hello") == 2 and captured.out == ""


SCRIPT = """
import gymnasium as gym, numpy as np
from rlrnn.envs.vec import vectorize

class Mine(gym.Env):
    observation_space = gym.spaces.Box(0, 1, (1,))
    action_space = gym.spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.random(1, np.float32), {"by": self}
    def step(self, action):
        return np.ones(1, np.float32), 1.0, True, False, {"by": self}

print("once")
gym.register("Mine-v0", entry_point=Mine)
env = vectorize("Mine-v0", 3, seed=0, workers=2)
env.reset()
infos = env.step(np.zeros(3, int))[3]
print(isinstance(infos[2]["by"], Mine), infos[2]["episode"]["r"])
env.close()
"""


def test_a_script_needs_no_main_guard(tmp_path: Path) -> None:
    """Its own class is registered as a callable, goes to the workers and comes back; it runs only once."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("once\nTrue 1.0\n", "")


@pytest.mark.skipif(os.name != "posix", reason="pipes can be waited for on POSIX alone")
def test_a_game_that_hangs_is_named_and_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with walks(5, 2, trouble="hang", victim=9) as env:
        env.step(np.ones(5, np.int64))
        monkeypatch.setattr(processes, "_SILENCE", 0.1)
        monkeypatch.setattr(processes, "_HANGING", 0.3)
        with pytest.raises(EnvironmentFault, match=r"copies 2 to 4 of toys/Walk-v0 has not answered for 0 s"):
            env.step(np.ones(5, np.int64))
    assert "has been silent for 0 s. Is its game stuck? Ctrl-C stops" in capsys.readouterr().err


@pytest.fixture(scope="module")
def shared() -> Iterator[GameVecEnv]:
    """Four echoes in two processes, for all tests that leave them well."""
    with closing(from_envs([Echo] * 4, seed=0, workers=2)) as env:
        yield env


@pytest.fixture
def echoes(shared: GameVecEnv) -> GameVecEnv:
    """As ``shared``, at the beginning of episodes."""
    shared.set_attr("color", "green")
    shared.reset()
    return shared


def in_step(env: GameVecEnv) -> bool:
    """Whether every reward of some steps is that of its own action."""
    actions = np.random.default_rng(0).integers(3, size=(10, env.num_envs))
    return all((env.step(row)[1] == row).all() for row in actions)


@contextmanager
def interrupted(where: str) -> Iterator[None]:
    """Ctrl-C comes while an answer is waited for ("select"), or while a part of it is read ("read")."""

    def press(*_: Any) -> None:
        raise KeyboardInterrupt

    target = processes._Selector if where == "select" else processes.os
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, where, press)
        with pytest.raises(KeyboardInterrupt):
            yield


@pytest.mark.skipif(os.name != "posix", reason="pipes can be waited for on POSIX alone")
@pytest.mark.parametrize("use", ["step", "reset", "get_attr", "set_attr"])
def test_an_interrupt_puts_no_answer_out_of_step(echoes: GameVecEnv, use: str) -> None:
    assert in_step(echoes)
    given = {"step": [np.ones(4, int)], "get_attr": ["color"], "set_attr": ["color", "red"]}
    with interrupted("select"):
        getattr(echoes, use)(*given.get(use, []))
    assert echoes.get_attr("color") == ["red" if use == "set_attr" else "green"] * 4
    if use == "step":
        with pytest.raises(EnvironmentFault, match=r"A step of Echo was broken off .* call reset\(\)"):
            echoes.step(np.ones(4, int))
    echoes.reset()
    assert in_step(echoes)


@pytest.mark.skipif(os.name != "posix", reason="pipes can be waited for on POSIX alone")
def test_learning_goes_on_in_step_after_an_interrupt(echoes: GameVecEnv) -> None:
    tiny = {"hidden_size": 2, "net_arch": []}
    agent = RecurrentPPO("MlpGruPolicy", echoes, n_steps=8, batch_size=8, n_epochs=1, policy_kwargs=tiny)
    agent.learn(32)
    with interrupted("select"):
        agent.learn(64, reset_num_timesteps=False)
    shares: list[float] = []

    def look(local: dict[str, Any], _: Any) -> bool:
        shares.append(float((local["rewards"] == local["clipped_actions"]).mean()))
        return True

    agent.learn(64, look, reset_num_timesteps=False)
    assert shares == [1.0] * 16


@pytest.mark.skipif(os.name != "posix", reason="pipes can be waited for on POSIX alone")
def test_an_interrupt_in_the_middle_of_a_message_is_remembered() -> None:
    with closing(from_envs([Echo] * 2, seed=0, workers=1)) as env:
        env.reset()
        with interrupted("read"):
            env.step(np.ones(2, int))
        for use in (env.reset, lambda: env.get_attr("color")):
            with pytest.raises(
                EnvironmentFault, match="broken off by an interrupt: make the environment anew"
            ):
                use()


def test_an_answer_or_a_command_that_cannot_be_read_puts_nothing_out_of_step(echoes: GameVecEnv) -> None:
    echoes.set_attr("mood", "strange", indices=[1])
    sentence = r"copies 0 to 1 .* cannot be read here \(ModuleNotFoundError: .*'known_here_alone'\)"
    with pytest.raises(EnvironmentFault, match=sentence):
        echoes.step(np.zeros(4, int))
    echoes.reset()
    assert in_step(echoes)
    mood = thing("known_there_alone")
    try:
        with pytest.raises(EnvironmentFault, match="raised ModuleNotFoundError"):
            echoes.set_attr("mood", mood)
    finally:
        del sys.modules["known_there_alone"]
    assert echoes.get_attr("mood") == [""] * 4 and in_step(echoes)


def test_a_game_that_ends_the_program_ends_no_worker(echoes: GameVecEnv) -> None:
    echoes.set_attr("mood", "exit", indices=[3])
    with pytest.raises(
        GameExit, match=r"Copy 3 of Echo asked to end the program in step\(\) \(.*toy_envs.py, l"
    ):
        echoes.step(np.zeros(4, int))
    echoes.reset()
    assert in_step(echoes)


def test_a_worker_that_works_says_so_and_only_silence_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that a test turns: a sign of life comes every 59 s, for longer than may pass in silence."""

    class Stopped:
        def kill(self) -> None: ...
        def wait(self) -> int:
            return -9

    process = object.__new__(Process)
    reader, writer = os.pipe()
    now = [0.0]
    monkeypatch.setattr(processes.time, "monotonic", lambda: now[0])
    vars(process).update(
        _process=Stopped(), stdout=os.fdopen(reader, "rb"), holds="copies", _buffer=bytearray()
    )
    vars(process).update(_sent=1, _answered=0, _answer=b"", _last_beat=0.0, _warned=False, _broken=False)
    for _ in range(20):
        now[0] += processes._SILENCE - 1
        assert process.time_left() == 1
        os.write(writer, processes._HEAD.pack(0, 0))
        process.receive()
    assert now[0] > processes._HANGING and process.pending and not process._warned
    now[0] += processes._HANGING
    process.time_left()
    good, error = process.answer()
    assert not good and "has not answered for 900 s" in str(error) and not process.pending
    os.close(writer)
    process.stdout.close()


def test_signs_of_life_are_no_answers() -> None:
    process = Process(Talker, "Talker", "a talker")
    process.send("talk", 3)
    assert gather([process])[0] == 3
    process.send("talk", 0)
    assert gather([process]) == [0]
    end([process])


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("how", ["told", "killed"])
def test_work_reports_on_its_way_and_is_broken_off_by_its_parent_alone(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by Ctrl-C, from its very beginning on, nor by SIGTERM, nor for its silence."""
    monkeypatch.setattr(processes, "_HANGING", 0.0)
    process = Process(work, "the work", "the work")
    pid = process._process.pid
    os.kill(pid, signal.SIGINT)
    reports = process.receive()
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)  # of a scheduler, to all processes
    while process.pending and len(reports) < 5:
        reports += process.receive()
    assert reports[:5] == [pid, *["at work"] * 4] and process.pending
    if how == "told":
        process.finish()
    else:
        os.kill(pid, signal.SIGKILL)
    while process.pending:
        process.receive()
    well, error = process.answer()
    assert not well and process.died == ("" if how == "told" else "by SIGKILL")
    said = "saved." if how == "told" else "The worker process with the work ended by SIGKILL."
    assert str(error) == said
    end([process])


def test_no_environment_reads_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_HANGING", 60.0)
    process = Process(input, "what asks", "what asks")
    with pytest.raises(EnvironmentFault, match="raised EOFError"):
        gather([process])
    end([process])


def test_every_copy_is_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[None] = []
    monkeypatch.setattr(serial, "beat", lambda: counted.append(None))
    env = from_envs([Walk] * 3, seed=0)
    assert len(counted) == 3
    env.reset()
    env.step(np.zeros(3, int))
    assert len(counted) == 9
    env.open([1, 2])
    env.play(np.zeros(2, int))
    assert len(counted) == 14


@pytest.mark.skipif(os.name != "posix", reason="elsewhere there are no such numbers")
def test_descriptors_above_1024_can_be_waited_for() -> None:
    import fcntl
    import resource

    low, high = resource.getrlimit(resource.RLIMIT_NOFILE)
    if high != resource.RLIM_INFINITY and high < 2048:
        pytest.skip("no process here may have so many files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(low, 2048), high))
    try:
        process = Process(Talker, "Talker", "a talker")
        gather([process])
        number = fcntl.fcntl(process.stdout.fileno(), fcntl.F_DUPFD, 1500)
        process.stdout.close()
        process.stdout = os.fdopen(number, "rb", buffering=0)
        assert number >= 1500
        process.send("talk", 1)
        assert gather([process]) == [1]
        end([process])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (low, high))


def test_workers_that_do_not_end_share_one_patience(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    left: list[float] = []
    wait = Process.wait
    monkeypatch.setattr(processes, "_PATIENCE", 0.3)
    monkeypatch.setattr(Process, "wait", lambda self, seconds: (left.append(seconds), wait(self, seconds))[1])
    env = from_envs([Stubborn] * 4, workers=2)
    pids = set(env.env_method("pid"))
    env.close()
    assert len(pids) == 2 == len(left) and left[1] <= 0 and not any(map(alive, pids))
    told = capfd.readouterr().err
    assert told.count("raised RuntimeError in close(): the display is gone") == 2 and "Traceback" not in told
