"""Write what an agent was measured to reach into its recipe: the [verified] table, from its finished runs.

rlrnn train cartpole-gru --seed 0          # and so on for every seed, all counted
python benchmarks/verified.py cartpole-gru
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

from rlrnn import catalogue, evaluation, recipes, runs

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("agents", nargs="+", help="names of agents/*.toml whose runs lie in runs/")
    for name in parser.parse_args().agents:
        folders = sorted((ROOT / "runs" / name).glob("seed*"), key=lambda f: int(f.name.removeprefix("seed")))
        finished = [runs.read_run(folder) for folder in folders]
        scores = [run.scores() for run in finished]
        for folder in folders:
            kept = ROOT / "runs" / "verified" / name / folder.name
            kept.mkdir(parents=True, exist_ok=True)
            for file in ("recipe.toml", "versions.json", "score.json"):
                shutil.copy(folder / file, kept / file)
        table = recipes.Verified(
            points=tuple(round(s[evaluation.WITH_MEMORY].mean, 2) for s in scores),
            wiped=tuple(round(s[evaluation.WIPED].mean, 2) for s in scores),
            seeds=tuple(run.seed for run in finished),
            version=str(finished[0].facts["rlrnn"]),
            command=f"rlrnn train {name} --seed K",
        )
        path = ROOT / "agents" / f"{name}.toml"
        recipe = re.sub(r"\n*\[verified\].*", "", path.read_text(encoding="utf-8"), flags=re.DOTALL).rstrip()
        lines = [f"{key} = {_toml(value)}" for key, value in recipes.to_mapping(table).items()]
        path.write_text(recipe + "\n\n[verified]\n" + "\n".join(lines) + "\n", encoding="utf-8")
        print(f"{path.name}: {catalogue.agent(name).verified}")


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(list(value) if isinstance(value, tuple) else value)


if __name__ == "__main__":
    main()
