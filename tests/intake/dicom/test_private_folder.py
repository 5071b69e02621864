# SPDX-License-Identifier: Apache-2.0
"""Patients' files that were unpacked do not stay behind, even where the process was killed."""

import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fedxai.errors import CohortError
from fedxai.intake.dicom.private_folder import private_folder

KILLED = """
import os, signal
from fedxai.intake.dicom.private_folder import private_folder
with private_folder() as folder:
    (folder / "Doe^Jane").write_text("x")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """A TMPDIR of the test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_only_its_owner_reads_it_and_it_goes_again(temporary):
    with private_folder() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "file").write_text("x")
    assert not list(temporary.iterdir())


def test_the_next_one_removes_what_a_killed_process_left(temporary):
    subprocess.run([sys.executable, "-c", KILLED], check=False)
    assert list(temporary.rglob("Doe^Jane"))
    with private_folder() as folder:
        assert list(temporary.iterdir()) == [folder]


def test_the_folder_of_a_living_process_is_left_alone():
    with private_folder() as one:
        with private_folder() as two:
            assert one != two
        assert one.is_dir()


def test_a_link_planted_beside_it_is_not_followed(temporary, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (temporary / "fedxai-unpacked-x").symlink_to(other)
    with private_folder():
        pass
    assert other.is_dir()


def test_without_a_temporary_folder_it_is_one_sentence(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(Path("/proc/nowhere")))
    with pytest.raises(CohortError, match="The temporary folder cannot be used: .*; set TMPDIR"), private_folder():
        pass
