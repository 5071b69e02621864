# SPDX-License-Identifier: Apache-2.0
"""Simulated hospitals out of one cohort: patients are dealt to sites, whole, and keep their split."""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fedxai.errors import CohortError, SettingsError
from fedxai.intake.cohort import DATALIST, Cohort
from fedxai.intake.patients import deal, group_labels
from fedxai.intake.pictured import picture_again
from fedxai.intake.progress import Track, quiet
from fedxai.intake.scanner import Scanner, site_scanners
from fedxai.intake.stored import is_volume, voxel_type
from fedxai.intake.volume_scanner import VolumeScanner, site_volume_scanners
from fedxai.intake.writing import new_folder
from fedxai.records import SPLITS, Case, Split

By = Literal["iid", "label-skew", "quantity", "acquisition", "voxel-type"]
ALPHAS: dict[By, float] = {"label-skew": 0.3, "quantity": 1.0}
_DRAWS = 200


def make_sites(
    cohort: Cohort,
    out: Path,
    *,
    sites: int = 4,
    by: By = "iid",
    alpha: float | None = None,
    seed: int = 0,
    track: Track = quiet,
) -> dict[str, Path]:
    """Deal a cohort's patients to ``site-1`` ... ``site-n`` in a cohorts root.

    - ``iid``: every site gets the same share of every class.
    - ``label-skew``: the share of class c at the sites is drawn, ``p_c ~ Dirichlet(alpha, ..., alpha)``.
    - ``quantity``: one draw ``p ~ Dirichlet(alpha, ..., alpha)`` for all classes: sizes differ, not the mix.
    - ``acquisition``: iid, and each site pictures its cases with a scanner of its own: contrast, sharpness, noise and
      size; of volumes also an uneven field and thicker slices, their label maps and regions moved alike.
    - ``voxel-type``: what is stored as float32, uint8, ... goes to sites of its own, in proportion; within a type iid.
      It tells apart what came by different exports.

    A patient's cases stay together and keep the split they have; every site has a case of every split.

    Args:
        cohort: what is dealt out.
        out: the cohorts root to make; must not exist or be empty.
        sites: how many, at least 2.
        by: how the sites differ.
        alpha: of the Dirichlet draw, smaller is more unequal; by default 0.3 (label-skew) or 1.0 (quantity).
        seed: draws everything; the same seed gives the same files.
        track: shows progress.

    Returns:
        Site name to cohort folder.

    Raises:
        SettingsError: an argument is out of its range.
        CohortError: no draw gave every site a case of each split, or ``out`` cannot be written.

    Reference: Hsu et al., "Measuring the effects of non-identical data distribution", arXiv:1909.06335.
    """
    alpha = _checked_alpha(by, alpha, sites)
    _check_kind(cohort, by)
    homes = _homes(cohort, sites, by, alpha, seed)
    scanners = _scanners(cohort, sites, seed) if by == "acquisition" else [None] * sites
    names = [f"site-{i + 1}" for i in range(sites)]
    with new_folder(out) as folder:
        for i in track(range(sites), "Writing sites"):
            (folder / names[i]).mkdir()
            chosen: dict[Split, list[Case]] = {
                split: [c for c in cohort.cases(split) if homes[_patient(c, split)] == i] for split in SPLITS
            }
            how = f"by {by}" + (f", alpha {alpha:g}" if by in ALPHAS else "") + f", seed {seed}"
            _write_site(cohort, chosen, folder / names[i], f"{names[i]} of {sites} {how}", scanners[i])
    return {name: out.absolute() / name for name in names}


def _checked_alpha(by: By, alpha: float | None, sites: int) -> float:
    if by not in get_args(By):
        raise SettingsError(f"Unknown --by {by!r}; use {', '.join(get_args(By))}.")
    if sites < 2:
        raise SettingsError(f"--sites must be at least 2, got {sites}.")
    if alpha is not None and by not in ALPHAS:
        raise SettingsError(f"--alpha only goes with --by {' or '.join(ALPHAS)}, got --by {by}.")
    alpha = ALPHAS.get(by, 1.0) if alpha is None else alpha
    if not 0 < alpha < float("inf"):
        raise SettingsError(f"--alpha must be > 0, got {alpha:g}.")
    return alpha


def _check_kind(cohort: Cohort, by: By) -> None:
    if by == "acquisition" and cohort.task == "segmentation" and not _of_volumes(cohort):
        raise SettingsError("--by acquisition must have volumes, or images with classes; use iid or quantity.")
    if by == "label-skew" and cohort.task == "segmentation":
        raise SettingsError("--by label-skew must have cases of classes, not label maps; use quantity.")


def _of_volumes(cohort: Cohort) -> bool:
    return is_volume(next(case for cases in cohort.splits().values() for case in cases).image)


def _scanners(cohort: Cohort, sites: int, seed: int) -> Sequence[Scanner | VolumeScanner]:
    return site_volume_scanners(sites, seed=seed) if _of_volumes(cohort) else site_scanners(sites, seed=seed)


def _patient(case: Case, split: Split) -> str:
    """A case without a group is a patient of its own; so is each of its repeats in the same file."""
    return case.group or f"{split} {case.image.name}"


def _stratum(case: Case) -> int:
    """A case's class; cases of segmentation are all of one kind."""
    return case.label if isinstance(case.label, int) else 0


def _strata(cohort: Cohort, by: By) -> dict[Split, list[int]]:
    """What is dealt out evenly: the cases of a class, or of a voxel type."""
    if by != "voxel-type":
        return {split: [_stratum(case) for case in cohort.cases(split)] for split in SPLITS}
    types = {split: [voxel_type(case.image) for case in cohort.cases(split)] for split in SPLITS}
    order = sorted({name for names in types.values() for name in names})
    return {split: [order.index(name) for name in types[split]] for split in SPLITS}


def _homes(cohort: Cohort, sites: int, by: By, alpha: float, seed: int) -> dict[str, int]:
    """Draw every patient's site, again until every site has a case of every split that the cohort has."""
    strata = _strata(cohort, by)
    patients = {
        split: group_labels([_patient(case, split) for case in cohort.cases(split)], strata[split]) for split in SPLITS
    }
    weights = np.bincount(
        [stratum for listed in strata.values() for stratum in listed],
        minlength=0 if by == "voxel-type" else len(cohort.class_names),
    )
    short = [split for split, known in patients.items() if 0 < len(known) < sites]
    if short:
        raise CohortError(
            f"{len(patients[short[0]])} patients in {short[0]} are too few for {sites} sites; use fewer --sites, "
            f"or take the images in again with more patients in {short[0]}."
        )
    for draw in range(_DRAWS):
        rng = np.random.default_rng([seed, 4, draw])
        shares = _shares(weights, sites, by, alpha, rng)
        homes = {split: _deal_out(known, shares, rng) for split, known in patients.items()}
        if all(len(set(home.values())) in (0, sites) for home in homes.values()):
            return {group: site for home in homes.values() for group, site in home.items()}
    raise CohortError(
        f"None of {_DRAWS} draws gave each of {sites} sites a case of every split; raise --alpha or lower --sites."
    )


def _shares(
    weights: NDArray[np.int64], sites: int, by: By, alpha: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the sites' shares of each class, (classes, sites), each row summing to 1; ``weights`` are its cases."""
    classes = len(weights)
    if by == "label-skew":
        return rng.dirichlet(np.full(sites, alpha), size=classes)
    if by == "quantity":
        return np.tile(rng.dirichlet(np.full(sites, alpha)), (classes, 1))
    if by == "voxel-type":
        return _own_sites(weights, sites)
    return np.full((classes, sites), 1 / sites)


def _own_sites(weights: NDArray[np.int64], sites: int) -> NDArray[np.float64]:
    """Give each stratum at least one site, and the others to those with most cases a site (D'Hondt)."""
    if not 2 <= len(weights) <= sites:
        raise SettingsError(f"--by voxel-type must have 2 to {sites} types for {sites} sites, got {len(weights)}.")
    owned = np.ones(len(weights), dtype=np.int64)
    while owned.sum() < sites:
        owned[np.argmax(weights / owned)] += 1
    owner = np.repeat(np.arange(len(weights)), owned)
    return (owner[None, :] == np.arange(len(weights))[:, None]) / owned[:, None]


def _deal_out(
    patients: dict[str, tuple[int, int]], shares: NDArray[np.float64], rng: np.random.Generator
) -> dict[str, int]:
    """Deal one split's patients class by class; site order is turned so that rounding favours no site."""
    home: dict[str, int] = {}
    for label, row in enumerate(shares):
        members = [group for group, (own, _) in patients.items() if own == label]
        order = rng.permutation(len(row))
        parts = deal([patients[group][1] for group in members], row[order], rng)
        home |= {group: int(order[part]) for group, part in zip(members, parts, strict=True)}
    return home


def _write_site(
    cohort: Cohort, chosen: dict[Split, list[Case]], folder: Path, how: str, scanner: Scanner | VolumeScanner | None
) -> None:
    if scanner is None:
        splits: dict[Split, list[Case]] = {
            split: [_copy(case, folder) for case in cases] for split, cases in chosen.items()
        }
    else:
        splits = picture_again(chosen, folder, scanner)
    Cohort.write(
        folder,
        name=f"{cohort.name} {folder.name}",
        description=f"{cohort.description}; {how}" + (f"; pictured with {scanner.describe()}" if scanner else ""),
        modality=cohort.modality,
        class_names=cohort.class_names,
        splits=splits,
        pseudonyms=cohort.pseudonyms or _digest((cohort.folder / DATALIST).read_bytes()).hex()[:16],
    )


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _copy(case: Case, folder: Path) -> Case:
    """Copy a case's files; a site's bytes are its own, as in a hospital."""

    def copied(source: Path, kind: str) -> Path:
        target = folder / kind / source.name
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(source, target)
        return target

    return replace(
        case,
        image=copied(case.image, "images"),
        label=copied(case.label, "labels") if isinstance(case.label, Path) else case.label,
        region=None if case.region is None else copied(case.region, "regions"),
    )
