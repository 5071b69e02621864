# SPDX-License-Identifier: Apache-2.0
"""Prepared cases in batches, each with the region that its explanation is scored by."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from fedxai.records import Case
from fedxai.train.prepare import as_tensor
from fedxai.train.segmentation import check_map

Item = Mapping[str, Any]


def region_batches(
    cases: Sequence[Case], prepare: Callable[[Case], Sequence[Item]], *, batch_size: int
) -> Iterator[dict[str, Any]]:
    """Batches of at most ``batch_size`` items; one ends early where the next differs in shape or is of unknown spacing.

    Args:
        cases: in order.
        prepare: brings a case onto the network's grid, as one item or, in a segmentation, one a class: ``image``
            (C, *spatial), ``label`` a class index, ``region`` (1, *spatial), ``has_region``, and ``spacing``, mm along
            each axis, None or left out where it is not known.
        batch_size: items in memory at once.

    Yields:
        ``image`` (B, C, *spatial), ``label`` (B,), ``region`` (B, 1, *spatial; zeros where there is none),
        ``has_region`` (B,), ``group`` (B names), and ``spacing`` (B, axes) in mm where it is known.
    """
    batch: list[Item] = []
    items = ((case, item) for case in cases for item in prepare(case))
    for item in ({**item, "group": case.group} for case, item in items):
        if batch and (len(batch) == batch_size or _kind(item) != _kind(batch[0])):
            yield _together(batch)
            batch = []
        batch.append(item)
    if batch:
        yield _together(batch)


def by_class(item: Item, classes: int) -> list[Item]:
    """A prepared case of a segmentation as one item a class above 0, its region where the label map holds the class.

    Where the label map does not hold it there is no region.

    Raises:
        CohortError: when the label map holds what is no class.
    """
    labels = as_tensor(item["label"])
    check_map(labels, classes)
    regions = {index: labels == index for index in range(1, classes)}
    return [
        {**item, "label": index, "region": region, "has_region": bool(region.any())}
        for index, region in regions.items()
    ]


def _kind(item: Item) -> tuple[torch.Size, bool]:
    return item["image"].shape, item.get("spacing") is None


def _together(batch: Sequence[Item]) -> dict[str, Any]:
    known = [item["spacing"] for item in batch if item.get("spacing") is not None]
    return {
        "image": torch.stack([as_tensor(item["image"]) for item in batch]),
        "label": torch.tensor([item["label"] for item in batch]),
        "region": torch.stack([as_tensor(item["region"]).bool() for item in batch]),
        "has_region": torch.tensor([item["has_region"] for item in batch]),
        "group": [item["group"] for item in batch],
        **({"spacing": torch.tensor(known)} if known else {}),
    }
