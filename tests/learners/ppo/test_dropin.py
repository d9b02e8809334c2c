"""What scripts written for sb3_contrib do is done here with either library, and must come to the same."""

import contextlib
import io
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import sb3_contrib
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CheckpointCallback,
    EvalCallback,
    EveryNTimesteps,
    LogEveryNTimesteps,
    StopTrainingOnNoModelImprovement,
)
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from tiny_games import Clock, clocks

from rlrnn import RecurrentPPO
from rlrnn.errors import OptionsError, UserError

LIBRARIES = (sb3_contrib.RecurrentPPO, RecurrentPPO)
BOX = spaces.Box(-1, 1, (2,))
SMALL = {"n_steps": 8, "batch_size": 8, "n_epochs": 1}


def make(library: Any, env: Any = None, **settings: Any) -> Any:
    kwargs = {"lstm_hidden_size": 4, **settings.pop("policy_kwargs", {})}
    return library("MlpLstmPolicy", env or clocks(2), policy_kwargs=kwargs, **{**SMALL, **settings})


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


class Locals(BaseCallback):
    """The types, element types and shapes of what contrib's rollout loop shows at its last step."""

    NAMES = (
        *("rewards", "dones", "actions", "clipped_actions", "values", "log_probs", "new_obs", "obs_tensor"),
        *("episode_starts", "n_steps", "n_rollout_steps", "infos", "total_timesteps", "tb_log_name"),
    )

    def _on_step(self) -> bool:
        shown = [self.locals[name] for name in self.NAMES]
        self.seen = [(type(x), getattr(x, "dtype", None), np.shape(x)) for x in shown]
        return True

    def _on_rollout_end(self) -> None:
        buffer = self.locals["rollout_buffer"]
        self.sizes = buffer.buffer_size, buffer.n_envs, buffer.pos, buffer.full


@pytest.mark.parametrize("action_space", [spaces.Discrete(3), BOX])
def test_callbacks_are_shown_the_same_types(action_space: spaces.Space[Any]) -> None:
    peeks = []
    for library in LIBRARIES:
        peeks.append(Locals())
        make(library, clocks(2, action_space=action_space)).learn(16, callback=peeks[-1])
    theirs, ours = peeks
    assert dict(zip(Locals.NAMES, ours.seen, strict=True)) == dict(
        zip(Locals.NAMES, theirs.seen, strict=True)
    )
    assert ours.sizes == theirs.sizes == (8, 2, 8, True)


@pytest.mark.parametrize("action_space", [spaces.Discrete(3), spaces.MultiDiscrete([2, 3]), BOX])
def test_the_action_for_one_observation_has_the_same_type(action_space: spaces.Space[Any]) -> None:
    actions = [
        make(library, clocks(1, action_space=action_space)).predict(np.zeros(3, np.float32))[0]
        for library in LIBRARIES
    ]
    theirs, ours = [(type(action), action.dtype, action.shape) for action in actions]
    assert ours == theirs


def leave_checkpoints(library: Any, folder: Path) -> None:
    env = VecNormalize(clocks(2))
    every = CheckpointCallback(8, str(folder), save_vecnormalize=True)
    make(library, env).learn(32, callback=[every, EveryNTimesteps(16, every), LogEveryNTimesteps(16)])


def leave_evaluations(library: Any, folder: Path) -> None:
    """The environments that judge are another number than those that teach."""
    stop = StopTrainingOnNoModelImprovement(max_no_improvement_evals=1, min_evals=1)
    best, log = str(folder / "best"), str(folder / "log")
    evaluation = EvalCallback(
        clocks(3),
        best_model_save_path=best,
        log_path=log,
        eval_freq=8,
        n_eval_episodes=3,
        callback_after_eval=stop,
        verbose=0,
    )
    make(library).learn(64, callback=evaluation)


@pytest.mark.parametrize("leave", [leave_checkpoints, leave_evaluations])
def test_callbacks_leave_the_same_files(leave: Any, tmp_path: Path) -> None:
    for name, library in zip(("theirs", "ours"), LIBRARIES, strict=True):
        leave(library, tmp_path / name)
    assert files(tmp_path / "ours") == files(tmp_path / "theirs") != []


def test_a_normalised_agent_is_saved_loaded_and_goes_on(tmp_path: Path) -> None:
    env = VecNormalize(clocks(2))
    agent = make(RecurrentPPO, env).learn(16)
    agent.save(tmp_path / "agent")
    env.save(str(tmp_path / "statistics.pkl"))
    again = VecNormalize.load(str(tmp_path / "statistics.pkl"), clocks(5))  # another number of environments
    loaded = RecurrentPPO.load(tmp_path / "agent", env=again)
    assert loaded.get_vec_normalize_env() is again
    loaded.learn(40, reset_num_timesteps=False)
    assert loaded.num_timesteps == 56 and loaded.n_envs == 5


def evaluations() -> list[gym.Env[Any, Any] | VecEnv]:
    return [Clock(), Monitor(Clock()), clocks(1), clocks(5), VecNormalize(clocks(2), training=False)]


@pytest.mark.filterwarnings("ignore:Evaluation environment is not wrapped")
@pytest.mark.parametrize("number", range(len(evaluations())))
def test_evaluate_policy_plays_in_any_environment(number: int) -> None:
    agent = make(RecurrentPPO)
    _, lengths = evaluate_policy(agent, evaluations()[number], n_eval_episodes=6, return_episode_rewards=True)
    assert set(lengths) == {3, 4}  # as the game's episodes are


POLICY_KWARGS: dict[str, dict[str, Any]] = {
    "activation": {"activation_fn": torch.nn.ReLU},
    "widths": {"net_arch": [3, 5]},
    "widths apart": {"net_arch": {"pi": [3], "vf": [5, 4]}},
    "heads without layers": {"net_arch": []},
    "optimizer": {"optimizer_class": torch.optim.RMSprop, "optimizer_kwargs": {"alpha": 0.9}},
    "no bias": {"n_lstm_layers": 2, "lstm_kwargs": {"dropout": 0.3, "bias": False}},
    "shared": {"shared_lstm": True, "enable_critic_lstm": False},
    "feed-forward critic": {"enable_critic_lstm": False},
    "first noise": {"log_std_init": -2.0},
    "plain weights": {"ortho_init": False},
}


@pytest.mark.parametrize("name", POLICY_KWARGS)
def test_policy_kwargs_make_networks_of_equal_size(name: str, tmp_path: Path) -> None:
    counts = []
    for library in LIBRARIES:
        env = clocks(1, action_space=BOX)
        agent = make(library, env, policy_kwargs=POLICY_KWARGS[name]).learn(8)
        agent.save(tmp_path / "agent")
        loaded = library.load(tmp_path / "agent")
        counts.append(sum(parameter.numel() for parameter in loaded.policy.parameters()))
    assert counts[0] == counts[1]


def test_positional_arguments_mean_the_same() -> None:
    arguments = (1e-3, 16, 16, 2, 0.98, 0.9, 0.3, None, True, 0.01, 0.4, 0.6, False, -1, None, 50)
    theirs, ours = [library("MlpLstmPolicy", clocks(1), *arguments) for library in LIBRARIES]
    names = (
        *("learning_rate", "n_steps", "batch_size", "n_epochs", "gamma", "gae_lambda", "clip_range_vf"),
        *("normalize_advantage", "ent_coef", "vf_coef", "max_grad_norm", "use_sde", "target_kl"),
    )
    assert [getattr(ours, name) for name in names] == [getattr(theirs, name) for name in names]
    assert ours.clip_range(0.5) == 0.3 and ours._stats_window_size == 50


def test_system_info_has_sb3s_headings(tmp_path: Path) -> None:
    headings = []
    for library in LIBRARIES:
        make(library).save(tmp_path / "agent")
        with contextlib.redirect_stdout(io.StringIO()) as text:
            library.load(tmp_path / "agent", print_system_info=True)
        headings.append([line for line in text.getvalue().splitlines() if line.startswith("==")])
    assert headings[0] == headings[1] and len(headings[1]) == 2


def test_without_an_environment_learning_says_what_to_do(tmp_path: Path) -> None:
    make(RecurrentPPO).save(tmp_path / "agent")
    with pytest.raises(OptionsError, match=r"no environment to learn in.*set_env or load"):
        RecurrentPPO.load(tmp_path / "agent").learn(8)
    with pytest.raises(UserError, match="no env to take the spaces from"):
        RecurrentPPO("MlpLstmPolicy", None)


def test_a_policy_for_a_dict_refuses_an_array() -> None:
    with pytest.raises(UserError, match=r'reads a Dict.*use "MlpLstmPolicy"'):
        RecurrentPPO("MultiInputLstmPolicy", clocks(1))


def test_where_contrib_asserts_our_error_is_an_assertion_too(tmp_path: Path) -> None:
    for library in LIBRARIES:
        with pytest.raises(AssertionError):
            make(library, clip_range_vf=-1.0)
        with pytest.raises(AssertionError):
            make(library).set_env(clocks(3))
        make(library).save(tmp_path / "agent")
        with pytest.raises(AssertionError):
            library.load(tmp_path / "agent").learn(8)


def test_custom_objects_replace_what_the_agent_has_and_add_nothing(tmp_path: Path) -> None:
    agent = RecurrentPPO("MlpPolicy", "CartPole-v1", n_steps=4, policy_kwargs={"net_arch": []})
    agent.save(tmp_path / "agent", exclude=["gamma", "observation_space"])
    space = agent.observation_space
    given = {"dummy": 1.0, "n_epochs": 3, "gamma": 0.5, "observation_space": space}
    again = RecurrentPPO.load(tmp_path / "agent", custom_objects=given)
    assert not hasattr(again, "dummy")
    assert (again.n_epochs, again.gamma, again.observation_space) == (3, 0.5, space)
    assert vars(RecurrentPPO.load(tmp_path / "agent", custom_objects=given, dummy=2.0))["dummy"] == 2.0
