# SPDX-License-Identifier: Apache-2.0
import json
import shutil

import pytest
from typer.testing import CliRunner

from fedxai.cli import app
from fedxai.errors import BundleError
from fedxai.settings import BUNDLES_VARIABLE
from fedxai.train.evaluation import METRICS


@pytest.fixture
def copy(brain_bundle, tmp_path):
    target = tmp_path / "bundles" / "mine"
    shutil.copytree(brain_bundle.path, target, ignore=shutil.ignore_patterns("models", "eval"))
    return target


def run(*arguments):
    return CliRunner().invoke(app, ["bundle", *map(str, arguments)], env={"COLUMNS": "200"})


def test_check_says_what_is_found_and_what_runs(copy):
    done = run("check", copy)
    assert done.exit_code == 0, done.output
    assert "train#trainer" in done.output
    assert "$torch.nn.Sequential(*@blocks)" in done.output
    assert "0 refused" in done.output


def row(output, part):
    """The cells of a part's row in the first table."""
    [line] = [line for line in output.splitlines() if line.strip("│ ").startswith(f"{part} ")]
    return [cell.strip() for cell in line.strip("│").split("│")][1:]


def test_check_says_where_the_metrics_are_and_what_is_measured_instead(copy):
    output = run("check", copy).output
    assert row(output, "validate#key_metric") == ["validate#key_metric", "val_macro_auc: ROCAUC"]
    assert row(output, "train#additional_metrics") == ["-", ""]
    assert set(row(output, "measured here")[1].split(", ")) == set(METRICS)


def test_check_says_that_a_metric_mapped_to_nothing_is_missing(copy):
    file = copy / "configs" / "explain.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "mapping": {"validate#key_metric": "nowhere"}}))
    assert row(run("check", copy).output, "validate#key_metric")[0] == "missing"


def test_check_without_explain_json_says_that_it_is_missing(copy):
    (copy / "configs" / "explain.json").unlink()
    done = run("check", copy)
    assert done.exit_code == 0
    assert any("configs/explain.json" in line and "missing" in line for line in done.output.splitlines())


def test_check_of_a_hostile_bundle_fails_and_approve_refuses(copy):
    file = copy / "configs" / "train.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "learning_rate": "$__import__('os').getpid()"}))
    done = run("check", copy)
    assert done.exit_code == 1
    assert "learning_rate" in done.stderr
    refused = run("approve", copy)
    assert isinstance(refused.exception, BundleError)
    assert [child.name for child in copy.parent.iterdir()] == ["mine"]


def test_approve_and_list_speak_of_the_same_list(copy, tmp_path, monkeypatch):
    monkeypatch.setenv(BUNDLES_VARIABLE, str(copy.parent))
    local = tmp_path / "local"
    local.mkdir()

    def may_run(*options):
        lines = run("list", *options).output.splitlines()
        return next(line for line in lines if " mine " in line).split()[-2]

    assert [may_run(), may_run("--site", local)] == ["no", "no"]
    assert run("approve", copy, "--site", local).exit_code == 0
    assert [may_run(), may_run("--site", local)] == ["no", "yes"]
    assert run("approve", "mine").exit_code == 0
    assert may_run() == "yes"


@pytest.mark.parametrize("command", ["check", "approve", "list", "fetch"])
def test_help_has_an_example(command):
    assert f"fedxai bundle {command}" in run(command, "--help").output
