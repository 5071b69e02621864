# SPDX-License-Identifier: Apache-2.0
"""What planning costs, counted: it must not grow with slices times regions, nor read a file twice."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fedxai.errors import CohortError
from fedxai.intake.dicom import plan as plan_module
from fedxai.intake.dicom import reading
from fedxai.intake.dicom.instance import Instance
from fedxai.intake.dicom.plan import Choice, plan
from fedxai.intake.dicom.take import DicomSettings, take_dicom
from fedxai.intake.table import Columns
from fedxai.intake.taking import IntakeSettings


class Counted(dict):
    """Keys of an instance that count how often they are asked for."""

    asked = 0

    def __getitem__(self, name):
        Counted.asked += 1
        return super().__getitem__(name)


def _instance(kind, series, number, **more):
    keys = Counted(study=series, series=series, patient=series, accession="")
    return Instance(path=Path(f"{series}/{number}"), kind=kind, modality="CT", keys=keys, patient=series, **more)


def test_the_regions_are_not_held_against_every_slice(tmp_path, monkeypatch):
    monkeypatch.setattr(plan_module, "stacks_of", lambda frames, same: [CohortError("none")])
    slices = [_instance("slices", f"r{n // 20}", n) for n in range(400)]
    asked = {}
    for regions in (1, 50):
        drawn = [_instance("drawn", f"d{n}", n, drawn_on=frozenset([f"r{n}"])) for n in range(regions)]
        Counted.asked = 0
        result = plan([*slices, *drawn], None, Choice(), tmp_path / "key")
        asked[regions] = Counted.asked
    assert "30 SEG or RTSTRUCT refer to nothing" in result.notes[-1]
    assert asked[50] - asked[1] <= 49 * 20  # once a series, of which there are 20, and not once a slice


@pytest.mark.slow
def test_four_thousand_files_are_read_once_and_pixels_only_where_they_are_wanted(writer, tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 99, (4, 4)).astype(np.int16)
    marks = {"patient": "P00000", "StudyInstanceUID": "1.2.10000", "SeriesInstanceUID": "1.3.10000"}
    path = writer.slice(pixels, (0, 0, 1000), SOPInstanceUID="1.4.1000000", **marks)
    content = path.read_bytes()
    path.unlink()
    for study in range(40):
        folder = writer.folder / f"{study:02d}"
        folder.mkdir()
        own = content[:-2].replace(b"P00000", b"P%05d" % study) + bytes([study, 0])
        own = own.replace(b"1.2.10000", b"1.2.1%04d" % study).replace(b"1.3.10000", b"1.3.1%04d" % study)
        for k in range(100):
            one = own.replace(b"1.4.1000000", b"1.4.1%02d%04d" % (study, k))
            (folder / f"{k:03d}").write_bytes(one.replace(b"1000.0", b"%06.1f" % k))
    (tmp_path / "table.csv").write_text("\n".join(["patient,label", *(f"P{n:05d},{'ab'[n % 2]}" for n in range(4))]))

    reads, honest = Counter(), reading._read

    def counted(path, names, *, header):
        reads[path, header] += 1
        return honest(path, names, header=header)

    monkeypatch.setattr(reading, "_read", counted)
    settings = DicomSettings(choice=Choice(keyed_by="patient"), intake=IntakeSettings(validation=0))
    taken = take_dicom(
        writer.folder, tmp_path / "table.csv", tmp_path / "cohort", settings=settings, columns=Columns(image="patient")
    )
    assert (taken.taken, taken.refused) == (4, [])
    assert Counter(header for _, header in reads) == {True: 4000, False: 400}
    assert set(reads.values()) == {1}
