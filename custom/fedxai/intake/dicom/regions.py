# SPDX-License-Identifier: Apache-2.0
"""What somebody drew on a series, SEG or RTSTRUCT, becomes a mask with a place in the patient."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage, SegmentationStorage

from fedxai.errors import CohortError
from fedxai.intake.dicom.numbers import TO_RAS
from fedxai.intake.dicom.outlines import drawn, structures
from fedxai.intake.dicom.reading import in_silence, read_header
from fedxai.intake.dicom.stacks import Stack
from fedxai.intake.dicom.upright import upright
from fedxai.intake.volume import Volume

DRAWN = (str(SegmentationStorage), str(RTStructureSetStorage))
HALF = 0.5


def referenced_series(header: Dataset) -> set[str]:
    """Return the SeriesInstanceUIDs that a SEG or RTSTRUCT says it was drawn on."""
    series = list(header.get("ReferencedSeriesSequence") or [])
    for frame in header.get("ReferencedFrameOfReferenceSequence") or []:
        for study in frame.get("RTReferencedStudySequence") or []:
            series += study.get("RTReferencedSeriesSequence") or []
    return {str(item.get("SeriesInstanceUID") or "") for item in series} - {""}


def region_of(paths: Sequence[Path], stack: Stack, wanted: Sequence[str]) -> Volume | None:
    """Join what was drawn on a stack into one mask of 0 and 1.

    Of a fractional SEG, what is at least one half belongs to it.

    Args:
        paths: SEG and RTSTRUCT files.
        stack: what they were drawn on.
        wanted: SegmentLabel or ROIName of the structures to take; all if empty.

    Returns:
        The mask, on the SEG's or on the image's grid; ``None`` where nothing that is wanted was drawn.

    Raises:
        CohortError: a file is damaged, or says no regular place; or several SEGs lie on different grids.
    """
    masks = [mask for path in paths if (mask := _region(path, stack, {name.lower() for name in wanted})) is not None]
    if not masks:
        return None
    first = masks[0]
    for mask in masks[1:]:
        if mask.grid != first.grid or not np.allclose(mask.affine, first.affine, atol=1e-3):
            raise CohortError("Several segmentations of the series lie on different grids; keep one of them.")
    return Volume(voxels=np.any([mask.voxels > 0 for mask in masks], axis=0).astype(np.uint8), affine=first.affine)


def region_on_picture(
    paths: Sequence[Path], picture: Dataset, index: int, wanted: Sequence[str]
) -> NDArray[np.uint8] | None:
    """Join what SEGs mark on one frame of a picture into a mask of 0 and 255, as :func:`region_of` does on a stack.

    An RTSTRUCT has no part in it: its contours lie in the patient, and a picture does not say where it lies.

    Args:
        paths: SEG files.
        picture: what they were drawn on.
        index: the frame, from 0.
        wanted: SegmentLabel of the structures to take; all if empty.

    Returns:
        (rows, columns); ``None`` where nothing that is wanted was drawn on this frame.

    Raises:
        CohortError: a file is damaged, does not say that its pixels are the picture's, or has another size.
    """
    frame = index + 1 if int(picture.get("NumberOfFrames") or 1) > 1 else None
    names = {name.lower() for name in wanted}
    found = [_on_picture(path, str(picture.SOPInstanceUID), frame, names) for path in paths]
    masks = [mask for mask in found if mask is not None and mask.any()]
    size = (int(picture.Rows), int(picture.Columns))
    if any(mask.shape != size for mask in masks):
        raise CohortError("The segmentation has other Rows or Columns than its picture; draw it on this picture.")
    return np.where(np.any(masks, axis=0), 255, 0).astype(np.uint8) if masks else None


def is_segmentation(path: Path) -> bool:
    """Whether what was drawn is a SEG, not an RTSTRUCT."""
    return str(read_header(path).SOPClassUID) == str(SegmentationStorage)


def _region(path: Path, stack: Stack, wanted: set[str]) -> Volume | None:
    if is_segmentation(path):
        return _segmentation(path, wanted)
    header = read_header(path)
    chosen = [number for number, name in structures(header).items() if not wanted or name.lower() in wanted]
    if not chosen:
        return None
    mask = drawn(header, stack, chosen)
    sheared = Volume(voxels=mask.astype(np.uint8), affine=TO_RAS @ stack.affine)
    return upright(sheared, stack.sideways, order=0)


def _segmentation(path: Path, wanted: set[str]) -> Volume | None:
    with _segmented(path, wanted) as (seg, chosen):
        if not chosen:
            return None
        found = seg.get_volume(segment_numbers=chosen, combine_segments=False, rescale_fractional=True)
    mask = np.any(np.asarray(found.array) >= HALF, axis=-1)
    order = [2, 1, 0, 3]  # from (slice, row, column) to (column, row, slice)
    return Volume(voxels=mask.transpose(2, 1, 0).astype(np.uint8), affine=(TO_RAS @ found.affine)[:, order])


def _on_picture(path: Path, instance: str, frame: int | None, wanted: set[str]) -> NDArray[np.bool_] | None:
    with _segmented(path, wanted) as (seg, chosen):
        if not chosen:
            return None
        how = {"segment_numbers": chosen, "assert_missing_frames_are_empty": True}
        if frame is None:
            found = seg.get_pixels_by_source_instance([instance], **how)
        else:
            found = seg.get_pixels_by_source_frame(instance, [frame], **how)
    return np.any(np.asarray(found[0]) >= HALF, axis=-1)


@contextmanager
def _segmented(path: Path, wanted: set[str]) -> Iterator[tuple[Any, list[int]]]:
    """Lend an opened SEG and the numbers of the segments that are wanted."""
    from highdicom.seg import Segmentation

    try:
        with in_silence():
            seg: Any = Segmentation.from_dataset(_measured(pydicom.dcmread(path)), copy=False)
            labels = {n: str(seg.get_segment_description(n).segment_label) for n in seg.segment_numbers}
            yield seg, [number for number, label in labels.items() if not wanted or label.lower() in wanted]
    except Exception as error:  # highdicom raises what a damaged or irregular SEG makes it stumble over
        raise CohortError(
            f"The segmentation has no regular grid or is damaged ({type(error).__name__}); export it again."
        ) from None


def _measured(seg: Dataset) -> Dataset:
    """Less PixelMeasuresSequence without SliceThickness, as a picture has it: highdicom writes it and reads it not."""
    shared, by_frame = (seg.get(f"{kind}FunctionalGroupsSequence") or [] for kind in ("Shared", "PerFrame"))
    for group in (*shared, *by_frame):
        measures = group.get("PixelMeasuresSequence") or []
        if any("SliceThickness" not in one for one in measures):
            del group.PixelMeasuresSequence
    return seg
