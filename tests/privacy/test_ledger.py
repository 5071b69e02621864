# SPDX-License-Identifier: Apache-2.0
import hashlib
import os
import resource
import subprocess
import sys

import pytest

from fedxai.errors import LedgerError
from fedxai.intake.cohort import Cohort, site_cohorts
from fedxai.privacy.audit import verify
from fedxai.privacy.ledger import Ledger, privacy_score
from fedxai.records import Holding, Outgoing

WRITER = """
import sys
from pathlib import Path
from fedxai.privacy.ledger import Ledger
for number in range(int(sys.argv[3])):
    Ledger(Path(sys.argv[1])).record(kind=sys.argv[2], size=number)
"""


def test_what_is_recorded_is_there_for_the_next_process(tmp_path):
    Ledger(tmp_path / "site" / "ledger.jsonl").record(kind="update", round_=0, size=100)
    Ledger(tmp_path / "site" / "ledger.jsonl").record(kind="update", round_=1, size=50)
    Ledger(tmp_path / "site" / "ledger.jsonl").record(kind="explanation", round_=1, size=7)
    assert Ledger(tmp_path / "site" / "ledger.jsonl").totals() == [
        Outgoing(kind="explanation", messages=1, bytes=7),
        Outgoing(kind="update", messages=2, bytes=150),
    ]


def test_an_empty_ledger_has_no_totals(tmp_path):
    assert Ledger(tmp_path / "none").totals() == []


def test_p_is_one_when_no_case_record_left():
    score = privacy_score([Outgoing(kind="update", messages=1, bytes=300)], [Holding(case_records=20, bytes=100)])
    assert score.score == 1.0
    assert score.bytes_ratio == 3.0
    assert (score.update_bytes, score.summary_bytes) == (300, 0)


def test_p_is_zero_when_everything_was_moved():
    moved = Outgoing(kind="cohort", messages=1, bytes=100, case_records=20)
    assert privacy_score([moved], [Holding(case_records=20, bytes=100)]).score == 0.0


def test_p_counts_one_leaked_record():
    leaked = Outgoing(kind="map", messages=1, bytes=9, case_records=1)
    assert privacy_score([leaked], [Holding(case_records=4, bytes=100)]).score == 0.75


def test_p_without_data_is_undefined():
    assert privacy_score([], []).score is None


def test_the_holding_equals_hand_counted_files(phantom_root):
    """|D_total| of Eq. 6 is every file of the cohort, counted here with nothing but the file system."""
    for path in site_cohorts(phantom_root).values():
        files = [file for file in path.rglob("*") if file.is_file()]
        holding = Cohort.open(path).holding()
        assert holding.bytes == sum(file.stat().st_size for file in files)
        assert holding.case_records == len(list((path / "images").iterdir()))


def test_what_was_refused_did_not_leave(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.record(kind="update", size=100, job="a")
    ledger.record(kind="update", size=7, decision="refused", reason="too-fine", case_records=3)
    assert ledger.totals() == ledger.totals("a") == [Outgoing(kind="update", messages=1, bytes=100)]
    assert ledger.totals("b") == []


def test_an_entry_is_on_the_disk_before_record_returns(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(os.fstat(descriptor).st_size))
    Ledger(tmp_path / "ledger.jsonl").record(kind="update", size=1)
    assert (tmp_path / "ledger.jsonl").stat().st_size in flushed


def test_a_hostile_name_is_cut_to_harmless_characters(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.record(kind='=cmd|"x"\n', size=0, channel="Bärbel " * 40, decision="refused", reason="no,\nway")
    [entry] = ledger.entries()
    assert (entry.kind, entry.reason) == ("cmd__x__", "no__way")
    assert len(entry.channel) == 64
    assert entry.channel.isascii()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"size": -1}, "bytes .* greater than or equal to 0, got -1"),
        ({"size": 1, "digest": "not hex"}, "digest .* got 'not hex'"),
        ({"size": 1, "decision": "refused"}, "reason must be given with decision 'refused'"),
        ({"size": 1, "reason": "small-cell"}, "and only then, got released"),
    ],
)
def test_an_entry_that_breaks_a_rule_is_not_written(tmp_path, values, sentence):
    with pytest.raises(LedgerError, match=sentence):
        Ledger(tmp_path / "ledger.jsonl").record(kind="update", **values)
    assert list(Ledger(tmp_path / "ledger.jsonl").entries()) == []


def test_several_processes_write_one_chain(tmp_path):
    path = tmp_path / "ledger.jsonl"
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen([*command, name, "25"]) for name in ("one", "two", "three")]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    audit = verify(path)
    assert audit.intact
    assert audit.head.count == 75
    assert [(part.kind, part.messages, part.bytes) for part in Ledger(path).totals()] == [
        (name, 25, 300) for name in ("one", "three", "two")
    ]


@pytest.mark.parametrize("kept", [1, 100, -2])
def test_a_torn_last_line_is_kept_and_vouched_for_by_the_next_entry(tmp_path, kept):
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    for size in (1, 2):
        ledger.record(kind="update", size=size)
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:kept])
    assert "line 2 is torn" in verify(path).findings[0]
    assert [entry.bytes for entry in ledger.entries()] == [1]
    ledger.record(kind="update", size=3)
    fragment = path.read_bytes().splitlines()[1]
    assert fragment == second[:kept]
    torn = list(ledger.entries())[1]
    assert (torn.kind, torn.bytes, torn.digest) == ("torn", len(fragment), hashlib.sha256(fragment).hexdigest())
    audit = verify(path)
    assert audit.intact
    assert f"a crash left {len(fragment)} bytes" in audit.notes[0]
    assert ledger.totals() == [Outgoing(kind="update", messages=2, bytes=4)]


def test_a_line_that_lacks_only_its_end_is_taken_for_whole(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.record(kind="update", size=1)
    ledger.path.write_bytes(ledger.path.read_bytes()[:-1])
    ledger.record(kind="update", size=2)
    assert verify(ledger.path).head.count == 2
    assert [entry.bytes for entry in ledger.entries()] == [1, 2]


def test_a_full_disk_raises_and_the_ledger_goes_on_when_there_is_room_again(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.record(kind="update", size=1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ledger.path.stat().st_size + 40, before[1]))
    try:
        with pytest.raises(LedgerError, match="cannot be written .*so nothing is sent"):
            ledger.record(kind="update", size=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    ledger.record(kind="update", size=3)
    assert verify(ledger.path).intact
    assert [entry.bytes for entry in ledger.entries() if entry.kind == "update"] == [1, 3]


def test_a_damaged_last_entry_stops_the_ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.record(kind="update", size=1)
    ledger.path.write_bytes(ledger.path.read_bytes().replace(b'"n":1', b'"n":x'))
    with pytest.raises(LedgerError, match="last entry is damaged"):
        ledger.record(kind="update", size=2)
    with pytest.raises(LedgerError, match="line 1 of the ledger is no entry"):
        ledger.totals()
