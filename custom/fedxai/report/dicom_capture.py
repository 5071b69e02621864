# SPDX-License-Identifier: Apache-2.0
"""A saliency map as pictures that every viewer shows: in colour over its image, one secondary capture a slice."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from fedxai import __version__
from fedxai.report.dicom_grid import new_series, onto_slices
from fedxai.report.dicom_saliency import SaliencyMap
from fedxai.report.overlay import blended, magnitude, strongest, windowed
from fedxai.report.words import words

_SERIES_NUMBER = 500
_LONG = 64


def saliency_as_captures(
    saliency: SaliencyMap, image: NDArray[Any], affine: NDArray[np.float64], sources: Sequence[Dataset]
) -> list[Any]:
    """Draw |S| in the gallery's colours over the image in grey, pixel on pixel of the series, in its study.

    One grey window (0.5 to 99.5 percentile) and one colour scale hold for all slices. SeriesDescription is
    :attr:`SaliencyMap.description`; DerivationDescription names the class and the model's whole digest; each picture
    lies where its slice lies and names it as its source. BurnedInAnnotation is YES only where a source says so.

    Args:
        saliency: the map.
        image: (X, Y, Z), values of the series.
        affine: (4, 4), from the image's indices to RAS mm.
        sources: headers of every slice of the series, or of one enhanced object.

    Returns:
        A :class:`highdicom.sc.SCImage` for each slice, in order along the normal, to be saved or sent.

    Raises:
        CohortError: the map or the image lies on another grid than the series.
    """
    lying = onto_slices(magnitude(saliency.values, saliency.values.shape), saliency.affine, sources)
    grey = 255 * windowed(onto_slices(image.astype(np.float32), affine, sources).array)[..., None]
    top = strongest(lying.array) or 1.0
    series = new_series(_SERIES_NUMBER)
    named = _named(sources, lying)
    captures = []
    # highdicom counts against the normal; readers that do not sort secondary captures by place, as ITK, want it along
    for number, place in enumerate(reversed(range(len(grey))), start=1):
        picture = blended(grey[place], np.clip(lying.array[place] / top, 0, 1))
        capture = _capture(
            picture.round().astype(np.uint8), saliency, lying, sources[0], {**series, "instance_number": number}
        )
        capture.ImagePositionPatient = lying.get_plane_position(place)[0].ImagePositionPatient
        capture.SourceImageSequence = [named[place]]
        capture.BurnedInAnnotation = "YES" if any(s.get("BurnedInAnnotation") == "YES" for s in sources) else "NO"
        captures.append(capture)
    return captures


def _capture(picture: NDArray[np.uint8], saliency: SaliencyMap, lying: Any, source: Dataset, series: Any) -> Any:
    from highdicom.sc import SCImage

    _, down, across = lying.get_closest_patient_orientation()
    versions: Any = [__version__, saliency.model]  # a tuple, as highdicom asks for, pydicom 3 warns of
    capture = SCImage.from_ref_dataset(
        source,
        pixel_array=picture,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        pixel_spacing=lying.pixel_spacing,
        patient_orientation=(across, down),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **{**series, "sop_instance_uid": generate_uid()},
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
    capture.FrameOfReferenceUID = lying.frame_of_reference_uid
    capture.PositionReferenceIndicator = source.get("PositionReferenceIndicator", "")
    capture.ImageOrientationPatient = lying.get_plane_orientation()[0].ImageOrientationPatient
    capture.SpacingBetweenSlices = lying.get_pixel_measures()[0].SpacingBetweenSlices
    return capture


def _named(sources: Sequence[Dataset], lying: Any) -> dict[int, Dataset]:
    """By place in the volume, the slice or frame of the series that lies there."""
    from highdicom.sr import CodedConcept

    found = {}
    for source in sources:
        frames = source.get("PerFrameFunctionalGroupsSequence")
        planes = [frame.PlanePositionSequence[0] for frame in frames] if frames else [source]
        for number, plane in enumerate(planes, start=1):
            reference = Dataset()
            reference.ReferencedSOPClassUID = source.SOPClassUID
            reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
            if frames:
                reference.ReferencedFrameNumber = number
            reference.PurposeOfReferenceCodeSequence = [
                CodedConcept("121322", "DCM", "Source image for image processing operation")
            ]
            corner = np.array([plane.ImagePositionPatient], dtype=float)
            found[round(float(lying.map_reference_to_indices(corner)[0, 0]))] = reference
    return found
