# SPDX-License-Identifier: Apache-2.0
"""What a reader drew, or a model, as a DICOM segmentation: every structure by name, with who made it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from fedxai import __version__
from fedxai.errors import CohortError, SettingsError
from fedxai.records import MANUFACTURER
from fedxai.report.dicom_grid import is_picture, new_series, onto_picture, onto_slices

_SERIES_NUMBER = 300
_LONG = 64  # characters that DICOM allows in a label, a name, a description
_COLOURS = ((86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167), (213, 94, 0), (0, 114, 178), (240, 228, 66))


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A label map and what its values stand for.

    Attributes:
        labels: (X, Y, Z), of a picture (columns, rows, 1), whole numbers, 0 where nothing was drawn.
        affine: (4, 4), from the indices to RAS mm; of a picture it means nothing.
        names: of each value from 1 on.
        reader: who drew it.
        model: digest of the model that made it; empty where a reader drew it all by hand.
    """

    labels: NDArray[Any]
    affine: NDArray[np.float64]
    names: Mapping[int, str]
    reader: str
    model: str = ""

    def __post_init__(self) -> None:
        values = {int(value) for value in np.unique(self.labels)} - {0}
        if not values:
            raise CohortError("Nothing was drawn; there is no region to store.")
        if unnamed := sorted(values - set(self.names)):
            raise CohortError(f"Values {unnamed} of what was drawn have no name; name every segment.")
        if not self.reader.strip() or len(self.reader) > _LONG or not self.reader.isprintable():
            raise SettingsError(f"reader must be 1 to {_LONG} printable characters.")
        for name in self.names.values():
            if not name.strip() or len(name) > _LONG or not name.isprintable():
                raise SettingsError(f"A name of a segment must be 1 to {_LONG} printable characters.")


def region_as_seg(drawing: Drawing, sources: Sequence[Dataset]) -> Any:
    """Write a label map as a binary DICOM SEG in the study of its series.

    Segments are numbered 1, 2, ... in the order of their values; each keeps its name as SegmentLabel and TrackingID.
    SegmentAlgorithmType is ``MANUAL``, or ``AUTOMATIC`` with the model's digest; ContentCreatorName is the reader.
    What a segment means is said neutrally (an image region), for a name alone does not say whether it is a lesion.
    On a picture the SEG has no geometry; its pixels are those of the picture that it names.

    Args:
        drawing: what was drawn, on the grid of the series.
        sources: headers of every slice of the series, or of its picture.

    Returns:
        A :class:`highdicom.seg.Segmentation`, to be saved or sent.

    Raises:
        CohortError: the drawing lies on another grid than the series.
    """
    from highdicom.seg import Segmentation

    values = sorted({int(value) for value in np.unique(drawing.labels)} - {0})
    compact = np.searchsorted(values, drawing.labels, side="left").astype(np.uint8) + np.uint8(1)
    compact[drawing.labels == 0] = 0
    flat = is_picture(sources)
    seg = Segmentation(
        source_images=[_still(sources[0])] if flat else list(sources),
        pixel_array=onto_picture(compact, sources[0]) if flat else onto_slices(compact, drawing.affine, sources),
        segmentation_type="BINARY",
        segment_descriptions=[
            _segment(number, drawing.names[value], drawing.model) for number, value in enumerate(values, start=1)
        ],
        **new_series(_SERIES_NUMBER),
        software_versions=__version__,
        device_serial_number=drawing.model[:16] or "none",
        content_creator_name=person(drawing.reader),
        content_label="REGION",
        content_description=f"made by model {drawing.model[:16]}" if drawing.model else "drawn by a reader",
        series_description=", ".join(drawing.names[value] for value in values)[:_LONG],
    )
    for reference in _references(seg) if flat else ():
        reference.ReferencedSOPClassUID = sources[0].SOPClassUID
    return seg


def person(reader: str) -> str:
    """A reader's account as a DICOM name of one component; what would split it becomes a space."""
    return reader.translate(str.maketrans("^=\\", "   ")).strip() + "^"


def _still(picture: Dataset) -> Dataset:
    """A picture's header as highdicom takes it: of one frame whatever its class allows, and without a place.

    PixelSpacing goes too, which highdicom writes without a SliceThickness and then refuses to read.
    """
    still = Dataset()
    still.update(picture)
    still.SOPClassUID = SecondaryCaptureImageStorage
    for name in ("NumberOfFrames", "FrameOfReferenceUID", "PixelSpacing", "SharedFunctionalGroupsSequence"):
        still.pop(name, None)
    return still


def _references(seg: Dataset) -> Iterator[Dataset]:
    """Wherever a SEG names the picture that it was drawn on."""
    yield from seg.SourceImageSequence
    yield from seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    for frame in seg.PerFrameFunctionalGroupsSequence:
        yield from frame.DerivationImageSequence[0].SourceImageSequence


def _segment(number: int, name: str, model: str) -> Any:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    algorithm = (
        AlgorithmIdentificationSequence(
            name=MANUFACTURER, family=codes.DCM.ArtificialIntelligence, version=model[:16], source=MANUFACTURER
        )
        if model
        else None
    )
    return SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=Code("309825002", "SCT", "Spatial and Relational Concept"),
        segmented_property_type=Code("111030", "DCM", "Image Region"),
        algorithm_type="AUTOMATIC" if model else "MANUAL",
        algorithm_identification=algorithm,
        tracking_uid=generate_uid(),
        tracking_id=name,
        display_color=CIELabColor.from_rgb(*_COLOURS[(number - 1) % len(_COLOURS)]),
    )
