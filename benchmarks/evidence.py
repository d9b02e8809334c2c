"""The evidence behind the scores in agents/*.toml: one file per agent, runs/verified/AGENT.json.

{
 "agent": "cartpole-gru",
 "random player": {...},             its score; equal in all runs, since it plays the same episodes in each
 "runs": {
  "agent": {                         beside it its controls: "feedforward", "stacked"
   "recipe": {...},                  as recipe.toml tells it
   "seeds": [
    {
     "facts": {...},                 as versions.json tells them
     "scores": {"memory wiped": {...}, "with memory": {...}}      as score.json tells them

Keys are sorted and a list stands on one line, so that versions can be compared line by line. One number in
the place of the points or lengths of all episodes says that they are all alike. A run in which the recipe or
the random player is another one tells its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from rlrnn.common.files import read_json, replacing
from rlrnn.common.records import build, read_toml
from rlrnn.experiment.evaluation import RANDOM, Score
from rlrnn.experiment.recipes import Recipe
from rlrnn.experiment.runs import contents
from rlrnn.experiment.runs.runs import Run

FOLDER = Path(__file__).parent.parent / "runs" / "verified"
AGENT = "agent"  # the runs that are no control's
EPISODES = "points", "lengths"  # what a score has of every episode
Table: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Kept:
    """What is kept of a finished run: the content of three of its files."""

    table: Table  # recipe.toml
    facts: Table  # versions.json
    judged: Mapping[str, Table]  # score.json, by the way of playing

    @classmethod
    def of(cls, run: Run) -> Kept:
        """Of a run in its folder, as its files tell it, once rlrnn has read them without complaint."""
        run.scores()
        table = read_toml(run.folder / contents.RECIPE)
        for name in ("every", "episodes_each"):  # evaluations on the way, which change nothing
            table.get("evaluation", {}).pop(name, None)
        facts = read_json(run.folder / contents.VERSIONS)
        if facts.get("command"):  # without the folder, which is one machine's
            facts["command"] = re.sub(r" --out \S+", "", facts["command"])
        return cls(table, facts, read_json(run.folder / contents.SCORE)["scores"])

    @property
    def recipe(self) -> Recipe:
        """The recipe as used."""
        return build(Recipe, self.table, f"the evidence of {self.table.get('name')}")

    @property
    def seed(self) -> int:
        """Of its training."""
        return int(self.facts["seed"])

    def scores(self) -> dict[str, Score]:
        """The evaluation, by the way of playing."""
        return {player: Score.from_json(score) for player, score in self.judged.items()}


def read(agent: str) -> dict[str, list[Kept]]:
    """The runs of an agent ("agent") and of its controls (by kind), by seed; none where none are kept."""
    path = FOLDER / f"{agent}.json"
    return unfolded(read_json(path)) if path.exists() else {}


def write(agent: str, kept: Mapping[str, Sequence[Kept]]) -> None:
    """Keep these runs of an agent and of its controls, and no others."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with replacing(FOLDER / f"{agent}.json") as part:
        part.write_text(text(folded(agent, kept)) + "\n", encoding="utf-8")


def weights(agent: str, seed: int) -> Path:
    """Where the saved agent of a seed lies, if it is attached."""
    return FOLDER / f"{agent}-seed{seed}.zip"


def folded(agent: str, kept: Mapping[str, Sequence[Kept]]) -> dict[str, Any]:
    """The runs as one table, in which what they share stands once."""
    chance = next(run.judged[RANDOM] for group in kept.values() for run in group)
    groups = {}
    for kind, group in kept.items():
        entries = []
        for run in sorted(group, key=lambda run: run.seed):
            scores = {
                player: _short(score)
                for player, score in run.judged.items()
                if player != RANDOM or score != chance
            }
            own = {} if run.table == group[0].table else {"recipe": run.table}
            entries.append({"facts": run.facts, "scores": scores, **own})
        groups[kind] = {"recipe": group[0].table, "seeds": entries}
    return {"agent": agent, RANDOM: _short(chance), "runs": groups}


def unfolded(data: Table) -> dict[str, list[Kept]]:
    """The runs that were folded into a table."""
    return {
        kind: [
            Kept(
                entry.get("recipe", group["recipe"]),
                entry["facts"],
                {player: _long(score) for player, score in {RANDOM: data[RANDOM], **entry["scores"]}.items()},
            )
            for entry in group["seeds"]
        ]
        for kind, group in data["runs"].items()
    }


def text(value: Any, indent: str = "") -> str:
    """JSON in which whatever holds nothing but plain values stands on one line."""
    inner = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    tables = any(isinstance(item, Mapping) for item in inner)
    if not tables and not (isinstance(value, Mapping) and any(isinstance(item, list) for item in inner)):
        marks = (",", ":") if isinstance(value, list) else (", ", ": ")
        return json.dumps(value, sort_keys=True, allow_nan=False, separators=marks)
    deeper = indent + " "
    if isinstance(value, Mapping):
        lines = [f"{json.dumps(key)}: {text(value[key], deeper)}" for key in sorted(value)]
        return "{\n" + ",\n".join(deeper + line for line in lines) + f"\n{indent}}}"
    return "[\n" + ",\n".join(deeper + text(item, deeper) for item in value) + f"\n{indent}]"


def _short(score: Table) -> dict[str, Any]:
    """A score whose episodes are all alike tells one of them: 0.0 and -0.0, or 1 and 1.0, are not alike."""
    alike = {name: score[name][0] for name in EPISODES if len(set(map(repr, score[name]))) == 1}
    return {**score, **alike}


def _long(score: Table) -> dict[str, Any]:
    every = {name: score[name] for name in EPISODES}
    n = score["episodes"]
    return {**score, **{name: one if isinstance(one, list) else [one] * n for name, one in every.items()}}
