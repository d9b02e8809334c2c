"""Locks on a shared file system: one holder at a time, whatever dies, sleeps or races."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from tiny_runs import CARTPOLE, stopped_after

from rlrnn.errors import FileFault, UserError
from rlrnn.experiment.runs import leases, runs
from rlrnn.experiment.runs.leases import Held, Holder, LostLease, held, is_held
from rlrnn.experiment.training import training
from rlrnn.experiment.training.holding import StillHeld

needs_signals = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals")
ROOT = Path(leases.__file__).parents[3]
HOLDING = """
    import sys, time
    from pathlib import Path
    from rlrnn.experiment.runs.leases import LostLease, held
    with held(Path(sys.argv[1])) as lease:
        print("held", flush=True)
        try:
            while True:
                time.sleep(0.05)
                lease.check()
        except LostLease as error:
            print(error, flush=True)
"""


def started(code: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    """A process that runs such code."""
    command = [sys.executable, "-c", textwrap.dedent(code), str(folder)]
    known = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.Popen(command, env=known, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def read(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def of_another_host(folder: Path, lease: float = 1.0, **changes: object) -> Holder:
    """A lock that a process of a host called nobody left."""
    holder = Holder("ab12", "nobody", "its boot", 7, 11, lease)
    (folder / leases.LOCK).write_text(json.dumps(dataclasses.asdict(holder) | changes))
    return holder


def contents(folder: Path) -> dict[str, bytes]:
    """All that lies in a folder."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def aged(path: Path, seconds: float) -> None:
    """The file as if it had been written so long ago."""
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def test_one_holds_it_and_the_other_is_told_who(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(leases.HOST, "node7")
    with held(tmp_path):
        assert is_held(tmp_path) and [path.name for path in tmp_path.iterdir()] == [leases.LOCK]
        words = f"the run {tmp_path} is being trained by another process: wait for it (process {os.getpid()} "
        with pytest.raises(Held) as refused, held(tmp_path):
            pass
        assert str(refused.value) == words + "on node7)."
        with (
            pytest.raises(Held, match=r"the study .* is being searched by"),
            held(tmp_path, "study", "searched"),
        ):
            pass
        leases.check(tmp_path)
    assert not is_held(tmp_path) and not list(tmp_path.iterdir())
    leases.check(tmp_path)  # of a folder that nobody holds
    with pytest.raises(OSError, match="No such file") as missing, held(tmp_path / "none"):
        pass
    assert missing.value.filename == str(tmp_path / "none" / leases.LOCK)


@needs_signals
def test_a_killed_process_of_this_host_holds_nothing_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = started(HOLDING, tmp_path)
    assert read(process) == "held" and is_held(tmp_path)
    process.send_signal(signal.SIGSTOP)  # which lives, and whose lease does not matter here
    aged(tmp_path / leases.LOCK, 10 * leases.LEASE)
    assert is_held(tmp_path)
    process.kill()
    while Path(f"/proc/{process.pid}/stat").exists() and leases._started(process.pid) != -1:
        time.sleep(0.01)  # nobody has waited for it yet
    assert not is_held(tmp_path)
    left = (tmp_path / leases.LOCK).read_bytes()
    with held(tmp_path):
        pass
    assert not list(tmp_path.iterdir()) and not capsys.readouterr().err
    process.communicate()
    (tmp_path / leases.LOCK).write_bytes(left)
    assert not is_held(tmp_path)  # nor where it has been waited for, and there is none of its number


@needs_signals
def test_a_process_that_slept_on_another_host_notices_that_its_run_was_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    process = started(HOLDING, tmp_path, RLRNN_HOST="sleeper", RLRNN_LEASE="1")
    assert read(process) == "held"
    time.sleep(2.0)  # it is renewed meanwhile
    with pytest.raises(Held, match=rf"\(process {process.pid} on sleeper\)"), held(tmp_path):
        pass
    process.send_signal(signal.SIGSTOP)
    until = time.monotonic() + 60
    while is_held(tmp_path):
        assert time.monotonic() < until
        time.sleep(0.05)
    monkeypatch.setenv(leases.HOST, "taker")
    with held(tmp_path):
        told = (
            f"the run {tmp_path} was taken over from process {process.pid} on sleeper, whose lease has ended."
        )
        assert capsys.readouterr().err == f"rlrnn: {told}\n"
        assert [path.name for path in tmp_path.iterdir()] == [leases.LOCK]
        before = (tmp_path / leases.LOCK).read_bytes()
        process.send_signal(signal.SIGCONT)
        assert read(process) == (
            f"the run {tmp_path} is not this process's any more (process {os.getpid()} on taker took over): "
            "it stops here, and writes nothing more there."
        )
        assert process.wait(60) == 0
        assert (tmp_path / leases.LOCK).read_bytes() == before
        leases.check(tmp_path)
    process.communicate()


def test_a_clock_that_differs_frees_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its host's clock is an hour behind, and the file system takes times from it: yet it is renewed."""
    lock = tmp_path / leases.LOCK
    of_another_host(tmp_path)
    aged(lock, 3600)
    assert not is_held(tmp_path)  # as times alone tell
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(0.02):
            aged(lock, -0.02)

    thread = threading.Thread(target=renew)
    thread.start()
    with monkeypatch.context() as patch:
        patch.setattr(leases, "RENEWALS", 6)
        patch.setattr(leases, "_is_free", _once(leases._is_free))
        with pytest.raises(Held), held(tmp_path):
            pass
    ended.set()
    thread.join()
    monkeypatch.setattr(time, "time", lambda: 0.0)  # which decides nothing
    with held(tmp_path):
        assert is_held(tmp_path)


def _once(real):
    """At the second look the lock is held: else it would be watched for ever."""
    looks = []

    def is_free(found):
        looks.append(found)
        return len(looks) == 1 and real(found)

    return is_free


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b'{"token": 3}', b"\xff\xfe", json.dumps({"token": "../x"}).encode()]
)
def test_a_lock_that_was_not_written_to_its_end_is_held_for_a_lease(content: bytes, tmp_path: Path) -> None:
    lock = tmp_path / leases.LOCK
    lock.write_bytes(content)
    with pytest.raises(Held, match="a process that is not known"), held(tmp_path):
        pass
    aged(lock, leases.LEASE + 60)
    assert not is_held(tmp_path)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs to know when a process started")
def test_a_number_that_was_given_to_another_process_holds_nothing(tmp_path: Path) -> None:
    with held(tmp_path) as lease:
        mine = dataclasses.asdict(lease.holder)
    lock = tmp_path / leases.LOCK
    lock.write_text(json.dumps(mine))
    assert is_held(tmp_path)
    lock.write_text(json.dumps(mine | {"started": mine["started"] - 1}))
    assert not is_held(tmp_path)
    lock.write_text(
        json.dumps(mine | {"started": mine["started"] - 1, "machine": "before it was started anew"})
    )
    assert is_held(tmp_path)  # which may be another machine of the same name: its lease decides


def test_the_claim_of_a_taker_that_was_killed_is_claimed_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEWALS", 100)
    lock = tmp_path / leases.LOCK
    first = of_another_host(tmp_path)
    claim = tmp_path / f"lock.{first.token}"
    claim.write_text(json.dumps(dataclasses.asdict(first) | {"token": "cd34", "process": 8}))
    aged(lock, 60)
    with pytest.raises(Held, match="process 8 on nobody"), held(tmp_path):
        pass  # it is taking it over just now
    aged(claim, 60)
    with held(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [leases.LOCK]
    assert not list(tmp_path.iterdir())


def test_a_lease_goes_along_when_its_folder_is_renamed(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    with held(tmp_path / "part") as lease:
        lease.rename(tmp_path / "run")
        assert is_held(tmp_path / "run") and leases.lease_of(tmp_path / "run") is lease
        leases.check(tmp_path / "run")
        (tmp_path / "run" / leases.LOCK).unlink()
        with pytest.raises(LostLease, match=r"\(its lock was removed\): it stops here"):
            leases.check(tmp_path / "run")
    assert leases.lease_of(tmp_path / "run") is None


@pytest.mark.parametrize("text", ["soon", "0", "nan", "1e9"])
def test_a_lease_is_some_seconds(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(leases.DURATION, text)
    with (
        pytest.raises(UserError, match=f"RLRNN_LEASE is '{text}', but must be a lease's seconds"),
        held(tmp_path),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_training_whose_run_was_taken_writes_nothing_more(tmp_path: Path) -> None:
    folder, files = tmp_path / "run", {}

    class TakenOver(StillHeld):
        def _on_step(self) -> bool:
            if self.num_timesteps == 96:
                of_another_host(folder, lease=180.0)
                files.update(contents(folder))
                leases.lease_of(folder).renew()  # type: ignore[union-attr]  # as the thread does
            return True

    with pytest.raises(LostLease, match="process 7 on nobody took over") as stopped:
        training.train(
            CARTPOLE, 0, folder, progress=False, checkpoint_seconds=0.0, callback=TakenOver(folder)
        )
    assert not hasattr(stopped.value, "__notes__")
    assert files and contents(folder) == files
    assert runs.read_run(folder).status == "training" and is_held(folder)


def test_one_that_is_stopped_after_its_run_was_taken_saves_nothing(tmp_path: Path) -> None:
    folder, files = tmp_path / "run", {}

    class Stopping(StillHeld):
        def _on_step(self) -> bool:
            if self.num_timesteps == 96:
                of_another_host(folder, lease=180.0)
                files.update(contents(folder))
                raise KeyboardInterrupt
            return True

    with pytest.raises(LostLease):
        training.train(CARTPOLE, 0, folder, progress=False, callback=Stopping(folder))
    assert files and contents(folder) == files  # neither an agent nor a line of a log
    assert runs.read_run(folder).status == "training"


def test_what_a_dead_host_left_is_taken_over_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(leases, "RENEWALS", 100)
    folder = tmp_path / "run"
    with stopped_after(1):
        training.train(CARTPOLE, 1, folder, progress=False, checkpoint_seconds=0.0)
    of_another_host(folder)
    with pytest.raises(FileFault, match="by another process: wait for it"):
        training.resume(folder, progress=False)
    aged(folder / leases.LOCK, 60)
    assert training.resume(folder, progress=False).status == "finished"
    told = capsys.readouterr().err
    assert told.count("was taken over from process 7 on nobody, whose lease has ended.") == 1
    assert not (folder / leases.LOCK).exists()


CROWD = """
    import os, random, sys, time
    from pathlib import Path
    from rlrnn.experiment.runs import leases
    folder = Path(sys.argv[1])

    def slowly(function):  # there is time for others between any two steps
        def slow(*arguments):
            time.sleep(random.random() * 0.005)
            answer = function(*arguments)
            time.sleep(random.random() * 0.005)
            return answer
        return slow

    for name in ("_is_free", "_create", "_chain"):
        setattr(leases, name, slowly(getattr(leases, name)))

    def lives(process):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        return leases._started(process) != -1

    def take(number):  # until it has held the folder three times
        os.environ["RLRNN_HOST"] = f"host{number % 2}"
        rng, times = random.Random(number), 0
        while times < 3:
            try:
                with leases.held(folder):
                    inside = [path for path in folder.glob("inside.*") if lives(int(path.suffix[1:]))]
                    if inside:
                        (folder / "two").write_text(f"{os.getpid()} and {inside}")
                    mark = folder / f"inside.{os.getpid()}"
                    mark.touch()
                    time.sleep(rng.random() * 0.02)
                    with open(folder / "times", "ab", buffering=0) as file:
                        file.write(b"x")
                    if rng.random() < 0.1:
                        os.kill(os.getpid(), 9)
                    mark.unlink()
                    leases.check(folder)
                    times += 1
            except leases.Held:
                time.sleep(rng.random() * 0.02)
        os._exit(0)

    children = []
    for number in range(int(sys.argv[2]) if len(sys.argv) > 2 else 24):
        child = os.fork()
        if child == 0:
            take(number)
        children.append(child)
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print(ends.count(0), ends.count(-9), len(ends))
"""


@needs_signals
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_many_takers_and_one_holder_whoever_is_killed(tmp_path: Path) -> None:
    """Two simulated hosts: of the own one the dead are known at once, of the other by their leases."""
    process = started(CROWD, tmp_path, RLRNN_LEASE="4")
    said, errors = process.communicate(timeout=300)
    well, killed, all_of_them = map(int, said.split())
    assert well + killed == all_of_them == 24 and killed > 0, errors
    assert not (tmp_path / "two").exists()
    assert 3 * well + killed <= (tmp_path / "times").stat().st_size <= 3 * all_of_them
    assert not is_held(tmp_path) or leases.holder(tmp_path / leases.LOCK).process
    assert not list(tmp_path.glob("lock.*"))
