# SPDX-License-Identifier: Apache-2.0
"""Patients: who belongs together, what they are called, and how they are dealt out whole."""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from fedxai.errors import CohortError
from fedxai.records import Split


def join_repeats(groups: Sequence[str], contents: Sequence[Hashable]) -> list[str]:
    """Give cases with the same content one group, and so their whole patients: leaks cannot hide in repeats.

    Args:
        groups: per case, its patient.
        contents: per case, what equals only for the same image (a digest).

    Returns:
        Per case, the first patient of those it is connected with.
    """
    parent = {group: group for group in groups}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    seen: dict[Hashable, str] = {}
    for group, content in zip(groups, contents, strict=True):
        first, other = root(seen.setdefault(content, group)), root(group)
        parent[other] = first
    return [root(group) for group in groups]


def pseudonyms(groups: Sequence[str], *, seed: int) -> list[str]:
    """Rename patients to p0001, p0002, ... in an order drawn from the seed, so that no old order survives."""
    known = sorted(set(groups))
    order = np.random.default_rng([seed, 1]).permutation(len(known))
    names = {group: f"p{place + 1:04d}" for group, place in zip(known, order, strict=True)}
    return [names[group] for group in groups]


def group_labels(groups: Sequence[str], labels: Sequence[int]) -> dict[str, tuple[int, int]]:
    """Tell for every patient, in sorted order: the most frequent label (lowest on a tie), number of cases."""
    counts: dict[str, Counter[int]] = {group: Counter() for group in sorted(set(groups))}
    for group, label in zip(groups, labels, strict=True):
        counts[group][label] += 1
    return {
        group: (min(count, key=lambda label: (-count[label], label)), sum(count.values()))
        for group, count in counts.items()
    }


def deal(sizes: Sequence[int], shares: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Deal shuffled patients to parts in proportion to ``shares``, by numbers of cases.

    A patient goes to the part in whose stretch of the cumulated cases its middle falls.

    Args:
        sizes: cases per patient.
        shares: per part, its share; they sum to 1.
        rng: draws the order.

    Returns:
        Per patient, the part.
    """
    order = rng.permutation(len(sizes))
    ordered = np.asarray(sizes, dtype=np.float64)[order]
    middles = (np.cumsum(ordered) - ordered / 2) / max(ordered.sum(), 1.0)
    parts = np.empty(len(sizes), dtype=np.int64)
    parts[order] = np.minimum(np.searchsorted(np.cumsum(shares), middles, side="right"), len(shares) - 1)
    return parts


def check_shares(validation: float, test: float) -> None:
    """Refuse shares of validation and test that leave nothing to train on.

    Raises:
        CohortError: one is below 0, or they are not below 1 together.
    """
    if min(validation, test) < 0 or validation + test >= 1:
        raise CohortError(f"validation + test must be >= 0 and < 1, got {validation:g} + {test:g}.")


def hold_out(groups: Sequence[str], labels: Sequence[int], *, validation: float, test: float, seed: int) -> list[Split]:
    """Split cases into training, validation and test: whole patients, class by class.

    A class with enough patients is in every split.

    Args:
        groups: per case, its patient.
        labels: per case, its class.
        validation, test: wanted shares of the cases, each in [0, 1), together below 1.
        seed: draws which patients.

    Raises:
        CohortError: the shares are out of range, or there are too few patients to fill every wanted split.
    """
    check_shares(validation, test)
    asked: dict[Split, float] = {"training": 1 - validation - test, "validation": validation, "test": test}
    wanted: list[Split] = [split for split, share in asked.items() if share]
    shares = np.array([asked[split] for split in wanted])
    rng = np.random.default_rng([seed, 2])
    patients = group_labels(groups, labels)
    if len(patients) < len(wanted):
        raise CohortError(f"{len(patients)} patients cannot fill {', '.join(wanted)}; lower --validation, --test.")
    home: dict[str, int] = {}
    for label in sorted({label for label, _ in patients.values()}):
        members = [group for group, (own, _) in patients.items() if own == label]
        parts = deal([patients[group][1] for group in members], shares, rng)
        own = {group: int(part) for group, part in zip(members, parts, strict=True)}
        if len(members) >= len(wanted):
            fill_empty(own, len(wanted), rng)
        home |= own
    fill_empty(home, len(wanted), rng)
    return [wanted[home[group]] for group in groups]


def fill_empty(home: dict[str, int], parts: int, rng: np.random.Generator) -> None:
    """Move one patient from the fullest part into each empty one, in place (few patients round to nobody)."""
    for part in range(parts):
        filled = Counter(home.values())
        if part not in filled:
            fullest = filled.most_common(1)[0][0]
            members = sorted(group for group, own in home.items() if own == fullest)
            home[members[int(rng.integers(len(members)))]] = part
