# SPDX-License-Identifier: Apache-2.0
"""Single pictures as X-ray units, ultrasound scanners and cameras send them: dark for bright, deep, in colour."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalXRayImageStorageForPresentation,
    OphthalmicPhotography8BitImageStorage,
    UltrasoundImageStorage,
    VLPhotographicImageStorage,
    generate_uid,
)

_patient = runpy.run_path(str(Path(__file__).with_name("dicom_series.py")))["_patient"]
ROWS, COLUMNS = 40, 30
CLASSES = {
    "CR": ComputedRadiographyImageStorage,
    "DX": DigitalXRayImageStorageForPresentation,
    "MG": DigitalMammographyXRayImageStorageForPresentation,
    "OP": OphthalmicPhotography8BitImageStorage,
    "US": UltrasoundImageStorage,
    "XC": VLPhotographicImageStorage,
}


def _ultrasound() -> Dataset:
    region = Dataset()
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 4, 6
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 24, 33
    return region


KINDS: dict[str, dict[str, Any]] = {
    "CR": {"bits": 16, "ImagerPixelSpacing": [0.2, 0.2]},
    "DX": {"bits": 12, "PhotometricInterpretation": "MONOCHROME1", "WindowCenter": 1800, "WindowWidth": 2400},
    "MG": {"bits": 12, "PixelSpacing": [0.1, 0.1], "FrameOfReferenceUID": "1.2.3.4", "ImageLaterality": "L"},
    "OP": {"bits": 8, "colour": True, "NumberOfFrames": 1},
    "US": {"bits": 8, "BurnedInAnnotation": "NO", "SequenceOfUltrasoundRegions": [_ultrasound()]},
    "XC": {"bits": 8, "colour": True},
}


def noise(bits: int = 8, *, colour: bool = False, seed: int = 0) -> NDArray[Any]:
    """(rows, columns[, 3]) in which hardly two neighbours are alike."""
    shape = (ROWS, COLUMNS, 3) if colour else (ROWS, COLUMNS)
    values = np.random.default_rng(seed).integers(0, 2**bits, shape)
    return values.astype(np.uint8 if bits <= 8 else np.uint16)


def marked() -> NDArray[np.uint8]:
    """(columns, rows, 1): values 1 and 2 in unlike shapes, corners among them."""
    labels = np.zeros((COLUMNS, ROWS, 1), dtype=np.uint8)
    labels[5:9, 10:21] = 1
    labels[0, 0] = labels[29, 0] = 1
    labels[20:28, 30] = labels[0, 39] = 2
    return labels


def picture(modality: str, pixels: NDArray[Any] | None = None, *, patient: str = "PHANTOM-1", **more: Any) -> Dataset:
    """One kind of :data:`KINDS`, alone in its series and study."""
    said = {**KINDS[modality], **more}
    bits, colour = said.pop("bits"), said.pop("colour", False)
    pixels = noise(bits, colour=colour) if pixels is None else pixels
    ds = _patient(patient, generate_uid())
    del ds.PositionReferenceIndicator
    ds.Modality, ds.SOPClassUID = modality, CLASSES[modality]
    ds.SOPInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.SeriesNumber, ds.InstanceNumber, ds.ImageType = 1, 1, ["ORIGINAL", "PRIMARY"]
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = (3, "RGB") if pixels.ndim == 3 else (1, "MONOCHROME2")
    if pixels.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8 * pixels.itemsize, bits, bits - 1
    ds.PixelRepresentation, ds.PixelData = 0, np.ascontiguousarray(pixels).tobytes()
    for name, value in said.items():
        setattr(ds, name, value)
    return ds


def write_picture(file: Path, modality: str, pixels: NDArray[Any] | None = None, **more: Any) -> str:
    """Write one and return its SeriesInstanceUID."""
    ds = picture(modality, pixels, **more)
    file.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(file, enforce_file_format=True)
    return str(ds.SeriesInstanceUID)
