"""Handwritten digits read one row of pixels at a time; the label is due after the last row.

    python examples/digits.py            # five seeds, about a minute and a half on one core
    python examples/digits.py --small    # a quick trial

The digits are scikit-learn's bundled 1,797 of 8 x 8 pixels (pip install 'rlrnn[digits]'). A fixed fifth of
them is held out, the same for all seeds; accuracy is counted on it after the last epoch.
"""

import argparse
import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import rlrnn


def main() -> list[float]:
    """The test accuracy of each seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="one seed, a small network, few epochs")
    small = parser.parse_args().small
    seeds = 1 if small else parser.parse_args().seeds

    pixels, labels = load_digits(return_X_y=True)
    images = pixels.reshape(-1, 8, 8) / 16.0  # [1797, rows, columns], each image a sequence of 8 rows
    x, x_test, y, y_test = train_test_split(images, labels, test_size=0.2, random_state=0, stratify=labels)

    accuracies = []
    for seed in range(seeds):
        began = time.process_time()
        learner = rlrnn.SequenceLearner(
            cell="gru",
            hidden_size=32 if small else 128,
            n_layers=1 if small else 2,
            cell_options={} if small else {"dropout": 0.3},
            loss="cross_entropy",
            seed=seed,
        )
        learner.fit(x, y, epochs=3 if small else 50, batch_size=64, progress=False)
        accuracies.append(learner.score(x_test, y_test))
        seconds = time.process_time() - began
        print(
            f"seed {seed}: {accuracies[-1]:.2%} of {len(y_test)} test digits correct, {seconds:.0f} s",
            flush=True,
        )
    print(f"mean {np.mean(accuracies):.2%}, least {min(accuracies):.2%}")
    return accuracies


if __name__ == "__main__":
    main()
