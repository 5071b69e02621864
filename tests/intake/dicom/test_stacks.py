# SPDX-License-Identifier: Apache-2.0
"""Slices become volumes by where they lie: order, tilt, gaps, doubles, and several volumes in one series."""

import numpy as np
import pytest

from fedxai.errors import CohortError

SAGITTAL = (0, 1, 0, 0, 0, -1)
CORONAL = (1, 0, 0, 0, 0, -1)


def _lps(volume):
    return np.diag([-1, -1, 1, 1]) @ volume.affine


def test_order_comes_from_geometry_and_not_from_names_or_numbers(writer, volumes, phantom):
    writer.series(phantom, order=[5, 0, 7, 2, 1, 6, 3, 4])
    (volume,) = volumes(writer.folder)
    assert np.array_equal(volume.voxels, phantom.transpose(2, 1, 0))
    expected = [[0.7, 0, 0, -10], [0, 0.8, 0, 20], [0, 0, 2.5, 30], [0, 0, 0, 1]]
    np.testing.assert_allclose(_lps(volume), expected, atol=1e-9)
    assert volume.axes == "LPS"


def test_slices_that_run_downwards_are_stacked_along_the_normal(writer, volumes, phantom):
    writer.series(phantom, step=(0, 0, -2.5))
    (volume,) = volumes(writer.folder)
    assert np.array_equal(volume.voxels, phantom[::-1].transpose(2, 1, 0))
    np.testing.assert_allclose(_lps(volume)[:3, 3], (-10, 20, 30 - 7 * 2.5))


@pytest.mark.parametrize(
    ("orientation", "step"), [(SAGITTAL, (3, 0, 0)), (CORONAL, (0, 3, 0)), ((0.6, 0.8, 0, 0, 0, -1), (-2.4, 1.8, 0))]
)
def test_every_voxel_keeps_its_place_whatever_the_orientation(writer, volumes, phantom, orientation, step):
    writer.series(phantom, orientation=orientation, step=step)
    (volume,) = volumes(writer.folder)
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    for k, r, c in ((0, 0, 0), (3, 7, 11), (7, 23, 19)):
        place = np.array([-10.0, 20, 30]) + k * np.array(step) + c * 0.7 * row + r * 0.8 * column
        i, j, n, _ = np.rint(np.linalg.inv(_lps(volume)) @ [*place, 1]).astype(int)
        assert volume.voxels[i, j, n] == phantom[k, r, c]
        np.testing.assert_allclose((_lps(volume) @ [i, j, n, 1])[:3], place, atol=1e-6)


def test_canonical_volumes_are_ras(writer, volumes, phantom):
    writer.series(phantom, orientation=SAGITTAL, step=(3, 0, 0))
    (volume,) = volumes(writer.folder)
    assert volume.canonical().axes == "RAS"


def test_missing_slices_are_counted(writer, volumes, phantom):
    writer.series(phantom, order=[0, 1, 2, 5, 6, 7])
    (reason,) = volumes(writer.folder)
    assert "2 of 8 slices are missing" in str(reason)
    assert "ImagePositionPatient" in str(reason)


def test_uneven_spacing_is_refused(writer, volumes, phantom):
    for k, z in enumerate((0, 2.5, 5, 6.8, 10, 12.5, 15, 18)):
        writer.slice(phantom[k], (0, 0, z))
    (reason,) = volumes(writer.folder)
    assert "unevenly spaced" in str(reason)


def test_rounded_positions_still_make_a_grid(writer, volumes, phantom):
    for k in range(8):
        writer.slice(phantom[k], (0, 0, round(k * 1.6667, 2)))
    (volume,) = volumes(writer.folder)
    assert volume.spacing[2] == pytest.approx(1.6667, abs=2e-3)


def test_double_slices_are_left_out_when_equal_and_refused_when_not(writer, volumes, phantom):
    writer.series(phantom, order=[0, 1, 2, 3, 3, 4, 5, 6, 7])
    (volume,) = volumes(writer.folder)
    assert np.array_equal(volume.voxels, phantom.transpose(2, 1, 0))
    writer.slice(phantom[0], (-10, 20, 30 + 2 * 2.5))
    (reason,) = volumes(writer.folder)
    assert isinstance(reason, CohortError)
    assert "nothing tells them apart" in str(reason)


@pytest.mark.parametrize(
    "attribute",
    ["EchoTime", "DiffusionBValue", "TemporalPositionIdentifier", "AcquisitionNumber", "FlipAngle", "TriggerTime"],
)
def test_volumes_at_one_place_are_told_apart(writer, volumes, phantom, attribute):
    for value in (10, 20, 30):
        writer.series(phantom + value, modality="MR", **{attribute: value})
    found = volumes(writer.folder)
    assert sorted(int(volume.voxels[0, 0, 0]) - int(phantom[0, 0, 0]) for volume in found) == [10, 20, 30]


def test_two_attributes_together_tell_volumes_apart(writer, volumes, phantom):
    for echo in (1, 2):
        for time in (1, 2):
            writer.series(phantom + 10 * echo + time, modality="MR", EchoTime=echo, TemporalPositionIdentifier=time)
    assert len(volumes(writer.folder)) == 4


def test_an_attribute_that_varies_by_slice_does_not_shatter_a_volume(writer, volumes, phantom):
    writer.series(
        phantom, per_slice=lambda k: {"AcquisitionTime": f"1200{k:02d}", "TriggerTime": k, "AcquisitionNumber": k}
    )
    assert [volume.grid for volume in volumes(writer.folder)] == [(20, 24, 8)]


@pytest.mark.parametrize(
    "other",
    [
        {"orientation": CORONAL, "step": (0, 2.5, 0)},
        {"spacing": (1.6, 1.4)},
        {"ImageType": ["ORIGINAL", "PRIMARY", "M_IR"]},
        {"FrameOfReferenceUID": "1.2.3"},
    ],
)
def test_what_is_mixed_in_one_series_becomes_volumes_of_its_own(writer, volumes, phantom, other):
    writer.series(phantom)
    writer.series(phantom, **other)
    assert len(volumes(writer.folder)) == 2


def test_a_single_slice_needs_a_depth(writer, volumes, phantom):
    writer.slice(phantom[0], (0, 0, 0))
    (volume,) = volumes(writer.folder)
    assert volume.spacing == pytest.approx((0.7, 0.8, 2.5))
    writer.folder.joinpath("f007919").unlink()
    writer.slice(phantom[0], (0, 0, 0), SliceThickness=None)
    (reason,) = volumes(writer.folder)
    assert "has no depth" in str(reason)


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"ImagePositionPatient": None}, "ImagePositionPatient is missing"),
        ({"ImageOrientationPatient": None}, "ImageOrientationPatient is missing"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "right angles"),
        ({"ImageOrientationPatient": [2, 0, 0, 0, 1, 0]}, "right angles"),
        ({"PixelSpacing": None}, "PixelSpacing is missing"),
        ({"PixelSpacing": [0, 1]}, "PixelSpacing is not above 0"),
        ({"ImagePositionPatient": [1, 2]}, "ImagePositionPatient is not 3 finite numbers"),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "RescaleSlope is not a usable number"),
        ({"SamplesPerPixel": 3}, "SamplesPerPixel"),
        ({"NumberOfFrames": 2}, "NumberOfFrames"),
    ],
)
def test_geometry_that_makes_no_sense_is_refused_by_its_attribute(writer, volumes, phantom, attributes, said):
    writer.slice(phantom[0], (0, 0, 0), **attributes)
    (reason,) = volumes(writer.folder)
    assert said in str(reason)


def _block(tilt, slices=9):
    """An upright block in the patient, as a gantry tilted along y would slice it: rows move by ``tilt`` a slice."""
    voxels = np.full((slices, 40, 20), -1000, dtype=np.int16)
    for k in range(slices):
        low = 15 - round(k * tilt)
        voxels[k, low : low + 10, 5:15] = 500
    return voxels


def test_a_tilted_gantry_is_set_upright(writer, volumes):
    writer.series(_block(1.0), step=(0, 0.8, 2.5))
    (volume,) = volumes(writer.folder)
    assert volume.grid == (20, 48, 9)
    np.testing.assert_allclose(_lps(volume)[:3, :3], np.diag([0.7, 0.8, 2.5]), atol=1e-9)
    block = volume.voxels == 500
    assert (block == block[:, :, :1]).all()
    low = (_lps(volume) @ [*np.argwhere(block)[0], 1])[1]
    assert low == pytest.approx(20 + 15 * 0.8)


def test_a_tilt_the_other_way_is_interpolated_between_rows(writer, volumes):
    writer.series(_block(-0.5), step=(0, -0.4, 2.5))
    (volume,) = volumes(writer.folder)
    block = volume.voxels >= -250
    areas = block.sum(axis=(0, 1))
    assert set(areas) <= {100, 110}
    assert volume.voxels.min() == -1000
