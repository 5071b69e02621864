# SPDX-License-Identifier: Apache-2.0
"""A site and its server must tell the same story."""

import json

import pytest

from fedxai.errors import LedgerError
from fedxai.privacy.compare import compare
from fedxai.privacy.ledger import Ledger

DIGESTS = [f"{number:064x}" for number in range(8)]


@pytest.fixture
def ledgers(tmp_path) -> tuple[Ledger, Ledger]:
    """Site and server after four answers, a refusal of the site's own gate, and another site's answer."""
    site, server = Ledger(tmp_path / "site.jsonl"), Ledger(tmp_path / "server.jsonl")
    for number in range(4):
        told = server.head()
        message = {
            "kind": "update",
            "task": "train",
            "job": "j",
            "round_": number,
            "size": 10,
            "digest": DIGESTS[number],
        }
        head = site.record(**message, head=told)
        site.record(kind="event", channel="aux", job="j", size=3, decision="refused", reason="unknown-channel")
        server.record(**message, decision="received", site="site-1", head=head)
        server.record(**message, decision="received", site="site-2")
    return site, server


def test_the_same_story_agrees(ledgers):
    site, server = ledgers
    found = compare(site.path, server.path, site="site-1")
    assert found.agrees
    assert (found.agreed, found.heads, found.told, found.differences) == (4, 4, 4, [])


def test_a_past_written_anew_is_found(ledgers):
    site, server = ledgers
    entries = [json.loads(line) for line in site.path.read_bytes().splitlines()]
    site.path.unlink()
    for entry in entries[2:]:  # without the first answer, with hashes that follow
        message = {"kind": entry["kind"], "size": entry["bytes"], "task": entry.get("task"), "job": entry["job"]}
        refused = {"decision": entry["decision"], "reason": entry.get("reason"), "round_": entry.get("round")}
        site.record(**message, **refused, digest=entry.get("digest", ""))
    found = compare(site.path, server.path, site="site-1")
    assert not found.agrees
    assert "entry 1 or one before it was written anew: its hash was known to be another" in found.site_audit.findings
    assert found.differences == [
        f"an answer to train (job j, round 0, 10 bytes, digest {'0' * 12}) arrived and is not in the site's ledger"
    ]


def test_a_ledger_cut_off_at_its_end_is_found(ledgers):
    site, server = ledgers
    site.path.write_bytes(b"".join(site.path.read_bytes().splitlines(keepends=True)[:4]))
    found = compare(site.path, server.path, site="site-1")
    assert "entries 5 to 7 are cut off at the end" in found.site_audit.findings
    assert len(found.differences) == 2


def test_a_server_that_writes_its_past_anew_is_found_by_what_it_told_the_site(ledgers):
    site, server = ledgers
    entries = list(server.entries())
    server.path.unlink()
    for entry in entries[1:]:  # without the first arrival, with hashes that follow
        words = {"kind": entry.kind, "size": entry.bytes, "task": entry.task, "job": entry.job, "round_": entry.round}
        server.record(**words, digest=entry.digest, decision="received", site=entry.site, head=entry.head)
    found = compare(site.path, server.path, site="site-1")
    assert not found.server_audit.intact
    assert "entry 2 or one before it was written anew: its hash was known to be another" in found.server_audit.findings
    assert not found.agrees


def test_what_left_and_never_arrived_is_told(ledgers):
    site, server = ledgers
    site.record(kind="update", task="train", job="j", round_=4, size=10, digest=DIGESTS[5])
    assert [
        difference.endswith("left the site and did not arrive")
        for difference in compare(site.path, server.path, site="site-1").differences
    ] == [True]


def test_another_jobs_answers_are_no_difference(ledgers):
    site, server = ledgers
    site.record(kind="update", task="train", job="another", round_=0, size=10, digest=DIGESTS[6])
    assert compare(site.path, server.path, site="site-1").agrees


@pytest.mark.parametrize("name", [None, "site-3"])
def test_an_unknown_or_unnamed_site_lists_the_choices(ledgers, name):
    site, server = ledgers
    with pytest.raises(LedgerError, match="it has site-1, site-2"):
        compare(site.path, server.path, site=name)
