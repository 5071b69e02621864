# SPDX-License-Identifier: Apache-2.0
"""What a person types to split, check and show cohorts, and to draw the phantom."""

import pytest
from PIL import Image
from typer.testing import CliRunner

from fedxai.cli import app
from fedxai.intake.cohort import Cohort, site_cohorts
from fedxai.intake.phantom import make_phantom


def _run(*words):
    return CliRunner().invoke(app, ["cohort", *map(str, words)])


@pytest.fixture
def root(tmp_path):
    result = _run("phantom", "--out", tmp_path / "root", "--sites", 2, "--cases", 36)
    assert result.exit_code == 0, result.output
    return tmp_path / "root"


def test_phantom_makes_a_root_of_sites(root):
    assert list(site_cohorts(root)) == ["site-1", "site-2"]
    assert sum(Cohort.open(root / "site-1").counts().model_dump().values()) == 36


def test_phantom_of_volumes_takes_a_task_and_refuses_what_only_slices_have(tmp_path):
    words = ("phantom", "--out", tmp_path / "root", "--sites", 1, "--cases", 12, "--task", "classification")
    refused = _run(*words, "--shortcut")
    assert refused.exit_code != 0
    assert "--shortcut and --shuffle-labels go with --task slices" in str(refused.exception)
    result = _run(*words)
    assert result.exit_code == 0, result.output
    assert "site-1; 12 cases each" in result.output
    assert Cohort.open(tmp_path / "root" / "site-1").cases("test")[0].image.name.endswith(".nii.gz")


def test_check_of_a_clean_root_is_quiet_and_exits_with_0(root):
    result = _run("check", root)
    assert result.exit_code == 0
    assert result.output.strip().splitlines()[-1] == "2 cohorts, 72 images: 0 errors, 0 warnings."


def test_check_names_file_and_remedy_and_exits_with_1(root):
    cohort = Cohort.open(root / "site-2")
    broken = [case.image for case in cohort.cases("training")[:3]]
    for path in broken:
        path.write_bytes(b"")
    result = _run("check", root, "--limit", 2)
    assert result.exit_code == 1
    assert f"ERROR site-2/images/{min(path.name for path in broken)}: " in result.output
    assert "export it again" in result.output
    assert "and 1 more of 'unreadable'" in result.output
    assert "3 errors, 0 warnings" in result.output


def test_check_with_warnings_only_exits_with_0(root):
    Image.new("L", (128, 128), 255).save(Cohort.open(root / "site-1").cases("test")[0].region)
    result = _run("check", root)
    assert result.exit_code == 0
    assert "0 errors, 1 warnings" in result.output


def test_show_prints_a_row_a_site_and_draws_the_sheet(root, tmp_path):
    result = _run("show", root, "--out", tmp_path / "sheet.png")
    assert result.exit_code == 0, result.output
    for word in ("site-1", "site-2", "meningioma 12", "128 x 128"):
        assert word in result.output
    width, height = Image.open(tmp_path / "sheet.png").size
    assert width > 900
    assert height > 6 * 112


def test_show_survives_an_unreadable_image(root, tmp_path):
    Cohort.open(root / "site-1").cases("training")[0].image.write_bytes(b"")
    result = _run("show", root / "site-1", "--out", tmp_path / "sheet.png")
    assert result.exit_code == 0
    assert "1 unreadable" in result.output


def test_split_makes_sites_of_one_cohort(tmp_path):
    make_phantom(tmp_path / "pooled", site="all", index=0, cases=120)
    words = ("--sites", 2, "--by", "label-skew", "--alpha", 1, "--out", tmp_path / "sites")
    result = _run("split", tmp_path / "pooled", *words)
    assert result.exit_code == 0, result.output
    counts = [
        sum(Cohort.open(path).counts().model_dump().values()) for path in site_cohorts(tmp_path / "sites").values()
    ]
    assert sum(counts) == 120
    assert _run("split", tmp_path / "pooled", *words).exit_code != 0


def test_an_unknown_way_to_split_is_refused_with_the_choices(tmp_path):
    result = _run("split", tmp_path, "--by", "age", "--out", tmp_path / "sites")
    assert result.exit_code == 2
    assert "label-skew" in result.output


@pytest.mark.parametrize("command", ["split", "check", "show", "phantom"])
def test_every_help_ends_with_an_example(command):
    result = _run(command, "--help")
    assert result.exit_code == 0
    assert f"fedxai cohort {command}" in result.output
