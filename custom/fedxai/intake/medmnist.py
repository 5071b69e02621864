# SPDX-License-Identifier: Apache-2.0
"""A MedMNIST ``.npz`` becomes a cohort with its official splits, less what would leak between them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from fedxai.errors import CohortError
from fedxai.intake.cohort import Cohort
from fedxai.intake.intake_report import Taken
from fedxai.intake.patients import join_repeats, pseudonyms
from fedxai.intake.progress import Track, quiet
from fedxai.intake.writing import CaseWriter, new_folder
from fedxai.records import Split

_OFFICIAL: dict[Split, str] = {"training": "train", "validation": "val", "test": "test"}
_KEEP_FIRST: tuple[Split, ...] = ("test", "validation", "training")


def take_medmnist(
    file: Path,
    out: Path,
    *,
    class_names: Sequence[str] = (),
    modality: str = "unknown",
    seed: int = 0,
    track: Track = quiet,
) -> Taken:
    """Turn a MedMNIST file (2D, single label) into a cohort.

    The official splits are kept. Identical images share a group; where such a group is in several splits, its
    cases stay in the test split (else the validation split) and leave the others, so that test figures remain
    comparable with published ones and nothing leaks.

    Args:
        file: the ``.npz`` with ``train_images`` (n, rows, columns[, 3]) uint8, ``train_labels`` (n, 1), ...
        out: the cohort to make; must not exist or be empty.
        class_names: names of labels 0, 1, ...; the numbers themselves if not given.
        modality: what made the images.
        seed: draws the pseudonyms.
        track: shows progress.

    Raises:
        CohortError: the file is no MedMNIST file, or ``out`` cannot be written.
    """
    images, labels, splits = _load(file)
    names = list(class_names) or [str(i) for i in range(int(labels.max()) + 1)]
    if labels.max() >= len(names):
        raise CohortError(f"--class-name must name all {int(labels.max()) + 1} classes, got {len(names)}.")
    digests = [hashlib.sha256(image.tobytes()).digest() for image in images]
    groups = pseudonyms(join_repeats([f"{i:07d}" for i in range(len(images))], digests), seed=seed)
    kept = _kept(groups, splits)
    with new_folder(out) as folder:
        writer = CaseWriter(folder=folder)
        for i in track(kept, "Writing images"):
            writer.add(images[i], split=splits[i], label=int(labels[i]), group=groups[i])
        writer.finish(
            name=out.name,
            description=f"MedMNIST {file.stem}, official splits less {len(images) - len(kept)} leaking repeats",
            modality=modality,
            class_names=names,
        )
    return Taken(cohort=Cohort.open(out), taken=len(kept), notes=_notes(len(images), len(set(digests)), len(kept)))


def _load(file: Path) -> tuple[list[NDArray[np.uint8]], NDArray[np.int64], list[Split]]:
    arrays = _arrays(file)
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    splits: list[Split] = []
    for split, word in _OFFICIAL.items():
        pictures, numbers = arrays[f"{word}_images"], arrays[f"{word}_labels"]
        if pictures.dtype != np.uint8 or not (pictures.ndim == 3 or pictures.shape[3:] == (3,)):
            raise CohortError(
                f"{word}_images must be uint8 (n, rows, columns) or (n, rows, columns, 3), "
                f"got {pictures.dtype} {pictures.shape}."
            )
        if numbers.shape not in ((len(pictures), 1), (len(pictures),)) or numbers.dtype.kind not in "ui":
            raise CohortError(
                f"{word}_labels must be integers ({len(pictures)}, 1), one label per image, "
                f"got {numbers.dtype} {numbers.shape}."
            )
        images += list(pictures)
        labels += [int(number) for number in numbers.reshape(-1)]
        splits.extend(split for _ in pictures)
    if not images:
        raise CohortError(f"{file.name} holds no image.")
    return images, np.array(labels, dtype=np.int64), splits


def _arrays(file: Path) -> dict[str, NDArray[Any]]:
    if not file.is_file():
        raise CohortError(f"MedMNIST file '{file}' does not exist.")
    wanted = [f"{word}_{kind}" for word in _OFFICIAL.values() for kind in ("images", "labels")]
    try:
        # Pickled objects run code when loaded: a data file from outside never may.
        with np.load(file, allow_pickle=False) as opened:
            missing = [key for key in wanted if key not in opened]
            if not missing:
                return {key: opened[key] for key in wanted}
    except (OSError, ValueError, EOFError, BadZipFile, TypeError) as error:
        raise CohortError(f"'{file}' is not a readable .npz file ({type(error).__name__}).") from None
    raise CohortError(f"'{file}' lacks {', '.join(missing)}; a MedMNIST file has {', '.join(wanted)}.")


def _kept(groups: Sequence[str], splits: Sequence[Split]) -> list[int]:
    """Return the cases that stay: those in the first of test, validation, training that has their group."""
    home: dict[str, Split] = {}
    for wanted in _KEEP_FIRST:
        for group, split in zip(groups, splits, strict=True):
            if split == wanted:
                home.setdefault(group, split)
    return [i for i, (group, split) in enumerate(zip(groups, splits, strict=True)) if home[group] == split]


def _notes(total: int, distinct: int, kept: int) -> list[str]:
    if total == distinct:
        return []
    return [
        f"{total - distinct} of {total} images repeat another exactly; repeats share a patient group.",
        f"{total - kept} of them were left out of training or validation, as a later split has them.",
    ]
