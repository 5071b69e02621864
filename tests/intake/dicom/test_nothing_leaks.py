# SPDX-License-Identifier: Apache-2.0
"""De-identification: what is read and kept against PS3.15, and markers in every corner that must not come through."""

import gzip
import logging
import re
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from typer.testing import CliRunner

from fedxai.bundle import Bundle
from fedxai.cli import app
from fedxai.intake.dicom.attributes import KEPT, READ

# PS3.15 2024 table E.1-1, Basic Profile: what must be removed (X), emptied (Z), or replaced (D, U) among the attributes
# that an image object may carry beside the 48 of GDCM's list.
ALSO = [
    "AccessionNumber",
    "AcquisitionComments",
    "AcquisitionContextSequence",
    "AcquisitionDate",
    "AcquisitionDateTime",
    "AcquisitionDeviceProcessingDescription",
    "AcquisitionProtocolDescription",
    "AcquisitionTime",
    "AdditionalPatientHistory",
    "AdmissionID",
    "AdmittingDate",
    "AdmittingDiagnosesDescription",
    "Allergies",
    "BodyPartThickness",
    "BranchOfService",
    "ClinicalTrialSiteID",
    "ClinicalTrialSubjectID",
    "CommentsOnThePerformedProcedureStep",
    "ContentCreatorName",
    "ContentDate",
    "ContentTime",
    "ContrastBolusAgent",
    "ContributionDescription",
    "CountryOfResidence",
    "CurrentPatientLocation",
    "DateOfSecondaryCapture",
    "DerivationDescription",
    "DetectorID",
    "DeviceSerialNumber",
    "DeviceUID",
    "DigitalSignaturesSequence",
    "EthnicGroup",
    "FrameComments",
    "FrameOfReferenceUID",
    "GantryID",
    "GeneratorID",
    "GraphicAnnotationSequence",
    "IconImageSequence",
    "ImageComments",
    "InstanceCoercionDateTime",
    "InstanceCreationDate",
    "InstanceCreatorUID",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "InstitutionName",
    "IssuerOfPatientID",
    "LastMenstrualDate",
    "MedicalAlerts",
    "MedicalRecordLocator",
    "MilitaryRank",
    "NameOfPhysiciansReadingStudy",
    "Occupation",
    "OperatorsName",
    "OriginalAttributesSequence",
    "OtherPatientIDs",
    "OtherPatientNames",
    "PatientAddress",
    "PatientAge",
    "PatientBirthDate",
    "PatientBirthName",
    "PatientBirthTime",
    "PatientComments",
    "PatientID",
    "PatientMotherBirthName",
    "PatientName",
    "PatientReligiousPreference",
    "PatientSex",
    "PatientSize",
    "PatientState",
    "PatientTelephoneNumbers",
    "PatientWeight",
    "PerformedProcedureStepDescription",
    "PerformedProcedureStepID",
    "PerformedStationName",
    "PerformingPhysicianName",
    "PlateID",
    "PregnancyStatus",
    "ProtocolName",
    "ReasonForStudy",
    "ReferencedImageSequence",
    "ReferringPhysicianName",
    "ReferringPhysicianAddress",
    "RegionOfResidence",
    "RequestAttributesSequence",
    "RequestedProcedureDescription",
    "RequestingPhysician",
    "RequestingService",
    "ScheduledProcedureStepDescription",
    "SeriesDate",
    "SeriesDescription",
    "SeriesInstanceUID",
    "SeriesTime",
    "SmokingStatus",
    "SOPInstanceUID",
    "SourceImageSequence",
    "SpecialNeeds",
    "StationName",
    "StudyComments",
    "StudyDate",
    "StudyDescription",
    "StudyID",
    "StudyInstanceUID",
    "StudyTime",
    "TextComments",
    "TimezoneOffsetFromUTC",
    "VisitComments",
]

MARKED = [
    "PatientName",
    "PatientBirthName",
    "PatientMotherBirthName",
    "OtherPatientNames",
    "PatientAddress",
    "PatientComments",
    "PatientTelephoneNumbers",
    "EthnicGroup",
    "Occupation",
    "AdditionalPatientHistory",
    "MilitaryRank",
    "BranchOfService",
    "CountryOfResidence",
    "RegionOfResidence",
    "PatientReligiousPreference",
    "MedicalRecordLocator",
    "InstitutionName",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "StationName",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "OperatorsName",
    "NameOfPhysiciansReadingStudy",
    "RequestingPhysician",
    "RequestingService",
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "ImageComments",
    "DerivationDescription",
    "ContentCreatorName",
    "DeviceSerialNumber",
    "AdmissionID",
    "CurrentPatientLocation",
    "ReasonForStudy",
    "StudyID",
    "IssuerOfPatientID",
    "AccessionNumber",
    "DetectorID",
    "GantryID",
    "AcquisitionDeviceProcessingDescription",
]


@pytest.fixture
def profile():
    """Keywords of the Basic Profile: GDCM's own list and the newer ones."""
    gdcm = pytest.importorskip("gdcm")
    tags = gdcm.Anonymizer.GetBasicApplicationLevelConfidentialityProfileAttributes()
    return {keyword_for_tag((tag.GetGroup() << 16) + tag.GetElement()) for tag in tags} | set(ALSO) - {""}


def test_nothing_that_the_basic_profile_removes_is_kept(profile):
    assert len(profile) > 110
    assert all(tag_for_keyword(keyword) for keyword in profile if keyword)
    assert KEPT & profile == set()


def test_what_is_read_of_the_basic_profile_is_hashed_or_only_compared(profile):
    assert {READ[keyword] for keyword in profile & set(READ)} == {"identity", "apart"}


def test_every_attribute_that_is_read_is_in_the_dictionary():
    assert [keyword for keyword in READ if tag_for_keyword(keyword) is None] == []


@pytest.fixture
def marked(tmp_path, writer_in, phantom):
    """An export with a marker of its own in 42 attributes and in every other place; with the markers."""
    folder = tmp_path / "MARKFOLDER"
    writer = writer_in(folder)
    attributes = {keyword: f"MARK{i:02d}X" for i, keyword in enumerate(MARKED)}

    dates = {"StudyDate": "19870511", "PatientBirthDate": "19430229", "AcquisitionDate": "19880612"}
    times = {"StudyTime": "112233.445566", "ContentTime": "223344.556677"}
    attributes |= {**dates, **times, "DeviceUID": "1.2.3.718293645"}
    for number in range(4):
        for k in range(4):
            pixels = (phantom[k] + number) & 0x0FFF
            name = f"MARKSUB{number}/MARKFILE{k}"
            path = writer.slice(
                pixels, (0, 0, k), patient=f"MARKPID{number}", study=f"s{number}", name=name, **attributes
            )
            _mark_more(path)
    _damaged(writer, phantom)

    (tmp_path / "table.csv").write_text(
        "\n".join(["patient,label", *(f"MARKPID{n},{CLASSES[n % 3]}" for n in range(4)), f"MARKPID9,{CLASSES[0]}"])
    )
    fixed = [*dates.values(), *times.values(), "718293645", "MARK", "Doe^Jane"]
    return tmp_path, [*fixed, *attributes.values()], folder


def _mark_more(path):
    import pydicom

    ds = pydicom.dcmread(path)
    ds.file_meta.SourceApplicationEntityTitle = "MARKAE"
    ds.file_meta.ImplementationVersionName = "MARKIMPL"
    ds.preamble = b"MARKPREAMBLE".ljust(128, b"\0")
    block = ds.private_block(0x0011, "MARKCREATOR", create=True)
    block.add_new(0x01, "LO", "MARKPRIVATE")
    ds.add_new(0x60000022, "LO", "MARKOVERLAY")
    ds.add_new(0x60003000, "OW", b"MARKOVERLAYDATA!")
    nested = Dataset()
    nested.CodeMeaning, nested.CodeValue, nested.CodingSchemeDesignator = "MARKNESTED", "1", "99"
    ds.ProcedureCodeSequence = [nested]
    ds.DataSetTrailingPadding = b"MARKTRAILING"
    ds.save_as(path)


def _damaged(writer, phantom):
    """Files that are refused or make libraries warn: their values must not stand in what is said."""
    writer.slice(phantom[0], (0, 0, 0), patient="MARKPID9", study="bad", PixelSpacing=None, PatientName="MARKBAD")
    cut = writer.slice(phantom[0], (0, 0, 0), patient="MARKPID9", study="cut", name="MARKCUT")
    cut.write_bytes(cut.read_bytes()[:-300])
    header = writer.slice(phantom[0], (0, 0, 0), patient="MARKPID9", study="head", name="MARKHEAD")
    header.write_bytes(header.read_bytes()[:700])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        writer.slice(phantom[0], (0, 0, 0), patient="MARKPID9", study="odd", RescaleSlope="1", EchoTime="2")
        writer.slice(
            phantom[0], (0, 0, 0), patient="MARKPID9", StudyInstanceUID="MARKUID^no UID", AccessionNumber="MARK" * 9
        )
        writer.slice(phantom[1], (0, 0, 0), patient="MARKPID9", SeriesInstanceUID="MARKUID", Modality="MARKMODALITY")
    odd = writer.folder / "MARKODD"
    odd.write_bytes((writer.folder / "MARKCUT").read_bytes().replace(b"2.5 ", b"MARK"))


def _bytes_below(*folders):
    """Every byte of the files, their names, and what lies inside gzip, PNG and zlib."""
    for folder in folders:
        for path in folder.rglob("*"):
            yield str(path.relative_to(folder)), str(path.relative_to(folder)).encode()
            if path.is_file():
                content = path.read_bytes()
                yield path.name, content
                if path.name.endswith(".gz"):
                    yield path.name, gzip.decompress(content)
                if path.suffix == ".png":
                    yield path.name, repr(Image.open(path).info).encode() + Image.open(path).tobytes()


CLASSES = ("layered", "rimmed", "nodular")  # of the bundle that explains


def _explain(repository, root):
    """Let a model with fresh weights explain one case, with a gallery and the maps as files."""
    bundle = Bundle.open(repository / "bundles" / "brain_mri_lesion_classification")
    model = bundle.export(root / "model", bundle.network(seed=0).state_dict())
    asked = ["--methods", "saliency", "--cases", "1", "--trust-cases", "0", "--save-maps", "--device", "cpu"]
    words = ["explain", str(model), str(root / "cohort"), "--out", str(root / "explained"), *asked]
    return CliRunner().invoke(app, words)


@pytest.mark.slow
def test_no_marker_comes_through(marked, repository, caplog, recwarn):
    """Neither into the cohort, its report, messages and logs, nor into what a model's explanation of it writes."""
    root, markers, folder = marked
    caplog.set_level(logging.DEBUG)
    options = ["--table", str(root / "table.csv"), "--keyed-by", "patient", "--validation", "0", "--modality", "CT"]
    options += [word for name in CLASSES for word in ("--class-name", name)]
    result = CliRunner().invoke(app, ["intake", "dicom", str(folder), "--out", str(root / "cohort"), *options])
    assert result.exit_code == 0, result.output
    assert re.search("[4-9] taken in, .*, [2-9] refused", result.output), result.output
    explained = _explain(repository, root)
    assert explained.exit_code == 0, explained.output
    assert {path.suffix for path in (root / "explained").rglob("*")} >= {".html", ".csv", ".json", ".gz", ".png"}

    said = [text for one in (result, explained) for text in (one.output, one.stderr)]
    said += [record.getMessage() for record in caplog.records] + [str(warning.message) for warning in recwarn]
    found = [*_bytes_below(root / "cohort", root / "cohort.intake", root / "explained")]
    found += [("said", text.replace(str(root), "").encode()) for text in said]
    uids = {str(path) for path in _uids(folder)}
    for marker in [*markers, *uids]:
        for where, content in found:
            assert str(marker).encode() not in content, (marker, where)
    assert len(markers) >= 40


def _uids(folder):
    import pydicom

    for path in folder.rglob("*"):
        if path.is_file() and "HEAD" not in path.name:
            ds = pydicom.dcmread(path, stop_before_pixels=True)
            yield from (ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID, ds.FrameOfReferenceUID)


def test_the_search_for_markers_finds_one_where_there_is_one(tmp_path):
    """The canary test can fail: a marker in a compressed volume, in a PNG's text and in a name is seen."""
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"..MARK.."))
    info = __import__("PIL.PngImagePlugin", fromlist=["PngInfo"]).PngInfo()
    info.add_text("Comment", "MARK", zip=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "b.png", pnginfo=info)
    (tmp_path / "MARK").write_bytes(zlib.compress(b""))
    hits = [name for name, content in _bytes_below(tmp_path) if b"MARK" in content]
    assert sorted(set(hits)) == ["MARK", "a.nii.gz", "b.png"]


def test_a_stored_volume_says_nothing_but_its_grid(writer, volumes, phantom, tmp_path):
    import nibabel as nib

    writer.series(phantom, PatientName="MARK", StudyDescription="MARK")
    (volume,) = volumes(writer.folder)
    header = nib.load(tmp_path / volume.write_into(tmp_path)).header
    for field in ("descrip", "aux_file", "intent_name", "db_name"):
        assert bytes(header[field]).strip(b"\0") == b""
    assert len(header.extensions) == 0


def test_without_the_list_a_name_would_be_in_memory(writer, phantom):
    """The list is what keeps a name out: pydicom without it reads the name."""
    import pydicom

    from fedxai.intake.dicom.reading import read_header, read_image

    path = writer.slice(phantom[0], (0, 0, 0), PatientName="MARK^X")
    assert "PatientName" in pydicom.dcmread(path)
    for read in (read_header, read_image):
        assert "PatientName" not in read(path)
        assert {element.keyword for element in read(path)} <= {*READ, "SpecificCharacterSet"}
