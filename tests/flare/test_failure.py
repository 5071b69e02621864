# SPDX-License-Identifier: Apache-2.0
import builtins
import resource

import pytest

from fedxai.flare.failure import FAILURE, FailureNote


@pytest.fixture
def note(tmp_path) -> FailureNote:
    note = FailureNote(tmp_path)
    note.reserve()
    return note


def test_the_first_sentence_stays(note, tmp_path):
    assert note.write("round 2 got no update\nand more")
    assert not note.write("the disk is full")
    assert (tmp_path / FAILURE).read_text() == "round 2 got no update and more\n"


def test_a_sentence_finds_room_on_a_full_disk(note, tmp_path):
    """No file may grow, as on a disk without room; what is reserved is written over."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, limits[1]))
    try:
        with pytest.raises(OSError, match=r"too large"), builtins.open(tmp_path / "other", "wb") as file:
            file.write(bytes(4096))
        assert note.write("no space left " * 500)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / FAILURE).stat().st_size == 2048


def test_a_run_that_did_what_it_was_asked_leaves_neither_sentence_nor_room(note, tmp_path):
    note.release()
    assert list(tmp_path.iterdir()) == []
    assert not note.write("too late")


def test_a_new_run_forgets_the_sentence_of_the_one_before(note, tmp_path):
    note.write("old")
    FailureNote(tmp_path).reserve()
    assert not (tmp_path / FAILURE).exists()
