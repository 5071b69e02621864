# SPDX-License-Identifier: Apache-2.0
"""A small site's words, counts and tensors, and summaries that may leave it."""

import numpy as np
import pytest

from fedxai.privacy.release import Patients
from fedxai.privacy.schema import Facts, Vocabulary
from fedxai.records import CaseCounts, Evaluation, Evaluations, Figure, SiteRound


@pytest.fixture(scope="session")
def words() -> Vocabulary:
    return Vocabulary(
        metrics=frozenset({"loss", "accuracy", "macro_f1", "mean_dice", "dice_horn"}),
        methods=frozenset({"saliency"}),
        scores=frozenset({"relevance_mass"}),
        places=frozenset({"rest", "corner_0_0"}),
        honesty=frozenset({"drop_region"}),
    )


@pytest.fixture(scope="session")
def facts() -> Facts:
    counts = CaseCounts(training=20, validation=10, test=10)
    patients = dict.fromkeys(("training", "validation", "test"), Patients(together=9, by_class=(5, 5)))
    return Facts(site="site-1", classes=2, cases=counts, digest="a" * 64, minimum_cell=5, patients=patients)


@pytest.fixture(scope="session")
def weights() -> dict[str, np.ndarray]:
    return {
        "conv.weight": np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 6),
        "conv.bias": np.ones(4, np.float32),
        "seen": np.array(7, np.int64),
    }


@pytest.fixture
def evaluations() -> dict:
    """A site's answer to ``validate``, as it travels."""
    figure = Figure(value=0.5, n=10, low=0.25, high=0.75)
    part = Evaluation(
        split="test", cases=10, patients=9, metrics={"loss": figure, "accuracy": figure}, confusion=[[5, 0], [0, 5]]
    )
    return Evaluations(validation=part.model_copy(update={"split": "validation"}), test=part).model_dump(mode="json")


@pytest.fixture
def site_round() -> dict:
    report = SiteRound(
        name="site-1", training_loss=0.5, validation={"loss": Figure(value=0.5, n=10)}, steps=12, seconds=3.0
    )
    return report.model_dump(mode="json")
