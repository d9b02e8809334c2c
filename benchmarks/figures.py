"""Write the tables in README.md, docs/agents.md, scores.md and guide.md anew, from runs/verified/ and envs/.

python benchmarks/figures.py
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import mean, median

import evidence
from evidence import Kept

from rlrnn.envs.games import Game
from rlrnn.experiment import agents as learners
from rlrnn.experiment import catalogue
from rlrnn.experiment.evaluation import WIPED, WITH_MEMORY
from rlrnn.experiment.recipes import CONTROLS
from rlrnn.experiment.statistics import decimals, short
from rlrnn.network import population

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- begin: python benchmarks/figures.py -->", "<!-- end -->"
NOTHING = "–"
WAYS = {"ppo": "reward", "dqn": "replay", "sac": "replay", "evolution": "fitness"}  # of a recipe's tables
# README's: for each kind of thing to be remembered one agent, and one that was evolved.
FEW = (
    "cartpole-gru",
    "pong-gru",
    "t-maze-100-gru",
    "t-maze-5000-evolved",
    "autoencode-fir",
    "count-recall-gru",
    "bandit-gru",
)


def main() -> None:
    for file, table in TABLES.items():
        path = ROOT / file
        path.write_text(replaced(path.read_text(encoding="utf-8"), table()), encoding="utf-8")
        print(path)


def replaced(text: str, table: str) -> str:
    """The text with a table between its two markers, in place of what stood there."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in after:
        raise SystemExit(f"there should be one place for a table, between {BEGIN} and {END}.")
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def few() -> str:
    """What a few agents win, with memory and without."""
    head = "game", "agent", "trained", "points", "memory wiped", "feed-forward", "4 frames"
    agents = {name: (game, own) for name, game, own in _agents()}
    rows = []
    for name in FEW:
        game, own = agents[name]
        won = f"**{_mean(own, own)}** of {_mark(game, 'ceiling', own)}"
        trained = _lines(f"{_steps(own)} steps", _time(own))
        rows.append([game.title, f"`{name}`", trained, _lines(won, _range(own)), *_without(name, own)])
    return _markdown(head, ["---", "---", *["--:"] * 5], rows)


def scores() -> str:
    """What every verified agent wins, what is won without memory, and what is known of others."""
    head = "game, agent, training", "points", "memory wiped", "feed-forward", "4 frames", "others"
    return _markdown(head, ["---", *["--:"] * 5], [_scores(*agent) for agent in _agents()])


def _scores(name: str, game: Game, own: list[Kept]) -> list[str]:
    trained = f"{_steps(own)} steps, {_time(own)}"
    ours = [f"**{_mean(own, own)}**", _range(own), _won(own, WITH_MEMORY, game, " won")]
    known = {"no memory": "memoryless", "best": "best", "ceiling": "ceiling"}
    marks = [(word, _mark(game, kind, own)) for word, kind in known.items()]
    others = [f"{word} {mark}" for word, mark in marks if mark != NOTHING]
    title = _lines(f"`{name}`", trained)
    return [f"{game.title}<br>{title}", _lines(*ours), *_without(name, own, game), _lines(*others)]


def _without(name: str, own: list[Kept], game: Game | None = None) -> list[str]:
    """What is won with the memory wiped, and by each control; episodes won, too, where a game is given."""
    kept = evidence.read(name)
    cells = []
    for found, player in [(own, WIPED), *((kept.get(kind, []), WITH_MEMORY) for kind in CONTROLS)]:
        fewer = f"{len(found)} of {len(own)} seeds" if 0 < len(found) < len(own) else ""
        won = _won(found, player, game) if game else ""
        cells.append(_lines(_mean(found, own, player) if found else NOTHING, won, fewer))
    return cells


def _mean(found: list[Kept], own: list[Kept], player: str = WITH_MEMORY) -> str:
    """The mean points over seeds, with as many decimals as the agent's own have."""
    return f"{mean(_points(found, player)):,.{decimals(*_points(own))}f}"


def _mark(game: Game, kind: str, own: list[Kept]) -> str:
    """A score that is known of a game, likewise."""
    mark = getattr(game.references, kind)
    return f"{mark.points:,.{decimals(*_points(own))}f}" if mark else NOTHING


def published() -> str:
    """What others reached, with what, and what ours do."""
    head = "game", "best known", "with", "ours", "best of training", "steps, time"
    rows = []
    for name, game, own in _agents():
        best = game.references.best
        if best is not None:
            places = decimals(*_points(own), best.points)
            found = [run.facts.get("best_training") for run in own]
            highest = NOTHING if None in found else f"{mean(found):,.{places}f}"
            ours = _lines(f"**{mean(_points(own)):,.{places}f}**", _range(own), f"`{name}`")
            trained = _lines(_steps(own), _time(own))
            rows.append([game.title, f"{best.points:,.{places}f}", best.source, ours, highest, trained])
    return _markdown(head, ["---", "--:", "---", "--:", "--:", "--:"], rows)


def ways() -> str:
    """Games that were learned in another way than from fresh reward alone."""
    head = "game", "learns from", "agent", "parameters", "points", "steps", "time"
    agents = _agents()
    others = {game.name for _, game, own in agents if own[0].recipe.table != "ppo"}
    rows = []
    for name, game, own in sorted(agents, key=lambda agent: agent[1].name):
        if game.name in others:
            way = WAYS[own[0].recipe.table]
            points = f"{mean(_points(own)):,.{decimals(*_points(own))}f}"
            won = _lines(f"**{points}**", _range(own), _won(own, WITH_MEMORY, game, " won"))
            size = f"{_weights(own[0], game):,}"
            rows.append([game.title or name, way, f"`{name}`", size, won, _steps(own), _time(own)])
    return _markdown(head, ["---", "---", "---", "--:", "--:", "--:", "--:"], rows)


TABLES = {
    "README.md": few,
    "docs/agents.md": scores,
    "docs/scores.md": published,
    "docs/guide.md": ways,
}


def _weights(run: Kept, game: Game) -> int:
    """How many decide what the agent does."""
    with closing(learners.copies(run.recipe, game, 0)) as env:
        agent = learners.learner(run.recipe, env, 0)
    return len(population.genome(agent.policy.network))


def _steps(runs: list[Kept]) -> str:
    """Of training, as the recipe says, or the median where the target ended it."""
    how = runs[0].recipe.evolution
    early = how is not None and how.target is not None
    return short(int(median(run.facts["steps"] for run in runs)) if early else runs[0].recipe.steps)


def _agents() -> list[tuple[str, Game, list[Kept]]]:
    """The verified agents of the catalogue, each with its game and the runs that are its evidence."""
    known = [(name, recipe) for name, recipe in catalogue.agents().items() if recipe.verified]
    return [(name, catalogue.game_of(recipe), evidence.read(name)[evidence.AGENT]) for name, recipe in known]


def _points(runs: list[Kept], player: str = WITH_MEMORY) -> list[float]:
    """The mean points of every seed."""
    return [run.scores()[player].mean for run in runs]


def _range(runs: list[Kept]) -> str:
    points = _points(runs)
    low, high = (f"{end:,.{decimals(*points)}f}" for end in (min(points), max(points)))
    return f"{low} to {high}"


def _won(found: list[Kept], player: str, game: Game, word: str = "") -> str:
    """Episodes won, of all seeds, where the game says what winning is."""
    if game.points.win is None or not found:
        return ""
    points = [one for run in found for one in run.scores()[player].points]
    return f"{sum(one >= game.points.win for one in points):,} of {len(points):,}{word}"


def _time(runs: list[Kept]) -> str:
    """Of training a seed, the median."""
    seconds = median(run.facts["seconds"] for run in runs)
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}" if unit == "h" else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _lines(*told: str) -> str:
    """Lines of one cell, which are not to be broken further."""
    return "<br>".join(line.replace(" ", "\u00a0") for line in told if line)


def _markdown(head: Sequence[str], sides: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, sides, *rows))


if __name__ == "__main__":
    main()
