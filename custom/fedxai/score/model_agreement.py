# SPDX-License-Identifier: Apache-2.0
"""Model agreement: whether a method marks the same places in two networks: of two rounds, or of shuffled labels."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from torch import nn

from fedxai.combine.intervals import case_mean
from fedxai.explain import Method, explain_batch
from fedxai.records import HEADLINE_METHOD, Figure
from fedxai.score.similarity import rank_agreement


def model_agreement(
    networks: tuple[nn.Module, nn.Module],
    batches: Iterable[Mapping[str, Any]],
    *,
    method: str | Method = HEADLINE_METHOD,
) -> Figure:
    """Mean rank agreement of two networks' maps of the same cases, in [-1, 1], with its patient-level interval.

    1: the same order of voxels; 0: unrelated, as for two networks with nothing in common. A round that changes little
    in the figures but much in the maps has found another reason. With a second network that was trained on shuffled
    labels it is the data randomisation test: a method whose maps then stay as they are shows the image, not what was
    learnt from the labels (Adebayo et al. 2018, arXiv:1810.03292). Both networks are asked the same: about the
    case's own class, in a segmentation about the region that the first one segments as it; see
    :func:`~fedxai.score.similarity.rank_agreement`.

    Args:
        networks: both map images to logits; left as they were.
        batches: mappings with ``image`` (B, C, *spatial), ``label`` (B,), ``group`` (B patient names).
        method: a saliency method that reads no layer and no background, or its name.

    Returns:
        The figure over the cases whose maps both have relevance.

    Raises:
        ExplanationError: as :func:`~fedxai.explain.explain_batch`.
    """
    values: list[float] = []
    groups: list[str] = []
    for batch in batches:
        asked, answers = batch["label"], []
        for network in networks:
            answers.append(explain_batch(network, batch["image"], targets=asked, methods=[method]))
            asked = answers[0].question
        first, second = (relevance.sum(dim=1) for answer in answers for relevance in answer.maps.values())
        known = first.flatten(1).any(dim=1) & second.flatten(1).any(dim=1)
        agreement = rank_agreement(first, second).where(known, float("nan"))
        values += agreement.tolist()
        groups += list(batch["group"])
    return case_mean(np.array(values), groups)
