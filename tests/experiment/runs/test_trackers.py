"""Trackers: what reaches them, that they change nothing, and that none of their failures ends a training."""

import dataclasses
import sys
from types import SimpleNamespace

import pytest
from tiny_runs import SAME, TINY, broken_off

from rlrnn.errors import UserError
from rlrnn.experiment.runs import runs, trackers
from rlrnn.experiment.runs.facts import INTERRUPTED
from rlrnn.experiment.training.training import resume, train
from rlrnn.shell.cli import main
from rlrnn.shell.verbs import train as verb

EVALUATED = dataclasses.replace(
    TINY, evaluation=dataclasses.replace(TINY.evaluation, every=256, episodes_each=2)
)


def fake_wandb(calls):
    """With the signatures of wandb 0.31."""

    class Run:
        def log(self, data, step=None, commit=None):
            calls.append(("log", data, step))

        def log_artifact(self, artifact_or_path, name=None, type=None, aliases=None):  # noqa: A002
            calls.append(("artifact", artifact_or_path.name, artifact_or_path.files))

        def finish(self, exit_code=None):
            calls.append(("finish", exit_code))

    class Artifact:
        def __init__(self, name, type):  # noqa: A002
            self.name, self.files = name, []

        def add_file(self, local_path, name=None):
            self.files.append(local_path)

    def init(entity=None, project=None, dir=None, id=None, name=None, group=None, config=None):  # noqa: A002
        calls.append(("init", project, name, group, config))
        return Run()

    return SimpleNamespace(init=init, Image=lambda path: f"image {path}", Artifact=Artifact)


def fake_trackio(calls):
    def init(project, name=None, group=None, config=None, resume="never", embed=True):
        calls.append(("init", project, name, group, config))

    def log(metrics, step=None):
        calls.append(("log", metrics, step))

    return SimpleNamespace(
        init=init, log=log, finish=lambda: calls.append(("finish", 0)), Image=lambda value: f"image {value}"
    )


def fake_mlflow(calls):
    def start_run(run_id=None, experiment_id=None, run_name=None):
        calls.append(("init", run_name))

    def log_metrics(metrics, step=None):
        calls.append(("log", metrics, step))

    def end_run(status="FINISHED"):
        calls.append(("finish", {"FINISHED": 0, "FAILED": 1}[status]))

    return SimpleNamespace(
        set_experiment=lambda experiment_name=None: calls.append(("experiment", experiment_name)),
        start_run=start_run,
        log_params=lambda params: calls.append(("params", params)),
        log_metrics=log_metrics,
        log_artifact=lambda local_path, artifact_path=None: calls.append(("artifact", local_path)),
        end_run=end_run,
    )


FAKES = {"wandb": fake_wandb, "trackio": fake_trackio, "mlflow": fake_mlflow}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return train(EVALUATED, 1, tmp_path_factory.mktemp("plain") / "run", progress=False)


@pytest.mark.parametrize("name", FAKES)
def test_what_reaches_them(name, plain, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setitem(sys.modules, name, FAKES[name](calls))
    run = train(EVALUATED, 1, tmp_path / "run", progress=False, log=[name])
    for file in (*SAME, "evaluations.npz"):
        assert (run.folder / file).read_bytes() == (plain.folder / file).read_bytes(), file
    logged = [call for call in calls if call[0] == "log" and call[2] is not None]
    steps = [step for _, numbers, step in logged if "rollout/ep_rew_mean" in numbers]
    assert steps == [128, 256, 384, 512]
    assert [step for _, numbers, step in logged if "eval/mean_reward_wiped" in numbers] == [0, 256, 512]
    (scores,) = [numbers for _, numbers, _ in logged if "score/with memory" in numbers]
    assert scores["score/with memory"] == run.scores()["with memory"].mean
    assert all(isinstance(number, float) for _, numbers, _ in logged for number in numbers.values())
    begun = [call for call in calls if call[0] in ("init", "params", "experiment")]
    assert "tiny-seed1" in str(begun) and "'seed': 1" in str(begun) and "rlrnn" in str(begun)
    assert "curve.png" in str(calls) and (name == "trackio" or "agent.zip" in str(calls))
    assert calls[-1] == ("finish", 0)


def test_tensorboards_event_file_says_the_same(plain, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train(EVALUATED, 1, tmp_path / "run", progress=False, log=["tensorboard"])
    for file in SAME:
        assert (run.folder / file).read_bytes() == (plain.folder / file).read_bytes(), file
    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert [event.step for event in events.Scalars("rollout/ep_rew_mean")] == [128, 256, 384, 512]
    assert [event.step for event in events.Scalars("eval/mean_reward")] == [0, 256, 512]
    (score,) = events.Scalars("score/with memory")
    assert score.value == pytest.approx(run.scores()["with memory"].mean) and score.step == 512
    assert tags["images"] == ["curve"] and tags["tensors"] == ["recipe/text_summary"]
    assert b"rlrnn/CartPole-v1" in events.Tensors("recipe/text_summary")[0].tensor_proto.string_val[0]


def test_one_that_fails_on_the_way_ends_no_training(plain, tmp_path, monkeypatch, capsys):
    calls = []
    fake = fake_trackio(calls)

    def log(metrics, step=None):
        raise ConnectionError("no route to host")

    fake.log = log
    monkeypatch.setitem(sys.modules, "trackio", fake)
    run = train(EVALUATED, 1, tmp_path / "run", progress=False, log=["trackio"])
    assert (run.folder / "agent.zip").read_bytes() == (plain.folder / "agent.zip").read_bytes()
    said = capsys.readouterr().err
    assert (
        said.count("--log trackio fails and is left out from now on (ConnectionError: no route to host)") == 1
    )


def test_one_that_cannot_begin_is_named_before_anything_is_made(tmp_path, monkeypatch, capsys):
    def init(**_):
        raise RuntimeError("api_key not configured (no-tty). call wandb.login(key=[your_api_key])")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    with pytest.raises(UserError, match="--log wandb cannot begin: api_key not configured"):
        train(TINY, 1, tmp_path / "a", progress=False, log=["wandb"])
    monkeypatch.setitem(sys.modules, "mlflow", None)  # as if it were not installed
    with pytest.raises(UserError, match=r"--log mlflow needs the package mlflow: pip install mlflow\."):
        train(TINY, 1, tmp_path / "a", progress=False, log=["mlflow"])
    (tmp_path / "trackio.py").write_text("import gradio_of_nowhere")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="the package trackio, which lacks gradio_of_nowhere: pip install"):
        train(TINY, 1, tmp_path / "a", progress=False, log=["trackio"])
    with pytest.raises(UserError, match="unknown tracker 'tensorbord'; did you mean 'tensorboard'"):
        train(TINY, 1, tmp_path / "a", progress=False, log=["tensorbord"])
    assert not (tmp_path / "a").exists()
    with pytest.raises(UserError, match="--log wandb cannot begin"):  # a text alone stands for a list of one
        train(TINY, 1, tmp_path / "a", progress=False, log="wandb")
    with pytest.raises(SystemExit):
        main(["train", "pong-gru", "--log", "tensorboard,wnadb"])
    assert "unknown tracker 'wnadb'; did you mean 'wandb'" in capsys.readouterr().err
    assert tuple(trackers.TRACKERS) == verb.TRACKERS  # which the shell's help knows without importing them


def test_a_training_that_breaks_off_ends_as_failed(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setitem(sys.modules, "mlflow", fake_mlflow(calls))
    wrong = dataclasses.replace(TINY, ppo=dataclasses.replace(TINY.ppo, learning_rate=1e30))
    with pytest.raises(UserError, match=r"broke down|diverged"):
        train(wrong, 1, tmp_path / "run", progress=False, log=["mlflow"])
    assert calls[-1] == ("finish", 1)


def test_where_no_run_may_be_made_none_is_begun_at_a_tracker(plain, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setitem(sys.modules, "mlflow", fake_mlflow(calls))
    with pytest.raises(UserError, match="holds a run already"):
        train(EVALUATED, 1, plain.folder, progress=False, log="mlflow")
    assert calls == []


def test_a_run_that_is_resumed_without_a_tracker_that_begins_stays_as_it_was(tmp_path, monkeypatch):
    broken_off(TINY, tmp_path / "run", after=1)
    before = runs.read_run(tmp_path / "run").end(INTERRUPTED, steps=128, seconds=1.0)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UserError, match="--log mlflow needs"):
        resume(tmp_path / "run", progress=False, log="mlflow")
    assert runs.read_run(tmp_path / "run") == before
