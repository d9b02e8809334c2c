"""A training that goes on on another kind of processor than it began on (see ``processor.kind``)."""

from __future__ import annotations

import os
from pathlib import Path

from rlrnn.common import processor
from rlrnn.envs.games import Game
from rlrnn.errors import UserError
from rlrnn.experiment.agents import Agent
from rlrnn.experiment.runs import checkpoints, contents, runs
from rlrnn.experiment.runs.checkpoints import Checkpoint
from rlrnn.experiment.runs.facts import FINISHED, TRAINED
from rlrnn.experiment.runs.runs import Run
from rlrnn.learners.ppo import compiled
from rlrnn.learners.ppo.ppo import RecurrentPPO
from rlrnn.network.actuators import BinaryActuators, ChoiceActuators

ANY = "RLRNN_ANY_PROCESSOR"  # set to 1, trainings go on on others; inherited by the processes of seeds
# Games without a sine, a logarithm or a sum of many numbers, which each kind of processor rounds in its own
# way, and wrappers that add none.
EXACT_GAMES = {
    f"rlrnn/{name}-v0"
    for name in (
        "Autoencode",
        "CountRecall",
        "MemoryChain",
        "MiniGridMemory",
        "Recall",
        "RepeatPrevious",
        "TMaze",
    )
}
SENSORS = "sensors."  # in the names of what learns to see, by torch
EXACT_WRAPPERS = {"delay", "flatten", "flicker", "hide", "one_hot", "previous", "stack"}


class OtherProcessor(UserError):
    """A run would go on in other bytes than where it began."""


def check_folder(folder: Path, device: str) -> None:
    """As ``check_processor``, of the run in a folder, before a process is started that would resume it."""
    if not (folder / contents.VERSIONS).exists():
        return
    run = runs.read_run(folder)
    if run.facts.get("processor") in (None, processor.kind()) or run.status in (TRAINED, FINISHED):
        return
    checkpoint, _ = checkpoints.latest(folder)
    if checkpoint is not None:
        check_processor(run, checkpoint, device)


def check_processor(run: Run, checkpoint: Checkpoint, device: str) -> None:
    """Refuse to go on where a run would end in other bytes, and the same were promised.

    They are promised on a CPU, for games that can be saved, and by what a run began on, if that is known.
    """
    before, now = run.facts.get("processor"), processor.kind()
    promised = device == run.facts.get("device") == "cpu" and checkpoint.games is not None
    if before in (None, now) or not promised or os.environ.get(ANY, "0") not in ("", "0"):
        return
    if rounds_by_processor(checkpoints.agent_of(checkpoint, "cpu"), run.game):
        raise OtherProcessor(
            f"the run {run.folder} began on another kind of processor ({before}) than this one ({now}), "
            "which rounds otherwise: it would end in bytes of neither. Resume it on one of its own kind, or "
            f"add --any-processor (in Python: {ANY}=1 in the environment)."
        )


def note(run: Run) -> dict[str, list[str]]:
    """For a run's facts: other kinds of processor on which it went on."""
    before, now = run.facts.get("processor"), processor.kind()
    others = {*run.facts.get("other_processors", ()), now} - {before}
    return {"other_processors": sorted(others)} if others else {}


def rounds_by_processor(agent: Agent, game: Game) -> bool:
    """Whether the last bits of what a trained agent goes on to learn depend on the kind of processor.

    They do not where our kernels compute all of it: acting and updates of plain networks that choose among
    actions (a normal distribution's noise is torch's), in games of whole numbers. False says that this is
    known; True, that it is not.
    """
    wrappers = {str(wrapper.get("name")) for wrapper in game.wrappers}
    if game.id not in EXACT_GAMES or not wrappers <= EXACT_WRAPPERS or not isinstance(agent, RecurrentPPO):
        return True
    network = agent.policy.network
    learns = any(p.requires_grad for name, p in network.named_parameters() if SENSORS in name)
    chooses = isinstance(network.actuators, ChoiceActuators | BinaryActuators)
    return learns or not chooses or compiled.plans_of(network) is None
