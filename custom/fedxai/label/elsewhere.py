# SPDX-License-Identifier: Apache-2.0
"""What other workstations drew: DICOM SEGs of the archive that did not come through this server, as they lie there now.

Nothing of them is kept here, so that what its author withdraws or replaces in the archive counts no longer.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pydicom.dataset import Dataset

from fedxai.errors import CohortError
from fedxai.intake.dicom.instance import of_our_making
from fedxai.label.archive import Archive
from fedxai.label.bands import is_band
from fedxai.label.feedback import Drawn
from fedxai.label.series import Series, drawing_of

_log = logging.getLogger(__name__)


def drawn_elsewhere(
    archive: Archive, series: str, class_names: Sequence[str], *, bring: Callable[[], Series]
) -> dict[str, Drawn]:
    """What other workstations drew on a series: by reader the newest of the SEGs that say what the region is.

    What FedXAI-Med stored is left out, for it lies in the readers' opinions; so is, with a line in the log, a SEG that
    is damaged or does not fit the image, and what was drawn on a series that is not one volume or picture.

    Args:
        archive: where the SEGs are.
        series: its SeriesInstanceUID.
        class_names: see :func:`region_segments`.
        bring: fetches the series; called once, and only where a SEG counts.

    Raises:
        RunError: the archive does not answer.
        CohortError: it has no such series.
    """
    foreign = [seg for seg in archive.segmentations(series) if not of_our_making(seg)]
    named = [(seg, chosen) for seg in foreign if (chosen := region_segments(seg, class_names))]
    if not named:
        return {}
    found = {}
    with _left_out():
        brought = bring()
        image = brought.volume()
        for seg, chosen in named:
            with _left_out():
                drawing = drawing_of(seg, brought, image, segments=chosen)
                found[drawing.reader] = Drawn.of(drawing.labels, drawing.affine, drawing.names)
    return found


@contextmanager
def _left_out() -> Iterator[None]:
    """One SEG of a stranger must not keep back all others."""
    try:
        yield
    except CohortError as error:
        _log.warning("A segmentation of the archive was left out: %s", error)


def region_segments(seg: Dataset, class_names: Sequence[str]) -> list[int]:
    """Numbers of a stranger's segments that are the region: those named as a class of the model, else the only one.

    A program's own segments (SegmentAlgorithmType ``AUTOMATIC``) and saliency bands are nobody's drawing. Of several
    segments with other names nobody can say which is the region: none.
    """
    drawn = {
        int(item.SegmentNumber): str(item.get("SegmentLabel") or "").strip().lower()
        for item in seg.get("SegmentSequence") or []
        if str(item.get("SegmentAlgorithmType")) != "AUTOMATIC" and not is_band(str(item.get("SegmentLabel") or ""))
    }
    classes = {name.lower() for name in class_names}
    named = [number for number, label in drawn.items() if label in classes]
    return named or (list(drawn) if len(drawn) == 1 else [])
