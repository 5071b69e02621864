# SPDX-License-Identifier: Apache-2.0
"""What of an export is opened, and what never is."""

import errno
import io
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    generate_uid,
)

from fedxai.errors import CohortError
from fedxai.intake.dicom import archive, reading
from fedxai.intake.dicom.archive import unpack
from fedxai.intake.dicom.find import open_export
from fedxai.intake.dicom.reading import NotDicom, read_header


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory, monkeypatch):
    """A TMPDIR of the test's own."""
    folder = tmp_path_factory.mktemp("tmp")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def export(writer, phantom):
    for k in range(3):
        writer.slice(phantom[k], (0, 0, k))
    return writer.folder


def _index(folder, *paths):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.DirectoryRecordSequence = [Dataset() for _ in paths]
    for record, path in zip(ds.DirectoryRecordSequence, paths, strict=True):
        record.ReferencedFileID = path
    ds.save_as(folder / "DICOMDIR", enforce_file_format=True)


def _zip(path, members, **options):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return path


def test_names_and_suffixes_mean_nothing(export):
    (export / "notes.dcm").write_text("no DICOM at all")
    (export / "sub").mkdir()
    (export / "f007919").rename(export / "sub" / "scan.txt")
    with open_export(export) as found:
        assert len(found.files) == 3


def test_a_file_without_its_preamble_is_read(export):
    path = export / "f007919"
    path.write_bytes(path.read_bytes()[132:])
    header = read_header(path)
    assert header.Modality == "CT"
    bare = path.read_bytes()
    (export / "f007919").write_bytes(bare[12 + int.from_bytes(bare[8:12], "little") :])
    assert read_header(path).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    with open_export(export) as found:
        assert len(found.files) == 3


def test_links_and_pipes_are_never_opened(export, tmp_path):
    outside = tmp_path / "outside"
    shutil.copytree(export, outside)
    (export / "link").symlink_to(outside)
    (export / "file").symlink_to(outside / "f007919")
    os.mkfifo(export / "pipe")
    with open_export(export) as found:
        assert len(found.files) == 3
        assert found.notes == ["2 symbolic links were not followed; copy what they stand for if it is needed."]


def test_a_dicomdir_is_held_against_its_folder_and_never_followed(export, tmp_path):
    shutil.copy(export / "f007919", tmp_path / "SECRET")
    _index(export, "f007919", ["GONE", "FILE"], ["..", "SECRET"], "/etc/passwd", "C:\\SECRET")
    with open_export(export / "DICOMDIR") as found:
        assert len(found.files) == 3
        assert all(export in file.parents for file in found.files)
        assert "3 ReferencedFileID lead out" in found.notes[0]
        assert "1 files that it lists are not there" in found.notes[1]


def test_a_damaged_dicomdir_stops_nothing(export):
    (export / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 50)
    with open_export(export) as found:
        assert len(found.files) == 3


def test_the_zip_of_an_export_is_unpacked_under_numbers_and_goes_again(export, tmp_path):
    names = {f"Doe^Jane/{path.name}": path.read_bytes() for path in export.iterdir()}
    with open_export(_zip(tmp_path / "export.zip", names)) as found:
        assert len(found.files) == 3
        assert not any("Doe" in str(file) for file in found.files)
        private = found.files[0].parents[1]
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert not private.exists()


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "C:\\evil", "..\\evil", "\\\\host\\evil"])
def test_a_member_that_climbs_out_refuses_the_archive(tmp_path, name):
    path = _zip(tmp_path / "export.zip", {"fine": b"x", name: b"x"})
    with pytest.raises(CohortError, match="leads out of its folder"):
        unpack(path, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_member_that_is_a_link_refuses_the_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as opened:
        member = zipfile.ZipInfo("link")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(member, "/etc/passwd")
    with pytest.raises(CohortError, match="symbolic link"):
        unpack(tmp_path / "export.zip", tmp_path / "new")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = _zip(tmp_path / "bomb.zip", {"bomb": bytes(20_000_000)})
    with pytest.raises(CohortError, match="grows more than 200 times"):
        unpack(path, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_bomb_that_lies_about_its_size_is_held_to_what_it_says(tmp_path):
    path = _zip(tmp_path / "bomb.zip", {"bomb": bytes(5_000_000)})
    content = path.read_bytes().replace((5_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    path.write_bytes(content)
    with pytest.raises(CohortError, match="damaged"):
        unpack(path, tmp_path / "new")
    assert sum(file.stat().st_size for file in (tmp_path / "new").iterdir()) <= 1000


def test_too_much_and_too_many_are_refused(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).bytes(3000)
    path = _zip(tmp_path / "export.zip", {"a": noise, "b": noise})
    with pytest.raises(CohortError, match="would take more than"):
        unpack(path, tmp_path / "new", most_bytes=5000)
    monkeypatch.setattr(archive, "MOST_FILES", 1)
    with pytest.raises(CohortError, match="more than 1 files"):
        unpack(path, tmp_path / "new")


def test_a_truncated_zip_is_refused(export, tmp_path):
    path = _zip(tmp_path / "export.zip", {"a": os.urandom(5000)})
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(CohortError, match="ZIP is damaged"), open_export(path):
        pass


def test_a_hostile_zip_among_files_does_not_stop_the_rest(export):
    _zip(export / "evil.zip", {"../evil": b"x"})
    with open_export(export) as found:
        assert len(found.files) == 3
        assert "leads out" in found.refused[0]


def _refuse(monkeypatch, owner, name, closed, number=errno.EACCES):
    """Let the system refuse one path; root may open everything."""
    real = getattr(owner, name)

    def guarded(path, *more, **options):
        if str(path) == str(closed):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *more, **options)

    monkeypatch.setattr(owner, name, guarded)


@pytest.mark.parametrize("owner_and_name", [(Path, "open"), (Path, "lstat"), (os, "scandir")])
def test_what_cannot_be_opened_is_refused_without_its_name_and_the_rest_goes_on(export, monkeypatch, owner_and_name):
    closed = export / "Doe^Jane"
    closed.mkdir() if owner_and_name[1] == "scandir" else closed.write_bytes(b"\0")
    _refuse(monkeypatch, *owner_and_name, closed)
    with open_export(export) as found:
        assert len(found.files) == 3
        assert found.refused == ["A file or folder cannot be opened (PermissionError); make it readable and run again."]


def test_an_export_that_cannot_be_opened_is_one_sentence(export, monkeypatch):
    _refuse(monkeypatch, os, "scandir", export, errno.EIO)
    with pytest.raises(CohortError, match="cannot be opened \\(OSError\\)"), open_export(export):
        pass


def test_a_full_temporary_folder_is_one_sentence_and_keeps_nothing(export, tmp_path, monkeypatch):
    def full(opened, member, path):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    path = _zip(tmp_path / "export.zip", {"a": b"x"})
    monkeypatch.setattr(archive, "_write", full)
    with pytest.raises(CohortError, match="temporary folder is full; set TMPDIR"), open_export(path):
        pass
    path.rename(export / "export.zip")
    with open_export(export) as found:
        assert len(found.files) == 3
        assert found.refused == ["The temporary folder is full; set TMPDIR to a larger disk."]
        assert not list(Path(tempfile.gettempdir()).glob("fedxai-unpacked-*/*"))


def test_a_deflated_bomb_is_refused_while_it_grows(tmp_path, pydicom_files, monkeypatch):
    monkeypatch.setattr(reading, "_DEFLATED_MOST", 2**22)
    good = pydicom_files / "image_dfl.dcm"
    assert read_header(good).Rows == 512
    packed = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = b"\0" * 2**20
    body = b"".join(packed.compress(zeros) for _ in range(8)) + packed.flush()
    head = good.read_bytes()
    head = head[: 144 + int.from_bytes(head[140:144], "little")]
    (tmp_path / "bomb").write_bytes(head + body)
    with pytest.raises(CohortError, match="damaged"):
        read_header(tmp_path / "bomb")


@pytest.mark.parametrize("content", [b"", b"DICM", b"%PDF-1.7", b"\x89PNG\r\n", b"\0" * 500])
def test_wrong_magic_is_no_dicom(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(NotDicom):
        read_header(tmp_path / "file")
    with pytest.raises(CohortError, match="no DICOM file"), open_export(tmp_path):
        pass


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(CohortError, match="does not exist"), open_export(tmp_path / "gone"):
        pass


def test_a_deflated_file_is_in_a_zip_too(tmp_path, pydicom_files):
    """Nested compression of honest files stays far below a bomb's."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.write(pydicom_files / "image_dfl.dcm", "image")
    (tmp_path / "export.zip").write_bytes(buffer.getvalue())
    with open_export(tmp_path / "export.zip") as found:
        assert read_header(found.files[0]).file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
