# SPDX-License-Identifier: Apache-2.0
"""What a header says is too large is refused before a codec sees it."""

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import DigitalXRayImageStorageForPresentation, RLELossless

from fedxai.errors import CohortError
from fedxai.intake.dicom import decoding
from fedxai.intake.dicom.display import picture_of
from fedxai.intake.dicom.reading import read_image


@pytest.fixture(autouse=True)
def no_codec(monkeypatch):
    """Let a codec that is asked fail the test."""
    monkeypatch.setattr(decoding, "iter_pixels", lambda *_, **__: pytest.fail("it was decoded"))


def _bomb(writer, side):
    """A picture of zeros, each 128 of them in two bytes."""
    ds = writer.base(np.zeros((2, 2), np.uint8), modality="DX", SOPClassUID=DigitalXRayImageStorageForPresentation)
    ds.Rows = ds.Columns = side
    head = (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56)
    ds.PixelData = encapsulate([head + b"\x81\x00" * (side * side // 128)])
    ds["PixelData"].is_undefined_length = True
    ds["PixelData"].VR = "OB"
    ds.file_meta.TransferSyntaxUID = RLELossless
    return writer.save(ds)


def test_a_small_file_that_stands_for_a_huge_picture_is_refused(writer):
    path = _bomb(writer, 8192)
    assert path.stat().st_size < 1.1 * 2**20
    with pytest.raises(CohortError, match="Rows x Columns must be at most 33554432 pixels, got 67108864"):
        picture_of(read_image(path), 0)


def test_too_many_frames_are_refused(writer, phantom, volumes, monkeypatch):
    monkeypatch.setattr(decoding, "MAX_VOXELS", phantom.size - 1)
    writer.enhanced(phantom, positions=[(0, 0, 2.5 * k) for k in range(8)])
    (refused,) = volumes(writer.folder)
    assert "frames must be at most 3839 values, got 3840" in str(refused)


def test_too_many_slices_are_refused_together(writer, phantom, volumes, monkeypatch):
    monkeypatch.setattr(decoding, "MAX_VOXELS", phantom.size - 1)
    writer.series(phantom)
    (refused,) = volumes(writer.folder)
    assert "frames must be at most 3839 values, got 3840" in str(refused)
