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
from statistics import median

from rlrnn.common.records import to_mapping
from rlrnn.experiment import catalogue
from rlrnn.experiment.evaluation import WIPED, WITH_MEMORY
from rlrnn.experiment.recipes import CONTROLS, Recipe, Verified, control
from rlrnn.experiment.runs import contents, runs
from rlrnn.experiment.runs.facts import FINISHED
from rlrnn.experiment.runs.runs import Run
from rlrnn.experiment.training.verifying import DIGITS

ROOT = Path(__file__).parent.parent
EVIDENCE = ROOT / "runs" / "verified"
FILES = ("recipe.toml", "versions.json", "score.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("agents", nargs="+", help="names of agents/*.toml whose runs lie in runs/")
    parser.add_argument("--weights", type=int, default=0, help="attach the agents of so many seeds, too")
    arguments = parser.parse_args()
    for name in arguments.agents:
        recipe = catalogue.agent(name)
        keep(recipe, arguments.weights)
        for kind in CONTROLS:
            keep(control(recipe, kind))
        path = ROOT / "agents" / f"{name}.toml"
        text = re.sub(r"\n*\[verified\].*", "", path.read_text(encoding="utf-8"), flags=re.DOTALL).rstrip()
        lines = [
            f"{key} = {_toml(value)}"
            for key, value in to_mapping(claim(name)).items()
            if value not in ([], "")
        ]
        path.write_text(text + "\n\n[verified]\n" + "\n".join(lines) + "\n", encoding="utf-8")
        print(f"{path.name}: {catalogue.agent(name).verified}")


def keep(recipe: Recipe, weights: int = 0) -> None:
    """Keep the evidence of new runs of a recipe, if there are any, in place of the older."""
    found = seeds(ROOT / "runs" / recipe.name)
    for run in found:
        if run.status != FINISHED:
            raise SystemExit(f"{run.folder} is not finished but {run.status}: every seed counts.")
        if settings(run.recipe) != settings(recipe):
            raise SystemExit(f"{run.folder} was trained by another recipe than {recipe.name} is now.")
    if found:
        shutil.rmtree(EVIDENCE / recipe.name, ignore_errors=True)
    for number, run in enumerate(found):
        folder = EVIDENCE / recipe.name / run.folder.name
        folder.mkdir(parents=True)
        for file in (*FILES, *([contents.AGENT] if number < weights else [])):
            shutil.copy(run.folder / file, folder / file)


def seeds(folder: Path) -> list[Run]:
    """The runs in an agent's folder, by seed; none if it is not there."""
    return sorted((runs.read_run(path) for path in folder.glob("seed*")), key=lambda run: run.seed)


def settings(recipe: Recipe) -> Recipe:
    """What decides a training: the recipe without its words."""
    return replace(recipe, name="any", description="", verified=None)


def claim(name: str) -> Verified:
    """The [verified] table of an agent, from the evidence kept."""
    kept = seeds(EVIDENCE / name)
    if not kept:
        raise SystemExit(f"there are no runs of {name}, neither in runs/ nor in {EVIDENCE}.")
    trained = tuple(run.seed for run in kept)
    points = {}
    for kind in CONTROLS:
        controls = seeds(EVIDENCE / f"{name}-{kind}")
        if tuple(run.seed for run in controls) != trained[: len(controls)]:
            raise SystemExit(f"the {kind} runs of {name} should be of the first seeds of {list(trained)}.")
        points[kind] = means(controls, WITH_MEMORY)
    return Verified(
        points=means(kept, WITH_MEMORY),
        seeds=trained,
        version=str(kept[0].facts["rlrnn"]),
        command=f"rlrnn train {name} --seed K",
        wiped=means(kept, WIPED),
        **points,
        seconds=median(run.facts["seconds"] for run in kept),
        processor=" or ".join(sorted({run.facts.get("processor", "") for run in kept} - {""})),
    )


def means(found: list[Run], player: str) -> tuple[float, ...]:
    """Mean points of a player, seed by seed."""
    return tuple(round(run.scores()[player].mean, DIGITS) for run in found)


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(list(value) if isinstance(value, tuple) else value)


if __name__ == "__main__":
    main()
