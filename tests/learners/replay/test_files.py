"""A replay in a file: what was kept comes back byte for byte, and what does not fit is told in a sentence."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from playing import same
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.vec_env import DummyVecEnv
from tiny_games import clocks
from toy_envs import Walk

import rlrnn
from rlrnn import RecurrentDQN, RecurrentSAC, UserError
from rlrnn.errors import FileFault
from rlrnn.learners.replay import files

BOX = spaces.Box(-2, 3, (2,))
NETWORK = {"hidden_size": 4, "net_arch": [4]}


def sac(n_envs: int = 2, env: Any = None, cell: str = "Gru", **settings: Any) -> RecurrentSAC:
    given: dict[str, Any] = {
        "buffer_size": 64,
        "learning_starts": 8,
        "batch_size": 8,
        "seq_len": 4,
        "replayed_steps": 1.0,
        "policy_kwargs": NETWORK,
        "seed": 0,
        "device": "cpu",
    }
    env = clocks(n_envs, action_space=BOX) if env is None else env
    return RecurrentSAC(f"Mlp{cell}Policy", env, **{**given, **settings})


def dqn(**settings: Any) -> RecurrentDQN:
    """Of a game with Dict observations, one part of which is a choice."""
    env = DummyVecEnv([lambda: Walk(keyed=True, fresh=True)] * 3)
    given: dict[str, Any] = {"buffer_size": 60, "learning_starts": 9, "batch_size": 9, "seq_len": 3}
    given |= {"policy_kwargs": NETWORK, "seed": 0, "device": "cpu", "replayed_steps": 1.0}
    return RecurrentDQN("MultiInputLstmPolicy", env, **{**given, **settings})


def saved(agent: Any) -> bytes:
    buffer = io.BytesIO()
    agent.save_replay_buffer(buffer)
    return buffer.getvalue()


def trained(agent: Any) -> dict[str, Any]:
    """Its parameters after three more updates on what it has kept."""
    agent._setup_learn(1)
    agent.train(3, agent.batch_size)
    return agent.get_parameters()


def equal(one: Any, other: Any) -> bool:
    """States, down to the last bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(torch.equal(one, other)) if isinstance(one, torch.Tensor) else one == other


@pytest.mark.parametrize("steps", [30, 300], ids=["begun", "full"])  # a ring of 64 or 60 slots
@pytest.mark.parametrize("make", [sac, dqn])
def test_all_comes_back_and_the_next_update_is_the_same(make: Any, steps: int, tmp_path: Path) -> None:
    agent = make().learn(steps)
    assert agent.replay_buffer.full == (steps == 300)
    agent.save(tmp_path / "it")
    agent.save_replay_buffer(tmp_path / "it")
    assert {path.name for path in tmp_path.iterdir()} == {"it.zip", "it.replay"}  # neither is written over
    other = type(agent).load(tmp_path / "it", env=agent.get_env(), device="cpu")
    assert other.replay_buffer.size() == 0
    other.load_replay_buffer(tmp_path / "it")
    same(other.replay_buffer.contents(), agent.replay_buffer.contents())
    assert saved(other) == saved(agent) == (tmp_path / "it.replay").read_bytes()
    other.set_random_state(agent.random_state())
    assert equal(trained(other), trained(agent))


def test_where_it_goes_on(tmp_path: Path) -> None:
    """By itself the next episode begins; or games and agent stand where the replay ends, and go on."""
    whole, part = sac().learn(20), sac().learn(10)
    assert part.replay_buffer.open.all()  # episodes of 3 and 4 steps are under way
    content = saved(part)
    part.replay_buffer.reset()
    part.load_replay_buffer(io.BytesIO(content), truncate_last_traj=False)
    part.learn(10, reset_num_timesteps=False)
    same(part.replay_buffer.contents(), whole.replay_buffer.contents())

    fresh = sac()
    fresh.load_replay_buffer(io.BytesIO(content))
    replay, before = fresh.replay_buffer, fresh.replay_buffer.written.copy()
    fresh.learn(2)
    assert replay.starts[before, [0, 1]].all()  # a new episode of each copy,
    assert not replay.weights[
        before - 1, [0, 1]
    ].any()  # and what the one before would have led to is unknown


def test_an_empty_one() -> None:
    agent, other = sac(), sac()
    other.learn(20)
    other.load_replay_buffer(io.BytesIO(saved(agent)))
    assert other.replay_buffer.size() == 0 == other.replay_buffer.n_rows()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"env": "Pendulum-v1", "n_envs": 1},
            "holds observations of Box(0.0, 1000.0, (3,), float32), but this agent has observations of "
            "Box([-1. -1. -8.], [1. 1. 8.], (3,), float32): load it into an agent of its own game.",
        ),
        (
            {"env": clocks(2, action_space=spaces.Box(-1, 1, (2,)))},
            "holds actions of Box(-2.0, 3.0, (2,), float32), but this agent has actions of "
            "Box(-1.0, 1.0, (2,), float32): load it into an agent of its own game.",
        ),
        (
            {"cell": "Lstm"},
            "holds memories of gru with 4 units (8 numbers), but this agent has memories of lstm with 4 "
            "units (16 numbers): make the agent so, or begin with an empty replay.",
        ),
        (
            {"policy_kwargs": {**NETWORK, "n_layers": 2}},
            "holds memories of gru with 4 units (8 numbers), but this agent has memories of gru with 2 "
            "layers of 4 units (16 numbers): make the agent so, or begin with an empty replay.",
        ),
        (
            {"n_envs": 3},
            "holds play of n_envs=2, but this agent has play of n_envs=3: make the agent so, or begin with "
            "an empty replay.",
        ),
        (
            {"seq_len": 8},
            "holds rows of seq_len=4, but this agent has rows of seq_len=8: make the agent so, or begin with "
            "an empty replay.",
        ),
        (
            {"burn_in": 2},
            "holds rows of burn_in=0, but this agent has rows of burn_in=2: make the agent so, or begin with "
            "an empty replay.",
        ),
        (
            {"whole_episodes": True},
            "holds rows of whole_episodes=False, but this agent has rows of whole_episodes=True: make the "
            "agent so, or begin with an empty replay.",
        ),
        (
            {"buffer_size": 80},
            "cannot be taken over: the replay is a ring of 32 steps of each copy, but this agent's is one of "
            "40: make the agent with buffer_size=64.",
        ),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_each_difference_is_named_on_both_sides(
    changed: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "it.replay"
    sac().learn(200).save_replay_buffer(path)
    other = sac(**changed).learn(20)
    before = other.replay_buffer.contents()
    with pytest.raises(UserError) as caught:
        other.load_replay_buffer(path)
    assert str(caught.value) == f"{path} {sentence}"
    same(other.replay_buffer.contents(), before)


def test_the_other_learner_by_its_name() -> None:
    env = clocks(2)
    content = saved(RecurrentDQN("MlpGruPolicy", env, policy_kwargs=NETWORK, seq_len=4, device="cpu"))
    agent = sac(env=env, cell="Gru")
    with pytest.raises(
        UserError, match="holds play by RecurrentDQN, but this agent has play by RecurrentSAC"
    ):
        agent.load_replay_buffer(io.BytesIO(content))


def test_another_ring_holds_it_too_while_nothing_is_written_over() -> None:
    small, large = sac().learn(30), sac(buffer_size=160)
    large.load_replay_buffer(io.BytesIO(saved(small)))
    same(large.replay_buffer.contents(), small.replay_buffer.contents())
    back = sac(buffer_size=24)
    with pytest.raises(UserError, match="ring of 32 steps of each copy, but this agent's is one of 12"):
        back.load_replay_buffer(io.BytesIO(saved(small)))


def test_what_is_no_replay(tmp_path: Path) -> None:
    agent = sac()
    agent.save(tmp_path / "agent")
    with pytest.raises(UserError, match=r"agent\.zip holds a RecurrentSAC, not a replay: give a file of"):
        agent.load_replay_buffer(tmp_path / "agent.zip")
    agent.save_replay_buffer(tmp_path / "it")
    for load in (RecurrentSAC.load, RecurrentDQN.load, rlrnn.RecurrentPPO.load, rlrnn.load):
        with pytest.raises(UserError, match=r"it\.replay holds a replay, not an agent: load the agent, then"):
            load(tmp_path / "it.replay")
    with pytest.raises(FileFault, match=r"there is no file .*nothing\.replay"):
        agent.load_replay_buffer(tmp_path / "nothing")
    (tmp_path / "sb3.pkl").write_bytes(pickle.dumps(print))
    with pytest.raises(FileFault, match=r"sb3\.pkl is not a zip file or is damaged"):
        agent.load_replay_buffer(tmp_path / "sb3.pkl")
    for wrong in (7, None, io.StringIO()):
        with pytest.raises(TypeError, match="neither a path nor"):
            agent.save_replay_buffer(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="neither a path nor"):
            agent.load_replay_buffer(wrong)  # type: ignore[arg-type]


def test_a_full_disk_leaves_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = sac().learn(20)
    agent.save_replay_buffer(tmp_path / "it")
    before = (tmp_path / "it.replay").read_bytes()
    agent.learn(20)

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(FileFault, match=r"cannot save .*it\.replay: No space left.*unchanged"):
        agent.save_replay_buffer(tmp_path / "it")
    assert [path.name for path in tmp_path.iterdir()] == ["it.replay"]
    assert (tmp_path / "it.replay").read_bytes() == before


def rewritten(content: bytes, change: Any) -> bytes:
    """The file with its members changed: JSON [0] and safetensors [1]."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        document = json.loads(archive.read("agent.json"))
        tensors = archive.read("tensors.safetensors")
    document, tensors = change(document, tensors)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("agent.json", json.dumps(document))
        archive.writestr("tensors.safetensors", tensors)
    return buffer.getvalue()


def test_a_newer_format_and_a_file_that_claims_too_much() -> None:
    agent, content = sac(), saved(sac().learn(20))

    def newer(document: Any, tensors: bytes) -> Any:
        return {**document, "format": 99}, tensors

    with pytest.raises(FileFault, match="was saved by a newer rlrnn"):
        agent.load_replay_buffer(io.BytesIO(rewritten(content, newer)))

    def larger(document: Any, tensors: bytes) -> Any:
        length = int.from_bytes(tensors[:8], "little")
        header = json.loads(tensors[8 : 8 + length])
        header["data/contents/rewards"]["shape"][0] = 10**9
        text = json.dumps(header).encode()
        return document, len(text).to_bytes(8, "little") + text + tensors[8 + length :]

    with pytest.raises(FileFault, match=r"is corrupted in tensors\.safetensors"):
        agent.load_replay_buffer(io.BytesIO(rewritten(content, larger)))
    with pytest.raises(FileFault, match="is not a zip file or is damaged"):
        agent.load_replay_buffer(io.BytesIO(content[:-200]))


def with_contents(agent: Any, **changes: Any) -> io.BytesIO:
    """A file that an agent would have written, had it kept something else."""
    kept = agent.replay_buffer.contents()
    for name, change in changes.items():
        kept[name] = change(kept[name])
    data = {**files.facts(agent), "slots": agent.replay_buffer.slots, "contents": kept}
    buffer = io.BytesIO()
    files.archive.write_agent(buffer, data, {}, kind="SequenceReplay")
    buffer.seek(0)
    return buffer


def put(number: Any) -> Any:
    def change(array: Any) -> Any:
        array = array.copy()
        array.reshape(-1)[3] = number
        return array

    return change


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("rewards", put(np.nan), "not all rewards of the replay are finite numbers"),
        ("states", put(np.inf), "not all states of the replay are finite numbers"),
        ("actions", put(1.5), "an action of the replay is 1.5, which must lie from -1 to 1"),
        ("actions", put(np.nan), "an action of the replay is nan, which must lie"),
        ("observations", put(np.nan), "an observation of the replay holds nan, but it must be a finite"),
        ("rewards", lambda a: a[:-1], r"the replay's rewards are no array of float32 in the shape \(13, 2\)"),
        ("rewards", lambda a: a.astype(float), r"the replay's rewards are no array of float32"),
        ("terminated", lambda a: a.astype(np.int64), r"the replay's terminated are no array of bool"),
        ("states", lambda a: a[:, :, :3], r"the replay's states are no array of float32 in the shape \(4, 2"),
        ("written", lambda a: a - 100, "does not say how much was written"),
        ("written", lambda a: a + 2**60, "does not say how much was written"),
        ("written", lambda a: a[:1], "does not say how much was written"),
        ("written", lambda a: a + 1, r"the replay's observations are no array of float32 in the shape \(14"),
        ("observations", lambda a: {"x": a}, "the replay's observations are no array"),
        ("open", lambda a: None, "the replay's open are no array"),
    ],
)
def test_what_is_whole_but_cannot_be_is_refused_and_nothing_is_lost(
    name: str, change: Any, sentence: str
) -> None:
    agent = sac().learn(20)
    other = sac(seed=1).learn(24)
    before = other.replay_buffer.contents()
    with pytest.raises(FileFault, match=sentence):
        other.load_replay_buffer(with_contents(agent, **{name: change}))
    same(other.replay_buffer.contents(), before)


@pytest.mark.parametrize("choice", [-1, 3, 2**62])
def test_no_choice_leads_outside(choice: int) -> None:
    agent = dqn().learn(20)
    with pytest.raises(FileFault, match=rf"an action of the replay is {choice}, which must lie from 0 to"):
        dqn().load_replay_buffer(with_contents(agent, actions=put(choice)))

    def stray(seen: Any) -> Any:
        return {**seen, "parity": put(2)(seen["parity"])}

    with pytest.raises(FileFault, match=r"an observation of the replay holds 2, but it must lie in Discrete"):
        dqn().load_replay_buffer(with_contents(agent, observations=stray))


def test_damaged_files_are_refused_or_load_right() -> None:
    """Bytes changed, cut off or left out: one sentence, or the very same contents."""
    content, dice = saved(sac().learn(20)), random.Random(0)
    whole = sac()
    whole.load_replay_buffer(io.BytesIO(content))
    wanted, other, refused = whole.replay_buffer.contents(), sac(), 0
    for _ in range(400):
        data = bytearray(content)
        at = dice.randrange(len(data))
        match dice.randrange(3):
            case 0:
                data[at] ^= 1 << dice.randrange(8)
            case 1:
                del data[at:]
            case 2:
                del data[at : at + dice.choice((1, 16, 400))]
        try:
            other.load_replay_buffer(io.BytesIO(bytes(data)))
        except FileFault:
            refused += 1
        else:
            same(other.replay_buffer.contents(), wanted)
    assert refused > 350


def test_forged_settings_are_refused_in_a_sentence() -> None:
    content, dice = saved(sac().learn(20)), random.Random(0)
    other = sac()
    values = (0, -1, 1.5, "x", None, [], {}, {"$array": "data/contents/rewards"}, {"$missing": "x"}, 2**70)

    def forge(document: Any, tensors: bytes) -> Any:
        table = dice.choice((document["data"], document["data"]["contents"], document))
        key = dice.choice(list(table))
        if dice.random() < 0.2:
            del table[key]
        else:
            table[key] = dice.choice(values)
        return document, tensors

    outcomes = set()
    for _ in range(300):
        try:
            other.load_replay_buffer(io.BytesIO(rewritten(content, forge)))
            outcomes.add("loaded")
        except UserError as error:
            outcomes.add(type(error).__name__)
    assert outcomes == {"loaded", "UserError", "FileFault"}  # "system" says nothing


def test_sb3s_callback_saves_it(tmp_path: Path) -> None:
    agent = sac()
    agent.learn(40, CheckpointCallback(10, tmp_path, save_replay_buffer=True))
    names = sorted(path.name for path in tmp_path.iterdir() if "replay" in path.name)
    assert names == ["rl_model_replay_buffer_20_steps.pkl", "rl_model_replay_buffer_40_steps.pkl"]
    other = sac()
    other.load_replay_buffer(tmp_path / names[1])
    same(other.replay_buffer.contents(), agent.replay_buffer.contents())
