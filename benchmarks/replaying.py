"""What learning from replay costs: steps a second by steps replayed for each, and its share of the limit.

    python benchmarks/replaying.py                 # some minutes; --json FILE keeps the raw figures
    python benchmarks/replaying.py dqn --copies 8

GRU-64, rows of 64 steps, minibatches of 1,024; environments, acting, keeping and drawing included. "Update"
is the time of an update alone, on rows that are drawn for it. The limit is the fastest matrix product on the
cores (``machine.py``), asked again before every row; the arithmetic of an update is that of its matrix
products: a multiplication and an addition for each weight, three times for what learns (forward, and both
gradients), once for what only runs forward.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import machine
import torch
from stable_baselines3.common.callbacks import BaseCallback
from tables import table

import rlrnn

GAMES = {"dqn": "cartpole-no-velocity", "sac": "pendulum-no-velocity"}
REPLAYED = (16, 64, 256)
SECONDS = 10.0  # of each measurement


class Clock(BaseCallback):
    """Stops a training after some seconds, from the first update on."""

    may_be_late = True

    def __init__(self) -> None:
        super().__init__()
        self.began = self.first = self.seconds = 0.0

    def _on_step(self) -> bool:
        if not self.began and self.model._n_updates > 20:  # kernels are compiled, the first rows drawn
            self.began, self.first = time.perf_counter(), float(self.num_timesteps)
        self.seconds = time.perf_counter() - self.began if self.began else 0.0
        return self.seconds < SECONDS

    @property
    def speed(self) -> float:
        """Steps per second."""
        return (self.num_timesteps - self.first) / self.seconds


def learner(kind: str, copies: int, replayed: float) -> Any:
    env = rlrnn.make_vec(GAMES[kind], n_envs=copies, seed=0, workers=0)
    make: Any = {"dqn": rlrnn.RecurrentDQN, "sac": rlrnn.RecurrentSAC}[kind]
    network = {"hidden_size": 64, "net_arch": [64]}
    return make("MlpGruPolicy", env, replayed_steps=replayed, policy_kwargs=network, seed=0, device="cpu")


def weights(module: torch.nn.Module) -> int:
    """Of matrices: what products multiply by."""
    return sum(p.numel() for p in module.parameters() if p.dim() > 1)


def work(kind: str, agent: Any) -> float:
    """Floating-point operations of an update, for each step of its rows."""
    if kind == "dqn":
        return 2.0 * (3 + 1) * weights(agent.q_net)  # forward and backward, and the target forward
    actor, critic = weights(agent.policy.network), weights(agent.critic)
    memory = weights(agent.critic.memory)
    heads = critic - memory
    # The actor learns; the critics learn, run forward for the target, and once more for the actor, whose
    # gradient passes back through the heads to the action.
    return 2.0 * (3 * actor + 3 * critic + critic + memory + 2 * heads)


def measure(kind: str, copies: int, replayed: float, limit: machine.Limit) -> dict[str, Any]:
    gflops = limit.probe()
    agent, clock = learner(kind, copies, replayed), Clock()
    agent.learn(10**9, clock)
    times = []
    with torch.enable_grad():
        for _ in range(60):
            rows = agent.replay_buffer.sample(agent._order, 1024 // 64, agent.device)
            began = time.perf_counter()
            agent._improve(rows)
            times.append(time.perf_counter() - began)
    update = statistics.median(times)
    agent.env.close()
    steps = 1024 + 16
    return {
        "learner": kind,
        "copies": copies,
        "replayed": replayed,
        "steps_per_second": clock.speed,
        "update_ms": 1e3 * update,
        "share": steps * work(kind, agent) / update / 1e9 / gflops,
        "bytes_a_step": agent.replay_buffer.bytes / agent.replay_buffer.buffer_size,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("learners", nargs="*", default=list(GAMES), metavar="LEARNER", help="dqn, sac")
    parser.add_argument("--copies", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    facts, found = machine.facts(), []
    print(", ".join(f"{name} {value}" for name, value in facts.items()), "\n")
    with machine.Limit() as limit:
        for kind in arguments.learners:
            for copies in arguments.copies:
                found += [measure(kind, copies, replayed, limit) for replayed in REPLAYED]
    header = [
        "learner",
        "copies",
        "replayed a step",
        "steps/s",
        "an update",
        "share of the limit",
        "bytes a step",
    ]
    rows = [
        [
            each["learner"],
            str(each["copies"]),
            f"{each['replayed']:g}",
            f"{each['steps_per_second']:,.0f}",
            f"{each['update_ms']:.2f} ms",
            f"{each['share']:.0%}",
            f"{each['bytes_a_step']:.0f}",
        ]
        for each in found
    ]
    print(table(header, rows))
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"machine": facts, "rows": found}, indent=1) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
