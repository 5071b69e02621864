# SPDX-License-Identifier: Apache-2.0
"""Hard volume files: each is read to the right numbers, or refused in one sentence without a name."""

import gzip
import re

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from fedxai.errors import CohortError
from fedxai.intake.volume_file import Reading, read_volume

VALUES = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)
PLACE = np.array([[-0.5, 0, 0, 10], [0, 0, 2.0, -20], [0, 1.5, 0, 30], [0, 0, 0, 1]])
MOVED = PLACE + np.array([[0, 0, 0, 5]] + [[0, 0, 0, 0]] * 3)


def save(path, voxels=VALUES, *, sform=PLACE, qform=PLACE, codes=(1, 1), kind=nib.Nifti1Image, **fields):
    """Write a NIfTI file, then overwrite header fields as they are given."""
    image = kind(voxels, np.eye(4), dtype=voxels.dtype)
    image.set_qform(qform, code=1)
    image.set_sform(sform, code=1)
    content = bytearray(image.to_bytes())
    header = type(image.header)(bytes(content[: image.header.sizeof_hdr]), check=False)
    header["sform_code"], header["qform_code"] = codes
    for name, value in fields.items():
        header[name] = value
    content[: len(header.binaryblock)] = header.binaryblock
    path.write_bytes(gzip.compress(bytes(content)) if path.suffix == ".gz" else bytes(content))
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "Doe^Jane.nii"


def take(path, **reading):
    return read_volume(path, what="image", reading=Reading(**reading))


def refused(path, **reading):
    with pytest.raises(CohortError) as caught:
        take(path, **reading)
    message = str(caught.value)
    assert message.startswith("The image ")
    assert "Doe" not in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("fields", "expected", "stored"),
    [
        ({"scl_slope": 2.0, "scl_inter": -1000.0}, 2.0 * VALUES - 1000, "float32"),
        ({"scl_slope": 0.001, "scl_inter": 0.0}, np.float32(0.001) * VALUES, "float32"),
        ({"scl_slope": 0.0, "scl_inter": 7.0}, VALUES, "int16"),  # slope 0: not scaled, says the standard
        ({"scl_slope": 1.0, "scl_inter": 0.0}, VALUES, "int16"),
        ({"scl_slope": np.nan, "scl_inter": np.nan}, VALUES, "int16"),
    ],
)
def test_slope_and_intercept_are_applied(path, fields, expected, stored):
    volume = take(save(path, **fields))
    assert volume.voxels.dtype == stored
    np.testing.assert_allclose(volume.voxels, expected, rtol=1e-6)


def test_a_slope_without_a_finite_intercept_is_refused(path):
    assert "no NIfTI file" in refused(save(path, scl_slope=2.0, scl_inter=np.nan))


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".NII.GZ"])
def test_both_versions_compressed_or_not_give_the_same_numbers(tmp_path, kind, suffix):
    path = tmp_path / "x.nii"
    save(path, kind=kind)
    if suffix.lower() == ".nii.gz":
        path = tmp_path / f"x{suffix}"
        path.write_bytes(gzip.compress((tmp_path / "x.nii").read_bytes()))
    volume = take(path)
    np.testing.assert_array_equal(volume.voxels, VALUES)
    np.testing.assert_allclose(volume.affine, PLACE, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "stored"),
    [("u1", "uint8"), ("i1", "int8"), ("u2", "uint16"), ("i8", "uint32"), ("f8", "float32"), ("u8", "uint32")],
)
def test_stored_types_keep_their_values(path, given, stored):
    volume = take(save(path, VALUES.astype(given)))
    assert volume.voxels.dtype == stored
    np.testing.assert_array_equal(volume.voxels, VALUES)


def test_a_big_endian_file_gives_the_same_numbers(path):
    image = nib.Nifti1Image(VALUES, PLACE, header=nib.Nifti1Header(endianness=">"))
    path.write_bytes(image.to_bytes())
    volume = take(path)
    np.testing.assert_array_equal(volume.voxels, VALUES)
    assert volume.voxels.dtype.isnative


def test_colour_becomes_channels(path):
    colour = np.zeros(VALUES.shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    colour["R"], colour["G"], colour["B"] = VALUES, VALUES + 60, 200
    volume = take(save(path, colour))
    assert volume.voxels.shape == (3, 4, 5, 3)
    np.testing.assert_array_equal(volume.voxels[2, 3, 4], (59, 119, 200))


def test_complex_numbers_are_refused(path):
    assert "must be real numbers, got complex64" in refused(save(path, VALUES.astype(np.complex64)))


SERIES = np.stack([VALUES, VALUES + 100, VALUES + 200], axis=-1)


def test_a_series_in_time_needs_a_choice(path):
    assert "It holds 3 volumes (4D); choose one with --frame 0 to 2" in refused(save(path, SERIES))
    np.testing.assert_array_equal(take(path, frame=2).voxels, VALUES + 200)
    np.testing.assert_array_equal(take(path, frame=0).voxels, VALUES)
    assert "--frame must be 0 to 2 for it, got 3" in refused(path, frame=3)


def test_a_series_of_one_is_a_volume_and_has_no_choice_of_frames(path):
    np.testing.assert_array_equal(take(save(path, VALUES[..., None])).voxels, VALUES)
    np.testing.assert_array_equal(take(save(path, VALUES[..., None, None]), frame=0).voxels, VALUES)
    np.testing.assert_array_equal(take(save(path), frame=2).voxels, VALUES)


def test_vectors_are_refused_and_one_slice_is_a_volume_of_one(path):
    assert "must have 2 to 4 axes, got (3, 4, 5, 1, 3)" in refused(save(path, SERIES[..., None, :]))
    volume = take(save(path, VALUES[:, :, 0]))
    assert volume.voxels.shape == (3, 4, 1)
    np.testing.assert_allclose(volume.spacing, (0.5, 1.5, 2.0), atol=1e-5)


def test_nan_is_refused_unless_a_value_stands_in_for_it_and_infinity_always(path):
    values = VALUES.astype(np.float32)
    values[0, 0, :3] = np.nan
    assert "5.0% of its voxels are not a number (NaN); see --nan-as" in refused(save(path, values))
    filled = take(path, nan_as=-7).voxels
    assert filled.dtype == np.float32
    np.testing.assert_array_equal(filled[0, 0], (-7, -7, -7, 3, 4))
    values[1, 1, 1] = np.inf
    assert "1 voxels are not finite" in refused(save(path, values), nan_as=0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"codes": (1, 0), "qform": MOVED}, PLACE),
        ({"codes": (0, 1), "sform": MOVED}, PLACE),
        ({"codes": (2, 1)}, PLACE),  # they agree
        ({"codes": (4, 1), "sform": np.diag((2.0, 2, 2, 1))}, PLACE),  # MNI beside scanner space
        ({"codes": (1, 2), "qform": MOVED}, PLACE),
        ({"codes": (1, 1), "sform": PLACE * [[2.0], [2], [2], [1]]}, PLACE),  # only the qform fits pixdim
        ({"codes": (1, 1), "sform": np.diag((0.0, 0, 0, 1))}, PLACE),  # a matrix of zeros beside a valid qform
        ({"codes": (1, 1), "srow_x": [np.nan, 0, 0, 0]}, PLACE),
        ({"codes": (1, 1), "quatern_b": 3.0}, PLACE),  # no rotation is that long
    ],
)
def test_of_two_placements_the_valid_one_in_scanner_space_counts(path, given, expected):
    np.testing.assert_allclose(take(save(path, **given)).affine, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"codes": (1, 1), "sform": MOVED}, r"sform \(code 1\) and qform \(code 1\) place it differently"),
        ({"codes": (3, 2), "sform": MOVED}, r"sform \(code 3\) and qform \(code 2\) place it differently"),
        ({"codes": (1, 0), "sform": np.diag((0.0, 0, 0, 1))}, "Its sform cannot be used"),
        ({"codes": (1, 1), "sform": np.diag((0.0, 0, 0, 1)), "quatern_c": 9.0}, "Its sform and qform cannot be used"),
        ({"codes": (0, 0)}, r"does not say how the patient lay .*; see --unplaced"),
    ],
)
def test_a_placement_that_cannot_be_known_is_refused(path, given, message):
    assert re.search(message, refused(save(path, **given)))


def test_two_placements_a_twentieth_of_a_voxel_apart_are_one(path):
    near = PLACE + np.array([[0, 0, 0, 0.025]] + [[0, 0, 0, 0]] * 3)
    np.testing.assert_allclose(take(save(path, qform=near)).affine, PLACE, atol=1e-6)


def test_a_file_without_a_placement_is_taken_as_ras_only_when_asked(path):
    volume = take(save(path, codes=(0, 0)), unplaced=True)
    np.testing.assert_allclose(volume.affine, np.diag((0.5, 1.5, 2.0, 1)), atol=1e-6)


@pytest.mark.parametrize(("units", "factor"), [(1, 1000), (2, 1), (3, 0.001), (0, 1), (10, 1)])
def test_units_become_millimetres(path, units, factor):
    expected = np.diag((factor, factor, factor, 1.0)) @ PLACE
    np.testing.assert_allclose(take(save(path, xyzt_units=units)).affine, expected, rtol=1e-5)


def _cut(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


@pytest.mark.parametrize(
    ("name", "harm", "message"),
    [
        ("x.nii.gz", lambda p: _cut(p, 90), "(cannot be read|no NIfTI file)"),
        ("x.nii", lambda p: _cut(p, 400), "cannot be read"),
        ("x.nii", lambda p: _cut(p, 200), "no NIfTI file"),
        ("x.nii", lambda p: _cut(p, 0), "no NIfTI file"),
        ("x.nii.gz", lambda p: p.write_bytes(b"PK\x03\x04" + bytes(400)), "(cannot be read|no NIfTI file)"),
        ("x.nii", lambda p: p.write_bytes(b"not a volume" * 100), "no NIfTI file"),
        ("x.nii", lambda p: save(p, magic=b"xyz"), "no NIfTI file"),
        ("x.nii", lambda p: save(p, datatype=9999), "(no NIfTI file|cannot be read)"),
        ("x.nii", lambda p: save(p, dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]), "at most 536870912 voxels"),
        ("x.nii", lambda p: save(p, dim=[3, 3, 0, 5, 1, 1, 1, 1]), "(1 to 536870912 voxels|cannot be)"),
        ("x.nii", lambda p: p.unlink(), "does not exist"),
        ("x.img", lambda p: None, "must be one of .nii.gz, .nii, .nrrd, .mha"),
        ("x.nrrd", lambda p: p.write_bytes(b"NRRD0004\nnonsense"), "cannot be read"),
        ("x.mha", lambda p: p.write_bytes(bytes(100)), "cannot be read"),
    ],
)
def test_damaged_files_are_refused(tmp_path, name, harm, message):
    path = tmp_path / name
    save(path)
    harm(path)
    assert re.search(message, refused(path))


def _itk(path, voxels=VALUES):
    """Write the volume through SimpleITK, which counts x and y to the left and back."""
    image = sitk.GetImageFromArray(voxels.transpose(2, 1, 0))
    lps = np.diag((-1.0, -1, 1, 1)) @ PLACE
    image.SetSpacing((0.5, 1.5, 2.0))
    image.SetDirection((lps[:3, :3] / (0.5, 1.5, 2.0)).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("name", ["x.nrrd", "x.mha", "x.nii.gz"])
def test_what_itk_writes_lies_where_nifti_puts_it(tmp_path, name):
    volume = take(_itk(tmp_path / name))
    np.testing.assert_array_equal(volume.voxels, VALUES)
    np.testing.assert_allclose(volume.affine, PLACE, atol=1e-5)


def test_an_nrrd_in_ras_space_lies_where_it_says(tmp_path):
    text = "NRRD0004\ntype: uchar\ndimension: 3\nspace: right-anterior-superior\nsizes: 1 2 3\n"
    text += "space directions: (2,0,0) (0,3,0) (0,0,4)\nspace origin: (5,6,7)\nencoding: raw\n\n"
    (tmp_path / "x.nrrd").write_bytes(text.encode() + bytes(range(6)))
    volume = take(tmp_path / "x.nrrd")
    np.testing.assert_allclose(volume.affine, [[2, 0, 0, 5], [0, 3, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]])
    np.testing.assert_array_equal(volume.voxels[0], [[0, 2, 4], [1, 3, 5]])


def test_an_nrrd_without_a_space_is_refused_unless_asked(tmp_path):
    text = b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 1 2 3\nspacings: 2 3 4\nencoding: raw\n\n"
    (tmp_path / "x.nrrd").write_bytes(text + bytes(range(6)))
    assert "(no space field); see --unplaced" in refused(tmp_path / "x.nrrd")
    np.testing.assert_allclose(take(tmp_path / "x.nrrd", unplaced=True).affine, np.diag((2, 3, 4, 1)))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.nrrd", "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 1 2 3\nencoding: raw\ndata file: ../secret\n\n"),
        ("x.nrrd", "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 1 2 3\nencoding: raw\nDataFile: /etc/passwd\n\n"),
        ("x.mha", "NDims = 3\nDimSize = 1 2 3\nElementType = MET_UCHAR\nElementDataFile = /etc/passwd\n"),
    ],
)
def test_a_header_that_points_to_another_file_is_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert "points to another file" in refused(tmp_path / name)
