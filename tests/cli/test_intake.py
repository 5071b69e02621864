# SPDX-License-Identifier: Apache-2.0
"""What a person types to take images in."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fedxai.cli import app, main
from fedxai.intake.cohort import Cohort
from fedxai.intake.volume import Volume


@pytest.fixture
def export(tmp_path):
    """Twelve patients of one image, two classes."""
    rng = np.random.default_rng(0)
    lines = ["file,finding,pid,crp"]
    for i in range(12):
        Image.fromarray(rng.integers(0, 255, (16, 16), dtype=np.uint8)).save(tmp_path / f"{i}.jpg")
        lines.append(f"{i}.jpg,{('normal', 'pneumonia')[i % 2]},{i},{i / 2}")
    (tmp_path / "cases.csv").write_text("\n".join(lines))
    return tmp_path


def _raster(export, *more):
    columns = ["--image-column", "file", "--label-column", "finding", "--group-column", "pid"]
    where = ["--images", str(export), "--table", str(export / "cases.csv"), "--out", str(export / "cohort")]
    return ["intake", "raster", *where, *columns, *more]


def test_raster_makes_a_cohort_and_says_what_is_in_it(export):
    options = ["--tabular-column", "crp", "--modality", "X-ray", "--validation", "0.25", "--test", "0.25"]
    result = CliRunner().invoke(app, _raster(export, *options))
    assert result.exit_code == 0, result.output
    assert "12 taken in, 0 were there before, 0 refused." in result.stdout
    assert "classes normal, pneumonia" in result.stdout
    cohort = Cohort.open(export / "cohort")
    assert cohort.modality == "X-ray"
    assert sum(cohort.counts().model_dump().values()) == 12
    assert "crp" in cohort.cases("training")[0].tabular


def test_medmnist_makes_a_cohort(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {f"{w}_images": rng.integers(0, 255, (4, 28, 28), dtype=np.uint8) for w in ("train", "val", "test")}
    arrays |= {f"{w}_labels": np.array([[0], [1], [0], [1]], dtype=np.uint8) for w in ("train", "val", "test")}
    np.savez(tmp_path / "toy.npz", **arrays)
    names = ["--class-name", "no", "--class-name", "yes"]
    result = CliRunner().invoke(
        app, ["intake", "medmnist", str(tmp_path / "toy.npz"), "--out", str(tmp_path / "c"), *names]
    )
    assert result.exit_code == 0, result.output
    assert "4 training, 4 validation, 4 test cases; classes no, yes." in result.output


def test_an_error_is_one_sentence_on_standard_error_and_exit_code_1(export, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fedxai", *_raster(export, "--mask-column", "roi")])
    with pytest.raises(SystemExit) as caught:
        main()
    out, err = capsys.readouterr()
    assert caught.value.code == 1
    assert out == ""
    assert err.strip() == ("fedxai: --mask-column 'roi' is not in cases.csv; its columns are file, finding, pid, crp.")
    assert not (export / "cohort").exists()


def _volumes(folder, count=6):
    """A folder of volumes, one of them damaged, with label maps of values 0 and 1."""
    for i in range(count):
        voxels = np.random.default_rng(i).integers(0, 99, (5, 4, 3)).astype(np.int16)
        for kind, values in (("images", voxels), ("labels", (voxels > 50).astype(np.uint8))):
            (folder / kind).mkdir(exist_ok=True)
            Volume(voxels=values, affine=np.eye(4)).write(folder / kind / f"Doe {i}.nii.gz")
    (folder / "images/Doe 0.nii.gz").write_bytes(b"damaged")
    where = ["--images", str(folder / "images"), "--labels", str(folder / "labels"), "--out", str(folder / "cohort")]
    return ["intake", "nifti", *where, "--class-name", "none", "--class-name", "lesion", "--modality", "CT"]


def test_nifti_makes_a_cohort_of_what_can_be_taken_and_says_what_cannot(tmp_path):
    result = CliRunner().invoke(app, _volumes(tmp_path))
    assert result.exit_code == 0, result.output
    assert "5 taken in, 0 were there before, 1 refused." in result.stdout
    assert "Refused: image 1 (patient p" in result.stderr
    assert "Doe" not in result.stdout
    assert "Doe" not in result.stderr
    cohort = Cohort.open(tmp_path / "cohort")
    assert (cohort.task, cohort.modality, cohort.class_names) == ("segmentation", "CT", ["none", "lesion"])
    assert "image 1" in (tmp_path / "cohort.intake/report.md").read_text()


def test_nifti_strict_takes_nothing_in_and_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fedxai", *_volumes(tmp_path), "--strict"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    assert capsys.readouterr().err.strip().startswith("fedxai: 1 of 6 cases are refused and none is taken in")
    assert not (tmp_path / "cohort").exists()


@pytest.mark.parametrize("command", ["raster", "medmnist", "nifti", "dicom"])
def test_every_help_ends_with_an_example(command):
    result = CliRunner().invoke(app, ["intake", command, "--help"])
    assert result.exit_code == 0
    assert f"fedxai intake {command}" in result.output


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from typer.testing import CliRunner; from fedxai.cli import app\n"
        "for words in (['intake', 'raster'], ['intake', 'dicom'], ['cohort', 'check']):\n"
        "    assert CliRunner().invoke(app, [*words, '--help']).exit_code == 0\n"
        "assert not {'torch', 'monai', 'pandas', 'scipy', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
