# SPDX-License-Identifier: Apache-2.0
"""Pictures as they are displayed, against PS3.3 C.11 written out slowly."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, SecondaryCaptureImageStorage

from fedxai.errors import CohortError
from fedxai.intake.dicom.display import picture_of
from fedxai.intake.dicom.reading import read_image


@pytest.fixture
def shown(writer):
    def show(pixels, index=0, **attributes):
        sop = attributes.pop("SOPClassUID", DigitalXRayImageStorageForPresentation)
        ds = writer.base(pixels, modality="DX", SOPClassUID=sop, **attributes)
        return picture_of(read_image(writer.save(ds)), index)

    return show


TWELVE = np.array([[0, 100, 900], [1000, 1100, 4095]], dtype=np.uint16)


def _window(x, center, width, top):
    """PS3.3 C.11.2.1.2.1, one value at a time."""
    if x <= center - 0.5 - (width - 1) / 2:
        return 0
    if x > center - 0.5 + (width - 1) / 2:
        return top
    return round(((x - (center - 0.5)) / (width - 1) + 0.5) * top)


def test_a_window_is_applied(shown):
    picture = shown(TWELVE, BitsStored=12, HighBit=11, WindowCenter=1000, WindowWidth=401)
    assert picture.dtype == np.uint16
    assert picture.tolist() == [[_window(int(x), 1000, 401, 65535) for x in row] for row in TWELVE]


def test_monochrome1_is_turned_round(shown):
    plain = shown(TWELVE, BitsStored=12, HighBit=11)
    turned = shown(TWELVE, BitsStored=12, HighBit=11, PhotometricInterpretation="MONOCHROME1")
    assert (plain + turned == 65535).all()


def test_without_a_window_twelve_bits_fill_sixteen_without_loss(shown):
    picture = shown(TWELVE, BitsStored=12, HighBit=11)
    assert np.array_equal(np.rint(picture * (4095 / 65535)).astype(np.uint16), TWELVE)


def test_eight_bits_stay_what_they_are(shown):
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(shown(pixels), pixels)


def test_signed_values_start_at_black(shown):
    pixels = np.array([[-128, 0, 127]], dtype=np.int8)
    assert shown(pixels).tolist() == [[0, 128, 255]]


def test_a_rescale_comes_before_the_window(shown):
    scaled = {"BitsStored": 12, "HighBit": 11, "RescaleSlope": 2, "RescaleIntercept": -100, "RescaleType": "US"}
    picture = shown(TWELVE, WindowCenter=1900, WindowWidth=401, **scaled)
    assert picture.tolist() == [[_window(2 * int(x) - 100, 1900, 401, 65535) for x in row] for row in TWELVE]


def test_the_first_of_several_windows_counts(shown):
    one = shown(TWELVE, BitsStored=12, HighBit=11, WindowCenter=1000, WindowWidth=401)
    two = shown(TWELVE, BitsStored=12, HighBit=11, WindowCenter=[1000, 50], WindowWidth=[401, 10])
    assert np.array_equal(one, two)


def test_a_sigmoid_window_is_a_sigmoid(shown):
    picture = shown(TWELVE, BitsStored=12, HighBit=11, WindowCenter=1000, WindowWidth=400, VOILUTFunction="SIGMOID")
    expected = 65535 / (1 + np.exp(-4 * (TWELVE.astype(float) - 1000) / 400))
    np.testing.assert_allclose(picture, expected, atol=1)


def test_a_table_wins_over_a_window(shown):
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [4, 0, 8], np.array([255, 128, 64, 0], "<u2").tobytes()
    pixels = np.array([[0, 1, 2, 3, 9]], dtype=np.uint16)
    picture = shown(pixels, VOILUTSequence=[item], WindowCenter=2, WindowWidth=2, BitsStored=12, HighBit=11)
    assert picture.tolist() == [[round(v * 65535 / 255) for v in (255, 128, 64, 0, 0)]]


def test_a_palette_becomes_colour(shown):
    palette = {}
    for name, values in (("Red", [0, 255, 0, 9]), ("Green", [0, 0, 128, 9]), ("Blue", [7, 0, 255, 9])):
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, 8]
        palette[f"{name}PaletteColorLookupTableData"] = bytes(values)
    pixels = np.array([[0, 1], [2, 2]], dtype=np.uint8)
    picture = shown(pixels, PhotometricInterpretation="PALETTE COLOR", **palette)
    assert picture.tolist() == [[[0, 0, 7], [255, 0, 0]], [[0, 128, 255], [0, 128, 255]]]


def test_luminance_and_chroma_become_red_green_blue(shown):
    """PS3.3 C.7.6.3.1.2: pure red, green and gray in YBR_FULL."""
    ybr = np.array([[[76, 85, 255], [150, 44, 21], [128, 128, 128]]], dtype=np.uint8)
    picture = shown(ybr, PhotometricInterpretation="YBR_FULL", SOPClassUID=SecondaryCaptureImageStorage)
    expected = [[[254, 0, 0], [0, 255, 1], [128, 128, 128]]]
    assert np.abs(picture.astype(int) - expected).max() <= 1


def test_colour_by_plane_is_the_same_as_by_pixel(shown):
    pixels = np.random.default_rng(0).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    planes = pixels.transpose(2, 0, 1).tobytes()
    assert np.array_equal(shown(pixels, PixelData=planes, PlanarConfiguration=1), pixels)


def test_one_frame_of_a_loop_is_taken(shown):
    loop = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    assert np.array_equal(shown(loop, index=2), loop[2])


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"WindowCenter": 10, "WindowWidth": 0}, "window of the picture is damaged"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "look-up table"),
        ({"Rows": 7}, "cannot be decoded"),
    ],
)
def test_a_damaged_display_is_refused(shown, attributes, said):
    with pytest.raises(CohortError, match=said):
        shown(TWELVE, **attributes)


def test_more_than_sixteen_bits_are_refused(shown):
    with pytest.raises(CohortError, match="BitsStored is above 16"):
        shown(TWELVE.astype(np.uint32))
