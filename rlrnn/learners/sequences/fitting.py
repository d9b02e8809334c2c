"""Learning from targets: epochs of batches of whole sequences, validation on others, the best weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rlrnn.common.progress import ProgressDisplay, duration
from rlrnn.common.settings import check_number, check_whole
from rlrnn.errors import UserError

Indices = npt.NDArray[np.int64]
REAL = ("learning_rate", "max_grad_norm")  # settings that are no counts


def order(count: int, seed: int, epoch: int) -> Indices:
    """The order in which an epoch takes its sequences: a function of seed and epoch alone."""
    return np.random.default_rng((seed, epoch)).permutation(count)


def minimise(
    module: nn.Module,
    error: Callable[[Indices], Tensor],
    training: Indices,
    held_out: Indices,
    targets: npt.NDArray[Any],
    *,
    learning_rate: float,
    epochs: int,
    batch_size: int,
    patience: int,
    seed: int,
    max_grad_norm: float = 1.0,
    parameters: Iterable[nn.Parameter] | None = None,
    progress: bool = True,
) -> list[dict[str, float]]:
    """Minimise a module's error by Adam; returns a row for each epoch.

    ``error`` is that of some sequences: a sum, as is the total error that is lowered. A gradient is taken
    of its share per sequence over ``targets`` [N], how many each has, so that a learning rate suits
    sequences of any length. Where some are ``held_out``, the weights of the epoch with the least error there
    stay, and ``patience`` epochs without a lesser one end the learning.
    """
    check(learning_rate=learning_rate, epochs=epochs, batch_size=batch_size, patience=patience)
    weights = [p for p in (module.parameters() if parameters is None else parameters) if p.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=learning_rate)
    mean_targets = float(targets[training].mean())  # targets of a sequence
    history: list[dict[str, float]] = []
    best, best_weights, stale = np.inf, {}, 0
    with ProgressDisplay(quiet=not progress) as display:
        bar, began = display.add(epochs), time.perf_counter()
        for epoch in range(epochs):
            module.train()
            total = 0.0
            indices = training[order(len(training), seed, epoch)]
            for batch in np.array_split(indices, -(-len(indices) // batch_size)):
                optimizer.zero_grad()
                loss = error(batch)
                (loss / (len(batch) * mean_targets)).backward()
                norm = nn.utils.clip_grad_norm_(weights, max_grad_norm)
                if not np.isfinite(loss.item() + norm.item()):  # clipped by an infinite norm, nothing moves
                    raise _diverged(epoch, learning_rate)
                optimizer.step()
                total += loss.item()
            module.eval()
            row = {"epoch": epoch + 1, "loss": total / float(targets[training].sum())}
            if len(held_out):
                with torch.no_grad():
                    parts = np.array_split(held_out, -(-len(held_out) // batch_size))
                    held_out_error = sum(error(part).item() for part in parts)
                row["validation"] = held_out_error / float(targets[held_out].sum())
            history.append(row)
            if not np.isfinite([*row.values()]).all():
                raise _diverged(epoch, learning_rate)
            display.show(bar, _words(row, epochs, time.perf_counter() - began), epoch + 1)
            stale = 0 if row.get("validation", -np.inf) < best else stale + 1
            if len(held_out) and stale == 0:
                best = row["validation"]
                best_weights = {name: value.detach().clone() for name, value in module.state_dict().items()}
            elif len(held_out) and stale >= patience:
                break
    if best_weights:
        module.load_state_dict(best_weights)
    return history


def _words(row: dict[str, float], epochs: int, spent: float) -> str:
    """How an epoch went, after so many seconds."""
    parts = [f"epoch {row['epoch']} of {epochs}", f"error {row['loss']:.4f}"]
    if "validation" in row:
        parts.append(f"validation {row['validation']:.4f}")
    return "   ".join([*parts, f"{duration(spent / row['epoch'] * (epochs - row['epoch']))} left"])


def _diverged(epoch: int, learning_rate: float) -> UserError:
    return UserError(
        f"learning broke down in epoch {epoch + 1} (the error or its gradient is not a finite number): try a "
        f"learning_rate smaller than {learning_rate}, or inputs scaled to about -1 to 1."
    )


def split(count: int, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Indices of the sequences to learn from, and of those held out: random, at least one of each."""
    if not isinstance(fraction, int | float) or not 0.0 < fraction < 1.0 or count < 2:
        raise UserError(
            f"validation is {fraction!r} of {count} sequence(s): give a fraction between 0 and 1 of at least "
            "2 sequences, sequences and targets of their own, or None."
        )
    shuffled = np.random.default_rng((seed, 2**32)).permutation(count)
    size = min(count - 1, max(1, round(fraction * count)))
    return np.sort(shuffled[size:]), np.sort(shuffled[:size])


def check(**settings: float) -> None:
    """Refuse settings that are not positive numbers; all but the learning rate and the norm are counts."""
    for name, value in settings.items():
        if name in REAL:
            check_number(name, value, 0, ends="(]")
        else:
            check_whole(name, value, 1)
