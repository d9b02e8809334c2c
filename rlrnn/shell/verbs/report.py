"""rlrnn report: write an HTML report on an agent."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rlrnn.common.texts import tell
from rlrnn.shell.verbs import options

SHORT = "write an HTML report on an agent"
TEXT = """
Writes one self-contained HTML file on an agent: learning curves, scores, memory, network, a recorded episode.

examples:
  rlrnn report runs/pong-gru                 all seeds; writes runs/pong-gru/report.html
  rlrnn report runs/pong-gru/seed0 --out pong.html
"""


def arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "run", metavar="AGENT", help="an agent's folder (all its seeds), its name, or a run's folder"
    )
    parser.add_argument("--out", metavar="FILE", help="default: report.html in that folder")
    options.add_imports(parser)


def run(arguments: Namespace) -> None:
    """Run the verb."""
    from rlrnn.experiment.pictures.reporting import report

    folder = Path(arguments.run)
    if not folder.exists() and len(folder.parts) == 1:
        folder = Path("runs", folder)  # an agent by its name
    tell(report(folder, arguments.out or folder / "report.html"))
