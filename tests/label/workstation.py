# SPDX-License-Identifier: Apache-2.0
"""A DICOM SEG as another vendor's workstation writes it, by highdicom alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid


def write_seg(
    path: Path,
    series: Sequence[Any],
    segments: Sequence[tuple[str, NDArray[Any]]],
    *,
    manufacturer: str = "another workstation",
    algorithm: str = "MANUAL",
    reader: str | None = None,
) -> None:
    """Segments, each a name and a mask (columns, rows, slices), drawn on the slices of a series."""
    program = AlgorithmIdentificationSequence(name="program", family=codes.DCM.ArtificialIntelligence, version="1")
    described = [
        SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Lesion,
            algorithm_type=algorithm,
            algorithm_identification=None if algorithm == "MANUAL" else program,
        )
        for number, (label, _) in enumerate(segments, start=1)
    ]
    seg = Segmentation(
        source_images=sorted(series, key=lambda one: one.InstanceNumber),
        pixel_array=np.stack([mask.transpose(2, 1, 0) for _, mask in segments], axis=-1).astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=described,
        series_instance_uid=generate_uid(),
        series_number=7,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=manufacturer,
        manufacturer_model_name="reader",
        software_versions="1",
        device_serial_number="1",
        content_creator_name=reader,
    )
    seg.save_as(path)
