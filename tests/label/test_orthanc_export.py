# SPDX-License-Identifier: Apache-2.0
"""From a DICOM SEG that another workstation stored in a real Orthanc to the region of a cohort's case."""

import importlib
import io
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pydicom
import pytest
import requests
from typer.testing import CliRunner

from fedxai.cli import app
from fedxai.intake.check import check_cohorts
from fedxai.intake.cohort import Cohort
from fedxai.label import shims
from fedxai.label.archive import Archive
from fedxai.label.feedback import Feedback

pytest.importorskip("monailabel", reason="no MONAI Label here: pip install 'fedxai-med[label]'")

shims.apply()
STORES = importlib.import_module("fedxai.label.stores")  # needs the shims
ORTHANC = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("orthanc.py"))))
SERIES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("dicom_series.py"))))
WORKSTATION = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("workstation.py"))))

pytestmark = [pytest.mark.slow, pytest.mark.skipif(ORTHANC.MISSING, reason=ORTHANC.WHY)]


@pytest.fixture
def site(orthanc, cohort_3d, tmp_path):
    """A cohort whose first cases lie as series in the archive, in other axes and under other names."""
    orthanc.empty()
    cohort = Cohort.open(shutil.copytree(cohort_3d["classification"].folder, tmp_path / "cohort"))
    series = []
    for number, case in enumerate(cohort.cases("training")[:2]):
        files = SERIES.write_volume(tmp_path / "made", nib.load(case.image), axes="PIR", patient=f"P{number}")
        orthanc.upload(files)
        series.append(str(pydicom.dcmread(files[0], stop_before_pixels=True).SeriesInstanceUID))
    return SimpleNamespace(orthanc=orthanc, cohort=cohort.folder, series=series, state=tmp_path / "archive")


def block(site, *where):
    """Something drawn on the series, (columns, rows, slices)."""
    instances = site.orthanc.find(SeriesInstanceUID=site.series[0])
    header = pydicom.dcmread(io.BytesIO(site.orthanc.file(instances[0])))
    labels = np.zeros((header.Columns, header.Rows, len(instances)), dtype=np.uint8)
    labels[where] = 1
    return labels


def drawn_elsewhere(site, number, labels, reader="Stranger^A", name="lesion", **how):
    instances = site.orthanc.find(SeriesInstanceUID=site.series[number])
    slices = [pydicom.dcmread(io.BytesIO(site.orthanc.file(one))) for one in instances]
    file = site.cohort.parent / "elsewhere.dcm"
    WORKSTATION.write_seg(file, slices, [(name, labels)], reader=reader, **how)
    site.orthanc.upload([file])


def drawn_here(site, number, labels, reader):
    """As the server keeps what a viewer sends."""
    store = STORES.ReadersArchive(Archive(site.orthanc.dicomweb), site.state)
    store.feedback, store.checked = Feedback(site.state / "feedback"), lambda said: said
    image = nib.load(store.get_image_uri(site.series[number]))
    nib.save(nib.Nifti1Image(labels, image.affine), site.cohort.parent / "here.nii.gz")
    info = {"label_info": [{"name": "lesion", "idx": 1}], "user": reader}
    store.save_label(site.series[number], str(site.cohort.parent / "here.nii.gz"), "final", info)


def exported(site, *more):
    line = ["label", "export", str(site.state), str(site.cohort), "--dicomweb", site.orthanc.dicomweb, *more]
    return CliRunner().invoke(app, line)


def region_of(site, number):
    """The case's region in the axes of the series."""
    region = nib.load(Cohort.open(site.cohort).cases("training")[number].region)
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(region.affine), nib.orientations.axcodes2ornt("PIR")
    )
    return np.asarray(region.as_reoriented(turn).dataobj)


def test_what_another_workstation_drew_is_the_region_of_the_cohorts_case(site):
    labels = block(site, np.s_[3:9], np.s_[5:12], np.s_[2:7])
    drawn_elsewhere(site, 0, labels)
    drawn_elsewhere(site, 1, labels, algorithm="AUTOMATIC")  # a program's own teaches nobody
    before = Cohort.open(site.cohort).cases("training")
    told = exported(site)
    assert told.exit_code == 0, told.output
    assert told.output.startswith("1 images with feedback: 1 regions, 0 corrected labels")
    assert np.array_equal(region_of(site, 0), labels)
    after = Cohort.open(site.cohort).cases("training")
    assert after[1:] == before[1:]
    assert after[0].image == before[0].image
    assert not [finding for finding in check_cohorts(site.cohort).findings if finding.level == "error"]
    assert not site.state.exists()  # nothing of it is kept beside the readers' opinions


def test_what_is_replaced_in_the_archive_counts_as_it_is_now_and_what_is_withdrawn_no_more(site):
    drawn_elsewhere(site, 0, block(site, np.s_[3:9]))
    newer = block(site, np.s_[10:14], np.s_[5:12], np.s_[2:7])
    drawn_elsewhere(site, 0, newer)
    assert exported(site).exit_code == 0
    assert np.array_equal(region_of(site, 0), newer)
    for instance in site.orthanc.find(Modality="SEG"):
        requests.delete(f"{site.orthanc.url}/instances/{instance}", timeout=10).raise_for_status()
    told = exported(site)
    assert told.exit_code != 0
    assert "no feedback" in told.output + str(told.exception)


def test_of_one_person_what_was_drawn_here_counts_and_of_several_their_common_region(site):
    here, other = block(site, np.s_[3:9], np.s_[5:12], np.s_[2:7]), block(site, np.s_[6:12], np.s_[5:12], np.s_[2:7])
    drawn_here(site, 0, here, "Stranger")
    drawn_elsewhere(site, 0, block(site, np.s_[0:2]), reader="Stranger^A")
    assert exported(site).exit_code == 0
    assert np.array_equal(region_of(site, 0), here)
    drawn_elsewhere(site, 0, other, reader="Second^B")
    assert exported(site, "--rule", "intersection").exit_code == 0
    assert np.array_equal(region_of(site, 0), here & other)


def test_a_damaged_series_does_not_keep_back_the_others(site):
    labels = block(site, np.s_[3:9], np.s_[5:12], np.s_[2:7])
    for number in (0, 1):
        drawn_elsewhere(site, number, labels)
    (middle,) = site.orthanc.find(SeriesInstanceUID=site.series[1], InstanceNumber="5")
    requests.delete(f"{site.orthanc.url}/instances/{middle}", timeout=10).raise_for_status()
    told = exported(site)
    assert told.output.startswith("1 images with feedback: 1 regions")
    assert np.array_equal(region_of(site, 0), labels)
