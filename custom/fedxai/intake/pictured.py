# SPDX-License-Identifier: Apache-2.0
"""A site's cases as its own virtual scanner shows them: images, or volumes with their label maps and regions."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fedxai.intake.pixels import read_image, read_region
from fedxai.intake.scanner import Scanner
from fedxai.intake.volume_file import read_volume
from fedxai.intake.volume_scanner import VolumeScanner
from fedxai.intake.writing import CaseWriter
from fedxai.records import SPLITS, Case, Split

Splits = dict[Split, list[Case]]


def picture_again(chosen: Mapping[Split, Sequence[Case]], folder: Path, scanner: Scanner | VolumeScanner) -> Splits:
    """Write the chosen cases into a cohort's folder as the scanner shows them; a case's noise is its content's own.

    Raises:
        CohortError: a file cannot be read, or the same image comes with different masks.
    """
    if isinstance(scanner, VolumeScanner):
        return {split: [_volume(case, folder, scanner) for case in chosen.get(split, ())] for split in SPLITS}
    writer = CaseWriter(folder=folder)
    for split, cases in chosen.items():
        for case in cases:
            _image(case, split, writer, scanner)
    return writer.splits


def _image(case: Case, split: Split, writer: CaseWriter, scanner: Scanner) -> None:
    pixels = read_image(case.image, what=f"image {case.image.name}")
    region = None
    if case.region is not None:
        region = read_region(case.region, what=f"region {case.region.name}", size=pixels.shape)
    writer.add(
        scanner.image(pixels, seed=_seed(pixels.tobytes())),
        split=split,
        label=case.class_index,
        group=case.group,
        region=None if region is None else scanner.region(region),
        like=case,
    )


def _volume(case: Case, folder: Path, scanner: VolumeScanner) -> Case:
    volume = read_volume(case.image, what=f"image {case.image.name}")
    image = _home(folder, "images") / scanner.image(volume, seed=_seed(volume.voxels.tobytes())).write_into(
        folder / "images"
    )
    label = _mask(case.label, folder, "labels", scanner) if isinstance(case.label, Path) else case.label
    region = None if case.region is None else _mask(case.region, folder, "regions", scanner)
    return replace(case, image=image, label=label, region=region)


def _mask(path: Path, folder: Path, kind: str, scanner: VolumeScanner) -> Path:
    home = _home(folder, kind)
    return home / scanner.mask(read_volume(path, what=f"mask {path.name}")).write_into(home)


def _home(folder: Path, kind: str) -> Path:
    (folder / kind).mkdir(exist_ok=True)
    return folder / kind


def _seed(content: bytes) -> int:
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big")
