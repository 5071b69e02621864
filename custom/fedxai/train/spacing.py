# SPDX-License-Identifier: Apache-2.0
"""Mm from voxel to voxel of what is prepared: as a volume's file says, of a picture as its cohort says."""

import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms import Compose
from PIL import Image
from torch import Tensor

from fedxai.intake.pixels import is_picture
from fedxai.records import Case


class Spacing:
    """Tells the spacing of prepared images.

    Args:
        transform: the bundle's preparation; its first step reads a mapping's ``image``.
    """

    def __init__(self, transform: Compose) -> None:
        self._transform = transform

    def of(self, prepared: Tensor, case: Case) -> list[float] | None:
        """Mm along each spatial axis of an image or label map ``(C, *spatial)``; None where nobody says.

        Args:
            prepared: with the metadata that MONAI's transforms keep.
            case: whose image it is.
        """
        if not isinstance(prepared, MetaTensor):
            return None
        if not is_picture(case.image):
            return [float(length) for length in prepared.pixdim[: prepared.ndim - 1]]
        if case.spacing is None:
            return None
        rows, columns = case.spacing
        lengths = torch.tensor([columns, rows, 1.0] if self.columns_first else [rows, columns, 1.0])
        turned = prepared.affine[:3, :3].to(lengths)  # a picture's own is in pixels of its file
        return [float(length) for length in (lengths[:, None] * turned).norm(dim=0)[: prepared.ndim - 1]]

    @cached_property
    def columns_first(self) -> bool:
        """Whether the bundle reads a picture as ``(W, H)``: tried on one, since readers differ."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "probe.png"
            Image.new("L", (3, 2)).save(file)
            load: Any = self._transform.flatten().transforms[0]
            read = load({"image": str(file)})["image"]
        return next(length for length in read.shape if length > 1) == 3


def keep_places(config: Any) -> None:
    """Let every transform of a configuration keep where voxels lie; that changes no voxel."""
    if isinstance(config, dict):
        if config.get("track_meta") is False:
            config["track_meta"] = True
        for value in config.values():
            keep_places(value)
    elif isinstance(config, list):
        for value in config:
            keep_places(value)
