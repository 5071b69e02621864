# SPDX-License-Identifier: Apache-2.0
"""A few cases out of a stream, of as many patients as can be, however the stream is cut into batches."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedxai.score.regions import spacing_of

_IMAGE = 3  # axes of an image (C, H, W)


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """One case to ask the network about again."""

    image: Tensor  # (C, *spatial), on the CPU
    target: int  # the explained class
    group: str
    spacing: Tensor | None  # (axes,), mm from voxel to voxel, where it is known
    region: Tensor | None = None  # (1, *spatial), boolean, in a sample of cases with a region


class Sample:
    """Keeps ``size`` cases drawn at random, spread over patients; holds no more than that.

    A random number is drawn for each case. Where one must go it is of the patient who has most of them, and of several
    such patients' cases the one with the largest number. So with ``size`` patients or more no patient is there twice,
    and where each has one case all cases are equally likely.

    Args:
        size: how many cases, at least 0.
        seed: of the draw.
        with_region: only of cases with a region, which are kept with it.
    """

    def __init__(self, size: int, *, seed: int = 0, with_region: bool = False) -> None:
        self._size = size
        self._with_region = with_region
        self._draws = np.random.default_rng(seed)
        self._seen = 0
        self._kept: list[tuple[Hashable, float, Sampled]] = []  # patient and draw, in the order of the stream

    def add(self, batch: Mapping[str, Any], targets: Tensor, *, only: int | None = None) -> None:
        """Look at every case of a batch with its explained class, or at those of ``only`` one class."""
        for place, target in enumerate(targets.tolist()):
            region = _region_of(batch, place) if self._with_region else None
            if (only is not None and target != only) or (self._with_region and region is None):
                continue
            draw, self._seen = float(self._draws.random()), self._seen + 1
            patient = batch["group"][place] or self._seen  # without a name one of its own
            goes = self._goes(patient, draw)
            if goes == len(self._kept):
                continue
            image = batch["image"][place].detach().as_subclass(Tensor).to("cpu", copy=True)
            case = Sampled(
                image=image,
                target=target,
                group=batch["group"][place],
                spacing=spacing_of(batch, place),
                region=region,
            )
            if goes is not None:
                del self._kept[goes]
            self._kept.append((patient, draw, case))

    @property
    def cases(self) -> list[Sampled]:
        """The kept cases in their order."""
        return [case for *_, case in self._kept]

    def _goes(self, patient: Hashable, draw: float) -> int | None:
        """The place of the case that must go for one more, after the last for that one itself; None where none must."""
        if len(self._kept) < self._size:
            return None
        all_ = [*((kept, drawn) for kept, drawn, _ in self._kept), (patient, draw)]
        counts = Counter(one for one, _ in all_)
        most = max(counts.values())
        return max((i for i, (one, _) in enumerate(all_) if counts[one] == most), key=lambda i: all_[i][1])

    def batches(self, size: int) -> list["SampledBatch"]:
        """The kept cases in their order: at most ``size`` images of one shape together, a volume by itself."""
        kinds = groupby(self.cases, key=lambda case: (case.image.shape, case.spacing is None))
        alike = [list(group) for _, group in kinds]
        parts: list[list[Sampled]] = []
        for group in alike:
            together = size if group[0].image.ndim == _IMAGE else 1
            parts += [group[first : first + together] for first in range(0, len(group), together)]
        return [SampledBatch.of(part) for part in parts]


def _region_of(batch: Mapping[str, Any], place: int) -> Tensor | None:
    """A case's region on the CPU; None where it has none, or an empty one."""
    if not torch.as_tensor(batch["has_region"]).flatten()[place]:
        return None
    region = torch.as_tensor(batch["region"][place]).as_subclass(Tensor).to("cpu", copy=True).bool()
    return region if region.any() else None


@dataclass(frozen=True, kw_only=True)
class SampledBatch:
    """Cases of one shape to ask about together."""

    images: Tensor  # (B, C, *spatial)
    targets: Tensor  # (B,)
    groups: list[str]
    spacing: Tensor | None  # (B, axes)

    @classmethod
    def of(cls, cases: Sequence[Sampled]) -> "SampledBatch":
        """Put cases of one shape together."""
        known = [case.spacing for case in cases if case.spacing is not None]
        return cls(
            images=torch.stack([case.image for case in cases]),
            targets=torch.tensor([case.target for case in cases]),
            groups=[case.group for case in cases],
            spacing=torch.stack(known) if known else None,
        )
