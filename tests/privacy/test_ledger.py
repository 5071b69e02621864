# SPDX-License-Identifier: Apache-2.0
from fedxai.intake.cohort import Cohort, site_cohorts
from fedxai.privacy.ledger import Ledger, privacy_score
from fedxai.records import Holding, Outgoing


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
