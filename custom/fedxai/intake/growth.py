# SPDX-License-Identifier: Apache-2.0
"""What a growing cohort keeps to: its classes, one label an image, and every patient in the split it has."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from fedxai.errors import CohortError
from fedxai.intake.cohort import Cohort
from fedxai.intake.journal import Stored
from fedxai.intake.patients import hold_out, join_repeats
from fedxai.intake.table import number_labels
from fedxai.records import SPLITS, Split


def known_names(cohort: Cohort | None, given: Sequence[str]) -> list[str]:
    """Names of the classes as far as they are settled before anything is read: the cohort's, else those given.

    Raises:
        CohortError: both are there and differ.
    """
    if cohort is None:
        return list(given)
    if given and list(given) != cohort.class_names:
        raise CohortError(
            f"--class-name must stay {', '.join(cohort.class_names)} as the cohort has it, got {', '.join(given)}."
        )
    return cohort.class_names


def admit(record: Stored, kept: Mapping[str, Stored], names: Sequence[str]) -> None:
    """Refuse a case that does not go with those that are kept.

    Args:
        record: the new case.
        kept: cases by the file of their image.
        names: of the classes; empty while unsettled.

    Raises:
        CohortError: a class beside label maps, a class or value that has no name, or the image of another case with
            another label or region.
    """
    other = next(iter(kept.values()), record)
    if other.mapped != record.mapped:
        kinds = ("a class", "a label map")
        raise CohortError(f"The cohort's cases have {kinds[other.mapped]} each, this one has {kinds[record.mapped]}.")
    if names and record.mapped and max(record.values) >= len(names):
        raise CohortError(
            f"Its label map has the value {max(record.values)}, and the classes are 0 to {len(names) - 1}; "
            "name it with --class-name, renumber it with --label-value, or correct the map."
        )
    if names and not record.mapped:
        number_labels([record.label], names)
    same = kept.get(record.image, record)
    if (same.label, same.region) != (record.label, record.region):
        raise CohortError("The same image is in the cohort with another label or region; find out which is right.")


def number_classes(records: Sequence[Stored], names: Sequence[str]) -> tuple[list[int], list[str]]:
    """Turn the labels of cases into classes; for label maps all are 0, and the names are those of the values.

    Raises:
        CohortError: label maps hold values that are not 0..K-1 and have no names, or a class has no name.
    """
    if not records[0].mapped:
        return number_labels([record.label for record in records], names)
    values = sorted({value for record in records for value in record.values} | {0})
    if not names and values != list(range(len(values))):
        found = ", ".join(map(str, values))
        raise CohortError(
            f"Values of label maps must be 0..K-1, got {found}; name every value with --class-name, or "
            "say with --label-value which become 1, 2, ..."
        )
    return [0] * len(records), list(names) or ["background", *(f"label {value}" for value in values[1:])]


def deal_cases(
    records: Sequence[Stored],
    labels: Sequence[int],
    homes: Mapping[str, Split],
    *,
    validation: float,
    test: float,
    seed: int,
) -> tuple[list[str], list[Split]]:
    """Give every case its patient and its split; patients stay whole and where they are.

    Patients that share an image are one. Of a new cohort the patients are dealt by :func:`hold_out`; to a cohort
    that grows a new patient comes into the split that is furthest below its share.

    Args:
        records: the cases.
        labels: their classes, each to be in every split.
        homes: split of the images that are in the cohort already.
        validation, test: wanted shares of the cases.
        seed: draws the order; the names of patients have no part in it, so that another key gives the same splits.

    Raises:
        CohortError: a patient would be in two splits, or the patients cannot fill the splits.
    """
    groups = join_repeats([record.patient for record in records], [record.image for record in records])
    settled: dict[str, Split] = {}
    for record, group in zip(records, groups, strict=True):
        for split in (homes.get(record.image), record.split):
            if split and settled.setdefault(group, split) != split:
                raise CohortError(
                    f"Patient {group} would be in {settled[group]} and in {split}; correct the split column, or take "
                    "the cohort in anew where patients turned out to be one."
                )
    if not settled:
        first = {group: min(r.image for r, g in zip(records, groups, strict=True) if g == group) for group in groups}
        return groups, hold_out([first[group] for group in groups], labels, validation=validation, test=test, seed=seed)
    shares: dict[Split, float] = {"training": 1 - validation - test, "validation": validation, "test": test}
    _add_new(settled, groups, [record.image for record in records], shares, seed)
    return groups, [settled[group] for group in groups]


def _add_new(
    settled: dict[str, Split],
    groups: Sequence[str],
    images: Collection[str],
    shares: Mapping[Split, float],
    seed: int,
) -> None:
    """Put each patient without a split into the one that is furthest below its share, in place."""
    sizes = Counter(groups)
    first: dict[str, str] = {}
    for image, group in zip(images, groups, strict=True):
        first[group] = min(image, first.get(group, image))
    counts = Counter({split: sum(sizes[group] for group, home in settled.items() if home == split) for split in SPLITS})
    new = sorted((group for group in sizes if group not in settled), key=lambda group: first[group])
    for i in np.random.default_rng([seed, 5, len(settled)]).permutation(len(new)):
        total = counts.total() + sizes[new[i]]
        settled[new[i]] = max(SPLITS, key=lambda split: shares[split] * total - counts[split])
        counts[settled[new[i]]] += sizes[new[i]]
