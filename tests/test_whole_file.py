# SPDX-License-Identifier: Apache-2.0
"""A file is there whole or not at all."""

import pytest

from fedxai.whole_file import whole_file, write_whole


def test_what_was_there_gives_way_to_the_whole_new_content(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(b"old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_refuses_keeps_what_was_there_and_nothing_half_written(tmp_path, monkeypatch):
    path = tmp_path / "image.png"
    path.write_bytes(b"old")

    def full(self, content):
        self.open("wb").write(content[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_while_it_is_written_leaves_what_was_there(tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(b"old")

    def fail():
        with whole_file(path) as unfinished:
            unfinished.write_bytes(b"half")
            assert path.read_bytes() == b"old"
            raise ValueError("no state")

    with pytest.raises(ValueError, match="no state"):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_processes_do_not_write_the_same_unfinished_file(tmp_path, monkeypatch):
    path = tmp_path / "weights.pt"
    with whole_file(path) as first:
        monkeypatch.setattr("os.getpid", lambda: 1)
        with whole_file(path) as second:
            assert first != second
            second.write_bytes(b"second")
        first.write_bytes(b"first")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]
