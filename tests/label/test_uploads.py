# SPDX-License-Identifier: Apache-2.0
"""Uploads are what they say and no larger than they may be, whoever wrote them; anything else is a refusal."""

import io
import zipfile

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom.data import get_testdata_file

from fedxai.label.refusals import Refusal
from fedxai.label.uploads import IMAGES, LABELS, examined, examined_archive

LIMIT = 1 << 20


def written(ending: str, folder) -> bytes:
    """A file of that kind as other people's programs write it."""
    voxels = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(6, 5, 4)
    path = folder / f"file{ending}"
    if ending in (".nii", ".nii.gz"):
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)
    elif "nrrd" in ending:
        sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path), useCompression="seg" in ending)
    elif ending == ".dcm":
        return open(get_testdata_file("CT_small.dcm"), "rb").read()
    elif ending == ".bin":
        path.write_bytes(voxels.tobytes())
    else:
        Image.fromarray(voxels[0]).save(path)
    return path.read_bytes()


@pytest.mark.parametrize("ending", dict.fromkeys((*IMAGES, *LABELS)))
def test_what_other_programs_write_passes_and_stands_at_its_begin(tmp_path, ending):
    file = io.BytesIO(written(ending, tmp_path))
    assert examined(file, f"a.b{ending}".upper(), kinds=dict.fromkeys((*IMAGES, *LABELS)), limit=LIMIT) == ending
    assert file.tell() == 0


@pytest.mark.parametrize("ending", [one for one in IMAGES if one != ".jpeg"])
def test_what_would_unpack_to_more_than_the_limit_is_refused(tmp_path, ending):
    with pytest.raises(Refusal) as refused:
        examined(io.BytesIO(written(ending, tmp_path)), f"a{ending}", kinds=IMAGES, limit=16)
    assert refused.value.status_code == 413


@pytest.mark.parametrize("ending", [one for one in (*IMAGES, *LABELS) if one != ".bin"])
@pytest.mark.parametrize("share", [0, 0.3, 0.6])
def test_what_is_cut_short_is_refused(tmp_path, ending, share):
    whole = written(ending, tmp_path)
    # Of DICOM the header is read; its voxels are checked by whoever decodes them.
    cut = whole[: int(len(whole) * share) if ending != ".dcm" else int(share * 120)]
    with pytest.raises(Refusal) as refused:
        examined(io.BytesIO(cut), f"a{ending}", kinds=(ending,), limit=LIMIT)
    assert refused.value.status_code == 400


@given(data=st.binary(max_size=600), ending=st.sampled_from([one for one in LABELS if one != ".bin"] + [".dcm"]))
def test_noise_is_refused_and_nothing_else_happens(data, ending):
    for begin in (b"", b"NRRD0004\n", b"\x1f\x8b\x08\0", b"\x89PNG\r\n\x1a\n", b"\0" * 128 + b"DICM"):
        with pytest.raises(Refusal):
            examined(io.BytesIO(begin + data), f"a{ending}", kinds=(ending,), limit=LIMIT)


@pytest.mark.parametrize("name", [None, "", "a", "a.exe", "a.nii.gz.sh", "nii"])
def test_another_kind_is_refused(name):
    with pytest.raises(Refusal) as refused:
        examined(io.BytesIO(b"x"), name, kinds=LABELS, limit=LIMIT)
    assert refused.value.status_code == 415


def test_a_dicom_that_is_compressed_as_a_whole_is_not_unpacked(tmp_path):
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.decompress() if dataset.file_meta.TransferSyntaxUID.is_compressed else None
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "a.dcm")
    with pytest.raises(Refusal, match="cannot be read"):
        examined(io.BytesIO((tmp_path / "a.dcm").read_bytes()), "a.dcm", kinds=IMAGES, limit=LIMIT)


def zipped(**files: bytes) -> io.BytesIO:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out


def test_an_archive_of_a_series_passes():
    examined_archive(zipped(**{"series/0001.dcm": b"x", "series/0002": b"x"}), limit=LIMIT)


@pytest.mark.parametrize(
    ("name", "status"),
    [("../a.dcm", 400), ("/a.dcm", 400), ("a/../../b.dcm", 400), ("..\\a.dcm", 400), ("C:/a.dcm", 400), ("a.sh", 415)],
)
def test_an_archive_that_leads_out_or_holds_something_else_is_refused(name, status):
    with pytest.raises(Refusal) as refused:
        examined_archive(zipped(**{name: b"x"}), limit=LIMIT)
    assert refused.value.status_code == status


def test_an_archive_with_a_link_is_refused():
    out = io.BytesIO()
    entry = zipfile.ZipInfo("a.dcm")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(Refusal, match="leads out"):
        examined_archive(out, limit=LIMIT)


def test_an_archive_of_too_many_files_is_refused():
    with pytest.raises(Refusal) as refused:
        examined_archive(zipped(**{f"{number}.dcm": b"" for number in range(5001)}), limit=LIMIT)
    assert refused.value.status_code == 413
