# SPDX-License-Identifier: Apache-2.0
"""Whatever is done to a ledger is found: every bit, every entry."""

import hashlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedxai.errors import LedgerError
from fedxai.privacy.audit import verify
from fedxai.privacy.chain import GENESIS, Entry, line_of
from fedxai.privacy.ledger import Ledger

ENTRIES = st.lists(
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["update", "survey", "torn"]) | st.text(max_size=8),
            "size": st.integers(0, 2**40),
            "round_": st.none() | st.integers(-1, 300),
            "case_records": st.integers(0, 3),
        }
    ),
    min_size=3,
    max_size=7,
)
PROPERTY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def chained(lines: list[dict]) -> bytes:
    """A chain over these entries, restated plainly from its definition."""
    previous, text = "0" * 64, ""
    for values in lines:
        body = json.dumps(values, sort_keys=True, separators=(",", ":"))
        previous = hashlib.sha256((previous + body).encode()).hexdigest()
        text += body[:-1] + f',"hash":"{previous}"' + "}\n"
    return text.encode()


def plain(path) -> list[dict]:
    """The entries without their hashes."""
    entries = [json.loads(line) for line in path.read_bytes().splitlines()]
    return [{name: value for name, value in entry.items() if name != "hash"} for entry in entries]


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    made = Ledger(tmp_path / "ledger.jsonl")
    for size in range(1, 7):
        made.record(kind="update", size=size, round_=size)
    return made


def written(folder, listed) -> Ledger:
    ledger = Ledger(folder / "ledger.jsonl")
    ledger.path.unlink(missing_ok=True)
    for values in listed:
        kind = values["kind"] if values["kind"] != "torn" else "tornado"
        ledger.record(**{**values, "kind": kind})
    return ledger


def test_the_file_is_the_chain_of_the_definition(ledger):
    assert ledger.path.read_bytes() == chained(plain(ledger.path))


def test_an_untouched_ledger_is_intact(ledger):
    audit = verify(ledger.path, known=[ledger.head()])
    assert audit.intact
    assert audit.head == ledger.head()
    assert not audit.notes


@PROPERTY
@given(ENTRIES, st.data())
def test_any_single_bit_is_found(tmp_path, listed, data):
    ledger = written(tmp_path, listed)
    content, head = bytearray(ledger.path.read_bytes()), ledger.head()
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    ledger.path.write_bytes(content)
    audit = verify(ledger.path, known=[head])
    assert audit.findings


@PROPERTY
@given(ENTRIES, st.data())
def test_any_single_entry_is_missed_doubled_or_moved_in_sight(tmp_path, listed, data):
    ledger = written(tmp_path, listed)
    lines, head = ledger.path.read_bytes().splitlines(keepends=True), ledger.head()
    chosen = data.draw(st.integers(0, len(lines) - 1))
    how = data.draw(st.sampled_from(["remove", "double", "move"]))
    line = lines.pop(chosen) if how != "double" else lines[chosen]
    if how != "remove":
        places = [place for place in range(len(lines) + 1) if how == "double" or place != chosen]
        lines.insert(data.draw(st.sampled_from(places)), line)
    ledger.path.write_bytes(b"".join(lines))
    assert verify(ledger.path, known=[head]).findings


@pytest.mark.slow
def test_bits_all_over_a_ledger_with_a_torn_line_is_found(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.record(kind="update", size=1)
    with ledger.path.open("ab") as file:
        file.write(b'{"bytes"')
    ledger.record(kind="survey", size=2)
    content, head = ledger.path.read_bytes(), ledger.head()
    assert verify(ledger.path, known=[head]).intact
    for bit in range(0, 8 * len(content), 3):  # three and eight share no divisor: every place in a byte comes by
        spoilt = bytearray(content)
        spoilt[bit // 8] ^= 1 << bit % 8
        ledger.path.write_bytes(spoilt)
        assert verify(ledger.path, known=[head]).findings, bit


def test_a_changed_entry_is_named(ledger):
    ledger.path.write_bytes(ledger.path.read_bytes().replace(b'"bytes":4', b'"bytes":5'))
    assert verify(ledger.path).findings == ["entry 4 (line 4) was changed"]


def test_an_unreadable_entry_is_named(ledger):
    ledger.path.write_bytes(ledger.path.read_bytes().replace(b'"bytes":4', b'"bytes"=4'))
    assert verify(ledger.path).findings == [
        "line 4 was changed: it is no entry",
        "entry 4 was removed or made unreadable",
    ]


def test_a_removed_entry_is_named(ledger):
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    ledger.path.write_bytes(b"".join(lines[:2] + lines[3:]))
    assert verify(ledger.path).findings == ["entry 3 was removed or made unreadable"]


def test_reordered_entries_are_named(ledger):
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    lines[1], lines[2] = lines[2], lines[1]
    ledger.path.write_bytes(b"".join(lines))
    assert verify(ledger.path).findings == ["entry 2 is out of order (line 3)"]


def test_a_doubled_entry_is_named(ledger):
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    ledger.path.write_bytes(b"".join([*lines[:2], lines[1], *lines[2:]]))
    assert verify(ledger.path).findings == ["entry 2 stands there twice (line 3)"]


def test_an_end_that_is_cut_off_is_found_by_a_known_head_and_only_so(ledger):
    head = ledger.head()
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    ledger.path.write_bytes(b"".join(lines[:4]))
    assert verify(ledger.path).intact
    assert verify(ledger.path, known=[head]).findings == ["entries 5 to 6 are cut off at the end"]


def test_a_past_written_anew_with_new_hashes_is_found_by_a_known_head_and_only_so(ledger):
    head = ledger.head()
    entries = plain(ledger.path)
    entries[2]["bytes"] = 99
    ledger.path.write_bytes(chained(entries))
    assert verify(ledger.path).intact
    [finding] = verify(ledger.path, known=[head]).findings
    assert finding == "entry 6 or one before it was written anew: its hash was known to be another"


def test_a_crash_that_never_was_cannot_hide_an_entry(ledger):
    """Making a line unreadable and calling it torn needs an entry that vouches for it, and so new hashes."""
    head = ledger.head()
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    ledger.path.write_bytes(b"".join([*lines[:3], b"?" + lines[3][1:], *lines[4:]]))
    assert verify(ledger.path, known=[head]).findings[0] == "line 4 was changed: it is no entry"


def test_what_a_torn_entry_vouches_for_cannot_be_removed(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.record(kind="update", size=1)
    with ledger.path.open("ab") as file:
        file.write(b"half a li")
    ledger.record(kind="survey", size=2)
    ledger.path.write_bytes(ledger.path.read_bytes().replace(b"half a li\n", b""))
    [finding] = verify(ledger.path).findings
    assert finding == "what entry 2 vouches for (a torn line) was changed or removed before it"


def test_a_ledger_full_of_damage_is_not_listed_to_the_end(tmp_path):
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b"x\n" * 1000)
    audit = verify(path)
    assert len(audit.findings) == 101
    assert audit.findings[-1] == "and 900 more"


def test_a_missing_ledger_is_refused(tmp_path):
    with pytest.raises(LedgerError, match="got 'none.jsonl', which is none"):
        verify(tmp_path / "none.jsonl")


@pytest.mark.slow
def test_a_hundred_thousand_entries_cost_one_hash_each(tmp_path, monkeypatch):
    """Counted, not timed: the fast path seals each line once and parses none."""
    from fedxai.privacy import audit, chain

    count, previous = 100_000, GENESIS
    with (tmp_path / "ledger.jsonl").open("wb") as file:
        for n in range(1, count + 1):
            line, previous = line_of(
                Entry.model_construct(n=n, time="t", kind="update", bytes=n, decision="released"), previous
            )
            file.write(line)
    calls = {"sealed": 0, "parsed": 0}

    def counted(name, function):
        def call(*arguments):
            calls[name] += 1
            return function(*arguments)

        return call

    monkeypatch.setattr(chain, "seal", counted("sealed", chain.seal))
    monkeypatch.setattr(audit, "read_line", counted("parsed", audit.read_line))
    assert verify(tmp_path / "ledger.jsonl").head.count == count
    assert calls == {"sealed": count, "parsed": 0}
