# SPDX-License-Identifier: Apache-2.0
"""A saliency map as pictures that every viewer shows: in colour over its image, one secondary capture a slice."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from fedxai import __version__
from fedxai.report.dicom_grid import is_picture, new_series, onto_picture, onto_slices
from fedxai.report.dicom_saliency import SaliencyMap
from fedxai.report.overlay import blended, magnitude, strongest, windowed
from fedxai.report.words import words

_SERIES_NUMBER = 500
_LONG = 64
_ANY = ("L", "P")  # highdicom must be told how a patient lies; of a picture the file then says what its source says


def saliency_as_captures(
    saliency: SaliencyMap, image: NDArray[Any], affine: NDArray[np.float64], sources: Sequence[Dataset]
) -> list[Any]:
    """Draw |S| in the gallery's colours over the image in grey, pixel on pixel of the series, in its study.

    One grey window (0.5 to 99.5 percentile) and one colour scale hold for all slices. SeriesDescription is
    :attr:`SaliencyMap.description`; DerivationDescription names the class and the model's whole digest; each capture
    lies where its slice lies and names it as its source. BurnedInAnnotation is YES only where a source says so.

    Args:
        saliency: the map.
        image: (X, Y, Z), values of the series; of a picture (columns, rows, 1).
        affine: (4, 4), from the image's indices to RAS mm; of a picture it means nothing.
        sources: headers of every slice of the series, or of one enhanced object, or of a picture.

    Returns:
        A :class:`highdicom.sc.SCImage` for each slice, in order along the normal, to be saved or sent.

    Raises:
        CohortError: the map or the image lies on another grid than the series.
    """
    shown, image = magnitude(saliency.values, saliency.values.shape), image.astype(np.float32)
    series = new_series(_SERIES_NUMBER)
    if is_picture(sources):
        (picture,) = _blended(*(onto_picture(array, sources[0]) for array in (shown, image)))
        captures = [_capture(picture, saliency, sources, series, patient_orientation=_ANY)]
        captures[0].PatientOrientation = sources[0].get("PatientOrientation") or ""
        captures[0].SourceImageSequence = [_reference(sources[0])]
        return captures
    lying = onto_slices(shown, saliency.affine, sources)
    _, down, across = lying.get_closest_patient_orientation()
    named = _named(sources, lying)
    pictures = _blended(lying.array, onto_slices(image, affine, sources).array)
    captures = []
    # highdicom counts against the normal; readers that do not sort secondary captures by place, as ITK, want it along
    for number, place in enumerate(reversed(range(len(pictures))), start=1):
        capture = _capture(
            pictures[place],
            saliency,
            sources,
            {**series, "instance_number": number},
            pixel_spacing=lying.pixel_spacing,
            patient_orientation=(across, down),
        )
        capture.FrameOfReferenceUID = lying.frame_of_reference_uid
        capture.PositionReferenceIndicator = sources[0].get("PositionReferenceIndicator", "")
        capture.ImageOrientationPatient = lying.get_plane_orientation()[0].ImageOrientationPatient
        capture.SpacingBetweenSlices = lying.get_pixel_measures()[0].SpacingBetweenSlices
        capture.ImagePositionPatient = lying.get_plane_position(place)[0].ImagePositionPatient
        capture.SourceImageSequence = [named[place]]
        captures.append(capture)
    return captures


def _blended(shown: NDArray[Any], image: NDArray[Any]) -> list[NDArray[np.uint8]]:
    """RGB of every slice, (rows, columns, 3), of |S| and the image, both (slices, rows, columns)."""
    grey, top = 255 * windowed(image)[..., None], strongest(shown) or 1.0
    shares = np.clip(shown / top, 0, 1)
    return [blended(*both).round().astype(np.uint8) for both in zip(grey, shares, strict=True)]


def _capture(
    picture: NDArray[np.uint8], saliency: SaliencyMap, sources: Sequence[Dataset], series: Any, **lying: Any
) -> Any:
    from highdicom.sc import SCImage

    versions: Any = [__version__, saliency.model]  # a tuple, as highdicom asks for, pydicom 3 warns of
    capture = SCImage.from_ref_dataset(
        sources[0],
        pixel_array=picture,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **{**series, "sop_instance_uid": generate_uid()},
        **lying,
        software_versions=versions,
        device_serial_number=saliency.model[:16],
        series_description=saliency.description,
        specific_character_set="ISO_IR 192",
    )
    capture.ConversionType = "WSD"
    capture.DerivationDescription = (
        f"Saliency by {words(saliency.method)} for {saliency.target[:_LONG]}, model {saliency.model}; "
        "|S| in colour over the image, research only"
    )
    capture.BurnedInAnnotation = "YES" if any(s.get("BurnedInAnnotation") == "YES" for s in sources) else "NO"
    return capture


def _named(sources: Sequence[Dataset], lying: Any) -> dict[int, Dataset]:
    """By place in the volume, the slice or frame of the series that lies there."""
    found = {}
    for source in sources:
        frames = source.get("PerFrameFunctionalGroupsSequence")
        planes = [frame.PlanePositionSequence[0] for frame in frames] if frames else [source]
        for number, plane in enumerate(planes, start=1):
            corner = np.array([plane.ImagePositionPatient], dtype=float)
            place = round(float(lying.map_reference_to_indices(corner)[0, 0]))
            found[place] = _reference(source, number if frames else None)
    return found


def _reference(source: Dataset, frame: int | None = None) -> Dataset:
    """A file, or a frame of it, as what a capture was made of."""
    from highdicom.sr import CodedConcept

    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    if frame is not None:
        reference.ReferencedFrameNumber = frame
    reference.PurposeOfReferenceCodeSequence = [
        CodedConcept("121322", "DCM", "Source image for image processing operation")
    ]
    return reference
