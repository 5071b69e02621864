# SPDX-License-Identifier: Apache-2.0
"""A site's record of everything that left it: one line a message, by kind, with its bytes."""

import json
import os
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

from fedxai.records import Holding, Outgoing, PrivacyScore


class Ledger:
    """An append-only file of messages that left, flushed to disk before each is sent.

    Each line is JSON: ``time``, ``kind``, ``round``, ``bytes``, ``case_records``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def record(self, *, kind: str, round_: int, size: int, case_records: int = 0) -> None:
        """Append one message of ``size`` bytes."""
        entry = {
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "kind": kind,
            "round": round_,
            "bytes": size,
            "case_records": case_records,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def totals(self) -> list[Outgoing]:
        """What left so far, summed by kind."""
        if not self.path.is_file():
            return []
        sums: dict[str, list[int]] = {}
        for line in self.path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            total = sums.setdefault(entry["kind"], [0, 0, 0])
            total[0] += 1
            total[1] += entry["bytes"]
            total[2] += entry["case_records"]
        return [
            Outgoing(kind=kind, messages=messages, bytes=size, case_records=records)
            for kind, (messages, size, records) in sorted(sums.items())
        ]


def privacy_score(outgoing: Iterable[Outgoing], holdings: Iterable[Holding]) -> PrivacyScore:
    """Eq. 6 from counts: ``P = 1 - |D_shared| / |D_total|``.

    The sets are counted in case records (an image, map or row of one case), the reading of the paper; beside it
    stand the bytes that left over the bytes held, which can exceed 1 because model updates are sent every round.

    Args:
        outgoing: what left the sites, by kind.
        holdings: what each site holds.

    Returns:
        The score and its counts; the score is None where nothing is held.
    """
    left, held = list(outgoing), list(holdings)
    records, total = sum(part.case_records for part in left), sum(part.case_records for part in held)
    size, bytes_held = sum(part.bytes for part in left), sum(part.bytes for part in held)
    updates = sum(part.bytes for part in left if part.kind == "update")
    return PrivacyScore(
        case_records_shared=records,
        case_records_total=total,
        score=1 - records / total if total else None,
        bytes_shared=size,
        bytes_total=bytes_held,
        bytes_ratio=size / bytes_held if bytes_held else None,
        summary_bytes=size - updates,
        update_bytes=updates,
    )
