# SPDX-License-Identifier: Apache-2.0
"""A saliency map as DICOM: its numbers as a parametric map, with what must be known to read them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from fedxai import __version__
from fedxai.errors import CohortError, ExplanationError, SettingsError
from fedxai.records import MANUFACTURER
from fedxai.report.dicom_grid import is_picture, new_series, onto_slices
from fedxai.report.overlay import strongest
from fedxai.report.words import words

_SERIES_NUMBER = 400
_LONG, _SHORT = 64, 16


@dataclass(frozen=True, kw_only=True)
class SaliencyMap:
    """A map with what must be known to read it.

    Attributes:
        values: (X, Y, Z), of a picture (columns, rows, 1), float, on the grid of the series; as the method gave them,
            signs kept.
        affine: (4, 4), from the indices to RAS mm; of a picture it means nothing.
        method: name in the registry.
        target: the class that it explains.
        model: SHA-256 of the model, 64 hex digits.
        e: share of |S| inside the drawn region (Eq. 5); ``None`` where no region is.
        chance: that region's share of the image; goes with ``e``.
    """

    values: NDArray[Any]
    affine: NDArray[np.float64]
    method: str
    target: str
    model: str
    e: float | None = None
    chance: float | None = None

    def __post_init__(self) -> None:
        if not np.isfinite(self.values).all():
            raise ExplanationError("A map must be finite to be stored.")
        if len(self.model) != _LONG or set(self.model) - set("0123456789abcdef"):
            raise SettingsError("model must be the SHA-256 of the model, 64 hex digits.")
        if (self.e is None) != (self.chance is None):
            raise SettingsError("e is only told beside its chance level; give both or none.")
        if self.e is not None and not (math.isfinite(self.e) and math.isfinite(self.chance or 0.0)):
            raise SettingsError("e and chance must be finite.")

    @property
    def description(self) -> str:
        """One line of at most 64 characters: the method, E beside chance, the model."""
        e = "no region" if self.e is None else f"E {self.e:.3f}, chance {self.chance:.3f}"
        return f"{words(self.method)[:24]}; {e}; model {self.model[:8]}"


def saliency_as_map(saliency: SaliencyMap, sources: Sequence[Dataset]) -> Any:
    """Write a map as a DICOM parametric map of 32-bit floats in the study of its series.

    ContentDescription is :attr:`SaliencyMap.description`; SoftwareVersions holds our version and the model's whole
    digest; the real world value is the stored one, without a unit (saliency has none), its quantity the method.

    Args:
        saliency: the map.
        sources: headers of every slice of the series.

    Returns:
        A :class:`highdicom.pm.ParametricMap`, to be saved or sent.

    Raises:
        CohortError: the map lies on another grid than the series, or the series is a picture.
    """
    from highdicom.pm import ParametricMap

    if is_picture(sources):  # highdicom writes none without a frame of reference
        raise CohortError("form map needs slices with a place in the patient; of a picture take form capture.")
    volume = onto_slices(saliency.values.astype(np.float32), saliency.affine, sources)
    versions: Any = [__version__, saliency.model]  # a tuple, as highdicom asks for, pydicom 3 warns of
    stored = ParametricMap(
        source_images=list(sources),
        pixel_array=volume,
        **new_series(_SERIES_NUMBER),
        software_versions=versions,
        device_serial_number=saliency.model[:16],
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[_meaning(saliency, volume.array)],
        content_description=saliency.description,
        content_creator_name=f"{MANUFACTURER}^",  # may be empty, but dcmqi wants it to be there
        content_label="SALIENCY",
        series_description=f"{words(saliency.method)[:24]}: {saliency.target}"[:_LONG],
        voi_lut_transformations=[_window(volume.array)],
    )
    stored.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [_anatomy()]
    _in_order(stored)
    return ParametricMap.from_dataset(stored, copy=False)


def _in_order(stored: Any) -> None:
    """Sort frames along the normal: dcmqi, and 3D Slicer with it, takes their order for their place."""
    cosines = np.array(stored.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient)
    normal = np.cross(cosines[:3].astype(float), cosines[3:].astype(float))
    groups = list(stored.PerFrameFunctionalGroupsSequence)
    places = [np.array(group.PlanePositionSequence[0].ImagePositionPatient, float) @ normal for group in groups]
    order = np.argsort(places)
    stored.FloatPixelData = stored.pixel_array.reshape(len(groups), -1)[order].tobytes()
    stored.PerFrameFunctionalGroupsSequence = [groups[place] for place in order]
    for number, group in enumerate(stored.PerFrameFunctionalGroupsSequence, start=1):
        group.FrameContentSequence[0].DimensionIndexValues = [number]


def _anatomy() -> Dataset:
    """No part of the body in particular: the macro may be missing, but dcmqi, and 3D Slicer with it, then crashes."""
    from highdicom.sr import CodedConcept

    anatomy = Dataset()
    anatomy.FrameLaterality = "U"
    anatomy.AnatomicRegionSequence = [CodedConcept("91723000", "SCT", "Anatomical structure")]
    return anatomy


def _window(values: NDArray[np.float32]) -> Any:
    """From the weakest to the strongest colour that a viewer shall use: 0 to the 99th percentile of |S|."""
    from highdicom import VOILUTTransformation

    top = strongest(np.abs(values)) or 1.0
    low = -top if values.min() < 0 else 0.0
    return VOILUTTransformation(window_center=(top + low) / 2, window_width=top - low)


def _meaning(saliency: SaliencyMap, values: NDArray[np.float32]) -> Any:
    from highdicom.pm import RealWorldValueMapping
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    return RealWorldValueMapping(
        lut_label=saliency.method.upper()[:_SHORT],
        lut_explanation=f"{words(saliency.method)} of {saliency.target}"[:_LONG],
        unit=codes.UCUM.NoUnits,
        value_range=(float(values.min()), float(values.max())),
        slope=1.0,
        intercept=0.0,
        quantity_definition=Code(saliency.method.upper()[:_SHORT], "99FEDXAI", words(saliency.method)),
    )
