# SPDX-License-Identifier: Apache-2.0
"""A synthetic series as a scanner sends it: oblique, with slices thicker than pixels, left and right unlike."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

OBLIQUE = tuple(
    float(cosine)
    for cosine in np.round(
        np.linalg.qr(np.array([[1.0, 0.2, 0.1], [0.1, 1.0, -0.3], [0.2, 0.3, 1.0]]))[0][:, :2].T.ravel(), 6
    )
)
ORIENTATIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "coronal": (1, 0, 0, 0, 0, -1),
    "oblique": OBLIQUE,
    "head first, face down": (-1, 0, 0, 0, -1, 0),
}
SPACING, THICKNESS, START = (0.8, 0.7), 3.1, (-11.0, 23.0, -37.0)


def noise(shape: tuple[int, int, int] = (9, 24, 20)) -> NDArray[np.int16]:
    """(slices, rows, columns) in which hardly two neighbours are alike, and a block that is on one side only."""
    voxels = np.random.default_rng(7).integers(0, 800, shape).astype(np.int16)
    voxels[shape[0] // 5 : shape[0] // 3 + 1, shape[1] // 4 : shape[1] // 2, : shape[2] // 3] += 1500
    return voxels


def write_series(
    folder: Path,
    voxels: NDArray[np.int16],
    *,
    orientation: Sequence[float] = OBLIQUE,
    modality: str = "MR",
    patient: str = "PHANTOM-1",
    spacing: Sequence[float] = SPACING,
    thickness: float = THICKNESS,
    start: Sequence[float] = START,
) -> list[Path]:
    """One file a slice, written last slice first."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    normal = np.cross(orientation[:3], orientation[3:])
    files = []
    for k in reversed(range(len(voxels))):
        ds = _patient(patient, study)
        ds.Modality = modality
        ds.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
        ds.SOPInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = generate_uid(), series, frame
        ds.SeriesNumber, ds.SeriesDescription, ds.InstanceNumber = 1, "phantom", k + 1
        ds.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
        ds.ImagePositionPatient = [round(float(x), 6) for x in np.asarray(start) + k * thickness * normal]
        ds.ImageOrientationPatient = list(orientation)
        ds.PixelSpacing, ds.SliceThickness = list(spacing), thickness
        ds.SpacingBetweenSlices = thickness
        _pixels(ds, voxels[k], int(voxels.max()))
        path = folder / f"{len(voxels) - k:04d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        files.append(path)
    return files


def write_volume(folder: Path, image: Any, *, axes: str = "LPS", patient: str = "PHANTOM-1") -> list[Path]:
    """A NIfTI image as a series whose columns, rows and slices run as ``axes`` says; voxels and places stay."""
    import nibabel as nib

    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes)
    )
    turned = image.as_reoriented(turn)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ turned.affine
    across, down, deep = np.linalg.norm(lps[:3, :3], axis=0)
    return write_series(
        folder,
        np.asarray(turned.dataobj).astype(np.int16).transpose(2, 1, 0),
        orientation=[float(x) for x in [*(lps[:3, 0] / across), *(lps[:3, 1] / down)]],
        patient=patient,
        spacing=(float(down), float(across)),
        thickness=float(deep),
        start=[float(x) for x in lps[:3, 3]],
    )


def affine(orientation: Sequence[float] = OBLIQUE) -> NDArray[np.float64]:
    """From (column, row, slice) to RAS mm, as DICOM's formula says (PS3.3 C.7.6.2.1.1)."""
    along, down = np.array(orientation[:3], float), np.array(orientation[3:], float)
    matrix = np.eye(4)
    matrix[:3] = np.stack([along * SPACING[1], down * SPACING[0], np.cross(along, down) * THICKNESS, START], axis=1)
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix


def _patient(patient: str, study: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Phantom^Block", patient, "", "O"
    ds.StudyInstanceUID, ds.StudyID, ds.AccessionNumber = study, "1", ""
    ds.StudyDate, ds.StudyTime, ds.SeriesDate, ds.SeriesTime = "20200102", "030405", "20200102", "030405"
    ds.ContentDate, ds.ContentTime, ds.AcquisitionNumber = "20200102", "030405", 1
    ds.StudyDescription, ds.ReferringPhysicianName, ds.Manufacturer = "phantom", "", "none"
    ds.PatientPosition, ds.PositionReferenceIndicator, ds.BodyPartExamined = "HFS", "", "HEAD"
    return ds


def _pixels(ds: Any, pixels: NDArray[np.int16], brightest: int) -> None:
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 1
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, 0, "US"
    ds.WindowCenter, ds.WindowWidth = brightest // 2, max(brightest, 1)
    ds.PixelData = np.ascontiguousarray(pixels).astype("<i2").tobytes()
