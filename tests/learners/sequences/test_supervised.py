"""Packed batches are the sequences one by one; what is learned is right, kept, and the same again."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rlrnn
from rlrnn import SequenceLearner, UserError
from rlrnn.cells import CELLS
from rlrnn.learners.sequences.fitting import order
from rlrnn.learners.sequences.losses import CrossEntropy, Ctc, Squared
from rlrnn.learners.sequences.packing import pack
from rlrnn.learners.sequences.supervised import LOSSES, SequenceNetwork
from rlrnn.storage import archive

LENGTHS = 5, 1, 9, 3, 4, 7


def data(loss: str, seed: int = 0, lengths: tuple[int, ...] = LENGTHS) -> tuple[list[Any], list[Any], Any]:
    """Inputs [T, 3], targets, masks."""
    draw = np.random.default_rng(seed)
    x = [draw.normal(size=(t, 3)) for t in lengths]
    if loss == "ctc":
        return x, ["".join(draw.choice(list("abc"), size=(t + 1) // 2)) for t in lengths], None
    mask = [draw.random(t) < 0.7 for t in lengths]
    mask[0][:] = True
    if loss == "cross_entropy":
        return x, [np.arange(t) % 4 for t in lengths], mask
    return x, [draw.normal(size=(t, 2)) for t in lengths], mask


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("cell", list(CELLS))
def test_packed_sequences_have_the_loss_and_gradients_of_those_run_alone(cell: str, loss: str) -> None:
    x, targets, masks = data(loss)
    masks = masks or [None] * len(x)
    made: Any = {
        "squared": lambda: Squared(targets),
        "cross_entropy": lambda: CrossEntropy(targets, masks),
        "ctc": lambda: Ctc(targets),
    }[loss]()
    told = [
        made.target(i, t, m, len(each)) for i, (each, t, m) in enumerate(zip(x, targets, masks, strict=True))
    ]
    network = SequenceNetwork(cell, 3, made.outputs, 8, 2, {}).double()
    tensors = [torch.as_tensor(each) for each in x]
    y = network(torch.cat(tensors), pack(LENGTHS))
    together = made.error(y, told, list(LENGTHS))
    grads = torch.autograd.grad(together, list(network.parameters()), materialize_grads=True)
    # The oracle steps through each sequence by itself and judges it by itself.
    alone = torch.zeros((), dtype=torch.float64)
    for each, target in zip(tensors, told, strict=True):
        state = torch.zeros(1, network.memory.state_size, dtype=torch.float64)
        outputs = []
        for row in each:
            out, state = network.memory.step(row[None], None, state)
            outputs.append(network.output(out)[0])
        alone = alone + made.error(torch.stack(outputs), [target], [len(each)])
    expected = torch.autograd.grad(alone, list(network.parameters()), materialize_grads=True)
    torch.testing.assert_close(together, alone)
    for name, one, other in zip(dict(network.named_parameters()), grads, expected, strict=True):
        torch.testing.assert_close(one, other, msg=lambda m, name=name: f"{name}: {m}")


def test_an_order_is_a_function_of_seed_and_epoch() -> None:
    orders = {tuple(order(20, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9 and all(sorted(each) == list(range(20)) for each in orders)
    assert order(20, 1, 2).tolist() == order(20, 1, 2).tolist()


@pytest.mark.parametrize("loss", LOSSES)
def test_the_same_seed_learns_the_same_and_leaves_the_worlds_dice_alone(loss: str) -> None:
    x, targets, mask = data(loss)
    learners = []
    before = torch.random.get_rng_state()
    for seed in (1, 1, 2):
        learner = SequenceLearner(
            n_layers=2, hidden_size=8, cell_options={"dropout": 0.5}, loss=loss, seed=seed
        )
        learners.append(learner.fit(x, targets, mask, epochs=2, batch_size=2, progress=False))
    assert torch.equal(before, torch.random.get_rng_state())
    one, again, other = (torch.cat(learner.outputs(x)) for learner in learners)
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert learners[0].history_ == learners[1].history_ and len(learners[0].history_) == 2


@pytest.mark.parametrize("loss", LOSSES)
def test_a_saved_learner_says_the_same(loss: str, tmp_path: Path) -> None:
    x, targets, mask = data(loss)
    learner = SequenceLearner("lstm", 6, loss=loss, seed=3).fit(x, targets, mask, epochs=2, progress=False)
    learner.save(tmp_path / "one")
    learner.save(tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    loaded = SequenceLearner.load(tmp_path / "one")
    for a, b in zip(learner.predict(x), loaded.predict(x), strict=True):
        np.testing.assert_array_equal(a, b)
    assert loaded.score(x, targets, mask) == learner.score(x, targets, mask)
    assert loaded.history_ == learner.history_
    if loss != "squared":
        assert loaded.classes_.tolist() == learner.classes_.tolist()
    again = loaded.fit(x, targets, mask, epochs=2, progress=False)
    torch.testing.assert_close(again.outputs(x), learner.outputs(x), rtol=0, atol=0)


def echo(count: int, seed: int) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Bits, of which the one two steps ago is asked for."""
    draw = np.random.default_rng(seed)
    x = [draw.integers(2, size=(draw.integers(4, 20), 1)) for _ in range(count)]
    y = [np.concatenate(([-1, -1], each[:-2, 0])) for each in x]
    return x, y, [np.arange(len(each)) >= 2 for each in x]


def test_what_needs_memory_is_learned_and_what_has_none_does_not_learn_it() -> None:
    x, y, mask = echo(200, 0)
    others = echo(100, 1)
    settings: dict[str, Any] = {"loss": "cross_entropy", "learning_rate": 0.01, "hidden_size": 16}
    for cell, least, most in (("gru", 0.99, 1.0), ("none", 0.4, 0.6)):
        learner = SequenceLearner(cell, **settings).fit(x, y, mask, epochs=15, batch_size=16, progress=False)
        assert least <= learner.score(*others) <= most
        assert set(learner.classes_) == {0, 1}  # the fillers of the first two steps are none


def test_the_weights_of_the_best_epoch_stay_and_patience_ends() -> None:
    """Noise cannot be learned: the error on others grows while that on the noise falls."""
    x, targets, _ = data("squared", 0, (6,) * 20)
    others, unlike, _ = data("squared", 1, (6,) * 20)
    learner = SequenceLearner(hidden_size=32, learning_rate=0.02)
    learner.fit(x, targets, validation=(others, unlike), epochs=200, patience=5, progress=False)
    errors = [row["validation"] for row in learner.history_]
    assert int(np.argmin(errors)) == len(errors) - 6 and len(errors) < 200
    assert -learner.score(others, unlike) == pytest.approx(min(errors), rel=1e-5)
    assert min(errors) < errors[-1]
    assert learner.history_[-1]["loss"] < learner.history_[0]["loss"]
    free = SequenceLearner(hidden_size=32, learning_rate=0.02).fit(
        x, targets, epochs=len(errors), progress=False
    )
    assert [row["loss"] for row in free.history_] == [row["loss"] for row in learner.history_]


def test_a_fraction_is_held_out() -> None:
    x, targets, _ = data("squared", 0, (6,) * 20)
    learner = SequenceLearner(hidden_size=4).fit(x, targets, validation=0.25, epochs=2, progress=False)
    assert {"epoch", "loss", "validation"} == learner.history_[0].keys()
    told = []
    for i in range(20):  # a target that was held out does not change what is learned
        changed = [target + 9.0 * (i == j) for j, target in enumerate(targets)]
        other = SequenceLearner(hidden_size=4).fit(x, changed, validation=0.25, epochs=1, progress=False)
        told.append(other.history_[0]["loss"] == learner.history_[0]["loss"])
    assert sum(told) == 5


def test_others_to_judge_by_may_be_a_list() -> None:
    targets = [np.zeros(4), np.zeros(3)]
    tuple_, list_ = (
        SequenceLearner(hidden_size=2).fit(
            X, targets, validation=kind((X, targets)), epochs=2, progress=False
        )
        for kind in (tuple, list)
    )
    assert tuple_.history_ == list_.history_ and "validation" in list_.history_[0]


@pytest.mark.parametrize("norm", [0.0, None, float("nan")])
def test_a_norm_of_gradients_that_stops_all_learning_is_refused(norm: Any) -> None:
    with pytest.raises(UserError, match=r"max_grad_norm is .* must be a.* number above 0"):
        SequenceLearner(max_grad_norm=norm)


def test_an_array_of_sequences_and_one_number_each() -> None:
    x = np.random.default_rng(0).normal(size=(30, 4, 2))
    learner = SequenceLearner(hidden_size=8, learning_rate=0.02).fit(x, x[:, 0, 0], epochs=60, progress=False)
    assert learner.score(x, x[:, 0, 0]) > -0.1
    assert [y.shape for y in learner.predict(x)] == [(4, 1)] * 30


def test_progress_goes_to_stderr_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlrnn.common.progress.PAUSE", 0.0)
    x, targets, _ = data("squared")
    SequenceLearner(hidden_size=4).fit(x, targets, validation=0.5, epochs=2)
    told = capsys.readouterr()
    assert "epoch 2 of 2" in told.err and "validation" in told.err and not told.out
    SequenceLearner(hidden_size=4).fit(x, targets, epochs=2, progress=False)
    assert capsys.readouterr().err == ""


X = [np.zeros((4, 2)), np.zeros((3, 2))]
BAD: list[tuple[str, str, dict[str, Any], str]] = [
    ("loss", "mse", {}, "loss is 'mse': choose one of squared, cross_entropy, ctc"),
    ("none", "squared", {"inputs": [], "targets": []}, "there are no sequences"),
    ("empty", "squared", {"inputs": [np.zeros((0, 2)), X[1]]}, "sequence 0 is empty"),
    ("shape", "squared", {"inputs": [np.zeros(4), X[1]]}, "sequence 0 are float64 of shape"),
    (
        "features",
        "squared",
        {"inputs": [X[0], np.zeros((3, 5))]},
        "sequence 1 has 5 features per step, but 2",
    ),
    ("nan", "squared", {"inputs": [X[0], X[1] + [np.nan, 0]]}, "sequence 1 holds nan at step 0, feature 0"),
    ("count", "squared", {"targets": [np.zeros(4)]}, "targets for 1 sequences, but 2"),
    (
        "length",
        "squared",
        {"targets": [np.zeros(4), np.zeros(5)]},
        "sequence 1 have 5 steps, but its inputs have 3",
    ),
    ("outputs", "squared", {"targets": [np.zeros((4, 1)), np.zeros((3, 2))]}, "rows of shapes"),
    (
        "nan target",
        "squared",
        {"targets": [np.zeros(4), np.full(3, np.nan)]},
        "targets of sequence 1 hold nan",
    ),
    ("masks", "squared", {"mask": [np.ones(4, bool)]}, "masks for 1 sequences, but 2"),
    (
        "mask",
        "squared",
        {"mask": [np.ones(4, bool), np.ones(4, bool)]},
        "mask of sequence 1 is bool of shape",
    ),
    ("no bools", "squared", {"mask": [np.ones(4), np.ones(3)]}, "mask of sequence 0 is float64"),
    (
        "no target",
        "squared",
        {"mask": [np.zeros(4, bool), np.zeros(3, bool)]},
        "no step of the sequences has",
    ),
    (
        "final",
        "squared",
        {"targets": [1.0, 2.0], "mask": [np.ones(4, bool)] * 2},
        "has one target, which stands",
    ),
    (
        "kind",
        "cross_entropy",
        {"targets": [0.5, 1.5]},
        "labels are whole numbers or words, but these are float64",
    ),
    (
        "mixed",
        "cross_entropy",
        {"targets": [1, np.zeros(3, int)]},
        "sequence 0 is one label, but others are arrays",
    ),
    (
        "mask ctc",
        "ctc",
        {"targets": ["a", "b"], "mask": [np.ones(4, bool)] * 2},
        "a label string says not when",
    ),
    ("long", "ctc", {"targets": ["abab", "abb"]}, "sequence 1 has 3 steps, but its 3 labels need 4"),
    ("silent", "ctc", {"targets": ["", ""]}, "all label strings are empty"),
    ("validation", "squared", {"validation": 1.5}, "validation is 1.5 of 2 sequence"),
    ("epochs", "squared", {"epochs": 0}, "epochs is 0, but must be a whole number of at least 1"),
    ("batch", "squared", {"batch_size": 2.5}, "batch_size is 2.5"),
    ("one label", "ctc", {"targets": [5, 6]}, "the target of sequence 0 has shape ()"),
    ("no number", "squared", {"targets": ["a", "b"]}, "the targets of sequence 0 are not numbers"),
    ("ragged", "squared", {"targets": [[1.0, [2.0, 3.0]], [1.0]]}, "the targets of sequence 0 are not"),
    ("fraction", "squared", {"validation": "0.1"}, "validation is '0.1' of 2 sequence"),
    ("lone validation", "squared", {"validation": (X,)}, "validation has 1 parts"),
]


@pytest.mark.parametrize(
    ("loss", "change", "sentence"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
def test_bad_input_is_refused_in_one_sentence(loss: str, change: dict[str, Any], sentence: str) -> None:
    given = {"inputs": X, "targets": [np.zeros(4), np.zeros(3)], "progress": False, "epochs": 1} | change
    with pytest.raises(UserError) as caught:
        SequenceLearner(loss=loss, hidden_size=2).fit(**given)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_what_was_not_learned_is_refused() -> None:
    with pytest.raises(UserError, match="has not learned yet"):
        SequenceLearner().predict(X)
    learner = SequenceLearner(hidden_size=2, loss="cross_entropy").fit(X, [3, 4], epochs=1, progress=False)
    with pytest.raises(UserError, match="the label 5, which is none of those learned: 3, 4"):
        learner.score(X, [3, 5])
    with pytest.raises(UserError, match=r"labels that are <U1"):
        learner.score(X, ["a", "b"])
    with pytest.raises(UserError, match="has 7 features per step, but 2"):
        learner.predict([np.zeros((3, 7))])
    with pytest.raises(UserError, match="learning_rate is -1"):
        SequenceLearner(learning_rate=-1)
    with pytest.raises(UserError, match="seed is -1"):
        SequenceLearner(seed=-1)
    with pytest.raises(UserError, match="error or its gradient is not a finite number"):
        SequenceLearner(hidden_size=2).fit([np.full((2, 1), 1e30)], [1e30], epochs=1, progress=False)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    archive.write_agent(tmp_path / "a", {}, {}, kind="RecurrentPPO")
    with pytest.raises(UserError, match="holds a RecurrentPPO, not a SequenceLearner"):
        SequenceLearner.load(tmp_path / "a")
    archive.write_agent(tmp_path / "b", {"cell": "gru"}, {}, kind="SequenceLearner")
    with pytest.raises(UserError, match="does not fit together"):
        rlrnn.SequenceLearner.load(tmp_path / "b")


RAGGED: list[Any] = [[1.0], [1.0, 2.0]]


@pytest.mark.parametrize(
    ("inputs", "targets", "mask", "sentence"),
    [
        ([RAGGED], [1.0], None, "the inputs of sequence 0 are not one array ("),
        ([X[0], RAGGED], [1.0, 2.0], None, "the inputs of sequence 1 are not one array ("),
        ([None], [1.0], None, "the inputs of sequence 0 are object of shape ()"),
        (None, [1.0], None, "inputs are None: give a list with one entry for each sequence."),
        (X, None, None, "targets are None: give a list with one entry for each sequence."),
        (X, 3, None, "targets are 3: give a list"),
        (X, [RAGGED, 1.0], None, "the targets of sequence 0 are not one array ("),
        (X, [1.0, None], None, "the targets of sequence 1 hold nan"),
        (X, [1.0, object()], None, "the targets of sequence 1 are not numbers"),
        (
            X,
            [[0.0] * 4, [0.0] * 3],
            [RAGGED, [True] * 3],
            "the mask values of sequence 0 are not one array (",
        ),
        (X, [[0.0] * 4, [0.0] * 3], True, "mask are True"),
        ([[torch.zeros(2), torch.zeros(3)]], [1.0], None, "the inputs of sequence 0 are not one array ("),
    ],
)
def test_what_is_no_array_is_refused_in_one_sentence(
    inputs: Any, targets: Any, mask: Any, sentence: str
) -> None:
    with pytest.raises(UserError) as caught:
        SequenceLearner(hidden_size=2).fit(inputs, targets, mask, epochs=1, progress=False)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_tensors_are_taken_as_the_arrays_that_they_are() -> None:
    x, targets, masks = data("squared")
    arrays = SequenceLearner(hidden_size=3).fit(x, targets, masks, epochs=2, progress=False)
    learning = [torch.tensor(each, requires_grad=True) for each in x]
    rows = [list(each) for each in learning]
    wanted, flags = [torch.tensor(t, requires_grad=True) for t in targets], list(map(torch.tensor, masks))
    for given in (learning, rows):
        tensors = SequenceLearner(hidden_size=3).fit(given, wanted, flags, epochs=2, progress=False)
        assert tensors.history_ == arrays.history_
        assert tensors.score(given, wanted, flags) == arrays.score(x, targets, masks)
    whole = torch.ones(4, 3, 2, dtype=torch.bfloat16)
    learner = SequenceLearner(hidden_size=3, loss="cross_entropy")
    learner.fit(whole, torch.tensor([0, 1, 1, 0]), epochs=1, progress=False)
    assert len(learner.predict(whole)) == 4


@pytest.mark.parametrize("kind", ["int8", "uint16", "bool", "<U5", "int64"])
def test_labels_keep_their_type(kind: str, tmp_path: Path) -> None:
    labels = np.array([0, 1, 1, 0]).astype(kind)
    learner = SequenceLearner(hidden_size=2, loss="cross_entropy")
    learner.fit(np.ones((4, 2, 1)), labels, epochs=1, progress=False).save(tmp_path / "learner")
    again = SequenceLearner.load(tmp_path / "learner")
    assert again.classes_.dtype == learner.classes_.dtype
    assert again.classes_.tolist() == learner.classes_.tolist()
    predicted = again.predict(np.ones((4, 2, 1)))
    assert predicted.dtype == learner.predict(np.ones((4, 2, 1))).dtype
    again.save(tmp_path / "again")
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "learner.zip").read_bytes()


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"cell": "gur"}, "cell 'gur' is not known: choose one of"),
        ({"hidden_size": 0}, "hidden_size is 0, but must be a whole number of at least 1"),
        ({"n_layers": 1.5}, "n_layers is 1.5, but must be a whole number of at least 1"),
        ({"cell_options": {"nope": 1}}, "has no option 'nope'"),
        ({"loss": "cubed"}, "loss is 'cubed': choose one of"),
    ],
)
def test_what_could_not_be_learned_by_is_refused_when_it_is_said(setting: Any, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        SequenceLearner(**setting)
    assert sentence in str(caught.value)
    learner = SequenceLearner(seed=3)
    with pytest.raises(UserError, match=r".*"):
        learner.set_params(seed=4, **setting)
    assert learner.seed == 3  # nothing has changed


def test_asking_whether_a_network_could_be_built_draws_nothing() -> None:
    before = torch.random.get_rng_state()
    SequenceLearner("lstm", cell_options={"dropout": 0.1}, n_layers=2)
    assert torch.equal(torch.random.get_rng_state(), before)


def clone(learner: SequenceLearner) -> SequenceLearner:
    """As ``sklearn.base.clone``: each argument copied, and held as it was given."""
    given = {name: copy.deepcopy(value) for name, value in learner.get_params(deep=False).items()}
    other = type(learner)(**given)
    for name, value in other.get_params(deep=False).items():
        assert value is given[name], name
    return other


def test_a_learner_is_cloned_and_given_other_settings(tmp_path: Path) -> None:
    options = {"layer_norm": True}
    learner = SequenceLearner(hidden_size=np.int64(3), cell_options=options, device=torch.device("cpu"))
    learner.fit(X, [1.0, 2.0], epochs=2, progress=False)
    other = clone(learner)
    assert clone(SequenceLearner()).get_params() == SequenceLearner().get_params()
    with pytest.raises(UserError, match="has not learned yet"):
        other.predict(X)
    other.fit(X, [1.0, 2.0], epochs=2, progress=False)
    assert other.history_ == learner.history_
    before = learner.predict(X)
    assert learner.set_params(hidden_size=4) is learner and learner.get_params()["hidden_size"] == 4
    learner.save(tmp_path / "learner")  # the network that it has, not the next one
    assert SequenceLearner.load(tmp_path / "learner").hidden_size == 3
    assert all(np.array_equal(a, b) for a, b in zip(learner.predict(X), before, strict=True))
    assert learner.fit(X, [1.0, 2.0], epochs=1, progress=False).network_.memory.output_size == 4
    with pytest.raises(UserError, match="no setting 'hidden': choose from cell, hidden_size"):
        learner.set_params(hidden=3)
