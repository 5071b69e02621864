# SPDX-License-Identifier: Apache-2.0
"""Write a cohort whole or not at all, each image named by the hash of its content."""

import hashlib
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedxai.errors import CohortError
from fedxai.intake.cohort import Cohort
from fedxai.intake.pixels import Pixels, encode_png
from fedxai.records import SPLITS, Case, Split


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Lend a hidden folder beside ``out``; it becomes ``out`` when the block ends well, or disappears.

    Raises:
        CohortError: ``out`` holds something already, or the disk refuses.
    """
    out = out.absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CohortError(f"--out '{out}' already exists and is not empty; choose a new folder.")
    building = out.parent / f".{out.name}.{secrets.token_hex(4)}.part"
    try:
        building.mkdir(parents=True)
        yield building
        if out.exists():
            out.rmdir()
        building.rename(out)
    except OSError as error:
        raise CohortError(f"--out '{out}' cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


class CaseWriter:
    """Put images and regions into a cohort's folder.

    Files are named by the first 16 hex digits of the SHA-256 of the PNG, so that no name of the hospital's
    survives, and an image that comes twice is stored once.
    """

    def __init__(self, *, folder: Path) -> None:
        self.folder = folder
        self._regions: dict[str, bytes | None] = {}
        self.splits: dict[Split, list[Case]] = {split: [] for split in SPLITS}

    def add(
        self,
        pixels: Pixels,
        *,
        split: Split,
        label: int,
        group: str,
        region: NDArray[np.uint8] | None = None,
        like: Case | None = None,
    ) -> Case:
        """Store one case, with the numbers and the spacing of one that it is ``like``.

        Raises:
            CohortError: the same image came before with another region.
        """
        encoded = encode_png(pixels)
        name = f"{hashlib.sha256(encoded).hexdigest()[:16]}.png"
        mask = None if region is None else encode_png(region)
        if self._regions.setdefault(name, mask) != mask:
            raise CohortError("The same image comes twice with different masks; keep one, or join the masks.")
        case = Case(
            image=_store(self.folder / "images" / name, encoded),
            label=label,
            region=None if mask is None else _store(self.folder / "regions" / name, mask),
            group=group,
            tabular=like.tabular if like else {},
            spacing=like.spacing if like else None,
        )
        self.splits[split].append(case)
        return case

    def finish(self, *, name: str, description: str, modality: str, class_names: Sequence[str]) -> Cohort:
        """Write ``dataset.json``; cases are listed by file name, which tells nothing of their old order."""
        return Cohort.write(
            self.folder,
            name=name,
            description=description,
            modality=modality,
            class_names=class_names,
            splits={s: sorted(cases, key=lambda case: case.image.name) for s, cases in self.splits.items()},
        )


def _store(path: Path, content: bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        path.write_bytes(content)
    return path
