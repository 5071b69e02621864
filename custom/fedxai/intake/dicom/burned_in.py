# SPDX-License-Identifier: Apache-2.0
"""May a name be burnt into the picture? Say so before it is taken in, and black out what lies beside an ultrasound."""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID

from fedxai.errors import CohortError
from fedxai.intake.pixels import Pixels

_ULTRASOUND = ("US", "IVUS")
_SCANNED = ("DF", "SD", "DV", "DI", "SI", "DRW", "WSD")  # ConversionType: from film, paper, video or a screen
_REGION = ("RegionLocationMinX0", "RegionLocationMinY0", "RegionLocationMaxX1", "RegionLocationMaxY1")


def check_text(header: Dataset, *, allowed: bool) -> None:
    """Refuse a picture with text in it, or of a kind that often has some while nothing says that this one has not.

    Raises:
        CohortError: BurnedInAnnotation says yes; or it does not say no, and the picture is a secondary capture, a
            screenshot, a scan of film or paper, or an ultrasound. Not raised where ``allowed``.
    """
    answer = str(header.get("BurnedInAnnotation") or "").upper()
    why = "BurnedInAnnotation says that text is in the picture" if answer == "YES" else _suspicious(header)
    if why and answer != "NO" and not allowed:
        raise CohortError(f"{why}; look at the pictures, and if they show no name, give --allow-burned-in.")


def _suspicious(header: Dataset) -> str:
    image_type = {str(word).upper() for word in (header.get("ImageType") or [])}
    if "Secondary Capture" in UID(str(header.get("SOPClassUID") or "")).name:
        return (
            "SOPClassUID says secondary capture, which often has text burnt in, and BurnedInAnnotation does not deny it"
        )
    if image_type & {"SCREEN SAVE", "SCREENSAVE", "PASTED"}:
        return "ImageType says screenshot, and BurnedInAnnotation does not deny that text is in it"
    if str(header.get("ConversionType") or "").upper() in _SCANNED:
        return "ConversionType says scan or capture, and BurnedInAnnotation does not deny that text is in it"
    if str(header.get("Modality") or "").upper() in _ULTRASOUND:
        return "Modality says ultrasound, where names stand beside the image, and BurnedInAnnotation does not deny it"
    return ""


def outside_blacked(pixels: Pixels, header: Dataset) -> Pixels:
    """Black out what lies outside the regions that an ultrasound declares; other pictures stay as they are.

    Raises:
        CohortError: a region lies outside the picture.
    """
    regions = header.get("SequenceOfUltrasoundRegions") or []
    if not regions:
        return pixels
    inside = np.zeros(pixels.shape[:2], dtype=np.bool_)
    for region in regions:
        left, top, right, bottom = (int(region.get(name) or 0) for name in _REGION)
        if not (0 <= left < right <= pixels.shape[1] and 0 <= top < bottom <= pixels.shape[0]):
            raise CohortError("SequenceOfUltrasoundRegions lies outside the picture; export the study again.")
        inside[top : bottom + 1, left : right + 1] = True
    return np.where(inside if pixels.ndim == 2 else inside[..., None], pixels, 0).astype(pixels.dtype)
