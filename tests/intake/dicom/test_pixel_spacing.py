# SPDX-License-Identifier: Apache-2.0
"""The size of a picture's pixels, where the header says it, in the order rows, columns."""

import pytest
from pydicom.dataset import Dataset

from fedxai.intake.dicom.pixel_spacing import spacing_of


def _header(**attributes):
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def _region(**attributes):
    usual = {"RegionSpatialFormat": 1, "PhysicalUnitsXDirection": 3, "PhysicalUnitsYDirection": 3}
    return _header(**{**usual, "PhysicalDeltaX": 0.02, "PhysicalDeltaY": 0.03, **attributes})


SAID = {
    "in the patient": (_header(PixelSpacing=[0.2, 0.1], ImagerPixelSpacing=[0.3, 0.3]), (0.2, 0.1)),
    "at the detector": (_header(ImagerPixelSpacing=[0.2, 0.1]), (0.2, 0.1)),
    "magnified": (
        _header(ImagerPixelSpacing=[0.2, 0.1], EstimatedRadiographicMagnificationFactor=1.25),
        (0.16, 0.08),
    ),
    "ultrasound": (_header(SequenceOfUltrasoundRegions=[_region(), _region()]), (0.3, 0.2)),
    "two scales": (_header(SequenceOfUltrasoundRegions=[_region(), _region(PhysicalDeltaX=0.04)]), None),
    "a curve": (_header(SequenceOfUltrasoundRegions=[_region(RegionSpatialFormat=3)]), None),
    "seconds": (_header(SequenceOfUltrasoundRegions=[_region(PhysicalUnitsXDirection=4)]), None),
    "nothing": (_header(), None),
    "empty": (_header(PixelSpacing=None), None),
    "zero": (_header(PixelSpacing=[0, 0.1]), None),
    "one number": (_header(PixelSpacing=0.1), None),
}


@pytest.mark.parametrize(("header", "spacing"), SAID.values(), ids=list(SAID))
def test_the_spacing_is_what_the_header_says_clearly(header, spacing):
    assert spacing_of(header) == (spacing if spacing is None else pytest.approx(spacing))
