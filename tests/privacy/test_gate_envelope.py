# SPDX-License-Identifier: Apache-2.0
"""Only named headers travel, each with its own rule."""

import pytest

from fedxai.errors import ReleaseError
from fedxai.privacy.envelope import check, exactly, identifier, number, table, uuid

RULES = {
    "task": exactly("train"),
    "id": uuid,
    "cell": identifier,
    "round": number,
    "props": table({"site": exactly("a")}),
}


def test_known_headers_pass():
    found = {"task": "train", "id": "e57bd7ba-cfe2-463f-b8fa-42395f694910", "round": 3, "props": {"site": "a"}}
    check(found, RULES, "headers")


@pytest.mark.parametrize(
    "found",
    [
        {"pixels": b"\x00" * 64},
        {"DOE^JANE": None},
        {"task": "validate"},
        {"task": b"train"},
        {"id": "DOE^JANE"},
        {"cell": "x" * 129},
        {"cell": "two words"},
        {"round": 2**70},
        {"round": "3"},
        {"props": {"site": "a", "pixels": 1}},
        {"props": {"site": "b"}},
        {"props": ["a"]},
        [("task", "train")],
    ],
)
def test_anything_else_is_refused_without_being_named(found):
    with pytest.raises(ReleaseError) as refused:
        check(found, RULES, "headers")
    assert "DOE" not in str(refused.value)
    assert "pixels" not in str(refused.value)
