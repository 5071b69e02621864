# SPDX-License-Identifier: Apache-2.0
"""The examples in the package's docstrings say what the code does."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import fedxai

ROOT = Path(fedxai.__file__).parent
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
    for path in ROOT.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def test_there_are_examples():
    assert len(WITH_EXAMPLES) > 10


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_an_example_gives_what_it_says(name):
    assert doctest.testmod(import_module(name)).failed == 0
