# SPDX-License-Identifier: Apache-2.0
"""The table of controls names tests and pages that exist."""

import re


def test_every_test_and_page_that_the_controls_name_is_there(repository):
    text = (repository / "docs" / "controls.md").read_text()
    named = set(re.findall(r"`((?:tests|docs)/[^`]*)`", text)) | {
        f"docs/{page}" for page in re.findall(r"\]\((\w+\.md)\)", text)
    }
    assert len(named) > 10
    assert not [path for path in named if not (repository / path).exists()]
