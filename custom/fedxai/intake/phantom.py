# SPDX-License-Identifier: Apache-2.0
"""The embedded phantom cohort: synthetic slices with a known reason for each label, for a fresh machine."""

from pathlib import Path

import numpy as np

from fedxai.errors import SettingsError
from fedxai.intake.anatomy import CLASS_NAMES, SIZE, Head, Plane, draw_mark, draw_slice
from fedxai.intake.cohort import Cohort
from fedxai.intake.patients import hold_out, pseudonyms
from fedxai.intake.progress import Track, quiet
from fedxai.intake.scanner import Scanner
from fedxai.intake.writing import CaseWriter, new_folder
from fedxai.records import Split

SMALLEST = 12
_SLICES_PER_PATIENT = 2


def make_phantom(
    folder: Path,
    *,
    site: str,
    index: int,
    cases: int = 200,
    seed: int = 0,
    shortcut: bool = False,
    shuffle_labels: bool = False,
) -> Cohort:
    """Draw one site's phantom cohort: 128 x 128 8-bit slices, two a patient, 60 / 15 / 25 % by patients.

    The evidence of a class is the texture inside the stored region and nothing else, so an explanation that
    points there is right (see :func:`fedxai.intake.anatomy.draw_slice`).

    Args:
        folder: the cohort to make; must not exist or be empty.
        site: its name.
        index: number of the site, from 0: chooses its patients and its virtual scanner.
        cases: how many slices, at least 12.
        seed: draws everything; the same arguments give the same bytes.
        shortcut: let 1, 2 or 3 white marks at the border tell the label, and the lesion tell nothing.
        shuffle_labels: give the labels out at random, so that there is nothing to learn.

    Raises:
        SettingsError: ``cases`` or ``index`` is too small.
        CohortError: ``folder`` holds something already or cannot be written.
    """
    if cases < SMALLEST or index < 0:
        raise SettingsError(f"cases must be >= {SMALLEST} and index >= 0, got {cases} and {index}.")
    groups, truths = _patients(cases, np.random.default_rng([seed, index, 5]))
    labels = _shuffled(groups, truths, seed, index) if shuffle_labels else truths
    splits: list[Split] = hold_out(groups, truths, validation=0.15, test=0.25, seed=seed)
    names = pseudonyms(groups, seed=seed)
    scanner = phantom_scanner(index)
    with new_folder(Path(folder)) as building:
        writer = CaseWriter(folder=building)
        for i in range(cases):
            rng = np.random.default_rng([seed, index, 6, i])
            head = Head.draw(np.random.default_rng([seed, index, 7, i // _SLICES_PER_PATIENT]))
            image, region = draw_slice(head, None if shortcut else truths[i], rng)
            if shortcut:
                draw_mark(image, labels[i], rng)
            writer.add(
                scanner.image(_bytes(image * _bias(rng)), seed=int(rng.integers(2**32))),
                split=splits[i],
                label=labels[i],
                group=names[i],
                region=np.where(region, 255, 0).astype(np.uint8),
            )
        writer.finish(
            name=f"phantom {site}",
            description=_description(scanner, shortcut=shortcut, shuffle_labels=shuffle_labels, seed=seed),
            modality="MRI",
            class_names=CLASS_NAMES,
        )
    return Cohort.open(folder)


def make_phantom_sites(
    out: Path,
    *,
    sites: int = 4,
    cases: int = 160,
    seed: int = 0,
    shortcut: bool = False,
    shuffle_labels: bool = False,
    track: Track = quiet,
) -> dict[str, Path]:
    """Draw a cohorts root of phantoms, ``site-1`` ... ``site-n``, each with its own patients and scanner.

    Raises:
        SettingsError: there are no sites, or too few cases.
        CohortError: ``out`` holds something already or cannot be written.
    """
    if sites < 1:
        raise SettingsError(f"--sites must be at least 1, got {sites}.")
    names = [f"site-{i + 1}" for i in range(sites)]
    with new_folder(out) as folder:
        for index, name in track(list(enumerate(names)), "Drawing sites"):
            make_phantom(
                folder / name,
                site=name,
                index=index,
                cases=cases,
                seed=seed,
                shortcut=shortcut,
                shuffle_labels=shuffle_labels,
            )
    return {name: out.absolute() / name for name in names}


def phantom_scanner(index: int) -> Scanner:
    """Return the virtual scanner of a site: levels that wander evenly through their ranges with the index."""
    gamma, blur, noise = ((0.5 + index * step) % 1 for step in (0.618034, 0.754878, 0.569840))
    return Scanner(gamma=0.75 * (1.35 / 0.75) ** gamma, blur=0.25 + 0.45 * blur, noise=0.01 + 0.02 * noise)


def _patients(cases: int, rng: np.random.Generator) -> tuple[list[str], list[int]]:
    """Return each case's patient and class; classes are as even as the number of patients allows."""
    count = -(-cases // _SLICES_PER_PATIENT)
    classes = rng.permutation(np.arange(count) % len(CLASS_NAMES))
    patient = [i // _SLICES_PER_PATIENT for i in range(cases)]
    return [f"{p:06d}" for p in patient], [int(classes[p]) for p in patient]


def _shuffled(groups: list[str], labels: list[int], seed: int, index: int) -> list[int]:
    """Deal the patients' labels out again at random."""
    own = dict(zip(groups, labels, strict=True))
    dealt = np.random.default_rng([seed, index, 8]).permutation(list(own.values()))
    given = dict(zip(own, dealt, strict=True))
    return [int(given[group]) for group in groups]


def _bias(rng: np.random.Generator) -> Plane:
    """Draw a smooth receive field around 1, as a surface coil has."""
    axis = np.linspace(-1, 1, SIZE)
    tilt, bend = rng.uniform(-0.12, 0.12, 2), rng.uniform(-0.08, 0.08, 2)
    rows, columns = tilt[0] * axis + bend[0] * axis**2, tilt[1] * axis + bend[1] * axis**2
    return np.exp(rows[:, None] + columns[None, :])


def _bytes(image: Plane) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _description(scanner: Scanner, *, shortcut: bool, shuffle_labels: bool, seed: int) -> str:
    text = f"Synthetic phantom slices, no patients; scanner {scanner.describe()}; seed {seed}"
    text += "; shortcut planted outside the region" if shortcut else ""
    return text + ("; labels shuffled" if shuffle_labels else "")
