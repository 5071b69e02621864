# SPDX-License-Identifier: Apache-2.0
"""Volumes equal those of two independent readers, voxel for voxel: SimpleITK (GDCM inside) and dcm2niix."""

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom.uid import ExplicitVRBigEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

pytestmark = pytest.mark.slow

OBLIQUE = tuple(
    np.round(np.linalg.qr(np.array([[1.0, 0.2, 0.1], [0.1, 1.0, -0.3], [0.2, 0.3, 1.0]]))[0][:, :2].T.ravel(), 6)
)
CORONAL = (1, 0, 0, 0, 0, -1)
SAGITTAL = (0, 1, 0, 0, 0, -1)


def _normal(orientation):
    return np.cross(orientation[:3], orientation[3:])


def _series(writer, voxels, **options):
    orientation = options.get("orientation", (1, 0, 0, 0, 1, 0))
    writer.series(voxels, step=3.1 * _normal(orientation), **options)


def _positive(phantom):
    return (phantom - phantom.min()).astype(np.uint16)


KINDS = {
    "CT, signed": _series,
    "CT, unsigned with an intercept": lambda w, p: _series(
        w, (p + 1024).astype(np.uint16), RescaleSlope=1, RescaleIntercept=-1024
    ),
    "CT, 12 bits": lambda w, p: _series(
        w, _positive(p), BitsStored=12, HighBit=11, RescaleSlope=2, RescaleIntercept=-1000
    ),
    "MR, sagittal": lambda w, p: _series(w, p, modality="MR", orientation=SAGITTAL),
    "MR, coronal": lambda w, p: _series(w, p, modality="MR", orientation=CORONAL),
    "MR, oblique": lambda w, p: _series(w, p, modality="MR", orientation=OBLIQUE),
    "CT, downwards": lambda w, p: w.series(p, step=(0, 0, -3.1)),
    "CT, RLE": lambda w, p: _series(w, p, syntax=RLELossless),
    "CT, JPEG-LS": lambda w, p: _series(w, p, syntax=JPEGLSLossless),
    "MR, JPEG 2000": lambda w, p: _series(w, p, modality="MR", syntax=JPEG2000Lossless),
    "PET, one scale a slice": lambda w, p: _series(
        w, _positive(p), modality="PT", per_slice=lambda k: {"RescaleSlope": 0.5 + 0.25 * k, "RescaleIntercept": 0}
    ),
    "MR, 8 bits": lambda w, p: _series(w, (_positive(p) // 8).astype(np.uint8), modality="MR"),
}


@pytest.fixture
def dcm2niix(tmp_path):
    """Convert a folder; canonical volume and affine."""
    program = Path(sys.executable).with_name("dcm2niix")
    if not program.exists():
        pytest.skip("dcm2niix is not installed")

    def convert(folder):
        out = tmp_path / "niix"
        out.mkdir()
        subprocess.run([program, "-z", "n", "-o", out, "-f", "v", folder], check=True, capture_output=True)
        images = [nib.as_closest_canonical(nib.load(path)) for path in sorted(out.glob("*.nii"))]
        return [(image.get_fdata(), image.affine) for image in images]

    return convert


def _itk(folder):
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    (series,) = reader.GetGDCMSeriesIDs(str(folder))
    image = sitk.ReadImage(reader.GetGDCMSeriesFileNames(str(folder), series), sitk.sitkFloat64)
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    nifti = nib.Nifti1Image(sitk.GetArrayFromImage(image).transpose(2, 1, 0), np.diag([-1, -1, 1, 1]) @ affine)
    nifti = nib.as_closest_canonical(nifti)
    return nifti.get_fdata(), nifti.affine


def _agree(volume, values, affine):
    ours = volume.canonical()
    assert ours.grid == values.shape
    told = [axis for axis in range(3) if ours.grid[axis] > 1]  # of one slice, ITK does not read the depth
    np.testing.assert_allclose(ours.affine[:, [*told, 3]], affine[:, [*told, 3]], atol=1e-3)
    assert np.abs(ours.voxels - values).max() <= 1e-4 * np.ptp(values)


@pytest.mark.parametrize("kind", KINDS)
def test_a_series_is_the_same_to_three_readers(writer, volumes, phantom, dcm2niix, kind):
    KINDS[kind](writer, np.tile(phantom, (1, 2, 2)))
    (volume,) = volumes(writer.folder)
    _agree(volume, *_itk(writer.folder))
    ((values, affine),) = dcm2niix(writer.folder)
    _agree(volume, values, affine)


@pytest.mark.parametrize("series", ["98892001/CT5N", "98892003/MR700", "77654033/CT2"])
def test_a_scanners_series_is_the_same_to_others(volumes, pydicom_files, dcm2niix, series, tmp_path):
    """Where slices are missing (these are excerpts), every slice is compared on its own."""
    import shutil

    for path in sorted((pydicom_files / "dicomdirtests" / series).iterdir()):
        folder = tmp_path / path.name
        folder.mkdir()
        shutil.copy(path, folder)
        (volume,) = volumes([path])
        _agree(volume, *_itk(folder))


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5, 6, 7), (3, 1, 0, 2, 7, 5, 4, 6)])
def test_an_enhanced_object_is_the_same_to_others(writer, volumes, phantom, dcm2niix, order):
    """dcm2niix trusts the order of frames where no index says another; highdicom does not."""
    from highdicom import imread

    path = writer.enhanced(
        np.tile(_positive(phantom), (1, 2, 2))[list(order)],
        positions=[(0, 0, 2.5 * k) for k in order],
        scales=[(1.5, -20.0)] * 8,
    )
    (volume,) = volumes(writer.folder)
    theirs = imread(path).get_volume(apply_real_world_transform=False, apply_modality_transform=True)
    affine = (np.diag([-1, -1, 1, 1]) @ theirs.affine)[:, [2, 1, 0, 3]]
    nifti = nib.as_closest_canonical(nib.Nifti1Image(np.asarray(theirs.array).transpose(2, 1, 0), affine))
    _agree(volume, nifti.get_fdata(), nifti.affine)
    if order == tuple(sorted(order)):
        ((values, affine),) = dcm2niix(writer.folder)
        _agree(volume, values, affine)


def test_a_tilted_gantry_is_set_upright_and_what_was_seen_keeps_its_place(writer, volumes):
    """A known block's middle in the patient; dcm2niix shears to the other end, so its grid says nothing here."""
    voxels = np.full((9, 40, 40), -1000, dtype=np.int16)
    for k in range(9):
        voxels[k, 15 - k : 25 - k, 5:15] = 500
    tilt = np.degrees(np.arctan2(0.8, 2.5))
    writer.series(voxels, step=(0, 0.8, 2.5), spacing=(0.8, 0.8), GantryDetectorTilt=round(float(tilt), 4))
    (volume,) = volumes(writer.folder)
    ours = volume.canonical()
    assert np.allclose(np.diag(np.diag(ours.affine)), np.column_stack([ours.affine[:, :3], [0, 0, 0, 1]]), atol=1e-6)
    centre = (ours.affine @ [*np.argwhere(ours.voxels == 500).mean(axis=0), 1])[:3]
    expected = np.array([9.5 * 0.8 - 10, 19.5 * 0.8 + 20, 4 * 2.5 + 30]) * (-1, -1, 1)
    np.testing.assert_allclose(centre, expected, atol=1e-6)


def test_single_files_of_every_coding_are_the_same_to_itk(volumes, pydicom_files):
    import SimpleITK as sitk

    names = ("CT_small", "MR_small", "MR_small_RLE", "MR_small_implicit", "MR_small_bigendian", "MR_small_expb")
    names += ("MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "MR_small_padded", "693_J2KI", "examples_overlay")
    for name in names:
        path = pydicom_files / f"{name}.dcm"
        (volume,) = volumes([path])
        values = sitk.GetArrayFromImage(sitk.ReadImage(str(path), sitk.sitkFloat64)).transpose(2, 1, 0)
        assert np.abs(volume.voxels - values).max() <= 1e-4 * np.ptp(values), name


def test_big_endian_is_among_them(pydicom_files):
    import pydicom

    assert pydicom.dcmread(pydicom_files / "MR_small_bigendian.dcm").file_meta.TransferSyntaxUID == ExplicitVRBigEndian
