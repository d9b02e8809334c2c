"""Damaged and forged files, and what becomes of opening them: run as a process of its own.

    python tests/mutations.py FOLDER COUNT SEED

FOLDER holds agent.zip, checkpoints/64.zip, recipe.toml and game.toml. Prints, as JSON, how often each kind of
file was loaded or refused, and every case that was neither (another exception, too slow, code that was run).
"""

import copy
import io
import json
import random
import resource
import shutil
import signal
import sys
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.logger import Logger

from rlrnn.envs import games
from rlrnn.errors import UserError
from rlrnn.experiment import catalogue
from rlrnn.experiment.runs import checkpoints
from rlrnn.learners.ppo.ppo import RecurrentPPO

SECONDS = 20  # that opening a file may take
MEMORY = 2 * 2**30  # bytes that it may claim beyond what the process holds
FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "subprocess.Popen",
    "socket.connect",
    "pickle.find_class",
)
NUMBERS = (0, -1, 1, 2, 3, 7, 255, 2**31, 2**40, 2**63, 10**30, 0.5, -0.0, 1e308, 1e-320, True, False)
WORDS = (
    *("", "x", "lstm", "MlpLstmPolicy", "torch.nn.ReLU", "os.system", "float32", "object", "data", "../x"),
    "\u0000",
)
TAGS = (
    *("$missing", "$class", "$float", "$tuple", "$dict", "$tensor", "$array", "$scalar", "$dtype", "$deque"),
    *("$torch.dtype", "$Box", "$Discrete", "$Dict", "$LinearSchedule", "$FloatSchedule", "$nothing"),
)
VALUES = (*map(str, NUMBERS), '"x"', "[]", "{}", "inf", "nan", "[1, [2]]", "1979-05-27", "9" * 5000)
LINES = ("[x]", "[[ppo]]", "ppo.x = 1", "=", "a = {", '"' * 3, "[" * 3000)


def damaged(content: bytes, dice: random.Random) -> bytes:
    """Bytes flipped, cut off, left out, doubled, or written over."""
    data = bytearray(content)
    for _ in range(dice.choice((1, 1, 2, 8))):
        at, n = dice.randrange(len(data) + 1), dice.choice((1, 2, 16, 400))
        match dice.randrange(5):
            case 0:
                data[at : at + 1] = bytes([dice.randrange(256)])
            case 1:
                del data[at:]
            case 2:
                del data[at : at + n]
            case 3:
                data[at:at] = data[at : at + n]
            case 4:
                data[at : at + n] = dice.randbytes(n)
    return bytes(data)


def forged(value: Any, dice: random.Random) -> Any:
    """Plain data with something in it replaced, removed, renamed or moved."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key, child in list(node.items()) if isinstance(node, dict) else list(enumerate(node)):
            places.append((node, key))
            if isinstance(child, dict | list):
                walk(child)

    value = copy.deepcopy(value)
    for _ in range(dice.choice((1, 1, 2, 4))):
        places.clear()
        walk(value)
        node, key = dice.choice(places)
        match dice.randrange(6):
            case 0:
                node[key] = dice.choice(NUMBERS)
            case 1:
                node[key] = dice.choice(WORDS)
            case 2:
                tagged = {"$class": "os.system"}, {dice.choice(TAGS): node[key]}
                node[key] = dice.choice(([], {}, None, [[]], *tagged))
            case 3:
                del node[key]
            case 4:
                other, there = dice.choice(places)
                node[key] = (
                    copy.deepcopy(other[there])
                    if there in other or (isinstance(other, list) and there < len(other))
                    else 1
                )
            case 5 if isinstance(node, dict):
                node[dice.choice((*WORDS, *TAGS))] = node.pop(key)
            case _:
                deep: Any = 1
                for _ in range(dice.choice((10, 300))):
                    deep = [deep]
                node[key] = deep
    return value


def forged_zip(content: bytes, dice: random.Random) -> bytes:
    """A whole zip whose JSON, or whose safetensors header, is forged."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    if dice.random() < 0.75:
        members["agent.json"] = json.dumps(forged(json.loads(members["agent.json"]), dice)).encode()
    else:
        tensors = members["tensors.safetensors"]
        length = int.from_bytes(tensors[:8], "little")
        header = json.dumps(forged(json.loads(tensors[8 : 8 + length]), dice)).encode()
        claimed = dice.choice((len(header), len(header), 2**62, 0))
        members["tensors.safetensors"] = claimed.to_bytes(8, "little") + header + tensors[8 + length :]
    if dice.random() < 0.1:
        members.pop(dice.choice(list(members)))
    buffer = io.BytesIO()
    with zipfile.ZipFile(
        buffer, "w", dice.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    ) as out:
        for name, member in members.items():
            out.writestr(name, member)
    return buffer.getvalue()


def forged_toml(content: bytes, dice: random.Random) -> bytes:
    """Lines dropped, doubled and mixed, values replaced."""
    lines = content.decode().splitlines()
    for _ in range(dice.choice((1, 1, 2, 4))):
        at = dice.randrange(len(lines))
        match dice.randrange(5):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, dice.choice(lines))
            case 2:
                lines[at] = lines[at].split("=")[0] + "= " + dice.choice(VALUES)
            case 3:
                lines[at] = dice.choice(LINES)
            case 4:
                lines[at] = lines[at].replace("=", dice.choice((".x =", "==", "")))
    return "\n".join(lines).encode()


def play(agent: RecurrentPPO) -> None:
    """A correct load can play."""
    agent.predict(np.zeros(agent.observation_space.shape, np.float32))


def open_agent(path: Path) -> None:
    play(RecurrentPPO.load(path, device="cpu"))


def open_checkpoint(path: Path) -> None:
    checkpoint, complaints = checkpoints.latest(path.parent.parent)
    if checkpoint is None:
        raise UserError(*complaints)
    recipe = catalogue.agent(path.parents[2] / "recipe.toml")  # not the mutated one
    env = games.make_vec(catalogue.game_of(recipe), recipe.ppo.n_envs, 1)
    agent = checkpoints.restore(checkpoint, env, "cpu")
    agent.set_logger(Logger(None, []))
    agent.learn(0, reset_num_timesteps=False)
    play(agent)


KINDS: dict[str, tuple[str, Callable[[bytes, random.Random], bytes], Callable[[Path], Any]]] = {
    "agent": ("agent.zip", forged_zip, open_agent),
    "checkpoint": ("checkpoints/64.zip", forged_zip, open_checkpoint),
    "recipe": ("recipe.toml", forged_toml, catalogue.agent),
    "game": ("game.toml", forged_toml, games.game),
}


def main(folder: Path, count: int, seed: int) -> None:
    warnings.simplefilter("ignore")
    ran: list[str] = []
    sys.addaudithook(lambda event, _: ran.append(event) if event in FORBIDDEN else None)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))

    def late(*_: object) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    signal.signal(signal.SIGALRM, late)
    whole = {kind: (folder / name).read_bytes() for kind, (name, _, _) in KINDS.items()}
    (folder / "mutated").mkdir(exist_ok=True)
    for log in ("episodes.csv", "progress.csv"):
        shutil.copy(folder / log, folder / "mutated")
    seen: Counter[str] = Counter()
    wrong: list[str] = []
    for name, _, opening in KINDS.values():  # loads what is loaded once: numba keeps its kernels pickled
        (folder / "mutated" / name).parent.mkdir(exist_ok=True)
        shutil.copy(folder / name, folder / "mutated" / name)
        opening(folder / "mutated" / name)
    for number in range(count):
        dice = random.Random(f"{seed} {number}")
        kind = list(KINDS)[number % len(KINDS)]
        name, forge, opening = KINDS[kind]
        path = folder / "mutated" / name
        sys.setrecursionlimit(20_000)  # to make what is nested deeply
        path.write_bytes((damaged if dice.random() < 0.4 else forge)(whole[kind], dice))
        sys.setrecursionlimit(1000)
        ran.clear()
        signal.alarm(SECONDS)
        try:
            opening(path)
            seen[f"{kind} loaded"] += 1
        except UserError:
            seen[f"{kind} refused"] += 1
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(last.filename).name}:{last.lineno}"
            wrong.append(f"case {number}, {kind}: {type(error).__name__} at {place}: {str(error)[:150]}")
        finally:
            signal.alarm(0)
        wrong += [f"case {number}, {kind}: {event}" for event in ran]
    print(json.dumps({"seen": seen, "wrong": wrong}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
