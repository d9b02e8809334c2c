"""The process in which one side runs: reads a request per line, does it, answers a line. See ``sides.py``.

Only the process that measures imports torch and a learner; SB3's and contrib's own objects are used as a
user would use them.
"""

from __future__ import annotations

import gc
import importlib
import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.envs.classic_control import CartPoleEnv
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from works import Work


class Positions(CartPoleEnv):
    """CartPole that shows where cart and pole are, not how fast they move."""

    def __init__(self) -> None:
        super().__init__()
        space = self.observation_space
        self.observation_space = gym.spaces.Box(space.low[[0, 2]], space.high[[0, 2]])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        observation, info = super().reset(seed=seed, options=options)
        return observation[[0, 2]], info

    def step(self, action: Any) -> Any:
        observation, *rest = super().step(action)
        return observation[[0, 2]], *rest


class Frames(gym.Env[Any, Any]):
    """Grey images of so many pixels a side, drawn once; wins by naming the one that is shown."""

    action_space = gym.spaces.Discrete(6)

    def __init__(self, size: int) -> None:
        self.observation_space = gym.spaces.Box(0, 255, (size, size, 1), np.uint8)
        self.images = np.random.default_rng(0).integers(0, 256, (6, size, size, 1), np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.steps, self.shown = 0, 0
        return self.images[0], {}

    def step(self, action: Any) -> Any:
        reward, self.steps = float(action == self.shown), self.steps + 1
        self.shown = int(self.np_random.integers(6))
        return self.images[self.shown], reward, False, self.steps == 100, {}


class Embedding(BaseFeaturesExtractor):
    """One layer with ReLU between a vector and the memory."""

    def __init__(self, space: gym.spaces.Box, features_dim: int) -> None:
        super().__init__(space, features_dim)
        self.layers = torch.nn.Sequential(torch.nn.Linear(space.shape[0], features_dim), torch.nn.ReLU())

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        return self.layers(observation)


class Clock:
    """Stands in for a method of an object and adds up its calls and their seconds."""

    def __init__(self, thing: Any, method: str) -> None:
        self.calls, self.seconds, self.processor = 0, 0.0, 0.0
        self.method: Callable[..., Any] = getattr(thing, method)
        setattr(thing, method, self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        began, began_processor = time.perf_counter(), time.process_time()
        result = self.method(*args, **kwargs)
        self.calls += 1
        self.seconds += time.perf_counter() - began
        self.processor += time.process_time() - began_processor
        return result


def make_env(work: Work, n_envs: int, normalize: bool, training: bool = True) -> VecEnv:
    if work.env == "array":
        env: VecEnv = importlib.import_module("rlrnn").make_vec("cartpole-no-velocity", n_envs)
    elif work.env == "python":
        env = make_vec_env(lambda: TimeLimit(Positions(), 500), n_envs)
    elif work.env.startswith("frames-"):
        env = make_vec_env(lambda: Frames(int(work.env.removeprefix("frames-"))), n_envs)
    else:
        env = make_vec_env(work.env, n_envs)
    return VecNormalize(env, training=training, norm_reward=training) if normalize else env


def make_model(library: str, work: Work) -> Any:
    network = dict(work.network)
    if work.embedding:
        network["features_extractor_class"] = Embedding
        network["features_extractor_kwargs"] = {"features_dim": work.embedding}
    if network.get("features_extractor_class") == "SmallCNN":
        network["features_extractor_class"] = importlib.import_module("rlrnn").SmallCNN
    return importlib.import_module(library).RecurrentPPO(
        work.policy,
        make_env(work, work.n_envs, work.normalize),
        policy_kwargs=network,
        seed=1,
        device="cpu",
        **work.learner,
    )


def learn(library: str, work: Work) -> dict[str, Any]:
    """The wall clock of ``model.learn`` on a new model, and what of it went where."""
    model = make_model(library, work)
    collecting, updating = Clock(model, "collect_rollouts"), Clock(model, "train")
    callback, evaluating = None, None
    if work.evaluate_every:
        judge = make_env(work, 4, work.normalize, training=False)
        evaluating = Clock(judge, "step")
        callback = EvalCallback(
            judge, n_eval_episodes=20, eval_freq=work.evaluate_every // work.n_envs, verbose=0
        )
    began, began_processor = time.perf_counter(), time.process_time()
    model.learn(work.steps, callback)
    return {
        "seconds": time.perf_counter() - began,
        "processor": time.process_time() - began_processor,  # seconds of all cores together
        "steps": model.num_timesteps,
        "evaluation_steps": 4 * evaluating.calls if evaluating else 0,
        "collecting": collecting.seconds,  # evaluations included
        "updating": updating.seconds,
        "updating_processor": updating.processor,
        "forward_flop": products(model),
    }


def products(model: Any) -> int:
    """Operations of all matrix products that one step goes through, forward: 2 for each weight."""
    return 2 * sum(weights.numel() for weights in model.policy.parameters() if weights.dim() == 2)


def environments(work: Work) -> dict[str, Any]:
    """The wall clock of the same number of steps in the environments alone, by random actions."""
    env = make_env(work, work.n_envs, work.normalize)
    actions = np.random.default_rng(0).integers(2, size=(100, work.n_envs))
    env.reset()
    began = time.perf_counter()
    for t in range(work.steps // work.n_envs):
        env.step(actions[t % 100])
    return {"seconds": time.perf_counter() - began}


def multiply(seconds: float, size: int = 384) -> dict[str, Any]:
    """GFLOP/s of float32 matrix products on one thread, for so long; torch's or ours, the faster."""
    torch.set_num_threads(1)
    a, b, out = (torch.rand(size, size) for _ in range(3))
    ways: list[Callable[[], Any]] = [lambda: torch.mm(a, b, out=out)]
    if importlib.import_module("rlrnn.common.compiling").can_compile():
        products = importlib.import_module("rlrnn.cells.kernels.products")
        x, panels, start, y = a.numpy(), products.packed(b.numpy()), np.zeros(size, np.float32), out.numpy()
        ways.append(lambda: products.affine(x, panels, start, y))
    rates = []
    for way in ways:
        way()
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds / len(ways):
            way()
            count += 1
        rates.append(count * 2 * size**3 / (time.perf_counter() - began) / 1e9)
    return {"gflops": max(rates)}


def peak_mib() -> float:
    """The most memory that this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def answer(do: str, *, library: str = "rlrnn", threads: int | None = None, **rest: Any) -> dict[str, Any]:
    """Carry out one request; ``threads`` are torch's, None as the library chooses."""
    if threads is not None:
        torch.set_num_threads(threads)
    if do == "multiply":
        return multiply(**rest)
    if do == "can_compile":
        return {"fast": importlib.import_module("rlrnn.common.compiling").can_compile()}
    if do == "computes":
        return {
            "can": importlib.import_module("rlrnn.network.convolutions").computes(rest["precision"], "cpu")
        }
    if do == "kind":
        return {"kind": importlib.import_module("rlrnn.common.processor").kind()}
    gc.collect()  # what is left of the last model
    work = Work(**rest["work"])
    result = environments(work) if do == "environments" else learn(library, work)
    return {**result, "peak_mib": peak_mib()}


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints must not mix with the answers
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
