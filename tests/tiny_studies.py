"""A search of seconds, and all that its folder holds."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from tiny_runs import CARTPOLE

from rlrnn.experiment.search.study import Study

SPACE: dict[str, Any] = {
    "ppo.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "network.hidden_size": {"low": 4, "high": 16, "power": 2},
    "network.cell": {"among": ["gru", "elman"]},
}
STUDY = Study(
    "tiny", "tiny", trials=6, wave=3, seeds=(200, 201), rungs=(0.3, 1.0), episodes=3, verify=(), space=SPACE
)
RECIPE = dataclasses.replace(CARTPOLE, wrappers=({"name": "hide", "drop": [1, 3]},))


def facts(folder: Path) -> dict[str, Any]:
    """All that a study holds, without the seconds that things took."""
    table = [line.split(",") for line in (folder / "trials.csv").read_text().splitlines()]
    seconds = table[0].index("seconds")
    rungs = {
        str(path.relative_to(folder)): {
            steps: {name: value for name, value in won.items() if name != "seconds"}
            for steps, won in json.loads(path.read_text()).items()
        }
        for path in folder.glob("trials/*/*/rungs.json")
    }
    agents = {path.relative_to(folder): path.read_bytes() for path in folder.glob("trials/*/*/agent.zip")}
    values = {str(path.relative_to(folder)): path.read_text() for path in folder.glob("trials/*/values.json")}
    texts = {name: (folder / name).read_text() for name in ("study.toml", "recipe.toml", "tiny.toml")}
    texts["tiny.toml"] = re.sub(r"\nseconds = .*", "", texts["tiny.toml"])
    return {
        "table": [row[:seconds] + row[seconds + 1 :] for row in table],
        "rungs": rungs,
        "agents": agents,
        "values": values,
        **texts,
    }
