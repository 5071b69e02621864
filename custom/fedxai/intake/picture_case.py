# SPDX-License-Identifier: Apache-2.0
"""A picture on its way into a cohort: a bare PNG named by its content, beside the volumes' writer."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedxai.errors import CohortError
from fedxai.intake.pixels import Pixels, encode_png
from fedxai.records import Split
from fedxai.whole_file import write_whole


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """Pixels, (rows, columns[, 3]), 8 or 16 bits."""

    pixels: Pixels

    def write_into(self, folder: Path) -> str:
        """Write under the first 16 hex digits of the PNG's SHA-256, whole or not at all, and return the name."""
        content = encode_png(self.pixels)
        path = folder / f"{hashlib.sha256(content).hexdigest()[:16]}.png"
        if not path.exists():
            write_whole(path, content)
        return path.name


@dataclass(frozen=True, kw_only=True)
class PictureCase:
    """One case of pictures, in the form of :class:`fedxai.intake.volume_case.VolumeCase`."""

    image: Picture
    label: str
    region: Picture | None = None
    split: Split | None = None
    tabular: Mapping[str, float] = field(default_factory=dict)
    spacing: tuple[float, float] | None = None  # mm between rows and between columns, where it is known
    notes: Sequence[str] = ()

    def prepared(self) -> "PictureCase":
        """Return itself.

        Raises:
            CohortError: the picture has one value everywhere, or the region is empty.
        """
        if self.image.pixels.min() == self.image.pixels.max():
            raise CohortError("The picture has one value everywhere; export it again.")
        if self.region is not None and not self.region.pixels.any():
            raise CohortError("The region is empty; draw it, or give the case none.")
        return self
