# SPDX-License-Identifier: Apache-2.0
"""The honesty battery of all sites together, and whether a model wins its E by construction."""

from collections.abc import Sequence

from fedxai.combine.figures import pooled_by_name
from fedxai.records import CONSTRUCTION_FIGURES, E_SCORE, HEADLINE_METHOD, Figure, Honesty, MethodSummary

CLAIM = 2.0  # E at least so many times its chance level claims something
SHARE = 1 / 3  # and occlusion must agree with at least this share of what its windows can show of it
SOFT = 1 / 2  # and so much of it must be left through the soft path of a gate


def pooled_honesty(parts: Sequence[Honesty]) -> Honesty | None:
    """Counts summed, figures n-weighted; None where no site ran the battery."""
    if not parts:
        return None
    return Honesty(cases=sum(part.cases for part in parts), figures=pooled_by_name(part.figures for part in parts))


def by_construction(e: Figure, chance: Figure, honesty: Honesty) -> bool | None:
    """Whether a model wins its E by construction and not by looking; None where that cannot be said.

    That is so without one of the figures (without the soft one of a gate only where the others do not settle it), or
    where fewer than half of the cases have another place in the body: then what is said of the region and what of
    elsewhere is of different cases.

    E is a claim when it is at least twice its chance level. It is won by construction when

    - occlusion gives the region less than a third of E times the occlusion ceiling, which is about what it gives
      where the share E of the evidence lies in the region and windows are as coarse as they are; or
    - filling the region moves the prediction no more than filling another place of the same shape does; or
    - filling it with its own mean does not either: then its shape and place decide, as behind a hard gate; or
    - the network has a gate, and through its soft path less than half of E is left: then the gate made the rest.
    """
    known = [figure for figure in map(honesty.figures.get, CONSTRUCTION_FIGURES) if figure is not None]
    values = [figure.value for figure in known if figure.value is not None]
    if e.value is None or not chance.value or len(values) < len(CONSTRUCTION_FIGURES):
        return None
    if 2 * honesty.figures["drop_elsewhere"].n < honesty.figures["drop_region"].n:
        return None
    mass, ceiling, here, grey, there = values
    if e.value < CLAIM * chance.value:
        return False
    by_place = mass < SHARE * e.value * ceiling or min(here, grey) <= there
    soft = honesty.figures.get("soft_mass", e).value
    return by_place or (None if soft is None else soft < SOFT * e.value)


def won_by_construction(methods: Sequence[MethodSummary], honesty: Honesty | None) -> bool | None:
    """:func:`by_construction` for the E of gradient x input (Eq. 4 and 5); None without it or without the battery."""
    for method in methods:
        if method.method == HEADLINE_METHOD and honesty is not None and E_SCORE in method.scores:
            return by_construction(method.scores[E_SCORE], method.chance[E_SCORE], honesty)
    return None
