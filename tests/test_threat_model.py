# SPDX-License-Identifier: Apache-2.0
"""Every line of the threat model names a control and tests that exist."""

import ast
import re

import pytest

_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
ACTORS = ("server operator", "another site", "the network", "a malicious bundle author", "a curious annotator")


@pytest.fixture(scope="module")
def lines(repository) -> list[list[str]]:
    """The rows of the table of threats: who, what, control, tests."""
    text = (repository / "docs" / "threat_model.md").read_text(encoding="utf-8")
    table = text.split("| who | could | control | test |", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table.strip().splitlines()[1:]]


def test_each_line_has_somebody_a_threat_a_control_and_a_test(lines):
    assert len(lines) >= 20
    for line in lines:
        assert len(line) == 4, line
        assert all(line), line
        assert _TEST.search(line[3]), f"no test stands against: {line[1]}"


def test_every_test_that_is_named_exists(lines, repository):
    for path, name in (found for line in lines for found in _TEST.findall(line[3])):
        tree = ast.parse((repository / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{path} has no {name}"


def test_everybody_of_the_purpose_is_there(lines):
    assert set(ACTORS) <= {line[0] for line in lines}
