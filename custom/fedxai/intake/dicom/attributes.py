# SPDX-License-Identifier: Apache-2.0
"""The only DICOM attributes that are ever read (with what lies inside the sequences among them), each with its use.

Three uses leave a trace in a cohort: ``grid`` becomes the affine or a picture's spacing, ``numbers`` and ``display``
become pixel values. ``identity`` is hashed with the site's key (a patient's pseudonym, marks of files). ``apart``
(which frames make one volume), ``text`` (may names be burnt into the picture?), ``outline`` (what was drawn) and
``maker`` (did this package make it?) are looked at and let go.
"""

import re
from typing import Literal

Use = Literal["identity", "grid", "numbers", "display", "apart", "text", "outline", "maker"]

USES: dict[Use, str] = {
    "identity": """PatientID IssuerOfPatientID AccessionNumber StudyInstanceUID SeriesInstanceUID SOPInstanceUID
        FrameOfReferenceUID ReferencedSOPInstanceUID ReferencedSeriesSequence ReferencedFrameOfReferenceUID
        ReferencedFrameOfReferenceSequence RTReferencedStudySequence RTReferencedSeriesSequence""",
    "grid": """Rows Columns NumberOfFrames ImagePositionPatient ImageOrientationPatient PixelSpacing SliceThickness
        ImagerPixelSpacing EstimatedRadiographicMagnificationFactor PhysicalDeltaX PhysicalDeltaY RegionSpatialFormat
        PhysicalUnitsXDirection PhysicalUnitsYDirection SpacingBetweenSlices SharedFunctionalGroupsSequence
        PerFrameFunctionalGroupsSequence PlanePositionSequence PlaneOrientationSequence PixelMeasuresSequence""",
    "numbers": """PixelData FloatPixelData BitsAllocated BitsStored HighBit PixelRepresentation SamplesPerPixel
        PlanarConfiguration PhotometricInterpretation RescaleSlope RescaleIntercept ModalityLUTSequence
        LUTDescriptor LUTData PixelValueTransformationSequence ExtendedOffsetTable ExtendedOffsetTableLengths""",
    "display": """VOILUTSequence WindowCenter WindowWidth VOILUTFunction
        RedPaletteColorLookupTableDescriptor GreenPaletteColorLookupTableDescriptor
        BluePaletteColorLookupTableDescriptor RedPaletteColorLookupTableData GreenPaletteColorLookupTableData
        BluePaletteColorLookupTableData SegmentedRedPaletteColorLookupTableData
        SegmentedGreenPaletteColorLookupTableData SegmentedBluePaletteColorLookupTableData""",
    "apart": """SOPClassUID Modality ImageType Units EchoTime EffectiveEchoTime EchoNumbers DiffusionBValue
        DiffusionGradientOrientation DiffusionGradientDirectionSequence MREchoSequence MRDiffusionSequence
        TemporalPositionIdentifier TemporalPositionIndex FrameContentSequence StackID InversionTime FlipAngle
        FrameReferenceTime TriggerTime AcquisitionNumber AcquisitionTime ContentTime MRImageFrameTypeSequence
        CTImageFrameTypeSequence FrameType""",
    "text": """BurnedInAnnotation ConversionType SequenceOfUltrasoundRegions RegionLocationMinX0 RegionLocationMinY0
        RegionLocationMaxX1 RegionLocationMaxY1 RecognizableVisualFeatures""",
    "outline": """StructureSetROISequence ROINumber ROIName ROIContourSequence ReferencedROINumber ContourSequence
        ContourGeometricType ContourData ContourImageSequence""",
    "maker": "Manufacturer",
}

READ: dict[str, Use] = {keyword: use for use, names in USES.items() for keyword in re.split(r"\s+", names.strip())}
KEPT: frozenset[str] = frozenset(name for name, use in READ.items() if use in ("grid", "numbers", "display"))
