# SPDX-License-Identifier: Apache-2.0
"""`fedxai explain` on volumes of a segmentation: trust tests and honesty battery class by class."""

import shutil
from pathlib import Path
from typing import ClassVar

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from fedxai.cli import app
from fedxai.intake.cohort import Cohort
from fedxai.intake.volume import Volume
from fedxai.records import SPLITS, Case
from fedxai.report.explained_folder import FolderExplanation

NAMES = ["background", "anterior", "posterior"]
TESTS = {"randomisation", "faithfulness", "robustness", "localisation"}


@pytest.fixture(scope="module")
def model(tiny_bundle, tmp_path_factory) -> Path:
    """The tiny segmentation with fresh weights beside it; it finds both classes somewhere."""
    return tiny_bundle.export(tmp_path_factory.mktemp("bundle"), tiny_bundle.network(seed=1).state_dict())


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    """Volumes of two bright boxes side by side, one a patient; the last is larger than the others."""
    folder = tmp_path_factory.mktemp("cohort") / "site-1"
    splits = {split: [] for split in SPLITS}
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for number in range(7):
        shape = (14, 20, 13) if number == 6 else (14, 12, 13)
        labels = np.zeros(shape, dtype=np.uint8)
        labels[3:6, 3:8, 3:8], labels[6:9, 3:8, 3:8] = 1, 2
        image = (np.random.default_rng(number).random(shape) * 100 + 200 * labels).astype(np.float32)
        case = Case(
            image=folder / "images" / Volume(voxels=image, affine=np.eye(4)).write_into(folder / "images"),
            label=folder / "labels" / Volume(voxels=labels, affine=np.eye(4)).write_into(folder / "labels"),
            group=f"p{number}",
        )
        splits[SPLITS[(number > 1) + (number > 2)]].append(case)
    Cohort.write(folder, name="v", description="", modality="MRI", class_names=NAMES, splits=splits)
    return folder


def explained(model: Path, cohort: Path, out: Path, *words: str) -> tuple[FolderExplanation, str]:
    result = CliRunner().invoke(app, ["explain", str(model), str(cohort), "--out", str(out), *words])
    assert result.exit_code == 0, result.output
    return FolderExplanation.model_validate_json((out / "explanation.json").read_text(encoding="utf-8")), result.output


@pytest.mark.slow
def test_every_class_has_its_verdict_and_its_battery(model, cohort, tmp_path):
    words = ("--trust-cases", "2", "--methods", "gradient_x_input,saliency")
    explanation, output = explained(model, cohort, tmp_path / "o", *words)
    assert [part.class_index for part in explanation.classes] == [1, 2]
    for part in explanation.classes:
        for method in part.methods:
            assert {test.name for test in method.trust} == TESTS
        assert part.honesty.cases == 2
        assert part.honesty.figures["swap_kept"].n <= 1, "the first case has no partner"
    assert explanation.honesty.cases == 4
    assert "Does the model decide by the region?" in output
    assert "anterior, 2 cases" in output
    assert "not run" not in output


def test_what_no_case_could_answer_is_said_once_with_its_reason(model, cohort, tmp_path):
    words = ("--trust-cases", "1", "--methods", "saliency", "--cases", "1")
    _, output = explained(model, cohort, tmp_path / "o", *words)
    lines = [line for line in output.splitlines() if line.startswith("Note: anterior")]
    assert len(lines) >= 1
    assert len(lines) == len(set(lines))
    told = [line for line in lines if "Kept, outside swapped" in line or "nothing is segmented as it" in line]
    assert len(told) == 1


def test_without_trust_cases_nothing_is_asked_again(model, cohort, tmp_path):
    explanation, output = explained(model, cohort, tmp_path / "o", "--trust-cases", "0", "--methods", "saliency")
    assert explanation.honesty is None
    assert [part.methods[0].trust for part in explanation.classes] == [[], []]
    assert "Does the model decide" not in output


def test_what_is_explained_is_said_in_words(model, cohort, tmp_path):
    explanation, _ = explained(model, cohort, tmp_path / "o", "--trust-cases", "0", "--methods", "saliency")
    assert explanation.explained == "the summed logit of a class over the voxels segmented as that class"
    page = (tmp_path / "o" / "reading.html").read_text(encoding="utf-8")
    assert f"Explained here is {explanation.explained}:" in page


class Bar:
    """What a progress bar is told."""

    said: ClassVar[list[str]] = []

    def __init__(self, **_):
        self.said.clear()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def add_task(self, description, total):
        assert total == 4, "two cases, each asked about two classes"

    def update(self, _, *, description, **more):
        self.said.append(description)


def test_the_trust_tests_are_told_of_after_the_last_class_of_the_last_case(model, cohort, tmp_path, monkeypatch):
    monkeypatch.setattr("rich.progress.Progress", Bar)
    explained(model, cohort, tmp_path / "o", "--trust-cases", "1", "--methods", "saliency", "--cases", "2")
    first, second = (f"explaining {case} of 2" for case in (1, 2))
    assert Bar.said == [first, first, second, second, "running the trust tests"]


def test_a_class_that_no_volume_has_is_not_a_wrong_answer_of_the_gallery(model, cohort, tmp_path):
    shutil.copytree(cohort, tmp_path / "cohort")
    [*_, case] = Cohort.open(tmp_path / "cohort").cases("test")
    stored = nibabel.load(case.label)
    labels = np.asarray(stored.dataobj)
    nibabel.save(nibabel.Nifti1Image(np.where(labels == 2, 0, labels).astype(np.uint8), stored.affine), case.label)
    words = ("--trust-cases", "0", "--methods", "saliency")
    explained(model, tmp_path / "cohort", tmp_path / "o", *words)
    page = (tmp_path / "o" / "index.html").read_text(encoding="utf-8")
    assert page.count("not in this case</span>") == 1
