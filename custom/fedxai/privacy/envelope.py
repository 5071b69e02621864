# SPDX-License-Identifier: Apache-2.0
"""What may stand on a message's envelope: named headers only, each with its own rule."""

import re
from collections.abc import Callable, Mapping

from fedxai.errors import ReleaseError

Rule = Callable[[object], bool]
_ID = re.compile(r"[A-Za-z0-9_.:\-]{0,128}")
_UUID = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}")


def flag(value: object) -> bool:
    """True or False, or nothing."""
    return value is None or type(value) is bool


def number(value: object) -> bool:
    """A number of at most 8 bytes, or nothing."""
    return value is None or type(value) is float or (type(value) in (int, bool) and abs(value) < 2**63)  # pyright: ignore[reportArgumentType]


def identifier(value: object) -> bool:
    """What FLARE calls its cells, channels, jobs and clients; or nothing."""
    return value is None or (type(value) is str and bool(_ID.fullmatch(value)))


def uuid(value: object) -> bool:
    """A number drawn by FLARE, in its usual form; or nothing."""
    return value is None or (type(value) is str and bool(_UUID.fullmatch(value)))


def exactly(*allowed: object) -> Rule:
    """One of ``allowed``."""
    return lambda value: any(type(value) is type(one) and value == one for one in allowed)


def table(rules: Mapping[str, Rule]) -> Rule:
    """A table with no other names than those of ``rules``, each value by its rule."""
    return lambda value: (
        type(value) is dict
        and all(type(name) is str and name in rules and rules[name](part) for name, part in value.items())
    )


def check(found: object, rules: Mapping[str, Rule], what: str) -> None:
    """Refuse a table with a name that is not in ``rules``, or a value against its rule.

    Raises:
        ReleaseError: names the rule that is broken when the name is a known one; an unknown name could be content.
    """
    if type(found) is not dict:
        raise ReleaseError("types", f"{what} must be a table")
    if any(type(name) is not str or name not in rules for name in found):
        raise ReleaseError("headers", f"{what} may hold only {', '.join(rules) or 'nothing'}")
    for name, value in found.items():
        if not rules[name](value):
            raise ReleaseError("headers", f"{what}: {name} breaks its rule")
