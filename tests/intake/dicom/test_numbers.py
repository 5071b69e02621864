# SPDX-License-Identifier: Apache-2.0
"""Stored pixels become real values: by slice, by frame, signed, 12 bits, with overlays in unused bits."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless


def _voxels(frames):
    return np.asarray(frames).transpose(2, 1, 0)


def test_each_slice_of_a_pet_has_its_own_scale(writer, volumes, phantom):
    stored = (phantom - phantom.min()).astype(np.uint16)
    slopes = np.linspace(0.31, 2.7, 8)
    writer.series(
        stored, modality="PT", per_slice=lambda k: {"RescaleSlope": round(slopes[k], 6), "RescaleIntercept": 0}
    )
    (volume,) = volumes(writer.folder)
    expected = _voxels(stored) * np.round(slopes, 6)
    assert np.abs(volume.voxels - expected).max() <= 1e-6 * np.ptp(expected)


def test_each_frame_of_an_enhanced_object_has_its_own_scale_and_place(writer, volumes, phantom):
    stored = (phantom - phantom.min()).astype(np.uint16)
    order = [3, 1, 0, 2, 7, 5, 4, 6]
    scales = [(1 + k / 8, -10 * k) for k in order]
    writer.enhanced(stored[order], positions=[(0, 0, 2.5 * k) for k in order], scales=scales)
    (volume,) = volumes(writer.folder)
    expected = np.stack([stored[k] * (1 + k / 8) - 10 * k for k in range(8)])
    np.testing.assert_allclose(volume.voxels, _voxels(expected), rtol=1e-6)


def test_times_of_an_enhanced_object_are_volumes_of_their_own(writer, volumes, phantom):
    frames = np.concatenate([phantom, phantom + 7])
    writer.enhanced(frames, positions=[(0, 0, 2.5 * (k % 8)) for k in range(16)], times=[1] * 8 + [2] * 8)
    found = sorted(volumes(writer.folder), key=lambda volume: int(volume.voxels.sum()))
    assert np.array_equal(found[0].voxels + 7, found[1].voxels)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("enhanced", [False, True])
def test_compressed_series_equal_the_uncompressed_one(writer, volumes, phantom, syntax, enhanced):
    phantom = np.tile(phantom, (1, 2, 2))
    if enhanced:
        writer.enhanced(phantom, positions=[(0, 0, 2.5 * k) for k in range(8)], syntax=syntax)
    else:
        writer.series(phantom, syntax=syntax)
    (volume,) = volumes(writer.folder)
    assert np.array_equal(volume.voxels, _voxels(phantom))


def test_whole_numbers_stay_whole_and_small(writer, volumes, phantom):
    stored = (phantom + 1024).astype(np.uint16)
    writer.series(stored, RescaleSlope=1, RescaleIntercept=-1024)
    (volume,) = volumes(writer.folder)
    assert volume.voxels.dtype == np.int16
    assert np.array_equal(volume.voxels, _voxels(phantom))


@pytest.mark.parametrize("signed", [False, True])
def test_an_overlay_in_the_unused_bits_is_cleared_and_the_sign_kept(writer, volumes, signed):
    values = np.arange(-8 if signed else 0, 12 if signed else 20, dtype=np.int16).reshape(1, 4, 5)
    packed = (values & 0x0FFF) | 0x5000
    writer.series(packed.astype(np.int16 if signed else np.uint16), BitsStored=12, HighBit=11)
    (volume,) = volumes(writer.folder)
    assert np.array_equal(volume.voxels, _voxels(values))


def test_monochrome1_does_not_turn_measured_numbers_round(writer, volumes, phantom):
    writer.series(phantom, modality="PT", PhotometricInterpretation="MONOCHROME1")
    (volume,) = volumes(writer.folder)
    assert np.array_equal(volume.voxels, _voxels(phantom))


def test_a_modality_table_is_looked_up(writer, volumes):
    item = Dataset()
    item.LUTDescriptor, item.LUTData, item.ModalityLUTType = (
        [4, 0, 16],
        np.array([100, 300, 700, 1500], "<u2").tobytes(),
        "HU",
    )
    writer.series(np.array([[[0, 1], [2, 3]]], dtype=np.uint16), ModalityLUTSequence=[item])
    (volume,) = volumes(writer.folder)
    assert volume.voxels[..., 0].T.tolist() == [[100, 300], [700, 1500]]


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"PixelData": None}, "PixelData is missing"),
        ({"PixelData": b"\0" * 10}, "PixelData cannot be decoded"),
        ({"BitsStored": 20}, "BitsStored is not between"),
        ({"BitsStored": 12, "HighBit": 15}, "HighBit is not BitsStored - 1"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PhotometricInterpretation"),
    ],
)
def test_pixels_that_make_no_sense_are_refused_by_their_attribute(writer, volumes, phantom, attributes, said):
    writer.slice(phantom[0], (0, 0, 0), **attributes)
    (reason,) = volumes(writer.folder)
    assert said in str(reason)
