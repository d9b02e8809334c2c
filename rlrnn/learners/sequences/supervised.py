"""Sequences with targets: one vector at a time arrives, and some outputs have a target value.

A mask says which outputs have targets at which steps. The error of a sequence is the sum of its
deviations, the total error the sum over sequences, and gradients go through all of a sequence's steps.

Letters: N sequences, T steps of one, S of several one after another, F features, O output units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.utils import get_device
from torch import Tensor, nn

from rlrnn.cells import cell_named
from rlrnn.cells.options import check_options
from rlrnn.common.settings import check_choice, check_device, check_seed, plain
from rlrnn.common.threads import keep_freed_memory, one_thread
from rlrnn.errors import FileFault, UserError
from rlrnn.learners.policy import sizing
from rlrnn.learners.sequences.fitting import REAL, check, minimise, split
from rlrnn.learners.sequences.inputs import inputs_of, paired
from rlrnn.learners.sequences.losses import CrossEntropy, Ctc, Deviation, Squared, Target
from rlrnn.learners.sequences.packing import Packing, pack
from rlrnn.network.layers import Affine
from rlrnn.network.memory import Memory
from rlrnn.storage import archive

LOSSES = ("squared", "cross_entropy", "ctc")
BATCH = 256  # sequences that are evaluated at once
ARGUMENTS = (
    "cell",
    "hidden_size",
    "n_layers",
    "cell_options",
    "loss",
    "learning_rate",
    "max_grad_norm",
    "seed",
)


class SequenceNetwork(nn.Module):
    """Inputs, memory, output units: packed sequences [S, F] -> outputs [S, O]."""

    def __init__(
        self,
        cell: str,
        features: int,
        outputs: int,
        hidden_size: int,
        n_layers: int,
        options: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.memory = Memory(cell, features, hidden_size, n_layers, **options)
        self.output = Affine(self.memory.output_size, outputs)

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        state = x.new_zeros(packing.start.shape[1], self.memory.state_size)
        y = self.memory.outputs(packing.rows(x), packing.start, state)  # [T, B, H]
        outputs: Tensor = self.output(packing.steps(y))
        return outputs


class SequenceLearner:
    """A recurrent network that learns from targets, by scikit-learn's verbs.

        learner = rlrnn.SequenceLearner(cell="gru", hidden_size=64, loss="cross_entropy")
        learner.fit(inputs, labels, validation=0.1)
        learner.predict(others), learner.score(others, their_labels)

    ``inputs`` are a list of arrays [T, F], of any lengths, or an array [N, T, F]. What ``targets`` are,
    and what ``predict`` and ``score`` return, the loss says:

    - "squared": activations, an array [T, O] or [T] for each sequence, or one number each, due at its last
      step; outputs [T, O]; minus the mean squared deviation
    - "cross_entropy": labels, whole numbers or words, an array [T] for each sequence, or one each, due at
      its last step; labels likewise; accuracy
    - "ctc": the labels that a sequence spells, in order, as a str or a sequence; the same; 1 - label error
      rate (edits over labels)

    ``mask`` has an array of truth values [T], or [T, O] with "squared", for each sequence.

    :param cell: kind of memory, a name in ``rlrnn.cells.CELLS``; "gru" has gates, as "lstm" has, and fewer
        weights
    :param hidden_size: units of a layer. More hold more, take longer, and sooner learn a few sequences by
        heart.
    :param n_layers: layers of memory, each reading the one before; more where features are made of features
        in time
    :param cell_options: options of the cell, and ``dropout`` and ``residual`` between layers; None: as the
        cell has them
    :param loss: what is learned: "squared", "cross_entropy" or "ctc", as above
    :param learning_rate: of Adam, on the error per sequence over the targets that one has on average, so that
        a rate suits sequences of any length. Larger learns in fewer epochs, up to where the error jumps about
        or learning breaks down.
    :param max_grad_norm: longest gradient, over all weights: longer ones are shortened to it. Smaller takes
        more of its weight from a rare huge one, as long sequences bring them; larger shortens fewer.
    :param seed: of weights, of the order of sequences and of those drawn for ``validation``: the same seed
        learns the same
    :param device: of the network: "cpu", "cuda", or "auto", which takes a GPU where there is one
    """

    network_: SequenceNetwork
    history_: list[dict[str, float]]  # of each epoch: "loss" and "validation", errors per target

    def __init__(
        self,
        cell: str = "gru",
        hidden_size: int = 64,
        n_layers: int = 1,
        cell_options: Mapping[str, Any] | None = None,
        loss: str = "squared",
        learning_rate: float = 3e-3,
        max_grad_norm: float = 1.0,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self._deviation: Deviation | None = None  # until fit
        self._learned: dict[str, Any] = {}  # settings that the network has, which are read when it is made
        self.cell, self.hidden_size, self.n_layers = cell, hidden_size, n_layers
        self.cell_options = cell_options
        self.loss, self.learning_rate, self.max_grad_norm = loss, learning_rate, max_grad_norm
        self.seed, self.device = seed, device
        self._check()

    def __repr__(self) -> str:
        learned = f"{len(self.history_)} epochs learned" if self._learned else "not fitted"
        return f"SequenceLearner({self.cell}, {self.loss}: {learned})"

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments, as they were given: scikit-learn's ``clone`` makes another learner of them."""
        return {name: getattr(self, name) for name in (*ARGUMENTS, "device")}

    def set_params(self, **settings: Any) -> SequenceLearner:
        """Other arguments for the next ``fit``; a name that is none changes nothing."""
        before = self.get_params()
        for name in settings:
            if name not in before:
                raise UserError(f"there is no setting {name!r}: choose from {', '.join(before)}.")
        vars(self).update(settings)
        try:
            self._check()
        except UserError:
            vars(self).update(before)
            raise
        if self._learned:
            self.network_.to(self._device)
        return self

    def _check(self) -> None:
        """Refuse what could not be built or learned by."""
        settings = plain(self.get_params())
        check_choice("loss", settings["loss"], LOSSES)
        check(**{name: settings[name] for name in (*REAL, "hidden_size", "n_layers")})
        check_seed(settings["seed"])
        cell_named(settings["cell"])
        check_options("SequenceLearner", SequenceLearner.__init__, {"cell_options": settings["cell_options"]})
        cell, options = sizing.known_cell(settings["cell"], settings["cell_options"])
        with torch.device("meta"):
            Memory(cell, 1, settings["hidden_size"], settings["n_layers"], **(options or {}))

    @property
    def _device(self) -> torch.device:
        check_device(self.device)
        return get_device(self.device)

    def fit(
        self,
        inputs: Sequence[npt.ArrayLike],
        targets: Sequence[Any],
        mask: Sequence[npt.ArrayLike] | None = None,
        *,
        validation: float | tuple[Any, ...] | None = None,
        epochs: int = 100,
        batch_size: int = 32,
        patience: int = 10,
        progress: bool = True,
    ) -> SequenceLearner:
        """Learn from the beginning, whatever was learned before.

        :param inputs: sequences, as the class says
        :param targets: one entry for each of them
        :param mask: which targets count; None: all
        :param validation: a fraction of the sequences, or (inputs, targets) or (inputs, targets, mask) of
            others, to watch: the weights with the least error on them are kept. None: the last ones are.
        :param epochs: passes over the sequences, at most. More learn on, without ``validation`` by heart in
            the end.
        :param batch_size: sequences to a step of Adam. Larger: fewer and steadier steps, less time for each
            sequence; smaller: more and noisier ones.
        :param patience: epochs without a lesser error on ``validation`` that end the learning. More wait for
            what is learned after a plateau.
        :param progress: show epochs, errors and the time left
        """
        self._check()
        check(epochs=epochs, batch_size=batch_size, patience=patience)
        x = inputs_of(inputs, None)
        values, masks = paired(len(x), targets, mask)
        deviation = _deviation(self.loss, values, masks)
        target_list = _targets(deviation, x, values, masks)
        training, held_out = np.arange(len(x)), np.arange(0)
        if isinstance(validation, tuple | list):
            if not 2 <= len(validation) <= 3:
                raise UserError(
                    f"validation has {len(validation)} parts: give (inputs, targets) or (inputs, targets, "
                    "mask)."
                )
            others = inputs_of(validation[0], x[0].shape[1])
            target_list += _targets(deviation, others, *paired(len(others), *validation[1:]))
            x, held_out = x + others, np.arange(len(x), len(x) + len(others))
        elif validation is not None:
            training, held_out = split(len(x), validation, self.seed)
        counts = np.array([int(target.mask.sum()) for target in target_list])
        for what, indices in (("sequences", training), ("validation", held_out)):
            if len(indices) and not counts[indices].any():
                raise UserError(f"no step of the {what} has a target: give a mask that is somewhere true.")
        x, target_list = (
            self._on_device(x),
            [Target(t.values.to(self._device), t.mask.to(self._device)) for t in target_list],
        )
        with self._isolated():
            self._build(x[0].shape[1], deviation)
            self.history_ = minimise(
                self.network_,
                lambda indices: self._error([x[i] for i in indices], [target_list[i] for i in indices]),
                training,
                held_out,
                counts,
                learning_rate=self.learning_rate,
                epochs=epochs,
                batch_size=batch_size,
                patience=patience,
                seed=self.seed,
                max_grad_norm=self.max_grad_norm,
                progress=progress,
            )
        return self

    def predict(self, inputs: Sequence[npt.ArrayLike]) -> Any:
        """What each sequence is taken for: see the class."""
        return self._fitted.predictions(self.outputs(inputs))

    def score(
        self,
        inputs: Sequence[npt.ArrayLike],
        targets: Sequence[Any],
        mask: Sequence[npt.ArrayLike] | None = None,
    ) -> float:
        """How well that agrees with targets, more being better: see the class."""
        x = inputs_of(inputs, self._features)
        target_list = _targets(self._fitted, x, *paired(len(x), targets, mask))
        if not any(bool(target.mask.any()) for target in target_list) and not isinstance(self._fitted, Ctc):
            raise UserError("no step has a target to be scored: give a mask that is somewhere true.")
        return self._fitted.score(self.outputs(inputs), target_list)

    @torch.no_grad()
    def outputs(self, inputs: Sequence[npt.ArrayLike]) -> list[Tensor]:
        """The output units' activations [T, O] of each sequence, before any softmax."""
        fitted = self._fitted
        assert fitted.outputs
        x = inputs_of(inputs, self._features)
        outputs: list[Tensor] = []
        self.network_.eval()
        with self._isolated():
            for first in range(0, len(x), BATCH):
                batch = self._on_device(x[first : first + BATCH])
                lengths = [len(each) for each in batch]
                outputs += self.network_(torch.cat(batch), pack(lengths, self._device)).cpu().split(lengths)
        return outputs

    @property
    def classes_(self) -> npt.NDArray[Any]:
        """The labels that were learned, in the order of their output units (of "ctc": after the blank)."""
        classes: npt.NDArray[Any] | None = getattr(self._fitted, "classes", None)
        if classes is None:
            raise AttributeError('the loss "squared" has outputs, not classes')
        return classes

    def save(self, path: archive.File) -> None:
        """All that ``predict`` needs, as one safe file."""
        attributes = {
            name: value.tolist() if isinstance(value, np.ndarray) and value.dtype.kind == "U" else value
            for name, value in vars(self._fitted).items()
        }
        data = {
            **self._learned,
            "features": self._features,
            "deviation": attributes,
            "history": self.history_,
        }
        archive.write_agent(path, data, {"network": self.network_.state_dict()}, kind=type(self).__name__)

    @classmethod
    def load(cls, path: archive.File, device: torch.device | str = "cpu") -> SequenceLearner:
        """A learner that ``save`` wrote; no code in the file is run."""
        stored = archive.read_agent(path, device=device)
        if stored.kind != cls.__name__:
            raise UserError(f"{path} holds a {stored.kind}, not a {cls.__name__}: load it as what it is.")
        try:
            learner = cls(**{name: stored.data[name] for name in ARGUMENTS}, device=device)
            attributes = dict(stored.data["deviation"])
            if "classes" in attributes:
                attributes["classes"] = np.asarray(attributes["classes"])  # words were saved as a list
            deviation = object.__new__(_DEVIATIONS[learner.loss])
            vars(deviation).update(attributes)
            features = int(stored.data["features"])
            sizing.check(learner._on_meta(features, deviation.outputs), stored.states["network"])
            with learner._isolated():
                learner._build(features, deviation)
            learner.network_.load_state_dict(stored.states["network"])
            learner.history_ = stored.data["history"]
        except UserError:
            raise
        except Exception as error:  # what a whole file holds may still be anything
            raise FileFault(f"{path} does not fit together ({error}): save the learner anew.") from error
        return learner

    def _on_meta(self, features: int, outputs: int) -> SequenceNetwork:
        """The network on "meta", with a cell without memory in the place of a user's."""
        cell, options = sizing.known_cell(self.cell, self.cell_options)
        with torch.device("meta"):
            return SequenceNetwork(cell, features, outputs, self.hidden_size, self.n_layers, options or {})

    def _build(self, features: int, deviation: Deviation) -> None:
        """A network with weights that the seed decides."""
        settings = plain({name: getattr(self, name) for name in ARGUMENTS})
        settings["cell_options"] = dict(settings["cell_options"] or {})
        if isinstance(self.hidden_size, int) and self.hidden_size >= sizing.LARGE:
            network = self._on_meta(features, deviation.outputs)
            sizing.check_bytes(
                network, 4, "hidden_size or n_layers"
            )  # with the gradient and Adam's two means
        torch.manual_seed(settings["seed"])
        sizes = settings["hidden_size"], settings["n_layers"]
        self.network_ = SequenceNetwork(
            settings["cell"], features, deviation.outputs, *sizes, settings["cell_options"]
        ).to(self._device)
        self._learned = settings
        self._features, self._deviation = features, deviation

    def _error(self, x: list[Tensor], targets: list[Target]) -> Tensor:
        """The total error of some sequences."""
        assert self._deviation is not None
        lengths = [len(each) for each in x]
        y = self.network_(torch.cat(x), pack(lengths, self._device))
        return self._deviation.error(y, targets, lengths)

    def _on_device(self, arrays: Sequence[npt.NDArray[np.float32]]) -> Any:
        return [torch.as_tensor(array, device=self._device) for array in arrays]

    @property
    def _fitted(self) -> Deviation:
        if self._deviation is None:
            raise UserError("the learner has not learned yet: call fit(inputs, targets) first.")
        return self._deviation

    @contextmanager
    def _isolated(self) -> Iterator[None]:
        """One thread, and random numbers that do not move the global generators."""
        keep_freed_memory()
        devices = [self._device] if self._device.type == "cuda" else []
        with ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(devices))
            stack.enter_context(one_thread(self._device))
            yield


_DEVIATIONS: dict[str, type[Deviation]] = dict(zip(LOSSES, (Squared, CrossEntropy, Ctc), strict=True))


def _deviation(loss: str, targets: list[Any], masks: list[Any]) -> Deviation:
    if loss == "ctc":
        return Ctc(targets)
    return Squared(targets) if loss == "squared" else CrossEntropy(targets, masks)


def _targets(deviation: Deviation, x: list[Any], values: list[Any], masks: list[Any]) -> list[Target]:
    return [
        deviation.target(number, target, mask, len(each))
        for number, (each, target, mask) in enumerate(zip(x, values, masks, strict=True))
    ]
