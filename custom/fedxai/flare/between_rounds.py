# SPDX-License-Identifier: Apache-2.0
"""Whether this round's model still looks where the model explained before it looked, on the same cases."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedxai.explain.twin import twin
from fedxai.records import Figure
from fedxai.score.model_agreement import model_agreement
from fedxai.train.engine import SiteTrainer
from fedxai.whole_file import whole_file

Batches = Iterable[Mapping[str, Any]]


def agreement_with_before(trainer: SiteTrainer, file: Path, batches: Callable[[], Batches]) -> Figure | None:
    """Rank agreement of gradient x input between the weights kept in ``file`` and the trainer's, which are kept next.

    Args:
        trainer: holds the global model that is explained now; it holds the same afterwards.
        file: in the site's own folder; whole or absent.
        batches: the same prepared cases each time.

    Returns:
        The figure; None where nothing was explained before.
    """
    now = trainer.weights()
    before = _kept(file)
    _keep(file, now)
    if before is None:
        return None
    later = twin(trainer.asked_network)
    trainer.load(before)
    try:
        return model_agreement((trainer.asked_network, later), batches())
    finally:
        trainer.load(now)


def _kept(file: Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def _keep(file: Path, weights: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as unfinished, unfinished.open("wb") as opened:
        np.savez(opened, **weights)
