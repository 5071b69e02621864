# SPDX-License-Identifier: Apache-2.0
"""A SEG as another program writes it."""

from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid


def segmentation(sources, masks, *, labels, kind="BINARY"):
    """Of images (as pydicom reads them); masks (images, rows, columns[, segments])."""
    import highdicom as hd

    for source in sources:  # highdicom insists on what a PACS always writes
        for name in ("PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
            setattr(source, name, source.get(name, ""))
    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Lesion,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, label in enumerate(labels, start=1)
    ]
    return hd.seg.Segmentation(
        source_images=sources,
        pixel_array=masks,
        segmentation_type=kind,
        segment_descriptions=descriptions,
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="x",
        manufacturer_model_name="x",
        software_versions="1",
        device_serial_number="1",
    )
