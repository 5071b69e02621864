# SPDX-License-Identifier: Apache-2.0
"""DICOM files made by the tests: single slices, series, enhanced objects, pictures."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    generate_uid,
)

CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage, "PT": PositronEmissionTomographyImageStorage}
AXIAL = (1, 0, 0, 0, 1, 0)


def _uid(*names):
    return generate_uid(entropy_srcs=[str(name) for name in names])


class Writer:
    """Writes DICOM into one folder; whatever a test cares about is given by keyword."""

    def __init__(self, folder):
        self.folder = folder
        self.folder.mkdir(exist_ok=True)
        self.count = 0

    def base(self, pixels, *, modality, patient="P1", study="1", series="1", **attributes):
        """A data set with pixels (rows, columns) or (rows, columns, 3), or (frames, rows, columns)."""
        self.count += 1
        pixels = np.ascontiguousarray(pixels)
        ds = Dataset()
        ds.SOPClassUID = attributes.pop("SOPClassUID", CLASSES.get(modality))
        ds.SOPInstanceUID = _uid(self.folder, self.count)
        ds.StudyInstanceUID, ds.SeriesInstanceUID = _uid("study", study), _uid("series", study, series)
        ds.FrameOfReferenceUID = _uid("frame", study)
        ds.PatientID, ds.PatientName, ds.Modality = patient, "Doe^Jane", modality
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        colour = pixels.ndim == 3 and pixels.shape[-1] == 3
        ds.SamplesPerPixel = 3 if colour else 1
        ds.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
        if colour:
            ds.PlanarConfiguration = 0
        shape = pixels.shape[:-1] if colour else pixels.shape
        ds.Rows, ds.Columns = shape[-2:]
        if len(shape) == 3:
            ds.NumberOfFrames = shape[0]
        ds.BitsAllocated = ds.BitsStored = 8 * pixels.itemsize
        ds.HighBit = ds.BitsStored - 1
        ds.PixelRepresentation = int(pixels.dtype.kind == "i")
        ds.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        _set(ds, attributes)
        return ds

    def save(self, ds, name=None, syntax=None):
        path = self.folder / (name or f"f{(self.count * 7919) % 100003:06d}")
        ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = (
            ds.SOPClassUID,
            ds.SOPInstanceUID,
        )
        if syntax is not None:
            ds.compress(syntax, generate_instance_uid=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        ds.save_as(path, enforce_file_format=True)
        return path

    def slice(self, pixels, position, *, modality="CT", orientation=AXIAL, spacing=(0.8, 0.7), name=None, **attributes):
        syntax = attributes.pop("syntax", None)
        ds = self.base(pixels, modality=modality)
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [float(p) for p in position], list(orientation)
        ds.PixelSpacing, ds.SliceThickness = list(spacing), 2.5
        ds.InstanceNumber = 99 - self.count  # never to be trusted
        identify = {key: attributes.pop(key) for key in ("patient", "study", "series") if key in attributes}
        _identify(ds, **identify)
        _set(ds, attributes)
        return self.save(ds, name, syntax)

    def series(self, voxels, *, step=(0, 0, 2.5), start=(-10.0, 20.0, 30.0), order=None, per_slice=None, **common):
        """Slices of voxels (slices, rows, columns), written in a shuffled order."""
        slices = range(len(voxels))
        order = np.random.default_rng(len(voxels)).permutation(len(voxels)) if order is None else order
        for k in order:
            own = per_slice(k) if per_slice else {}
            self.slice(voxels[k], np.asarray(start) + k * np.asarray(step), **{**common, **own})
        return slices

    def enhanced(
        self, voxels, *, positions, orientation=AXIAL, spacing=(0.8, 0.7), scales=None, times=None, **attributes
    ):
        """An enhanced MR of frames (frames, rows, columns)."""
        ds = self.base(voxels, modality="MR", SOPClassUID=EnhancedMRImageStorage)
        shared, plane, measures = Dataset(), Dataset(), Dataset()
        plane.ImageOrientationPatient = list(orientation)
        measures.PixelSpacing, measures.SliceThickness = list(spacing), 2.5
        shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [plane], [measures]
        ds.SharedFunctionalGroupsSequence = [shared]
        ds.PerFrameFunctionalGroupsSequence = [
            _group(position, scales[i] if scales else None, times[i] if times else None)
            for i, position in enumerate(positions)
        ]
        identify = {key: attributes.pop(key) for key in ("patient", "study", "series") if key in attributes}
        _identify(ds, **identify)
        syntax = attributes.pop("syntax", None)
        _set(ds, attributes)
        return self.save(ds, syntax=syntax)


def _group(position, scale, time):
    group, place, content = Dataset(), Dataset(), Dataset()
    place.ImagePositionPatient = [float(p) for p in position]
    group.PlanePositionSequence = [place]
    if scale is not None:
        scaling = Dataset()
        scaling.RescaleSlope, scaling.RescaleIntercept, scaling.RescaleType = *scale, "US"
        group.PixelValueTransformationSequence = [scaling]
    if time is not None:
        content.TemporalPositionIndex = time
        group.FrameContentSequence = [content]
    return group


def _identify(ds, patient="P1", study="1", series="1"):
    ds.PatientID = patient
    ds.StudyInstanceUID, ds.SeriesInstanceUID = _uid("study", study), _uid("series", study, series)
    ds.FrameOfReferenceUID = _uid("frame", study)


def _set(ds, attributes):
    for keyword, value in attributes.items():
        if value is None and keyword in ds:
            delattr(ds, keyword)
        elif value is not None:
            setattr(ds, keyword, value)


@pytest.fixture
def writer(tmp_path):
    return Writer(tmp_path / "export")


@pytest.fixture
def writer_in():
    return Writer


@pytest.fixture
def uid():
    return _uid


@pytest.fixture(scope="session")
def pydicom_files():
    """The folder of test files in pydicom's wheel."""
    return Path(pydicom.__file__).parent / "data" / "test_files"


@pytest.fixture
def volumes():
    """Read every volume below a folder (or from a list of files): a list of volumes and reasons."""
    from fedxai.errors import CohortError
    from fedxai.intake.dicom.instance import read_instance
    from fedxai.intake.dicom.numbers import same_pixels, volume_of
    from fedxai.intake.dicom.stacks import stacks_of

    def read(where):
        files = sorted(path for path in where.rglob("*") if path.is_file()) if isinstance(where, Path) else where
        instances = [read_instance(path, allow_burned_in=True) for path in files]
        refused = [CohortError(instance.reason) for instance in instances if instance.reason]
        frames = [frame for instance in instances for frame in instance.frames]
        found = [*refused]
        for stack in stacks_of(frames, same_pixels):
            try:
                found.append(stack if isinstance(stack, CohortError) else volume_of(stack))
            except CohortError as error:
                found.append(error)
        return found

    return read


@pytest.fixture
def phantom():
    """Noise and a bright block, (slices, rows, columns) int16."""
    voxels = np.random.default_rng(0).integers(-200, 200, (8, 24, 20)).astype(np.int16)
    voxels[2:5, 6:12, 5:15] += 900
    return voxels
