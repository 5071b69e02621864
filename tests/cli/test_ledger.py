# SPDX-License-Identifier: Apache-2.0
"""`fedxai ledger` as an auditor types it."""

import csv
import io
import json

import pytest
from typer.testing import CliRunner

from fedxai.cli import app
from fedxai.privacy.ledger import Ledger


@pytest.fixture
def path(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.record(kind="update", task="train", job="j", round_=0, channel="task", size=4096, digest="ab" * 32)
    ledger.record(kind="event", channel="aux", size=12, decision="refused", reason="unknown-channel")
    return ledger.path


def told(*arguments, code=0) -> str:
    result = CliRunner().invoke(app, ["ledger", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.parametrize("command", ["show", "verify", "export", "compare"])
def test_the_help_ends_with_an_example(command):
    assert f"fedxai ledger {command}" in told(command, "--help")


def test_show_has_a_line_an_entry_and_the_sum_of_what_left(path):
    lines = told("show", path).splitlines()
    assert "train" in lines[1]
    assert "unknown-channel" in lines[2]
    assert lines[3:] == ["update: 1 messages, 4096 bytes, 0 case records"]


def test_verify_ends_with_one_when_something_was_changed(path):
    head = told("verify", path).split()[-1]
    assert head.startswith("2:")
    path.write_bytes(path.read_bytes().replace(b"4096", b"4097"))
    assert "entry 1 (line 1) was changed" in told("verify", path, code=1)
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0].replace(b"4097", b"4096"))
    told("verify", path)
    assert "cut off at the end" in told("verify", path, "--head", head, code=1)


def test_export_writes_what_other_programs_read(path, tmp_path):
    [update, event] = csv.DictReader(io.StringIO(told("export", path)))
    assert (update["bytes"], update["round"], event["reason"]) == ("4096", "0", "unknown-channel")
    told("export", path, "--format", "json", "--out", tmp_path / "ledger.json")
    assert [row["kind"] for row in json.loads((tmp_path / "ledger.json").read_text())] == ["update", "event"]


def test_compare_ends_with_one_when_the_stories_differ(path, tmp_path):
    server = Ledger(tmp_path / "server.jsonl")
    message = {"kind": "update", "task": "train", "job": "j", "round_": 0, "size": 4096, "digest": "ab" * 32}
    server.record(**message, decision="received", site="site-1", head=Ledger(path).head())
    assert "1 messages stand in both" in told("compare", path, server.path)
    server.record(**{**message, "round_": 1}, decision="received", site="site-1")
    assert "arrived and is not in the site's ledger" in told("compare", path, server.path, code=1)
