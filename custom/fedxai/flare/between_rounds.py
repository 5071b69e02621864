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
from fedxai.train.round_files import RoundFiles
from fedxai.whole_file import whole_file

Batches = Iterable[Mapping[str, Any]]


def agreement_with_before(
    trainer: SiteTrainer, kept: RoundFiles, round_: int, batches: Callable[[], Batches]
) -> Figure | None:
    """Rank agreement of gradient x input between the model explained before this round and the trainer's.

    Args:
        trainer: holds the global model that is explained now, whose weights are kept for later rounds; it holds the
            same afterwards.
        kept: the weights of models explained before, in the site's own folder.
        round_: that is explained; a round that is repeated is compared with the one below it again.
        batches: the same prepared cases each time.

    Returns:
        The figure; None where nothing was explained before.
    """
    now, file = trainer.weights(), kept.before(round_)
    before = _weights(file) if file else None
    _keep(kept.of(round_), now)
    kept.tidy(round_)
    if before is None:
        return None
    later = twin(trainer.asked_network)
    trainer.load(before)
    try:
        return model_agreement((trainer.asked_network, later), batches())
    finally:
        trainer.load(now)


def _weights(file: Path) -> dict[str, Any]:
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def _keep(file: Path, weights: Mapping[str, Any]) -> None:
    with whole_file(file) as unfinished, unfinished.open("wb") as opened:
        np.savez(opened, **weights)
