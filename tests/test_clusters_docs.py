"""docs/clusters.md: its commands are the shell's, and its numbers are the code's."""

import re
import shlex
from pathlib import Path

from rlrnn.experiment.runs import leases
from rlrnn.experiment.training.shards import parse
from rlrnn.shell.arguments import parser

TEXT = (Path(__file__).parent.parent / "docs" / "clusters.md").read_text(encoding="utf-8")


def test_its_commands_are_the_shells() -> None:
    commands = re.findall(r"^(?: {4}|srun )rlrnn ([^#>\n]*)", TEXT, flags=re.MULTILINE)
    assert len(commands) >= 6
    for command in commands:
        parser().parse_args(shlex.split(command))


def test_its_numbers_are_the_codes() -> None:
    assert parse("3/10").of(range(50)) == [2, 12, 22, 32, 42]
    assert leases.LEASE == 180 and leases.LEASE / leases.RENEWALS == 10
    assert "every 10 seconds" in TEXT and "after 3 minutes" in TEXT and "another half minute" in TEXT
