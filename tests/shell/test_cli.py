"""The shell: every command end to end, and for every mistake one sentence and the right exit status."""

import json
import re
import subprocess
import sys
import warnings
from pathlib import Path
from unittest.mock import Mock

import gymnasium
import pytest
from PIL import Image

import rlrnn
from rlrnn.envs import games
from rlrnn.experiment import agents, catalogue
from rlrnn.experiment.runs import runs
from rlrnn.experiment.training import seeds, verifying
from rlrnn.experiment.training.seeds import Outcome
from rlrnn.experiment.training.training import train
from rlrnn.shell.arguments import parser
from rlrnn.shell.cli import main
from rlrnn.shell.verbs import VERBS

RECIPE = """
game = "my-game.toml"
steps = 512
[network]
hidden_size = 8
[ppo]
n_envs = 4
n_steps = 32
n_epochs = 1
[evaluation]
episodes = 4
"""
GAME = """
id = "rlrnn/CartPole-v1"
title = "a pole"
wrappers = [{ name = "hide", drop = [1, 3] }]
[references]
random = { points = 22.5, source = "somebody" }
"""
MODULE = """
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv
gymnasium.register("mine/Pole-v0", entry_point=CartPoleEnv, max_episode_steps=20)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which a recipe was trained from the shell."""
    folder = tmp_path_factory.mktemp("shell")
    (folder / "tiny.toml").write_text(RECIPE)
    (folder / "my-game.toml").write_text(GAME)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "tiny.toml", "--seed", "2", "--set", "ppo.gamma=0.9"]) == 0
    return folder


@pytest.fixture(autouse=True)
def _inside(trained, monkeypatch):
    monkeypatch.chdir(trained)
    monkeypatch.setenv("COLUMNS", "140")


def fails(capsys, *arguments):
    """The exit status and the one line that a failing command prints."""
    status = main(list(arguments))
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1 and output.err.startswith("rlrnn: ")
    return status, output.err


def test_help_is_instant():
    code = (
        "import sys; from rlrnn.shell.cli import main\n"
        "try: main(['train', '--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'numpy', 'gymnasium', 'matplotlib', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "rlrnn train pong-gru" in done.stdout


def test_python_m_rlrnn():
    done = subprocess.run(
        [sys.executable, "-m", "rlrnn", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"rlrnn {rlrnn.__version__}\n"


@pytest.mark.parametrize("command", VERBS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0 and len(capsys.readouterr().out) > 150


def test_list_shows_the_catalogue(capsys):
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    assert "verified points" in text and "worst" in text
    for name in (*games.games(), *catalogue.agents()):
        assert name in text


def test_list_shows_the_rows_with_a_word(capsys):
    assert main(["list", "POSITION"]) == 0
    text = capsys.readouterr().out
    firsts = {line.split()[0] for line in text.splitlines() if line.strip()}
    for name, game in games.games().items():
        assert (name in firsts) == ("position" in name or "position" in game.remember)
    for name in catalogue.agents():
        assert (name in firsts) == ("position" in name)
    assert main(["list", "seaquest"]) == 0  # a game without an agent
    text = capsys.readouterr().out
    assert "atari-seaquest" in text and "verified points" not in text


@pytest.mark.parametrize(("name", "folder"), [("pong", "envs"), ("pong-gru", "agents")])
def test_show_prints_a_file_and_where_it_lies(name, folder, capsys):
    assert main(["show", name]) == 0
    first, rest = capsys.readouterr().out.split("\n", 1)
    path = Path(first.removeprefix("# "))
    assert path.parts[-2:] == (folder, f"{name}.toml") and rest == path.read_text(encoding="utf-8")


def test_the_name_alone_prints_the_help(capsys):
    assert main([]) == 0
    output = capsys.readouterr()
    assert "first steps:" in output.out and not output.err


def test_training_leaves_a_run_that_the_other_commands_take(trained, capsys):
    run = "runs/tiny/seed2"
    versions = json.loads((trained / run / "versions.json").read_text())
    assert versions["command"] == "rlrnn train tiny.toml --seed 2 --set ppo.gamma=0.9"
    assert "gamma = 0.9" in (trained / run / "recipe.toml").read_text()

    assert main(["evaluate", run, "--episodes", "3", "--sampled", "--out", "new.json"]) == 0
    text = capsys.readouterr().out
    for words in (
        "a pole: points, 3 episodes",
        "with memory",
        "memory wiped",
        "random player",
        "22.50",
        "somebody",
    ):
        assert words in text
    assert json.loads((trained / "new.json").read_text())["scores"]["with memory"]["episodes"] == 3

    assert main(["plot", run, "runs/tiny", f"{run}/progress.csv", "--out", "curves.pdf"]) == 0
    assert capsys.readouterr().out == "curves.pdf\n" and (trained / "curves.pdf").exists()

    assert main(["watch", run]) == 0
    assert capsys.readouterr().out.startswith(f"{run}/play.gif: ")
    with Image.open(trained / run / "play.gif") as gif:
        assert gif.n_frames > 2


def test_networks_are_drawn_trained_or_not(trained, capsys):
    run = "runs/tiny/seed2"
    assert main(["draw", run]) == 0
    assert capsys.readouterr().out == f"{run}/network.png\n" and (trained / run / "network.png").exists()
    assert main(["draw", "runs/tiny", "--out", "a.svg"]) == 0  # its only seed
    assert main(["draw", f"{run}/agent.zip", "--out", "b.svg"]) == 0
    assert main(["draw", "tiny.toml"]) == 0
    assert main(["draw", "cartpole-evolved", "--set", "network.cell=lstm", "--out", "c.svg"]) == 0
    assert capsys.readouterr().out == "a.svg\nb.svg\nnetwork.png\nc.svg\n"
    a, b, c = ((trained / f"{name}.svg").read_text() for name in "abc")
    for text, title in ((a, "tiny, seed 2"), (b, "agent.zip"), (c, "cartpole-evolved, untrained")):
        assert f"<!-- {title} -->" in text
    assert "<!-- gru, 8 units;" in a and "<!-- lstm, 8 units;" in c


def test_the_score_is_that_of_training(trained, capsys):
    assert main(["evaluate", "runs/tiny", "--out", "same.json"]) == 0
    run = trained / "runs/tiny/seed2"
    assert (trained / "same.json").read_bytes() == (run / "score.json").read_bytes()


def test_a_control_is_trained_beside_its_agent(trained, capsys, monkeypatch):
    arguments = ["train", "tiny.toml", "--set", "network.cell=lstm", "--set", "ppo.gamma=0.8", "--control"]
    assert main([*arguments, "stacked", "--seed", "1"]) == 0
    run = runs.read_run("runs/tiny-stacked/seed1")
    assert (run.recipe.name, run.recipe.network.cell, run.recipe.ppo.gamma) == ("tiny-stacked", "none", 0.8)
    assert run.agent().observation_space.shape == (8,)  # four times what is seen of the pole
    assert main(["train", "--resume", "runs/tiny-stacked/seed1", "--control", "stacked"]) == 2  # is finished
    assert "is finished" in capsys.readouterr().err
    asked = []
    monkeypatch.setattr(seeds, "train_seeds", lambda tasks, *_: asked.extend(tasks) or Outcome())
    assert main([*arguments, "feedforward", "--seeds", "2"]) == 0
    assert [str(task.folder) for task in asked] == [f"runs/tiny-feedforward/seed{k}" for k in (0, 1)]
    assert (asked[0].recipe.network.cell, asked[0].recipe.wrappers) == ("none", ())


def test_verify_checks_the_points_of_an_agent(trained, capsys, monkeypatch):
    scores = runs.read_run("runs/tiny").scores()
    memory, wiped = (round(scores[player].mean, 3) for player in ("with memory", "memory wiped"))
    sealed = RECIPE.replace("n_epochs = 1", "n_epochs = 1\ngamma = 0.9") + "[verified]\nseeds = [2, 3]\n"
    sealed += f"version = '0.1.0'\ncommand = ''\nwiped = [{wiped}, 0]\npoints = "
    (trained / "sealed.toml").write_text(f"{sealed}[{memory}, {memory}]\n")

    def train_seeds(tasks, jobs, progress):
        return Outcome([train(t.recipe, t.seed, t.folder, command=t.command) for t in tasks])

    monkeypatch.setattr(verifying, "train_seeds", train_seeds)
    assert main(["verify", "sealed.toml", "--seeds", "1"]) == 0
    out = capsys.readouterr().out
    assert "sealed, trained again" in out and "sealed is verified: equal points" in out
    assert runs.read_run("runs/sealed-again/seed2").facts["command"].startswith("rlrnn verify sealed.toml")
    (trained / "sealed.toml").write_text(f"{sealed}[1000, 1000.5]\n")
    again = Outcome(finished=[runs.read_run("runs/tiny")])
    monkeypatch.setattr(verifying, "train_seeds", lambda *arguments: again)
    assert main(["verify", "sealed.toml", "--seeds", "1"]) == 1
    assert "sealed is not verified: " in capsys.readouterr().out


def test_a_saved_agent_plays_a_game(trained, capsys):
    agent = "runs/tiny/seed2/agent.zip"
    assert main(["evaluate", agent, "--game", "my-game.toml", "--episodes", "2"]) == 0
    assert main(["watch", agent, "--game", "my-game.toml", "--out", "a.gif"]) == 0
    capsys.readouterr()
    assert fails(capsys, "evaluate", agent) == (
        2,
        f"rlrnn: {agent} does not name its game: add --game (see: rlrnn list).\n",
    )


@pytest.mark.parametrize("line", [["list"], ["plot", "runs/tiny", "--out", "curves.png"]])
def test_who_reads_only_the_beginning_hears_no_complaint(trained, line):
    command = [sys.executable, "-m", "rlrnn", *line]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()  # as `head` does
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.usefixtures("cell_registry")
def test_a_module_registers_a_cell_that_a_recipe_names(trained, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path.copy())
    guide = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    how = guide[guide.index("## Adding a cell") :]
    cell = how.split("```python\n")[1].split("agent = ")[0]  # the example that it gives, Leaky
    (trained / "leaky_module.py").write_text(cell)
    before, network, after = RECIPE.partition("[network]\n")
    after = "".join(line for line in after.splitlines(True) if not line.startswith("cell"))
    (trained / "leaky.toml").write_text(f"{before}{network}cell = 'leaky'\ncell_options.rate = 0.5\n{after}")
    status, sentence = fails(capsys, "train", "leaky.toml")
    assert status == 2 and "'leaky' is not known" in sentence and "--import MODULE" in sentence
    assert main(["train", "leaky.toml", "--import", "leaky_module.py"]) == 0
    assert runs.read_run("runs/leaky/seed0").agent().policy.network.memory.layers[0].rate == 0.5


def test_a_module_registers_games(trained, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path.copy())
    (trained / "pole_module.py").write_text(MODULE)
    arguments = ["train", "tiny.toml", "--set", "game=mine/Pole-v0", "--out", "runs/mine"]
    status, sentence = fails(capsys, *arguments)
    assert status == 2 and "'mine/Pole-v0'" in sentence and "--import MODULE" in sentence
    assert main([*arguments, "--import", "pole_module.py"]) == 0
    assert main(["evaluate", "runs/mine", "--import", "pole_module"]) == 0
    capsys.readouterr()
    monkeypatch.delitem(gymnasium.registry, "mine/Pole-v0")  # as in another process
    for command in ("evaluate", "watch", "inspect"):
        status, sentence = fails(capsys, *command.split(), "runs/mine")
        assert status == 2 and "'mine/Pole-v0'" in sentence
        assert sentence.endswith("runs/mine was trained with --import pole_module.py: add it here, too.\n")
    assert runs.missing_imports("runs/mine", ["pole_module"]) == []
    for name, words in (
        ("none.py", "no such file"),
        ("no_such_thing", "no such module"),
        ("lib/json.py", "no such"),
    ):
        status, sentence = fails(capsys, "plot", "runs/tiny", "--import", name)
        assert status == 2 and words in sentence
    (trained / "json.py").write_text("")
    status, sentence = fails(capsys, "plot", "runs/tiny", "--import", "json.py")
    assert status == 2 and "another module is called json" in sentence
    (trained / "json.py").unlink()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            "trian tiny.toml",
            ["unknown command 'trian'; did you mean 'train'?", "known commands: check, compare,"],
        ),
        ("list nothing-so-called", ["no row of the list has 'nothing-so-called' in it"]),
        ("show pong-gur", ["unknown game or agent 'pong-gur'; did you mean 'pong-gru'?"]),
        ("train", ["train takes an agent of the catalogue", "neither is given"]),
        ("train tiny.toml --game pong", ["--game GAME; tiny.toml and --game are given"]),
        ("train CartPole-v1", ["CartPole-v1 is a game and no agent: rlrnn train --game CartPole-v1"]),
        ("train --game CartPoel-v1", ["'CartPoel-v1'; did you mean 'CartPole-v1'", "--import MODULE"]),
        ("train --game CartPole", ["unknown game 'CartPole'", "(did you mean 'CartPole-v1' or", "--import"]),
        ("train --game pong --kwargs limit", ["--kwargs takes KEY=VALUE", "not 'limit'"]),
        ("train --game pong --wrapper hide,drop", ["--wrapper takes a name", "not 'hide,drop'"]),
        ("train --game pong --wrapper hid", ["the wrapper 'hid' is not known", "did you mean 'hide'?"]),
        ("train --resume --game pong", ["--resume takes the folder of a run"]),
        ("train --resume runs/tiny/seed2 --kwargs a=1", ["leave out --kwargs"]),
        ("train tinny", ["unknown agent 'tinny'", "TOML file"]),
        ("train none.toml", ["there is no file none.toml"]),
        ("train tiny.toml --out x --set ppo.gama=1", ["unknown key 'gama'", "did you mean 'gamma'?"]),
        ("train tiny.toml --out x --set network.cell=gur", ["cell 'gur' is not known"]),
        ("train tiny.toml --out x --steps many", ["steps is 'many'"]),
        ("train tiny.toml --out x --set ppo.seq_len=33", ["seq_len is 33"]),
        ("train tiny.toml --out x --set game=pnog", ["unknown game 'pnog'"]),
        ("train --resume runs/tiny/seed2 --control stacked", ["is a run of tiny", "leave out --resume"]),
        ("verify tiny.toml", ["tiny was not verified"]),
        ("train tiny.toml --seed 2", ["holds a run already", "--overwrite"]),
        ("train tiny.toml --out runs", ["holds other things than a run"]),
        ("evaluate runs/none", ["there is no run runs/none"]),
        ("evaluate none.zip --game my-game.toml", ["none.zip"]),
        ("evaluate runs/tiny --game rlrnn/Pendulum-v1", ["observation space", "rlrnn/Pendulum-v1"]),
        ("evaluate .", ["is not a run folder"]),
        ("plot none.csv", ["there is no file none.csv"]),
        ("plot runs/tiny --out a.xyz", ["a.xyz should end in .png"]),
        ("draw tinny", ["unknown agent 'tinny'", "TOML file"]),
        ("draw none.toml", ["there is no file none.toml"]),
        ("draw none.zip", ["none.zip"]),
        ("draw runs/none", ["there is no run runs/none"]),
        ("draw .", ["is not a run folder"]),
        ("draw runs/tiny --out a.xyz", ["a.xyz should end in .png"]),
        ("draw runs/tiny --set network.cell=lstm", ["--set changes a recipe", "leave out --set"]),
        ("draw tiny.toml --set network.cell=gur", ["cell 'gur' is not known"]),
        ("list --weights games", ["agents have weights, and games none"]),
        ("compare runs/tiny --csv a.csv --latex x/../a.csv", ["--csv and --latex name the same file"]),
        ("inspect runs/tiny --data u.npz --out x", ["--data writes that one file", "leave out --out"]),
        ("inspect runs/tiny --data u.npz --snapshots", ["leave out --snapshots"]),
        ("train tiny.toml --out x --jobs 2", ["--jobs says how many of several seeds", "add --seeds N"]),
        (
            "evaluate pong",
            ["pong is a game and no agent; pong-evolved, pong-gru learn it: rlrnn train --game"],
        ),
        ("watch CartPole-v1", ["is a game and no agent: rlrnn train --game CartPole-v1", "--by-hand"]),
        ("watch runs/tiny --out a.avi", ["a.avi should end in .gif or .mp4"]),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(arguments, words, trained, capsys):
    status, sentence = fails(capsys, *arguments.split())
    assert status == 2
    for word in words:
        assert word in sentence
    assert not (trained / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("train tiny.toml --seed -1", "argument --seed: '-1' is not a whole number of at least 0"),
        ("train tiny.toml --device gpu", "unknown device 'gpu'; did you mean 'cpu'? known devices: auto, "),
        ("train tiny.toml --control stack", "unknown control 'stack'; did you mean 'stacked'?"),
        ("train tiny.toml --control stakced", "did you mean 'stacked'? known controls: feedforward, stacked"),
        ("train tiny.toml --stpes 100", "unknown option '--stpes'; did you mean '--steps'? known options: "),
        ("train --stpes=100", "unknown option '--stpes'; did you mean '--steps'?"),  # before what is missing
        ("train tiny.toml --steps", "argument --steps: expected one argument"),
        ("new mine", "the following arguments are required: --game"),
        ("train tiny.toml --kwargs", "argument --kwargs: expected at least one argument"),
        ("train tiny.toml --se 1", "ambiguous option: --se could match --seed, --seeds, --set"),
        ("train tiny.toml pong-gru", "unrecognized arguments: pong-gru"),
        ("train tiny.toml -s", "unrecognized arguments: -s"),
        ("evaluate runs/tiny --episode 0", "argument --episodes: '0' is not a whole number of at least 1"),
        ("evaluate runs/tiny --episdoes 3", "unknown option '--episdoes'; did you mean '--episodes'?"),
        ("watch runs/tiny --sampled --deterministic", "not allowed with argument --sampled"),
        ("train tiny.toml --steps=", "--steps is an empty text, as a variable is that was not set"),
        ("--verison", "unknown option '--verison'; did you mean '--version'?"),
    ],
)
def test_what_argparse_refuses_is_one_sentence_and_status_2(arguments, words, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments.split())
    output = capsys.readouterr()
    assert end.value.code == 2 and output.out == "" and output.err.count("\n") == 1
    assert output.err.startswith("rlrnn: ") and words in output.err
    command = " ".join(["rlrnn", *(word for word in arguments.split()[:1] if word in VERBS)])
    assert f"; see: {command} --help." in output.err or output.err.endswith("; see: rlrnn --help.\n")


@pytest.mark.parametrize(
    ("words", "named"),
    [(["train", "tiny.toml", "--from", ""], "--from is"), (["evaluate", ""], "an argument is")],
)
def test_an_empty_text_is_not_taken_for_an_option_left_out(words, named, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2 and f"{named} an empty text" in capsys.readouterr().err


def test_what_looks_like_an_option_may_be_a_value():
    given = parser().parse_args(["train", "--out", "--my folder", "--set=a=--b", "--", "--agent"])
    assert (given.out, given.settings, given.agent) == ("--my folder", ["a=--b"], "--agent")


def test_a_spoiled_agent_file(trained, capsys):
    spoiled = trained / "spoiled.zip"
    spoiled.write_bytes((trained / "runs/tiny/seed2/agent.zip").read_bytes()[:1000])
    status, sentence = fails(capsys, "evaluate", "spoiled.zip", "--game", "my-game.toml")
    assert status == 2 and "spoiled.zip" in sentence


def test_any_game_is_trained_without_a_recipe(trained, capsys):
    wrapper, small = "hide, drop = [1, 3]", ["--set", "ppo.n_steps=8", "--set", "ppo.batch_size=128"]
    what = ["train", "--game", "CartPole-v1", "--kwargs", "sutton_barto_reward=true", "--wrapper", wrapper]
    assert main([*what, "--steps", "256", "--seed", "1", *small]) == 0
    said = capsys.readouterr().out
    assert "CartPole-v1: a recipe by its spaces alone" in said and "2 numbers" in said and "one of 2" in said
    assert "gru of 64 units, 16 copies, 256 steps" in said and "entropy bonus" in said
    run = runs.read_run("runs/CartPole-v1/seed1")
    assert run.recipe.kwargs == {"sutton_barto_reward": True} and run.scores()
    assert run.recipe.wrappers == ({"name": "hide", "drop": [1, 3]},)
    assert main(["evaluate", "runs/CartPole-v1/seed1", "--episodes", "1"]) == 0
    # Further changes of a recipe's game, too.
    assert (
        main(["train", "tiny.toml", "--wrapper", "{ name = 'stack', frames = 2 }", "--out", "runs/two"]) == 0
    )
    assert runs.read_run("runs/two").recipe.wrappers == ({"name": "stack", "frames": 2},)


def test_a_verified_agent_plays_by_its_name(capsys):
    assert main(["evaluate", "t-maze-20-evolved", "--episodes", "2"]) == 0
    assert "4.00" in capsys.readouterr().out
    assert main(["watch", "t-maze-20-evolved", "--out", "maze.gif"]) == 0
    assert Path("maze.gif").stat().st_size > 1000
    capsys.readouterr()
    status, sentence = fails(capsys, "watch", "pendulum-gru")
    assert status == 2 and "pendulum-gru comes without its weights: rlrnn train pendulum-gru" in sentence


def test_the_list_is_narrowed(capsys):
    def listed(*arguments):
        assert main(["list", *arguments]) == 0
        return capsys.readouterr().out

    assert "what must be remembered" in listed("games") and "verified points" not in listed("games")
    assert "what must be remembered" not in listed("agents") and "pendulum-gru" in listed("agents")
    found = listed("agents", "fir")
    assert "recall-16-fir" in found and "autoencode-fir" in found and "minigrid" not in found
    assert "t-maze-20-evolved" in (found := listed("maze", "evolution")) and "t-maze-20-gru" not in found
    assert "pong-gru" in (found := listed("--weights")) and "pendulum-gru" not in found
    status, sentence = fails(capsys, "list", "agents", "nix")
    assert status == 2 and "no row of the list has 'nix' in it" in sentence


def test_a_game_is_described(capsys, monkeypatch):
    assert main(["check", "my-game.toml", "--episodes", "3"]) == 0
    said = capsys.readouterr().out
    for words in (
        "sees           2 numbers",
        "does           one of 2",
        "same seed      the same episode again",
    ):
        assert words in said
    assert main(["check", "CartPole-v1", "--episodes", "2", "--json", "--wrapper", "stack, frames = 2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["observations"].startswith("8 numbers") and len(found["points"]) == 2
    assert "--game CartPole-v1 --wrapper 'stack, frames = 2', and again" in found["advice"][-1]

    def locked(*arguments):
        raise RuntimeError("locked")

    monkeypatch.setattr("gymnasium.envs.classic_control.CartPoleEnv.step", locked)
    assert main(["check", "CartPole-v1"]) == 2
    *lines, sentence = capsys.readouterr().err.splitlines()
    assert "raised RuntimeError in step" in sentence and "locked" in sentence
    assert lines[-1].strip() == 'raise RuntimeError("locked")' and __file__ in lines[0]


def test_files_to_be_edited_are_written_and_run_as_they_are(trained, capsys):
    assert main(["new", "mine", "--game", "my-game.toml", "--from", "tiny.toml"]) == 0
    assert "to train it as it is: rlrnn train agents/mine.toml\n" in capsys.readouterr().out
    assert main(["train", "agents/mine.toml"]) == 0
    assert runs.read_run("runs/mine/seed0").game.wrappers == ({"name": "hide", "drop": [1, 3]},)
    capsys.readouterr()
    status, sentence = fails(capsys, "new", "mine", "--game", "my-game.toml")
    assert status == 2 and "agents/mine.toml is there already: give another name" in sentence


def test_an_unwritable_folder_is_one_sentence_and_status_1(trained, capsys, monkeypatch):
    (trained / "file").write_text("")
    status, sentence = fails(capsys, "train", "tiny.toml", "--out", "file/run")
    assert status == 1 and "file/run" in sentence and "--out" in sentence

    full = Mock(side_effect=OSError(28, "No space left on device", "curve.png"))  # no function of ours
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    assert fails(capsys, "plot", "runs/tiny") == (
        1, "rlrnn: No space left on device (curves.png): make room, or choose another place with --out.\n"
    )  # fmt: skip


def test_ctrl_c_is_status_130_and_says_what_was_kept(trained, capsys, monkeypatch):
    real = agents.RecurrentPPO.learn

    def stopped(agent, steps, *rest, **options):
        real(agent, 256, *rest, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(agents.RecurrentPPO, "learn", stopped)
        assert main(["train", "tiny.toml", "--out", "runs/stopped"]) == 130
    assert re.search(
        "rlrnn: interrupted. Stopped after 256 steps; the agent as it is was saved to runs/stopped. "
        r"rlrnn train --resume runs/stopped continues after (0|128) steps\.\n$",
        capsys.readouterr().err,
    )
    assert main(["evaluate", "runs/stopped", "--episodes", "1"]) == 0
    assert main(["train", "--resume", "runs/stopped"]) == 0
    assert "512 steps" in capsys.readouterr().out


def test_a_bug_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(agents, "learner", None)  # else it would be a fault of this file, a user's
    with pytest.raises(TypeError, match="not callable"):
        main(["train", "tiny.toml", "--out", "runs/bug"])


@pytest.mark.filterwarnings("default")
def test_a_warning_is_a_line_without_our_own_place(capsys, monkeypatch):
    monkeypatch.setattr(VERBS["list"], "run", lambda arguments: warnings.warn("look\n  out", stacklevel=1))
    assert main(["list"]) == 0
    assert capsys.readouterr().err == "rlrnn: look out\n"
