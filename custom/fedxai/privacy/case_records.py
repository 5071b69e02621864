# SPDX-License-Identifier: Apache-2.0
"""How many single cases a summary tells of: what it adds to |D_shared| of Eq. 6."""

from typing import Any


def case_records(told: object) -> int:
    """Count the tables of a summary that hold a figure over one case, and the cells of a single one.

    Where the smallest cell of a site is above 1 its gate lets none of them out, so the count is 0. Otherwise it may
    count a case more than once, never less: several tables can tell of the same one.

    Args:
        told: the summary as it travels, of tables, lists and numbers.

    Example:
        >>> case_records({"loss": {"value": 0.5, "n": 1}, "accuracy": {"value": 1.0, "n": 1}})
        1
        >>> case_records({"confusion": [[1, 0], [6, 1]]})
        2
    """
    if isinstance(told, list):
        return sum(map(case_records, told))
    if not isinstance(told, dict):
        return 0
    cells = sum(cell == 1 for row in told.get("confusion") or () for cell in row)
    return cells + any(map(_of_one, told.values())) + sum(map(case_records, told.values()))


def _of_one(part: Any) -> bool:
    return isinstance(part, dict) and part.get("n") == 1 and part.get("value") is not None
