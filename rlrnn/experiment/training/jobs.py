"""Runs as jobs of SLURM, by submitit: one job a seed, which is requeued and goes on when it is preempted.

A job is the command of one seed in a process of its own. Whoever schedules tells the job by a signal that its
time is over: the process then saves its run, as at Ctrl-C, and the job goes back into the queue, where the
same command goes on from the checkpoint. https://github.com/facebookincubator/submitit
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlrnn.errors import EnvironmentFault, MissingExtraError, UserError

CLUSTERS = ("slurm", "local")  # local: submitit's processes of this machine, for a trial
TIMEOUT = 24 * 60  # minutes of a job where none are given; a run that takes longer goes on in the next one
TIMEOUTS = 1_000  # jobs of one run that may come to the end of their time
_GRACE = 300.0  # seconds that a scheduler may take from SIGTERM to the signal to save, or to the end


def is_scheduler(on: str) -> bool:
    """Whether ``--on`` names one for jobs, such as "slurm:partition=gpu"."""
    return on.partition(":")[0] in CLUSTERS


def submit(on: str, commands: Sequence[Sequence[str]], folder: Path, name: str) -> list[str]:
    """Submit a job for each command (rlrnn's words); returns the jobs' numbers.

    :param on: "slurm", or "slurm:partition=gpu,timeout_min=60" with submitit's or sbatch's parameters
    :param folder: for what jobs print and what submitit keeps
    """
    cluster, _, text = on.partition(":")
    settings = _settings(on, text)
    try:
        import submitit
    except ImportError as error:
        raise MissingExtraError(
            f"--on {cluster} needs submitit ({error}): pip install 'rlrnn[slurm]'."
        ) from error
    try:
        executor = submitit.AutoExecutor(folder, cluster=cluster, slurm_max_num_timeout=TIMEOUTS)
    except RuntimeError as error:
        raise EnvironmentFault(
            f"--on {cluster} finds no SLURM here ({str(error).strip()}): run it where srun and sbatch are."
        ) from error
    shared = submitit.AutoExecutor._valid_parameters()
    known = {key if key in shared else f"{cluster}_{key}": value for key, value in settings.items()}
    try:
        executor.update_parameters(**{"name": name, "timeout_min": TIMEOUT, **known})
    except (NameError, TypeError, ValueError, AssertionError) as error:
        raise UserError(f"--on {on} is not what submitit takes: {' '.join(str(error).split())}") from error
    try:
        return [str(executor.submit(RunJob(tuple(command))).job_id) for command in commands]
    except (subprocess.SubprocessError, submitit.core.utils.FailedJobError) as error:
        raise EnvironmentFault(f"sbatch refused the job: {' '.join(str(error).split())}") from error


def _settings(on: str, text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not (name.isidentifier() and equals and value):
            raise UserError(
                f"--on {on}: {part!r} is no NAME=VALUE; write it as in slurm:partition=gpu,timeout_min=60."
            )
        found[name] = int(value) if value.isdecimal() else value
    return found


@dataclass
class RunJob:
    """What a job does, and does again from the checkpoint when it has been requeued."""

    command: tuple[str, ...]

    def __call__(self) -> None:
        """Train, in a process of its own."""
        process = subprocess.Popen([sys.executable, "-m", "rlrnn", *self.command])
        _running.append(process)
        status = process.wait()
        if status in (128 + signal.SIGTERM, -signal.SIGTERM):  # preempted: saved or not yet able to
            time.sleep(_GRACE)  # the signal to requeue comes, or the end
        if status:
            raise RuntimeError(
                f"rlrnn {' '.join(self.command)} ended with status {status}: see its errors above."
            )

    def checkpoint(self) -> Any:
        """Save the run, and say what is to be submitted again: submitit calls it at the scheduler's signal.

        That came while ``__call__`` waits, whose lock on the process is not asked for.
        """
        from submitit.helpers import DelayedSubmission

        for process in _running:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    os.kill(process.pid, signal.SIGTERM)
                    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(RunJob(self.command))


_running: list[subprocess.Popen[bytes]] = []  # in a job
