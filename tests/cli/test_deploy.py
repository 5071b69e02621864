# SPDX-License-Identifier: Apache-2.0
"""`fedxai deploy`, `job`, `watch` and `doctor` as people type them, right and wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
FEDXAI = Path(sys.executable).with_name("fedxai")


def run(*arguments: object, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [FEDXAI, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize(
    "command",
    ["deploy init", "deploy kits", "deploy check", "deploy up", "deploy down", "job pack", "watch", "doctor"],
)
def test_the_help_ends_with_an_example(command):
    done = run(*command.split(), "--help")
    assert f"Example: fedxai {command}" in done.stdout.replace("`", "")


def test_kits_are_made_listed_and_checked(repository, tmp_path):
    made = run("deploy", "init", "--project", repository / "poc_workspace" / "project.yml", "--out", tmp_path / "out")
    assert made.returncode == 0, made.stderr
    listed = run("deploy", "kits", tmp_path / "out").stdout
    assert all(role in listed for role in ("project_admin", "lead", "org_admin", "member"))
    checked = run("deploy", "check", tmp_path / "out")
    assert checked.returncode == 1, "no cohort, no bundle, no server yet"
    assert "so the site refuses every job" in " ".join(checked.stdout.split())


def test_what_is_no_kit_or_deployment_is_refused_in_one_sentence(tmp_path):
    for arguments in (("doctor", tmp_path), ("watch", "--kit", tmp_path)):
        done = run(*arguments)
        assert done.returncode == 1
        assert "KIT must be a folder with startup/fed_*.json" in done.stderr
    done = run("deploy", "up", tmp_path)
    assert done.returncode == 1
    assert "no startup kits in" in done.stderr


def test_a_packed_job_says_how_to_submit_it(repository, tmp_path):
    done = run("job", "pack", repository / "jobs" / "fedxai", "--rounds", "3", "--out", tmp_path / "brain")
    assert done.returncode == 0, done.stderr
    assert "submit_job brain" in done.stdout.replace("\n", " ")
    assert not (tmp_path / "brain" / "app" / "custom").exists()


def test_a_job_without_a_seed_is_packed_too(repository, tmp_path):
    done = run("job", "pack", repository / "jobs" / "survey", "--out", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert "submit_job data" in done.stdout.replace("\n", " ")
