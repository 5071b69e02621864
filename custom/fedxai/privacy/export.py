# SPDX-License-Identifier: Apache-2.0
"""A ledger as a table for other programs."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedxai.privacy.chain import Entry
from fedxai.privacy.ledger import Ledger

_COLUMNS = [*(name for name in Entry.model_fields if name != "head"), "head_count", "head_hash"]


def as_csv(path: Path) -> str:
    """All entries as CSV with a header; names begin with a letter or digit, so no cell is taken for a formula."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_rows(path))
    return text.getvalue()


def as_json(path: Path) -> str:
    """All entries as a JSON list."""
    return json.dumps(list(_rows(path)), indent=1) + "\n"


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for entry in Ledger(path).entries():
        row = entry.model_dump(mode="json", exclude={"head"})
        head = entry.head
        yield {**row, "head_count": head.count if head else None, "head_hash": head.hash if head else None}
