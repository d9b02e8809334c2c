"""What is timed: an environment, a network and a learner's settings, as data that either library takes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Work:
    """One training. Networks of contrib's rows are in words that both libraries know, the others in ours."""

    env: str  # "python": single CartPoles in SB3's DummyVecEnv; "array": the catalogue's; "frames-84": grey
    # images of 84 x 84; else a Gymnasium id
    n_envs: int
    steps: int  # environment steps of one measurement
    policy: str = "MlpLstmPolicy"
    network: dict[str, Any] = field(default_factory=dict)  # policy_kwargs
    learner: dict[str, Any] = field(default_factory=dict)
    normalize: bool = False  # SB3's VecNormalize around the environments
    evaluate_every: int = 0  # training steps between two evaluations of 20 episodes; 0: none
    embedding: int = 0  # units with ReLU between observation and memory; 0: none

    @property
    def n_steps(self) -> int:
        return int(self.learner.get("n_steps", 128))

    @property
    def n_epochs(self) -> int:
        return int(self.learner.get("n_epochs", 10))

    @property
    def rollout(self) -> int:
        """Environment steps between two updates."""
        return self.n_envs * self.n_steps

    def lasting(self, steps: int) -> Work:
        """The same with so many steps, in whole rollouts."""
        return replace(self, steps=max(1, round(steps / self.rollout)) * self.rollout)


# tests/test_lstm.py of sb3-contrib, test_ppo_lstm_performance: 50,000 steps there.
CONTRIB_TEST = Work(
    env="python",
    n_envs=8,
    steps=5120,
    network={
        "net_arch": {"pi": [], "vf": [64]},
        "lstm_hidden_size": 64,
        "ortho_init": False,
        "enable_critic_lstm": True,
    },
    learner={
        "n_steps": 128,
        "learning_rate": 7e-4,
        "batch_size": 256,
        "n_epochs": 10,
        "max_grad_norm": 1,
        "gae_lambda": 0.98,
    },
    normalize=True,
)


def lstm(n_envs: int, steps: int) -> Work:
    """LSTM-64 (actor's and critic's), 4 epochs of 4 minibatches."""
    learner = {"n_steps": 128, "batch_size": 32 * n_envs, "n_epochs": 4}
    return Work("python", n_envs, steps, network={"lstm_hidden_size": 64}, learner=learner)


_SETTINGS = {"n_steps": 32, "batch_size": 128, "n_epochs": 4}
IMAGES = Work("frames-84", 8, 1024, "CnnLstmPolicy", learner=_SETTINGS)
SMALL_IMAGES = replace(IMAGES, env="frames-64", network={"features_extractor_class": "SmallCNN"})

# The row's title and the work; the rival runs each of them too.
AGAINST_CONTRIB = {
    "contrib-test": ("contrib's performance test, without its evaluation callback", CONTRIB_TEST),
    "contrib-test-evaluated": (
        "contrib's performance test as it is: 20 episodes of evaluation every 5,000 steps",
        replace(CONTRIB_TEST, evaluate_every=5000),
    ),
    "lstm-8": ("two LSTM-64, 4 epochs, 8 CartPoles without velocities", lstm(8, 8192)),
    "lstm-64": ("two LSTM-64, 4 epochs, 64 CartPoles without velocities", lstm(64, 32768)),
    "beginner": ("contrib's defaults (two LSTM-256, 10 epochs), one CartPole", Work("CartPole-v1", 1, 640)),
    "images": ("default CnnLstmPolicy, 8 copies of 84 x 84 grey frames", IMAGES),
    "images-small": ("SmallCNN on 64 x 64 frames, contrib's default on 84 x 84", IMAGES),
    "images-same": ("both by SmallCNN on 64 x 64 frames", SMALL_IMAGES),
    "images-bfloat16": ("default CnnLstmPolicy on 84 x 84, ours in bfloat16", IMAGES),
}
OURS = {  # where it is not the rival's work
    "images-small": SMALL_IMAGES,
    "images-bfloat16": replace(IMAGES, network={"precision": "bfloat16"}),
}


def shared(cell: str, hidden: int, heads: list[int]) -> tuple[str, dict[str, Any]]:
    """Policy and policy_kwargs of a memory that actor and critic share, with these layers above it."""
    network = {"hidden_size": hidden, "critic": "shared", "net_arch": {"pi": heads, "vf": heads}}
    return f"Mlp{cell.capitalize()}Policy", network


_GRU_128 = Work(
    "array",
    512,
    4 * 512 * 64,
    *shared("gru", 128, [128]),
    learner={"n_steps": 64, "batch_size": 128 * 64, "n_epochs": 1},  # 4 minibatches
)
GRU_512 = {  # the second has what PureJaxRL's network has: a layer of 128 with ReLU before the GRU
    "GRU-128, 2x128 heads": _GRU_128,
    "embedding 128, GRU-128, 2x128 heads": replace(_GRU_128, embedding=128),
}


def update(cell: str, rows: int, hidden: int) -> Work:
    """Updates of 4 epochs, each one minibatch of so many rows of 128 steps; heads as wide as the memory."""
    policy, network = shared(cell, hidden, [hidden])
    learner = {"n_steps": 128, "batch_size": None, "n_epochs": 4}
    return Work("array", rows, 128 * max(64, 2 * rows), policy, network, learner)


UPDATES = {
    f"{cell.upper():6}  {rows:2} rows  H {hidden:3}": update(cell, rows, hidden)
    for cell in ("gru", "lstm", "mingru", "lru")
    for rows, hidden in ((64, 128), (64, 64), (8, 64))
}


def point(cell: str, n_envs: int, hidden: int, n_steps: int) -> Work:
    """A point of the grid: two memories and contrib's default heads, 4 epochs, at most 64 rows at once."""
    learner = {"n_steps": n_steps, "batch_size": min(n_envs, 64) * n_steps, "n_epochs": 4}
    network = {"hidden_size": hidden}
    work = Work("array", n_envs, 0, f"Mlp{cell.capitalize()}Policy", network, learner)
    return work.lasting(max(8192, work.rollout))
