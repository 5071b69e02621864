# SPDX-License-Identifier: Apache-2.0
"""Every file in pydicom's wheel: read to these numbers, sorted aside, or refused in this sentence.

Together with the inputs that test_stacks, test_numbers, test_display, test_find and test_regions make, these are the
hard inputs of the DICOM intake. Where ITK reads a file as it is stored, all values are compared with it as well.
"""

import numpy as np
import pytest

from fedxai.errors import CohortError
from fedxai.intake.dicom.display import picture_of
from fedxai.intake.dicom.instance import read_instance
from fedxai.intake.dicom.numbers import same_pixels, volume_of
from fedxai.intake.dicom.reading import read_image
from fedxai.intake.dicom.stacks import stacks_of

AS_ITK = {  # file: shape, lowest, highest, mean
    "693_J2KI.dcm": ((512, 512, 1), -3995, 1812, -1032.32),
    "CT_small.dcm": ((128, 128, 1), -896, 1167, -119.07),
    "ExplVR_BigEnd.dcm": ((60, 80, 3), 0, 255, 171.58),
    "GDCMJ2K_TextGBR.dcm": ((400, 400, 3), 0, 255, 124.44),
    "J2K_pixelrep_mismatch.dcm": ((512, 512, 1), -2000, 1896, -658.44),
    "JPEGLSNearLossless_08.dcm": ((45, 10), 0, 255, 55.56),
    "JPEGLSNearLossless_16.dcm": ((50, 10), 0, 65535, 12014.50),
    "MR_small.dcm": ((64, 64, 1), 127, 2145, 518.88),
    "MR_small_RLE.dcm": ((64, 64, 1), 127, 2145, 518.88),
    "MR_small_bigendian.dcm": ((64, 64, 1), 127, 2145, 518.88),
    "MR_small_expb.dcm": ((64, 64, 1), 127, 2145, 518.88),
    "MR_small_implicit.dcm": ((64, 64, 1), 127, 2145, 518.88),
    "MR_small_jp2klossless.dcm": ((64, 64, 1), 127, 2145, 518.88),
    "MR_small_jpeg_ls_lossless.dcm": ((64, 64, 1), 127, 2145, 518.88),
    "MR_small_padded.dcm": ((64, 64, 1), 127, 2145, 518.88),
    "SC_jpeg_no_color_transform.dcm": ((256, 256, 3), 134, 252, 243.97),
    "SC_jpeg_no_color_transform_2.dcm": ((256, 256, 3), 165, 255, 245.64),
    "SC_rgb_dcmtk_+eb+cr.dcm": ((100, 100, 3), 0, 255, 127.74),
    "SC_rgb_dcmtk_+eb+cy+n1.dcm": ((100, 100, 3), 0, 255, 127.55),
    "SC_rgb_dcmtk_+eb+cy+n2.dcm": ((100, 100, 3), 0, 255, 127.73),
    "SC_rgb_dcmtk_+eb+cy+np.dcm": ((100, 100, 3), 0, 255, 127.55),
    "SC_rgb_dcmtk_+eb+cy+s2.dcm": ((100, 100, 3), 0, 255, 127.73),
    "SC_rgb_dcmtk_+eb+cy+s4.dcm": ((100, 100, 3), 0, 255, 127.73),
    "SC_rgb_gdcm_KY.dcm": ((100, 100, 3), 0, 255, 127.70),
    "SC_rgb_jls_lossy_line.dcm": ((100, 100, 3), 0, 255, 128.00),
    "SC_rgb_jls_lossy_sample.dcm": ((100, 100, 3), 0, 255, 128.00),
    "SC_rgb_jpeg.dcm": ((256, 256, 3), 134, 252, 243.97),
    "SC_rgb_jpeg_app14_dcmd.dcm": ((256, 256, 3), 165, 255, 245.64),
    "SC_rgb_jpeg_dcmd.dcm": ((256, 256, 3), 134, 252, 243.97),
    "SC_rgb_jpeg_dcmtk.dcm": ((100, 100, 3), 0, 255, 127.73),
    "SC_rgb_jpeg_gdcm.dcm": ((100, 100, 3), 0, 255, 127.70),
    "SC_rgb_jpeg_lossy_gdcm.dcm": ((100, 100, 3), 0, 255, 127.53),
    "SC_rgb_rle.dcm": ((100, 100, 3), 0, 255, 127.70),
    "SC_rgb_rle_2frame.dcm": ((100, 100, 3), 0, 255, 127.70),
    "SC_rgb_small_odd.dcm": ((3, 3, 3), 52, 176, 128.78),
    "SC_rgb_small_odd_big_endian.dcm": ((3, 3, 3), 52, 176, 128.78),
    "SC_rgb_small_odd_jpeg.dcm": ((3, 3, 3), 49, 179, 128.33),
    "SC_ybr_full_422_uncompressed.dcm": ((100, 100, 3), 0, 255, 127.73),
    "examples_jpeg2k.dcm": ((480, 640, 3), 0, 255, 34.53),
    "examples_overlay.dcm": ((484, 300, 1), 0, 1123, 191.69),
    "examples_palette.dcm": ((350, 800, 3), 0, 255, 20.49),
    "examples_rgb_color.dcm": ((240, 320, 3), 0, 255, 34.27),
    "examples_ybr_color.dcm": ((240, 320, 3), 0, 220, 9.47),
    "image_dfl.dcm": ((512, 512), 0, 255, 127.12),
    "dicomdirtests/77654033/CT2/17106": ((16, 16, 1), -981, 77, -618.73),
    "dicomdirtests/98892003/MR1/4919": ((16, 16, 1), 442, 826, 715.79),
    "dicomdirtests/98892003/MR700/4467": ((16, 16, 1), 48, 80, 61.38),
}
SHOWN = {  # scaled to 8 or 16 bits, or turned round, where ITK shows what is stored
    "JPEG2000.dcm": ((1024, 256), 32738, 33013, 32781.46),
    "SC_rgb_rle_16bit.dcm": ((100, 100, 3), 0, 255, 127.70),
    "SC_rgb_rle_16bit_2frame.dcm": ((100, 100, 3), 0, 255, 127.70),
    "dicomdirtests/77654033/CR1/6154": ((16, 16), 20661, 33601, 25116.49),
}
ASIDE = {
    "other": [
        "ExplVR_BigEndNoMeta.dcm",
        "ExplVR_LitEndNoMeta.dcm",
        "badVR.dcm",
        "reportsi.dcm",
        "reportsi_with_empty_number_tags.dcm",
        "rtdose.dcm",
        "rtdose_1frame.dcm",
        "rtdose_expb.dcm",
        "rtdose_expb_1frame.dcm",
        "rtdose_rle.dcm",
        "rtdose_rle_1frame.dcm",
        "rtplan.dcm",
        "rtplan_truncated.dcm",
        "test-SR.dcm",
        "waveform_ecg.dcm",
    ],
    "drawn": ["liver_1frame.dcm", "liver_expb_1frame.dcm", "rtstruct.dcm"],
    "localizer": ["dicomdirtests/98892001/CT2N/6293"],
}
REFUSED = {
    "PixelData cannot be decoded (RuntimeError); export the study again, uncompressed.": [
        "JPEG-lossy.dcm",
        "JPEG2000-embedded-sequence-delimiter.dcm",
        "JPGExtended.dcm",
    ],
    "PixelData cannot be decoded (ValueError); export the study again, uncompressed.": ["MR_truncated.dcm"],
    "BitsStored is above 16, which no display shows; export the pictures with 16 bits at most.": [
        "SC_rgb_rle_32bit.dcm",
        "SC_rgb_rle_32bit_2frame.dcm",
    ],
    "SOPClassUID is missing: a file is cut short or damaged; export the study again.": [
        "UN_sequence.dcm",
        "empty_charset_LEI.dcm",
        "meta_missing_tsyntax.dcm",
        "nested_priv_SQ.dcm",
        "no_meta_group_length.dcm",
        "priv_SQ.dcm",
    ],
    "A file holds no DICOM object.": ["dicomdirtests/DICOMDIR"],
    "A file is not DICOM.": ["no_meta.dcm", "README.txt"],
}


def _values(path):
    """The whole way of one file, up to values."""
    instance = read_instance(path, allow_burned_in=True)
    if instance.reason:
        raise CohortError(instance.reason)
    if instance.kind == "slices":
        (stack,) = stacks_of(instance.frames, same_pixels)
        return volume_of(stack).voxels
    return picture_of(read_image(path), 0)


@pytest.mark.parametrize(("name", "expected"), {**AS_ITK, **SHOWN}.items())
def test_a_file_is_read_to_its_numbers(pydicom_files, name, expected):
    shape, low, high, mean = expected
    values = _values(pydicom_files / name)
    assert (values.shape, values.min(), values.max()) == (shape, low, high)
    assert values.mean() == pytest.approx(mean, abs=0.006)


@pytest.mark.slow
@pytest.mark.parametrize("name", AS_ITK)
def test_its_values_are_those_of_itk(pydicom_files, name):
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    values = _values(pydicom_files / name)
    theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(pydicom_files / name)))
    theirs = theirs[0] if theirs.ndim > values.ndim - (values.shape[-1] == 1) else theirs
    theirs = theirs.T[..., None] if values.shape[-1] == 1 else theirs
    assert np.array_equal(values, theirs)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in ASIDE.items() for name in names])
def test_what_is_no_image_is_sorted_aside(pydicom_files, kind, name):
    instance = read_instance(pydicom_files / name, allow_burned_in=False)
    assert (instance.kind, instance.reason, instance.frames, instance.pictures) == (kind, "", [], 0)


@pytest.mark.parametrize(("reason", "name"), [(reason, name) for reason, names in REFUSED.items() for name in names])
def test_what_cannot_be_read_is_refused_in_one_sentence(pydicom_files, reason, name):
    with pytest.raises(CohortError) as caught:
        _values(pydicom_files / name)
    assert str(caught.value) == reason


def test_they_are_more_than_sixty():
    assert len(AS_ITK) + len(SHOWN) + sum(map(len, REFUSED.values())) >= 60
