# SPDX-License-Identifier: Apache-2.0
"""A volume keeps its values and its place, refuses what is none, and is stored with nothing else."""

import gzip
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest

from fedxai.errors import CohortError
from fedxai.intake.volume import Volume

OBLIQUE = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.3, -0.2, 0.1) @ np.diag((0.8, 1.1, 3.0)), (-40, 20, 7.5))


def marked():
    """Voxels of unequal sides with a value of its own in each."""
    return np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


def turned(voxels, affine, order, signs):
    """The same volume with its axes stored in another order and direction."""
    turn = np.array(list(zip(order, signs, strict=True)))
    return Volume(
        voxels=nib.apply_orientation(voxels, turn), affine=affine @ nib.orientations.inv_ornt_aff(turn, voxels.shape)
    )


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_every_storage_order_comes_back_to_ras_as_nibabel_does_it(order):
    for signs in product((1, -1), repeat=3):
        stored = turned(marked(), OBLIQUE, order, signs)
        canonical = stored.canonical()
        theirs = nib.as_closest_canonical(nib.Nifti1Image(stored.voxels, stored.affine))
        assert canonical.axes == "RAS"
        np.testing.assert_array_equal(canonical.voxels, np.asanyarray(theirs.dataobj))
        np.testing.assert_allclose(canonical.affine, theirs.affine, atol=1e-4)
        np.testing.assert_array_equal(canonical.voxels, marked())
        np.testing.assert_allclose(canonical.affine, OBLIQUE, atol=1e-9)


def test_spacing_is_the_length_of_a_step_along_each_axis_of_the_array():
    np.testing.assert_allclose(Volume(voxels=marked(), affine=OBLIQUE).spacing, (0.8, 1.1, 3.0))
    flipped = turned(marked(), OBLIQUE, (2, 0, 1), (1, -1, 1))
    np.testing.assert_allclose(flipped.spacing, (1.1, 3.0, 0.8))


def test_channels_stay_behind_the_three_axes_when_they_are_turned():
    colour = np.stack([marked(), -marked()], axis=-1)
    lps = Volume(voxels=colour[::-1, ::-1], affine=np.diag((-1.0, -1.0, 1.0, 1.0)))
    np.testing.assert_array_equal(lps.canonical().voxels, colour)
    assert lps.grid == (4, 5, 6)


def _affine(**cells):
    affine = np.eye(4)
    for cell, value in cells.items():
        affine[int(cell[1]), int(cell[2])] = value
    return affine


@pytest.mark.parametrize(
    ("voxels", "affine", "message"),
    [
        (np.zeros((3, 3)), np.eye(4), r"must have 3 axes .* got \(3, 3\)"),
        (np.zeros((3, 3, 3, 1, 1)), np.eye(4), "must have 3 axes"),
        (np.zeros((3, 0, 3)), np.eye(4), "1 to 536870912 voxels"),
        (np.zeros((2, 2, 2), complex), np.eye(4), "must be real numbers, got complex128"),
        (np.full((2, 2, 2), np.nan), np.eye(4), "8 voxels are not finite"),
        (np.full((2, 2, 2), 1e39), np.eye(4), "8 voxels are not finite 32-bit numbers"),
        (np.full((2, 2, 2), 2**40), np.eye(4), "must fit 32 bits"),
        (np.zeros((2, 2, 2)), np.eye(3), "must be 4 x 4"),
        (np.zeros((2, 2, 2)), _affine(c00=np.inf), "must be 4 x 4, finite"),
        (np.zeros((2, 2, 2)), _affine(c33=2), "end with the row 0, 0, 0, 1"),
        (np.zeros((2, 2, 2)), _affine(c11=0), "spacing of a volume must be above 0"),
        (np.zeros((2, 2, 2)), _affine(c11=0.01, c01=1), r"lie \(almost\) in one plane"),
    ],
)
def test_what_is_no_volume_is_refused(voxels, affine, message):
    with pytest.raises(CohortError, match=message):
        Volume(voxels=voxels, affine=affine)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("bool", "uint8"),
        ("uint8", "uint8"),
        ("int8", "int8"),
        ("uint16", "uint16"),
        (">i2", "int16"),
        ("int64", "uint32"),
        ("float16", "float32"),
        ("float64", "float32"),
        (">f4", "float32"),
    ],
)
def test_values_are_stored_as_they_are_in_at_most_32_bits(tmp_path, given, stored):
    values = np.array([0, 1, 1, 0], dtype=given).reshape(1, 2, 2)
    Volume(voxels=values, affine=np.eye(4)).write(tmp_path / "v.nii.gz")
    read = nib.load(tmp_path / "v.nii.gz")
    assert read.get_data_dtype() == stored
    np.testing.assert_array_equal(np.asanyarray(read.dataobj), values)


def test_signed_wide_numbers_keep_their_sign():
    values = np.array([-5, 2**31 - 1], dtype=np.int64).reshape(1, 1, 2)
    np.testing.assert_array_equal(Volume(voxels=values, affine=np.eye(4)).voxels, values)


def test_the_stored_header_holds_the_geometry_and_nothing_else():
    content = Volume(voxels=marked(), affine=OBLIQUE).nifti()
    header = nib.Nifti1Header(content[:348])
    bare = nib.Nifti1Header()
    geometry = {"dim", "pixdim", "datatype", "bitpix", "xyzt_units", "qform_code", "sform_code", "vox_offset", "magic"}
    geometry |= {f"quatern_{c}" for c in "bcd"} | {f"qoffset_{c}" for c in "xyz"} | {f"srow_{c}" for c in "xyz"}
    for name in set(header.keys()) - geometry:
        np.testing.assert_array_equal(header[name], bare[name], err_msg=name)
    np.testing.assert_allclose(header.get_sform(), OBLIQUE, atol=1e-5)
    np.testing.assert_allclose(header.get_qform(), OBLIQUE, atol=1e-4)
    assert content[348:352] == bytes(4)  # no extension
    assert len(content) == 352 + marked().nbytes


def test_a_sheared_volume_is_stored_by_its_sform_alone(tmp_path):
    sheared = _affine(c12=0.4)
    Volume(voxels=marked(), affine=sheared).write(tmp_path / "v.nii.gz")
    image = nib.load(tmp_path / "v.nii.gz")
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 0)
    np.testing.assert_allclose(image.affine, sheared, atol=1e-6)


def test_the_same_volume_gives_the_same_bytes_under_the_same_name(tmp_path, monkeypatch):
    volume = Volume(voxels=marked(), affine=OBLIQUE)
    name = volume.write_into(tmp_path)
    first = (tmp_path / name).read_bytes()
    monkeypatch.setattr("time.time", lambda: 4e9)
    volume.write(tmp_path / "another name.nii.gz")
    assert (tmp_path / "another name.nii.gz").read_bytes() == first
    assert first[4:8] == bytes(4)  # gzip's time
    assert first[3] == 0  # no file name, no comment
    assert gzip.decompress(first) == volume.nifti()
    assert Volume(voxels=marked() + 1, affine=OBLIQUE).write_into(tmp_path) != name


@pytest.mark.slow
def test_monai_reads_what_is_stored(tmp_path):
    from monai.transforms import LoadImage

    Volume(voxels=marked(), affine=OBLIQUE).write(tmp_path / "v.nii.gz")
    image = LoadImage(image_only=True)(tmp_path / "v.nii.gz")
    np.testing.assert_array_equal(np.asarray(image), marked())
    np.testing.assert_allclose(np.asarray(image.affine), OBLIQUE, atol=1e-5)


def test_nothing_half_written_stays_on_a_full_disk(tmp_path, monkeypatch):
    def full(self, content):
        with self.open("wb") as opened:
            opened.write(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        Volume(voxels=marked(), affine=OBLIQUE).write(tmp_path / "v.nii.gz")
    assert list(tmp_path.iterdir()) == []
