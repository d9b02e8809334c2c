"""The process in which one side of ``replay.py`` learns and is judged: a request, then answers, one a line.

It runs under the interpreter that has the library asked for, which is why nothing of either is imported
before it is needed. Every answer holds all that was reached so far: ``curve`` has a row for each agent that
was judged, [steps of training, mean points, seconds of training, seconds of these at work].
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

GAME = "pendulum-no-velocity"
FIRST_SEED, EPISODES = 1_000_000, 100  # of the judged episodes
PARTS = 20  # of a training, after each of which the agent is judged

Array = NDArray[Any]
Act = Callable[[Array], Array]  # what is seen [EPISODES, 3], the speed as 0 -> torques [EPISODES, 1]
Tell = Callable[[dict[str, Any]], None]


class Stopwatch:
    """Seconds by the clock, and those in which this process was at work, but for pauses."""

    def __init__(self) -> None:
        self.total = np.zeros(2)
        self.go_on()

    def go_on(self) -> None:
        self.began = self.now()

    def pause(self) -> list[float]:
        """What was measured so far, both."""
        self.total += self.now() - self.began
        return [round(float(each), 1) for each in self.total]

    def now(self) -> Array:
        return np.array([time.perf_counter(), time.process_time()])


class Judge:
    """Plays, and tells what has been reached."""

    def __init__(self, tell: Tell, **facts: Any) -> None:
        self.tell, self.facts = tell, facts
        self.curve: list[tuple[float, ...]] = []

    def judge(self, steps: int, act: Act, taken: list[float]) -> None:
        points = play(act)
        self.curve.append((steps, round(float(points.mean()), 2), *taken))
        last = [round(each, 2) for each in points.tolist()]  # of every episode
        self.tell({**self.facts, "points": last, "curve": self.curve})


def play(act: Act) -> Array:
    """Points [EPISODES]. All episodes have 200 steps, so that they are played side by side."""
    games = [gym.make("Pendulum-v1") for _ in range(EPISODES)]
    seen = np.stack([game.reset(seed=FIRST_SEED + k)[0] for k, game in enumerate(games)])
    points, over = np.zeros(EPISODES), False
    while not over:
        torques = act(seen * np.float32([1, 1, 0]))
        stepped = [game.step(torque) for game, torque in zip(games, torques, strict=True)]
        seen = np.stack([step[0] for step in stepped])
        points += [step[1] for step in stepped]
        over = stepped[0][3]
    return points


def rlrnn(tell: Tell, seed: int, steps: int, recipe: str) -> None:
    """Ours, by a recipe. Kernels are compiled and loaded by a short training that does not count."""
    from dataclasses import replace

    from stable_baselines3.common.callbacks import BaseCallback

    from rlrnn import train
    from rlrnn.common.records import to_mapping
    from rlrnn.experiment import catalogue

    asked = catalogue.agent(recipe)
    if asked.game != GAME or asked.sac is None:
        raise SystemExit(f"{recipe} is not by [sac] and of {GAME}, which is what is measured here.")
    kept = {key: to_mapping(asked)[key] for key in ("network", "sac")}
    replayed = asked.sac.replayed_steps
    judge = Judge(tell, replayed_steps=replayed, library=version("rlrnn"), recipe=asked.name, **kept)

    class Watch(BaseCallback):
        """Judges along the way; the run's own last evaluation and picture are not in its seconds."""

        def _on_training_start(self) -> None:
            self.judged, self.watch = 0, Stopwatch()

        def _on_rollout_start(self) -> None:
            if (part := self.num_timesteps * PARTS // steps) > self.judged:
                self.judged = part
                self.judge()

        def _on_training_end(self) -> None:
            self.judge()

        def judge(self) -> None:
            taken, player = self.watch.pause(), self.model.player(EPISODES, seed=0)
            judge.judge(self.num_timesteps, lambda seen: player.act(seen[:, :2]), taken)
            self.watch.go_on()

        def _on_step(self) -> bool:
            return True

    with TemporaryDirectory() as folder:
        train(replace(asked, steps=2_000), seed, f"{folder}/warm", progress=False)
        train(replace(asked, steps=steps), seed, f"{folder}/run", progress=False, callback=Watch())


def skrl(tell: Tell, seed: int, steps: int, recipe: str, name: str = "EXAMPLE") -> None:
    """skrl's, by its own example; ``recipe`` is the other side's."""
    import skrl_example

    sizes: skrl_example.Sizes = getattr(skrl_example, name)
    judge = Judge(tell, replayed_steps=sizes.rows * sizes.row, library=version("skrl"))
    with TemporaryDirectory() as folder:
        trainer = skrl_example.trainer(sizes, seed, steps, steps // PARTS, Path(folder))
        write = trainer.agents.write_checkpoint

        def judged(timestep: int, **rest: Any) -> None:
            """Judges whenever the agent writes a checkpoint, which it does after every part."""
            write(timestep=timestep, **rest)
            taken = watch.pause()
            judge.judge(timestep, skrl_example.player(trainer.agents.policy, EPISODES), taken)
            watch.go_on()

        trainer.agents.write_checkpoint = judged
        watch = Stopwatch()
        trainer.train()
        trainer.agents.writer.close()


def main() -> None:
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")  # whatever a library prints must not mix with the answers
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    request = json.loads(sys.stdin.readline())

    def tell(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    match request.pop("do"):
        case "rlrnn":
            rlrnn(tell, **request)
        case "skrl":
            skrl(tell, **request)
        case "skrl-small":
            skrl(tell, **request, name="SMALL")


if __name__ == "__main__":
    main()
