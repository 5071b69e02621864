# SPDX-License-Identifier: Apache-2.0
"""The phantom of volumes: blocks of a virtual scanner's own spacing, for lesion classification or segmentation."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fedxai.errors import SettingsError
from fedxai.intake.anatomy_3d import LESION_CLASSES, STRUCTURES, Block, draw_lesion, draw_structure
from fedxai.intake.cohort import Cohort
from fedxai.intake.patients import hold_out, pseudonyms
from fedxai.intake.phantom import phantom_scanner
from fedxai.intake.progress import Track, quiet
from fedxai.intake.scanner import Scanner
from fedxai.intake.volume import Volume
from fedxai.intake.writing import new_folder
from fedxai.records import SPLITS, Case, Split, Task

CLASS_NAMES: dict[Task, tuple[str, ...]] = {"classification": LESION_CLASSES, "segmentation": STRUCTURES}
SMALLEST = 12
_SLICES = (1, 3, 2)  # thickness in mm, by site; each divides the blocks' height
_FULL = 1000  # stored intensity of 1.0


def make_phantom_3d(
    folder: Path,
    *,
    site: str,
    index: int,
    task: Task,
    cases: int = 80,
    seed: int = 0,
) -> Cohort:
    """Draw one site's phantom of volumes: one a patient, 60 / 15 / 25 % by patients, NIfTI files in RAS.

    ``classification``: 48 mm blocks whose class shows only in the arrangement of the values inside the stored region
    (:func:`fedxai.intake.anatomy_3d.draw_lesion`). ``segmentation``: blocks of 36 x 48 x 36 mm, the label of a case
    is a map of 3 values (:func:`fedxai.intake.anatomy_3d.draw_structure`). In plane a voxel is 1 mm; slices are 1,
    3 or 2 mm thick by the number of the site, each the mean over its thickness.

    Args:
        folder: the cohort to make; must not exist or be empty.
        site: its name.
        index: number of the site, from 0: chooses its patients and its virtual scanner.
        task: what the labels are for.
        cases: how many volumes, at least 12.
        seed: draws everything; the same arguments give the same bytes.

    Raises:
        SettingsError: ``task`` is unknown, ``cases`` or ``index`` too small.
        CohortError: ``folder`` holds something already or cannot be written.
    """
    if task not in CLASS_NAMES:
        raise SettingsError(f"task must be one of {', '.join(CLASS_NAMES)}, got {task!r}.")
    if cases < SMALLEST or index < 0:
        raise SettingsError(f"cases must be >= {SMALLEST} and index >= 0, got {cases} and {index}.")
    patients = [f"{i:06d}" for i in range(cases)]
    classes = [int(c) for c in np.random.default_rng([seed, index, 9]).permutation(np.arange(cases) % 3)]
    homes: list[Split] = hold_out(patients, classes, validation=0.15, test=0.25, seed=seed)
    splits: dict[Split, list[Case]] = {split: [] for split in SPLITS}
    with new_folder(Path(folder)) as building:
        for i, name in enumerate(pseudonyms(patients, seed=seed)):
            rng = np.random.default_rng([seed, index, 10, i])
            splits[homes[i]].append(_take(building, task, classes[i], name, index, rng))
        Cohort.write(
            building,
            name=f"3D phantom {site}",
            description=f"Synthetic phantom volumes, no patients; scanner {_describe(index)}; seed {seed}",
            modality="MRI",
            class_names=CLASS_NAMES[task],
            splits={split: sorted(taken, key=lambda case: case.image.name) for split, taken in splits.items()},
        )
    return Cohort.open(folder)


def make_phantom_3d_sites(
    out: Path, *, task: Task, sites: int = 4, cases: int = 80, seed: int = 0, track: Track = quiet
) -> dict[str, Path]:
    """Draw a cohorts root of such phantoms, ``site-1`` ... ``site-n``.

    Raises:
        SettingsError: there are no sites, too few cases, or the task is unknown.
        CohortError: ``out`` holds something already or cannot be written.
    """
    if sites < 1:
        raise SettingsError(f"--sites must be at least 1, got {sites}.")
    names = [f"site-{i + 1}" for i in range(sites)]
    with new_folder(out) as folder:
        for index, name in track(list(enumerate(names)), "Drawing sites"):
            make_phantom_3d(folder / name, site=name, index=index, task=task, cases=cases, seed=seed)
    return {name: out.absolute() / name for name in names}


def _take(folder: Path, task: Task, label: int, patient: str, index: int, rng: np.random.Generator) -> Case:
    """Draw one patient's block, let the site's scanner take it, and store what it gives."""
    scanner, thickness = phantom_scanner(index), _SLICES[index % len(_SLICES)]
    block, truth = draw_lesion(label, rng) if task == "classification" else draw_structure(rng)
    image = _store(folder / "images", _scan(block, scanner, thickness, rng), thickness)
    # the slice's own place in the block: its middle
    mask = truth[:, :, thickness // 2 :: thickness].astype(np.uint8)
    if task == "classification":
        return Case(image=image, label=label, region=_store(folder / "regions", mask, thickness), group=patient)
    return Case(image=image, label=_store(folder / "labels", mask, thickness), group=patient)


def _scan(image: Block, scanner: Scanner, thickness: int, rng: np.random.Generator) -> NDArray[np.int16]:
    """``y = noise + slices(blur(bias * x) ** gamma)`` as whole numbers, 1000 for full intensity."""
    x, y, z = (np.linspace(-1, 1, n) for n in image.shape)
    tilt = rng.uniform(-0.12, 0.12, 3)
    bias = np.exp(tilt[0] * x[:, None, None] + tilt[1] * y[:, None] + tilt[2] * z)
    seen = ndimage.gaussian_filter(np.clip(image * bias, 0, None), scanner.blur) ** scanner.gamma
    slices = seen.reshape(*image.shape[:2], -1, thickness).mean(axis=3)
    slices = slices + rng.normal(0, scanner.noise, slices.shape)
    return np.rint(np.clip(slices, 0, 1.5) * _FULL).astype(np.int16)


def _store(folder: Path, voxels: NDArray[Any], thickness: int) -> Path:
    """Store a volume whose middle lies at 0 mm, under the hash of its content."""
    spacing = np.array([1.0, 1.0, thickness])
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(voxels.shape) - 1) / 2
    folder.mkdir(exist_ok=True)
    return folder / Volume(voxels=voxels, affine=affine).write_into(folder)


def _describe(index: int) -> str:
    scanner = phantom_scanner(index)
    return (
        f"gamma {scanner.gamma:.2f}, blur {scanner.blur:.2f} mm, noise {scanner.noise:.3f}, "
        f"1 x 1 x {_SLICES[index % len(_SLICES)]} mm"
    )
