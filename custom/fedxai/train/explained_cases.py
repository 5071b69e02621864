# SPDX-License-Identifier: Apache-2.0
"""Prepared cases in batches, each with the region that its explanation is scored by."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor

from fedxai.records import Case
from fedxai.train.prepare import as_tensor
from fedxai.train.segmentation import check_map

Item = Mapping[str, Any]


def region_batches(
    cases: Sequence[Case], prepare: Callable[[Case], Sequence[Item]], *, batch_size: int
) -> Iterator[dict[str, Any]]:
    """Batches of at most ``batch_size`` items; one ends early where the next image has another shape.

    Args:
        cases: in order.
        prepare: brings a case onto the network's grid, as one item or, in a segmentation, one a class: ``image``
            (C, *spatial), ``label`` a class index, ``region`` (1, *spatial), ``has_region``.
        batch_size: items in memory at once.

    Yields:
        ``image`` (B, C, *spatial), ``label`` (B,), ``region`` (B, 1, *spatial; zeros where there is none),
        ``has_region`` (B,), ``group`` (B names), and ``spacing`` (B, axes) in mm where every image says it.
    """
    batch: list[Item] = []
    items = ((case, item) for case in cases for item in prepare(case))
    for item in ({**item, "image": _placed(item["image"], case), "group": case.group} for case, item in items):
        if batch and (len(batch) == batch_size or item["image"].shape != batch[0]["image"].shape):
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


def spacings(images: Tensor, axes: int) -> list[list[float]] | None:
    """Mm from voxel to voxel of each image of a batch, ``axes`` numbers each; None where the images don't say."""
    if not isinstance(images, MetaTensor) or "affine" not in images.meta:
        return None
    known = images.pixdim if images.is_batch else [images.pixdim]
    return [[float(length) for length in one[:axes]] for one in known]


def _placed(image: Tensor, case: Case) -> Tensor:
    """The image with an affine in mm also where it is a picture, which says nothing and has its spacing beside it."""
    if case.spacing is None or not isinstance(image, MetaTensor):
        return image
    rows, columns = case.spacing  # MONAI reads pictures with their columns along the first axis
    lengths = torch.tensor([columns, rows, 1.0, 1.0], dtype=torch.float64)
    return MetaTensor(image.as_tensor(), affine=lengths[:, None] * image.affine.to(lengths))


def _together(batch: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    known = [spacings(item["image"], item["image"].ndim - 1) for item in batch]
    spacing = {} if any(one is None for one in known) else {"spacing": torch.tensor([one[0] for one in known if one])}
    return {
        "image": torch.stack([as_tensor(item["image"]) for item in batch]),
        "label": torch.tensor([item["label"] for item in batch]),
        "region": torch.stack([as_tensor(item["region"]).bool() for item in batch]),
        "has_region": torch.tensor([item["has_region"] for item in batch]),
        "group": [item["group"] for item in batch],
        **spacing,
    }
