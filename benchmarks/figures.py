"""Write the tables of scores in README.md and docs/scores.md anew, from runs/verified/, agents/ and envs/.

python benchmarks/figures.py
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from statistics import mean, median

from verified import EVIDENCE, ROOT, seeds

from rlrnn import catalogue
from rlrnn.catalogue import Game
from rlrnn.evaluation import WIPED, WITH_MEMORY
from rlrnn.recipes import CONTROLS
from rlrnn.runs import Run
from rlrnn.statistics import decimals

BEGIN, END = "<!-- begin: python benchmarks/figures.py -->", "<!-- end -->"
NOTHING = "–"


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


def scores() -> str:
    """What every verified agent wins, and what is won without memory."""
    head = ("game, agent", "points, lowest to highest seed", "memory wiped", "feed-forward", "4 frames")
    head += ("script without memory", "best known", "ceiling", "steps, time")
    return _markdown(head, [_scores(name, game, own) for name, game, own in _agents()])


def _scores(name: str, game: Game, own: list[Run]) -> list[str]:
    places, episodes = decimals(*_points(own)), _episodes(own)
    ours = [f"**{_mean(own)}**", _range(own), _won(episodes, game, " won")]
    controls = [(seeds(EVIDENCE / f"{name}-{kind}"), WITH_MEMORY) for kind in CONTROLS]
    others = [(own, WIPED), *controls]
    without = [_without(runs, player, game, len(own), places) for runs, player in others]
    known = game.references.memoryless, game.references.best, game.references.ceiling
    marks = [f"{reference.points:.{places}f}" if reference else NOTHING for reference in known]
    return [_lines(game.title, f"`{name}`"), _lines(*ours), *without, *marks, _lines(_steps(own), _time(own))]


def _without(runs: list[Run], player: str, game: Game, many: int, places: int) -> str:
    if not runs:
        return NOTHING
    fewer = f"{len(runs)} of {many} seeds" if len(runs) < many else ""
    return _lines(f"{mean(_points(runs, player)):.{places}f}", _won(_episodes(runs, player), game), fewer)


def published() -> str:
    """What others reached, with what, and what ours do."""
    head = ("game", "best known", "of", "ours", "best of training", "steps", "time")
    lines = []
    for name, game, own in _agents():
        best = game.references.best
        if best is not None:
            places = decimals(*_points(own), best.points)
            found = [run.facts.get("best_training") for run in own]
            highest = NOTHING if None in found else f"{mean(found):.{places}f}"
            ours = _lines(f"**{_mean(own)}**, {_range(own)}", f"`{name}`")
            row = (
                game.title,
                f"{best.points:.{places}f}",
                best.source,
                ours,
                highest,
                _steps(own),
                _time(own),
            )
            lines.append(row)
    return _markdown(head, lines)


TABLES = {"README.md": scores, "docs/scores.md": published}


def _agents() -> list[tuple[str, Game, list[Run]]]:
    """The verified agents of the catalogue, each with its game and the runs that are its evidence."""
    known = [(name, recipe) for name, recipe in catalogue.agents().items() if recipe.verified]
    return [(name, catalogue.game_of(recipe), seeds(EVIDENCE / name)) for name, recipe in known]


def _episodes(runs: list[Run], player: str = WITH_MEMORY) -> list[float]:
    """The points of every episode of every seed."""
    return list(chain.from_iterable(run.scores()[player].points for run in runs))


def _points(runs: list[Run], player: str = WITH_MEMORY) -> list[float]:
    """The mean points of every seed."""
    return [run.scores()[player].mean for run in runs]


def _mean(runs: list[Run]) -> str:
    return f"{mean(_points(runs)):.{decimals(*_points(runs))}f}"


def _range(runs: list[Run]) -> str:
    points = _points(runs)
    low, high = (f"{end:.{decimals(*points)}f}" for end in (min(points), max(points)))
    return f"{low} to {high}"


def _won(episodes: list[float], game: Game, word: str = "") -> str:
    if game.points.win is None:
        return ""
    return f"{sum(points >= game.points.win for points in episodes):,} of {len(episodes):,}{word}"


def _steps(runs: list[Run]) -> str:
    """Of training, as the recipe asks for: 100k, 2M."""
    number = runs[0].recipe.steps
    return f"{number / 1e6:g}M" if number >= 1_000_000 else f"{number / 1e3:g}k"


def _time(runs: list[Run]) -> str:
    """Of training a seed, the median."""
    seconds = median(run.facts["seconds"] for run in runs)
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}" if unit == "h" else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _lines(*told: str) -> str:
    return "<br>".join(filter(None, told))


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


if __name__ == "__main__":
    main()
