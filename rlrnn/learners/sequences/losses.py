"""How far outputs are from their targets: squared, cross-entropy, and CTC for unsegmented labels.

The error of a sequence is the sum of its deviations; that of several is the sum over them. Targets are
data beside the outputs: values for some output units at some steps, and a mask that says where they are.

Letters: T steps of a sequence, S of several one after another, O output units, L labels of a string.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rlrnn.errors import UserError
from rlrnn.learners.sequences.inputs import Array, at_the_end, check_length, mask_of


@dataclass(frozen=True)
class Target:
    """The target of one sequence: a value counts where the mask is true."""

    values: Tensor  # [T, O] activations, [T] classes, or [L] classes of a string without times
    mask: Tensor  # of the same shape, bool


class Deviation(ABC):
    """A measure of outputs [S, O] against targets; made from the first targets that a learner sees."""

    outputs: int  # O

    @abstractmethod
    def target(self, number: int, value: Any, mask: Any, steps: int) -> Target:
        """The target of a sequence of so many steps, checked; ``number`` is what errors call it."""

    @abstractmethod
    def error(self, y: Tensor, targets: Sequence[Target], lengths: list[int]) -> Tensor:
        """The error of several sequences whose outputs y [S, O] stand one after another: a sum."""

    @abstractmethod
    def predictions(self, y: Sequence[Tensor]) -> Any:
        """What outputs [T, O] of each sequence stand for."""

    @abstractmethod
    def score(self, y: Sequence[Tensor], targets: Sequence[Target]) -> float:
        """How good the outputs are, more being better."""


class Squared(Deviation):
    """The squared difference of each output from its target; score: minus its mean."""

    def __init__(self, targets: Sequence[Any]) -> None:
        shapes = {_activations(number, target).shape[1:] for number, target in enumerate(targets)}
        if len(shapes) > 1 or len(min(shapes)) > 1:
            raise UserError(
                f"the targets have rows of shapes {sorted(shapes)}, but each sequence needs an array "
                "[steps, outputs] with as many outputs as the others."
            )
        self.outputs = (*min(shapes), 1)[0]
        if self.outputs < 1:
            raise UserError("the targets have 0 outputs per step: give at least one column.")

    def target(self, number: int, value: Any, mask: Any, steps: int) -> Target:
        values = _activations(number, value)
        if values.ndim == 0:
            values, mask = at_the_end(number, values, mask, steps)
        if values.ndim == 1:
            values = values[:, None]
        check_length(number, "targets", values, steps)
        if values.shape[1:] != (self.outputs,):
            raise UserError(
                f"the targets of sequence {number} have shape {values.shape}, but there are {self.outputs} "
                f"output units: give an array [{steps}, {self.outputs}]."
            )
        flags = mask_of(number, mask, values)
        if not np.isfinite(values[flags]).all():
            raise UserError(
                f"the targets of sequence {number} hold {values[flags][~np.isfinite(values[flags])][0]}: "
                "give finite numbers, or a mask that leaves these steps out."
            )
        return Target(torch.as_tensor(np.where(flags, values, 0.0)).float(), torch.as_tensor(flags))

    def error(self, y: Tensor, targets: Sequence[Target], lengths: list[int]) -> Tensor:
        values, mask = torch.cat([t.values for t in targets]), torch.cat([t.mask for t in targets])
        return (y - values).square().masked_fill(~mask, 0.0).sum()

    def predictions(self, y: Sequence[Tensor]) -> list[Array]:
        return [each.cpu().numpy() for each in y]

    def score(self, y: Sequence[Tensor], targets: Sequence[Target]) -> float:
        error = self.error(torch.cat(list(y)), targets, [])
        return -error.item() / sum(int(t.mask.sum()) for t in targets)


class Labelled(Deviation):
    """Of targets that are labels: whole numbers or words, each of which has an output unit."""

    def __init__(self, labels: Array) -> None:
        if labels.dtype.kind not in "iubU":
            raise UserError(
                f"labels are whole numbers or words, but these are {labels.dtype}: convert them, or use "
                'loss="squared" for targets that are activations.'
            )
        self.classes = np.unique(labels)  # sorted

    def indices(self, number: int, labels: Array) -> Array:
        """Which class each label is."""
        classes = self.classes
        if labels.size and labels.dtype.kind not in ("U" if classes.dtype.kind == "U" else "iub"):
            raise UserError(
                f"sequence {number} has labels that are {labels.dtype}, but those learned are {classes.dtype}"
                ": give labels of the same kind."
            )
        result = np.searchsorted(classes, labels).clip(0, len(classes) - 1)
        wrong = classes[result] != labels
        if wrong.any():
            raise UserError(
                f"sequence {number} has the label {labels[wrong].tolist()[0]!r}, which is none of those "
                f"learned: {', '.join(map(str, classes[:20]))}{', ...' * (len(classes) > 20)}; leave it out, "
                "or fit with it."
            )
        return result


class CrossEntropy(Labelled):
    """Minus the log-probability of each label, one output unit per class; score: accuracy."""

    def __init__(self, targets: Sequence[Any], masks: Sequence[Any]) -> None:
        arrays = [np.asarray(target) for target in targets]
        self.final = all(array.ndim == 0 for array in arrays)  # one label per sequence, at its end
        labels = [
            array.ravel() if mask is None or np.shape(mask) != array.shape else array[np.asarray(mask, bool)]
            for array, mask in zip(arrays, masks, strict=True)
        ]
        super().__init__(np.concatenate(labels))
        self.outputs = len(self.classes)

    def target(self, number: int, value: Any, mask: Any, steps: int) -> Target:
        labels = np.asarray(value)
        if (labels.ndim == 0) != self.final:
            raise UserError(
                f"the target of sequence {number} is {'an array' if labels.ndim else 'one label'}, but "
                f"others are {'one label each' if self.final else 'arrays'}: give all sequences one label, "
                "or all of them a label per step."
            )
        if self.final:
            labels, mask = at_the_end(number, labels, mask, steps)
        if labels.ndim > 1:
            raise UserError(
                f"the targets of sequence {number} have shape {labels.shape}, but labels are one per step: "
                f"give an array [{steps}]."
            )
        check_length(number, "targets", labels, steps)
        flags = mask_of(number, mask, labels)
        values = np.zeros(len(labels), np.int64)
        values[flags] = self.indices(number, labels[flags])
        return Target(torch.as_tensor(values), torch.as_tensor(flags))

    def error(self, y: Tensor, targets: Sequence[Target], lengths: list[int]) -> Tensor:
        values, mask = torch.cat([t.values for t in targets]), torch.cat([t.mask for t in targets])
        return nn.functional.cross_entropy(y[mask], values[mask], reduction="sum")

    def predictions(self, y: Sequence[Tensor]) -> Any:
        if self.final:
            return self.classes[[int(each[-1].argmax()) for each in y]]
        return [self.classes[each.argmax(1).cpu().numpy()] for each in y]

    def score(self, y: Sequence[Tensor], targets: Sequence[Target]) -> float:
        right = [(each.argmax(1) == t.values)[t.mask] for each, t in zip(y, targets, strict=True)]
        return float(torch.cat(right).double().mean())


class Ctc(Labelled):
    """Minus the log-probability of a string of labels, over all ways to spread it over the steps.

    Graves, Fernandez, Gomez & Schmidhuber, "Connectionist temporal classification" (2006). Unit 0 is the
    blank. Strings are read off by the best path; score: 1 - label error rate (edits over labels).
    """

    def __init__(self, targets: Sequence[Any]) -> None:
        self.text = all(isinstance(target, str) for target in targets)
        strings = [_labels(number, target) for number, target in enumerate(targets)]
        strings = [string for string in strings if string.size]
        if not strings:
            raise UserError("all label strings are empty: give at least one label to learn.")
        super().__init__(np.concatenate(strings))
        self.outputs = 1 + len(self.classes)

    def target(self, number: int, value: Any, mask: Any, steps: int) -> Target:
        if mask is not None:
            raise UserError(
                f"sequence {number} has a mask, but a label string says not when its labels are due: leave "
                "mask out with the loss ctc."
            )
        labels = _labels(number, value)
        needed = len(labels) + int((labels[1:] == labels[:-1]).sum())
        if needed > steps:
            raise UserError(
                f"sequence {number} has {steps} steps, but its {len(labels)} labels need {needed} (one each, "
                "and a blank between equal neighbours): shorten the string or give more steps."
            )
        values = torch.as_tensor(1 + self.indices(number, labels), dtype=torch.int64)
        return Target(values, torch.ones(len(values), dtype=torch.bool))

    def error(self, y: Tensor, targets: Sequence[Target], lengths: list[int]) -> Tensor:
        padded = nn.utils.rnn.pad_sequence(list(y.log_softmax(1).split(lengths)))  # [longest, N, O]
        strings = torch.cat([t.values for t in targets])
        sizes = torch.tensor([len(t.values) for t in targets])
        return nn.functional.ctc_loss(padded, strings, torch.tensor(lengths), sizes, reduction="sum")

    def predictions(self, y: Sequence[Tensor]) -> list[Any]:
        strings = [self.classes[np.asarray(best_path(each), np.int64) - 1] for each in y]
        return ["".join(string) for string in strings] if self.text else strings

    def score(self, y: Sequence[Tensor], targets: Sequence[Target]) -> float:
        edits = sum(
            edit_distance(best_path(each), t.values.tolist()) for each, t in zip(y, targets, strict=True)
        )
        return 1.0 - edits / max(1, sum(len(t.values) for t in targets))


def _activations(number: int, value: Any) -> Array:
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise UserError(
            f"the targets of sequence {number} are not numbers in an array [steps, outputs], which the loss "
            "squared needs: convert them, or choose a loss for labels."
        ) from None


def best_path(y: Tensor) -> list[int]:
    """The string that the likeliest unit of every step [T, O] spells: repeats merged, blanks (0) dropped."""
    units = [-1, *y.argmax(1).tolist()]
    return [unit for before, unit in itertools.pairwise(units) if unit not in (0, before)]


def edit_distance(one: Sequence[Any], other: Sequence[Any]) -> int:
    """The fewest insertions, deletions and replacements between two strings (Levenshtein 1966)."""
    row = list(range(len(other) + 1))  # of the part of `one` so far to each beginning of `other`
    for i, a in enumerate(one, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


def _labels(number: int, string: Any) -> Array:
    labels = np.asarray(list(string) if isinstance(string, str) else string)
    if labels.ndim != 1:
        raise UserError(
            f"the target of sequence {number} has shape {labels.shape}, but the loss ctc needs a string of "
            "labels for each: a str or a sequence, which may be empty."
        )
    return labels
