"""A report on an agent: one HTML file with its curves, scores, memory and a recorded game, for any browser.

It is self-contained: pictures are embedded in the file, and there are no scripts.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

from rlrnn.common.files import replacing
from rlrnn.common.texts import printable
from rlrnn.envs.games import Game
from rlrnn.errors import UserError
from rlrnn.experiment import statistics
from rlrnn.experiment.evaluation import EVALUATION_SEED, RANDOM, WIPED, WITH_MEMORY
from rlrnn.experiment.pictures import scores
from rlrnn.experiment.pictures.film import draws, watch
from rlrnn.experiment.pictures.memory_pictures import draw_activations, draw_profile
from rlrnn.experiment.pictures.memory_profile import Profile, profile
from rlrnn.experiment.pictures.network_drawing import draw_network
from rlrnn.experiment.pictures.plotting import plot
from rlrnn.experiment.pictures.showing import embedded
from rlrnn.experiment.recipes import to_toml
from rlrnn.experiment.runs import comparing
from rlrnn.experiment.runs.comparing import Comparison, Row
from rlrnn.experiment.runs.curves import read_runs
from rlrnn.experiment.runs.facts import FINISHED
from rlrnn.experiment.runs.runs import Run

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --soft: #6a6a6a; --rule: #d9d9d9;
        --ground: #fff; --code: #f5f5f5; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e4e4; --soft: #a0a0a0; --rule: #444; --ground: #16181b; --code: #22252a; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); max-width: 62rem;
       margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.9rem; margin: 0; } h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; }
p { max-width: 46rem; } .soft, figcaption, caption { color: var(--soft); }
.numbers { display: flex; flex-wrap: wrap; gap: 2.2rem; margin: 1.4rem 0; }
.numbers b { display: block; font-size: 1.9rem; line-height: 1.2; font-weight: 600; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--rule); }
th:first-child, td:first-child { text-align: left; white-space: nowrap; }
thead th { border-bottom: 2px solid var(--ink); }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; background: #fff; }
figcaption { font-size: .9rem; }
pre { background: var(--code); padding: .8rem 1rem; overflow-x: auto; font-size: .85rem; }
.scroll { overflow-x: auto; }
@media (max-width: 40rem) { body { margin: 1rem auto; padding: 0 .7rem; } .numbers { gap: 1.1rem; }
  table { font-size: .85rem; } th, td { padding-right: .5rem; }
  th:first-child, td:first-child { white-space: normal; } }
@media print { body { margin: 0; max-width: none; } h2 { break-after: avoid; }
               figure { break-inside: avoid; } }
"""


def report(source: str | Path | Sequence[Run], path: str | Path = "report.html") -> Path:
    """Write the report on an agent: all seeds in its folder, or the runs given, which are of one agent.

    The memory profile, the network and the recorded episode are of the first seed.
    """
    path = Path(path)
    if path.suffix not in (".html", ".htm"):
        raise UserError(f"{path} should end in .html.")
    found = read_runs([source] if isinstance(source, str | Path) else source)
    finished = [run for run in found if run.status == FINISHED]
    if not finished:
        raise UserError(
            f"{source} holds no finished run: train one first, or resume one with rlrnn train --resume."
        )
    comparison = comparing.compare(finished)
    names = {row.agent for row in comparison.rows if row.agent}
    if len(names) > 1:
        raise UserError(f"a report is on one agent, not on {', '.join(sorted(names))}: see rlrnn compare.")
    page = _page(finished, comparison)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_text(printable(page), encoding="utf-8")
    return path


def _page(finished: list[Run], comparison: Comparison) -> str:
    run, agent = finished[0], finished[0].agent()
    name, game, how = run.recipe.name, run.game, run.recipe.evaluation.deterministic
    with TemporaryDirectory() as folder:
        curves = embedded(plot(finished, Path(folder, "curves.svg")), f"Learning curves of {name}")
        bars = embedded(scores.draw(comparison, Path(folder, "scores.svg")), f"Scores of {name}")
        memory = profile(agent, game, deterministic=how)
        lags = embedded(draw_profile({name: memory}, Path(folder, "memory.svg")), f"Memory profile of {name}")
        units = embedded(
            draw_activations(agent, game, Path(folder, "units.png"), deterministic=how), f"Units of {name}"
        )
        played = ""
        if draws(agent, game, EVALUATION_SEED):
            film = watch(agent, game, Path(folder, "play.gif"), deterministic=how, activations=True)
            words = f"An episode of seed {run.seed}, with its hidden units at the right."
            played = (
                f"<figure>{embedded(film, f'An episode of {name}')}<figcaption>{words}</figcaption></figure>"
            )
        wires = embedded(draw_network(agent, Path(folder, "network.svg")), f"The network of {name}")
    title = escape(name)
    return "\n".join([
        '<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}: report</title>\n<style>{STYLE}</style>",
        f"<h1>{title}</h1>",
        f"<p>{escape(run.recipe.description)} <span class=soft>{escape(game.title or game.name)}. "
        f"{_remembered(game)}</span></p>",
        _numbers(comparison, memory),
        played,
        "<h2>Learning curves</h2>",
        f"<figure>{curves}</figure>",
        "<h2>Evaluation</h2>",
        f"<p>{_how_evaluated(finished)}</p><div class=scroll>{_table(comparison)}</div>",
        f"<figure>{bars}</figure>",
        "<h2>How far back it remembers</h2>",
        f"<p>{escape(memory.summary())}</p><figure>{lags}</figure>",
        f"<figure>{units}<figcaption>The hidden units of seed {run.seed} over the first steps of an "
        "episode.</figcaption></figure>",
        "<h2>Network</h2>",
        f"<figure>{wires}</figure>",
        "<h2>How to reproduce it</h2>",
        f"<p>{_trained(finished)}</p><pre>{escape(run.facts.get('command') or f'rlrnn train {name}')}</pre>",
        f"<pre>{escape(to_toml(run.recipe))}</pre>",
        f'<p class="soft">{escape(_versions(run))}</p>',
        "</html>\n",
    ])  # fmt: skip


def _remembered(game: Game) -> str:
    memory = game.remember.strip().removesuffix(".")
    return escape(f"What must be remembered: {memory}." if memory else "")


def _numbers(comparison: Comparison, memory: Profile) -> str:
    """The figures to be seen first."""
    rows = {row.playing: row for row in comparison.rows}
    shown = (playing for playing in (WITH_MEMORY, WIPED, RANDOM) if playing in rows)
    numbers = [(f"{rows[playing].mean:.1f}", f"points, {playing}") for playing in shown]
    if comparison.scale:
        share = statistics.normalised(rows[WITH_MEMORY].mean, *comparison.scale)
        numbers.append((f"{share:.0%}", "of the way from random to the ceiling"))
    numbers.append((str(memory.reach()), "steps back on which its actions depend"))
    return "<div class=numbers>" + "".join(f"<div><b>{a}</b>{escape(b)}</div>" for a, b in numbers) + "</div>"


def _table(comparison: Comparison) -> str:
    heads = ("player", "seeds x episodes", "mean", "95 % interval", "median", "IQM", "sd")
    lines = [_line(_cells(row), "td") for row in comparison.rows]
    for name, reference in comparison.game.references.items():
        source = f'<span class="soft">{escape(reference.source)}</span>'
        lines.append(
            f"<tr><td>reference: {name}</td><td></td><td>{reference.points:.2f}</td>"
            f'<td colspan=4 style="text-align:left">{source}</td></tr>'
        )
    return f"<table><thead>{_line(heads, 'th')}</thead><tbody>{''.join(lines)}</tbody></table>"


def _cells(row: Row) -> list[str]:
    spread = (statistics.median(row.points), statistics.iqm(row.points), statistics.sd(row.points))
    interval = f"{row.possible[0]:.2f} to {row.possible[1]:.2f}"
    return [row.playing, row.played, f"{row.mean:.2f}", interval, *(f"{number:.2f}" for number in spread)]


def _line(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _how_evaluated(finished: list[Run]) -> str:
    how = "deterministic actions" if finished[0].recipe.evaluation.deterministic else "sampled actions"
    seeds = ", ".join(str(run.seed) for run in finished)
    text = f"Final agents of {'seeds' if len(finished) > 1 else 'seed'} {seeds}, {how}, on seeds of the game "
    text += "that training never used. Wiped: the same agents with their memory cleared before every step."
    if len(finished) == 1:
        text += " The interval covers further episodes of this one seed, not other seeds."
    return escape(text)


def _trained(finished: list[Run]) -> str:
    steps = sorted({f"{run.facts['steps']:,}" for run in finished})
    seconds = [float(run.facts["seconds"]) for run in finished]
    times = " to ".join(dict.fromkeys(f"{time:.0f}" for time in (min(seconds), max(seconds))))
    return f"{' or '.join(steps)} environment steps, {times} s for each seed."


def _versions(run: Run) -> str:
    names = ("rlrnn", "torch", "numpy", "gymnasium", "stable_baselines3", "python", "platform", "device")
    return ", ".join(f"{name} {run.facts[name]}" for name in (*names, "recurrence") if name in run.facts)
