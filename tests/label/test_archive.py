# SPDX-License-Identifier: Apache-2.0
"""What an archive answers to several objects at once, told without one."""

import pytest
from pydicom.dataset import Dataset

from fedxai.errors import RunError
from fedxai.label.archive import Archive


def made(uid):
    dataset = Dataset()
    dataset.SeriesInstanceUID, dataset.SOPInstanceUID = "1.2", uid
    return dataset


def keeping(monkeypatch, *uids):
    """An archive that says of these objects that it keeps them; and what it was asked."""
    asked = []

    def store(_, datasets):
        asked.append([dataset.SOPInstanceUID for dataset in datasets])
        answer = Dataset()
        answer.ReferencedSOPSequence = [Dataset() for _ in uids]
        for item, uid in zip(answer.ReferencedSOPSequence, uids, strict=True):
            item.ReferencedSOPInstanceUID = uid
        return answer

    monkeypatch.setattr("dicomweb_client.DICOMwebClient.store_instances", store)
    return Archive("http://127.0.0.1:9/dicom-web"), asked


def test_a_series_is_stored_in_one_request(monkeypatch):
    archive, asked = keeping(monkeypatch, "1.2.1", "1.2.2")
    assert archive.store(made("1.2.1"), made("1.2.2")) == "1.2"
    assert asked == [["1.2.1", "1.2.2"]]


def test_an_archive_that_keeps_only_some_of_a_series_is_said(monkeypatch):
    archive, _ = keeping(monkeypatch, "1.2.1")
    with pytest.raises(RunError, match="refused"):
        archive.store(made("1.2.1"), made("1.2.2"))
