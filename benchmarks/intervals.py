# SPDX-License-Identifier: Apache-2.0
"""What intervals cost: six figures of a split with their bootstrap over patients, against scikit-learn per resample.

Every validation at every site draws 1,000 resamples of its patients. The baseline asks scikit-learn for macro AUC alone
in each of them; the figures are all six, and with macro AUC among them their intervals agree with the baseline's.

    python benchmarks/intervals.py [--quick]
"""

import argparse
import time

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import norm, t
from sklearn.metrics import roc_auc_score

from fedxai.train.evaluation import evaluate_logits

CLASSES, SLICES = 3, 3  # slices of a patient
RESAMPLES = 1000


def by_scikit_learn(logits: NDArray, labels: NDArray) -> tuple[float, float]:
    """The interval of macro AUC, one call a resample."""
    random, patients = np.random.default_rng(0), len(labels) // SLICES
    probabilities = softmax(logits, axis=1)
    draws = []
    for _ in range(RESAMPLES):
        drawn = random.integers(0, patients, patients)
        cases = (drawn[:, None] * SLICES + np.arange(SLICES)).ravel()
        draws.append(roc_auc_score(labels[cases], probabilities[cases], multi_class="ovr", average="macro"))
    below = norm.cdf(t.ppf(0.025, patients - 1) * np.sqrt(patients / (patients - 1)))
    low, high = np.quantile(draws, [below, 1 - below])
    return float(low), float(high)


def main() -> None:
    """Print the ratio of CPU time for splits of several sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the smallest size only")
    sizes = (99,) if parser.parse_args().quick else (99, 600, 6000)
    print(f"{'cases':>6} {'six figures':>12} {'macro AUC by scikit-learn':>26} {'ratio':>8}")
    for size in sizes:
        random = np.random.default_rng(0)
        labels = random.permutation(np.arange(size) % CLASSES)
        logits = random.normal(size=(size, CLASSES)) + np.eye(CLASSES)[labels]
        groups = [f"p{case // SLICES}" for case in range(size)]
        start = time.process_time()
        figure = evaluate_logits(logits, labels, groups, split="test").metrics["macro_auc"]
        ours = time.process_time() - start
        start = time.process_time()
        wanted = by_scikit_learn(logits, labels)
        baseline = time.process_time() - start
        if not np.allclose((figure.low, figure.high), wanted, atol=1e-4):
            raise SystemExit(f"the intervals differ: {figure.low}, {figure.high} and {wanted}")
        print(f"{size:>6} {ours:>10.2f} s {baseline:>24.2f} s {ours / baseline:>7.3f}x")


if __name__ == "__main__":
    main()
