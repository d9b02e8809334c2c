"""Write what an agent was measured to reach into its recipe: the [verified] table, from its finished runs.

rlrnn train cartpole-gru --seeds 5                          # all seeds counted
rlrnn train cartpole-gru --control feedforward --seeds 5    # its controls, on as many of the first seeds
rlrnn train cartpole-gru --control stacked --seeds 5
python benchmarks/verified.py cartpole-gru

What lies in runs/AGENT and beside it is kept in runs/verified/, the evidence; the table is made from that.
"""

from __future__ import annotations

import argparse
import re
import shutil
from dataclasses import replace
from pathlib import Path

import evidence
from evidence import Kept

from rlrnn.common.records import to_mapping
from rlrnn.experiment import catalogue
from rlrnn.experiment.recipes import CONTROLS, Recipe, Verified, control
from rlrnn.experiment.runs import contents, runs
from rlrnn.experiment.runs.facts import FINISHED
from rlrnn.experiment.runs.runs import Run
from rlrnn.experiment.training.claims import claim

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("agents", nargs="+", help="names of agents/*.toml whose runs lie in runs/")
    parser.add_argument("--weights", type=int, default=0, help="attach the agents of so many seeds, too")
    arguments = parser.parse_args()
    for name in arguments.agents:
        keep(catalogue.agent(name), arguments.weights)
        path = ROOT / "agents" / f"{name}.toml"
        text = re.sub(r"\n*\[verified\].*", "", path.read_text(encoding="utf-8"), flags=re.DOTALL).rstrip()
        lines = [
            f"{key} = {_toml(value)}"
            for key, value in to_mapping(claimed(name)).items()
            if value not in ([], "")
        ]
        path.write_text(text + "\n\n[verified]\n" + "\n".join(lines) + "\n", encoding="utf-8")
        print(f"{path.name}: {catalogue.agent(name).verified}")


def keep(recipe: Recipe, weights: int = 0) -> None:
    """Keep the evidence of new runs of an agent, and of its controls, in place of the older of each."""
    kept = evidence.read(recipe.name)
    new = {evidence.AGENT: recipe, **{kind: control(recipe, kind) for kind in CONTROLS}}
    found = {kind: finished(asked) for kind, asked in new.items()}
    for kind, group in found.items():
        if group:
            kept[kind] = [Kept.of(run) for run in group]
    if any(found.values()):
        evidence.write(recipe.name, kept)
    if found[evidence.AGENT]:
        for older in evidence.FOLDER.glob(f"{recipe.name}-seed*.zip"):
            older.unlink()
    for run in found[evidence.AGENT][:weights]:
        shutil.copy(run.folder / contents.AGENT, evidence.weights(recipe.name, run.seed))


def finished(recipe: Recipe) -> list[Run]:
    """The new runs of a recipe, by seed; one of another recipe, or not finished, ends the program."""
    folder = ROOT / "runs" / recipe.name
    found = sorted((runs.read_run(path) for path in folder.glob("seed*")), key=lambda run: run.seed)
    for run in found:
        if run.status != FINISHED:
            raise SystemExit(f"{run.folder} is not finished but {run.status}: every seed counts.")
        if settings(run.recipe) != settings(recipe):
            raise SystemExit(f"{run.folder} was trained by another recipe than {recipe.name} is now.")
    return found


def settings(recipe: Recipe) -> Recipe:
    """What decides a training: the recipe without its words, and without evaluations on the way."""
    judged = replace(
        recipe.evaluation, every=None, episodes_each=Recipe("any", "any", 1).evaluation.episodes_each
    )
    return replace(recipe, name="any", description="", verified=None, evaluation=judged)


def claimed(name: str) -> Verified:
    """The [verified] table of an agent, from the evidence kept."""
    found = evidence.read(name)
    if evidence.AGENT not in found:
        raise SystemExit(f"there are no runs of {name}, neither in runs/ nor in {evidence.FOLDER}.")
    kept = found[evidence.AGENT]
    trained = [run.seed for run in kept]
    controls = {kind: found.get(kind, []) for kind in CONTROLS}
    for kind, runs_of in controls.items():
        if [run.seed for run in runs_of] != trained[: len(runs_of)]:
            raise SystemExit(f"the {kind} runs of {name} should be of the first seeds of {trained}.")
    return claim(kept, f"rlrnn train {name} --seed K", controls)


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(list(value) if isinstance(value, tuple) else value)


if __name__ == "__main__":
    main()
