# SPDX-License-Identifier: Apache-2.0
"""A file is there whole or not at all."""

import pytest

from fedxai.intake.whole_file import write_whole


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
