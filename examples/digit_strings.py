"""Strings of handwritten digits read one column of pixels at a time, without a segmentation into digits.

    python examples/digit_strings.py           # five seeds, laid side by side and with random gaps
    python examples/digit_strings.py --small   # a quick trial

Three to six of scikit-learn's bundled digits (pip install 'rlrnn[digits]') make a string, which
connectionist temporal classification (Graves et al. 2006) learns to transcribe. A fifth of the digits is held
out: the test strings are made of these alone, and are the same for all seeds.
"""

import argparse
import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import rlrnn

LENGTHS = 3, 6  # digits of a string
LONGEST_GAP = 8  # empty columns before, between and after the digits, where there are gaps


def strings(images: np.ndarray, labels: np.ndarray, count: int, gaps: bool, seed: int) -> tuple[list, list]:
    """Arrays [columns, 8], and what they spell."""
    rng = np.random.default_rng(seed)
    x, spelled = [], []
    for _ in range(count):
        chosen = rng.integers(len(images), size=rng.integers(*LENGTHS, endpoint=True))
        parts = [images[i].T for i in chosen]  # [8 columns, 8 pixels]
        if gaps:
            widths = rng.integers(LONGEST_GAP, size=len(parts) + 1, endpoint=True)
            empty = [np.zeros((width, 8)) for width in widths]
            parts = [piece for pair in zip(empty, parts, strict=False) for piece in pair] + [empty[-1]]
        x.append(np.concatenate(parts))
        spelled.append("".join(map(str, labels[chosen])))
    return x, spelled


def main() -> dict[str, list[float]]:
    """The label error rate of each seed, for strings without and with gaps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="one seed, a small network, few strings")
    small = parser.parse_args().small
    seeds = 1 if small else parser.parse_args().seeds

    pixels, labels = load_digits(return_X_y=True)
    images = pixels.reshape(-1, 8, 8) / 16.0
    split = train_test_split(images, labels, test_size=0.2, random_state=0, stratify=labels)
    images, held_out, labels, held_out_labels = split

    rates: dict[str, list[float]] = {}
    for name, gaps in (("side by side", False), ("random gaps", True)):
        x_test, spelled_test = strings(held_out, held_out_labels, 40 if small else 1000, gaps, seed=1_000_000)
        rates[name] = []
        for seed in range(seeds):
            began = time.process_time()
            x, spelled = strings(images, labels, 60 if small else 2000, gaps, seed)
            learner = rlrnn.SequenceLearner(
                cell="gru", hidden_size=16 if small else 128, loss="ctc", seed=seed
            )
            learner.fit(x, spelled, epochs=2 if small else 20, progress=False)
            rates[name].append(1.0 - learner.score(x_test, spelled_test))
            seconds = time.process_time() - began
            predicted = learner.predict(x_test[:1])[0]
            print(
                f"{name}, seed {seed}: label error rate {rates[name][-1]:.2%}, {seconds:.0f} s; "
                f"the string {spelled_test[0]} is read as {predicted or 'nothing'}",
                flush=True,
            )
        print(f"{name}: mean {np.mean(rates[name]):.2%}, most {max(rates[name]):.2%}")
    return rates


if __name__ == "__main__":
    main()
