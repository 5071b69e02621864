# SPDX-License-Identifier: Apache-2.0
"""Cases on their way into the network: as items of MONAI's transforms, with the region beside the image."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Compose, RandomizableTrait, RandSmoothDeformd, Transform

from fedxai.bundle import Bundle
from fedxai.errors import BundleError, CohortError
from fedxai.records import Case, Split

_SPATIAL = ("monai.transforms.spatial", "monai.transforms.croppad")


def check_cases(cases: Mapping[Split, Sequence[Case]], bundle: Bundle) -> None:
    """Refuse cases that the bundle's head cannot learn; what label maps hold is checked as they are read.

    Raises:
        CohortError: when there is no case, the labels are not of the bundle's kind, or a label is outside
            its classes.
    """
    listed = [case for split in cases.values() for case in split]
    if not listed:
        raise CohortError("the cohort must hold at least one case, got none")
    task = next((case.task for case in listed if case.task != bundle.task), bundle.task)
    if task != bundle.task:
        raise CohortError(
            f"the cohort is for {task} and bundle {bundle.name} for {bundle.task}; choose a bundle that fits the cohort"
        )
    classes = len(bundle.class_names)
    highest = 0 if task == "segmentation" else max(case.class_index for case in listed)
    if highest >= classes:
        raise CohortError(
            f"labels must be below the {classes} classes of bundle {bundle.name}, got {highest}; "
            "choose a bundle with as many classes as the cohort"
        )


def check_classes(class_names: Sequence[str], bundle: Bundle, *, whose: str) -> None:
    """Refuse a cohort whose classes are not the bundle's, as far as numbers and names can tell.

    Args:
        class_names: of label 0, 1, ...
        bundle: the network's.
        whose: how a message calls the cohort.

    Raises:
        BundleError: when the numbers differ, or the same names come in another order.
    """
    if len(class_names) != len(bundle.class_names):
        raise BundleError(
            f"{whose} has {len(class_names)} classes and bundle {bundle.name} has {len(bundle.class_names)}; "
            "choose a bundle that fits the cohort"
        )
    here, there = ([name.casefold() for name in names] for names in (class_names, bundle.class_names))
    if here != there and sorted(here) == sorted(there):
        raise BundleError(
            f"{whose} has the classes {', '.join(class_names)} and bundle {bundle.name} has them as "
            f"{', '.join(bundle.class_names)}; take the cohort in with --class-name in that order"
        )


class RegionBeside(Transform):
    """Puts the region, on the image's grid, beside a prepared image; ``has_region``: whether anything is left of it.

    Zeros where there is none. One of a few pixels in a large image can vanish on the network's grid.
    """

    def __init__(self, transform: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._transform = transform

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Replace the region's path in a case's mapping by the region, ``(1, *spatial)``, 0 or 1, uint8."""
        path = item.get("region")
        if path is None:
            region = torch.zeros((1, *item["image"].shape[1:]), dtype=torch.uint8)
        else:
            region = as_tensor(self._transform({"region": path})["region"]).to(torch.uint8)
        return {**item, "region": region, "has_region": bool(region.any())}


def as_item(case: Case, *, region: bool = False) -> dict[str, Any]:
    """A case as the bundle's transforms take it; with its region's path where that is asked for and there is one."""
    item: dict[str, Any] = {
        "image": str(case.image),
        "label": str(case.label) if isinstance(case.label, Path) else case.label,
    }
    return {**item, "region": str(case.region)} if region and case.region else item


def as_tensor(value: Any) -> torch.Tensor:
    """A plain tensor from what MONAI's transforms put out."""
    return torch.as_tensor(value.as_tensor() if hasattr(value, "as_tensor") else value)


def _each(transforms: Sequence[Any]) -> Iterator[Any]:
    """The transforms one by one, those inside a Compose, OneOf, SomeOf ... too."""
    for step in transforms:
        if isinstance(step, Compose):
            yield from _each(step.transforms)
        else:
            yield step


def with_regions(transforms: Sequence[Any], beside: Any) -> list[Any]:
    """``transforms`` with ``beside`` between the deterministic and the random ones, so that regions move along.

    Raises:
        BundleError: when a random spatial transform moves the image and not the region.
    """
    first = next((i for i, step in enumerate(transforms) if isinstance(step, RandomizableTrait)), len(transforms))
    for step in _each(transforms[first:]):
        spatial = isinstance(step, RandSmoothDeformd) or type(step).__module__.startswith(_SPATIAL)
        if spatial and "region" not in getattr(step, "keys", ()):
            raise BundleError(
                f"guidance needs 'region' among the keys of every random spatial transform in train.json, "
                f"{type(step).__name__} has {', '.join(getattr(step, 'keys', ()))}; add it with allow_missing_keys"
            )
    return [*transforms[:first], beside, *transforms[first:]]
