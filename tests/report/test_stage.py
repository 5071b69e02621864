# SPDX-License-Identifier: Apache-2.0
"""A staged folder appears whole; what a killed run left is removed by the next run of the same folder, nothing else."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedxai.errors import RunError
from fedxai.report.stage import staged

KILLED = """
import os, signal, sys
from pathlib import Path
from fedxai.report.stage import staged

with staged(Path(sys.argv[1])) as stage:
    (stage / "image.png").write_text("a patient")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def fill(folder: Path, text: str = "whole") -> None:
    with staged(folder) as stage:
        (stage / "page.html").write_text(text)


def killed(folder: Path) -> Path:
    """What a run leaves that is killed while it writes."""
    before = set(folder.parent.iterdir())
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    assert done.returncode == -signal.SIGKILL
    [left] = set(folder.parent.iterdir()) - before
    assert (left / "image.png").is_file()
    return left


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_folder_appears_whole_and_marked_and_replaces_the_earlier_one(tmp_path: Path) -> None:
    for text in ("first", "second"):
        fill(tmp_path / "o", text)
        assert (tmp_path / "o" / "page.html").read_text() == text
    assert names(tmp_path) == ["o"]
    assert names(tmp_path / "o") == ["NEVER_LEAVES_THE_SITE.txt", "page.html"]


def test_an_error_inside_keeps_the_earlier_folder(tmp_path: Path) -> None:
    fill(tmp_path / "o")
    with pytest.raises(KeyError), staged(tmp_path / "o"):
        raise KeyError
    assert names(tmp_path) == ["o"]
    assert names(tmp_path / "o") == ["NEVER_LEAVES_THE_SITE.txt", "page.html"]


def test_what_a_killed_run_left_says_what_it_is_and_goes_with_the_next_run(tmp_path: Path) -> None:
    left = killed(tmp_path / "o")
    assert "never leaves the site" in (left / "NEVER_LEAVES_THE_SITE.txt").read_text()
    fill(tmp_path / "o")
    assert names(tmp_path) == ["o"]


def test_what_is_not_of_this_folder_or_not_ours_stays(tmp_path: Path) -> None:
    other = killed(tmp_path / "other")
    mine = tmp_path / ".o-notes"
    mine.mkdir()
    finished = tmp_path / ".o-kept"
    fill(finished)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "thesis.txt").write_text("years of work")
    link = tmp_path / ".o.unfinished.fedxai-link"
    link.symlink_to(elsewhere)
    fill(tmp_path / "o")
    assert {other, mine, finished, elsewhere, link} <= set(tmp_path.iterdir())
    assert names(elsewhere) == ["thesis.txt"]


def test_a_folder_that_another_run_still_fills_stays(tmp_path: Path) -> None:
    with staged(tmp_path / "o") as first:
        fill(tmp_path / "o", "second")
        (first / "page.html").write_text("first")
    assert (tmp_path / "o" / "page.html").read_text() == "first"
    assert names(tmp_path) == ["o"]


def test_a_disk_that_refuses_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(RunError, match="o: writing failed, file exists; make room or choose another folder"):
        fill(tmp_path / "file" / "o")


def test_an_earlier_folder_stands_again_where_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "o", "first")
    replace = os.replace

    def refuse(source: Path, target: Path) -> None:
        if Path(target) == tmp_path / "o" and not str(source).endswith("-old"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(RunError, match="no space left on device"):
        fill(tmp_path / "o", "second")
    assert (tmp_path / "o" / "page.html").read_text() == "first"
    assert names(tmp_path) == ["o"]
