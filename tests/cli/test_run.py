# SPDX-License-Identifier: Apache-2.0
"""`fedxai run` and `fedxai compare` with what people get wrong: one sentence, nothing written."""

import inspect
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedxai.cli import app
from fedxai.errors import FedxaiError, RunError

FEDXAI = Path(sys.executable).with_name("fedxai")


def refused(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 1
    assert isinstance(result.exception, FedxaiError), result.exception
    return str(result.exception)


@pytest.mark.parametrize("command", ["run", "compare", "survey"])
def test_the_help_ends_with_an_example(command):
    done = subprocess.run([FEDXAI, command, "--help"], capture_output=True, text=True, check=True)
    assert f"Example: fedxai {command}" in done.stdout.replace("`", "")


def test_what_is_refused_is_one_sentence_and_exit_code_1(tmp_path):
    command = [FEDXAI, "run", tmp_path / "nowhere", "--out", tmp_path / "run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "fedxai: JOB must be a FLARE job folder with a meta.json, got 'nowhere'"
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_comparison_looks_at_its_job_before_it_trains(tmp_path, phantom_root):
    message = refused(
        *("compare", "--cohorts", phantom_root, "--bundle", "brain_mri_tumor_classification"),
        *("--job", tmp_path / "nowhere", "--out", tmp_path / "out"),
    )
    assert "JOB must be a FLARE job folder" in message
    assert not (tmp_path / "out").exists()


def test_an_unknown_bundle_lists_the_known_ones(tmp_path, phantom_root):
    message = refused("compare", "--cohorts", phantom_root, "--bundle", "nope", "--out", tmp_path / "out")
    assert "no bundle 'nope'; known bundles: " in message
    assert "brain_mri_tumor_classification, " in message


def test_a_folder_without_an_interrupted_run_is_not_resumed(tmp_path, repository):
    message = refused("run", repository / "jobs" / "fedxai", "--resume", "--out", tmp_path / "run")
    assert "--resume needs the folder of an interrupted run, got 'run', which holds no state" in message
    assert not (tmp_path / "run").exists()


def test_every_option_that_decides_a_figure_stands_in_the_command_of_the_report(repository, tmp_path, monkeypatch):
    from fedxai.cli.run import run
    from fedxai.flare.job_settings import CONFIG, shown_settings
    from fedxai.flare.simulate import prepare_job
    from fedxai.report.reproduce import run_command

    given = {
        "bundle": "brain_mri_tumor_local_evidence",
        "rounds": "3",
        "local_epochs": "2",
        "local_steps": "8",
        "batch_size": "4",
        "mixed_precision": None,
        "validate_every": "2",
        "key_metric": "accuracy",
        "seed": "7",
        "guidance": "relevance",
    }
    of_no_figure = {"job", "out", "cohorts", "threads", "resume", "model"}
    assert given.keys() == inspect.signature(run).parameters.keys() - of_no_figure
    asked = []

    def prepare(job, *, settings, train, **_):
        asked.append((settings, train))
        prepare_job(job, tmp_path / f"job-{len(asked)}", ["site-1"], settings, train)
        raise RunError("that is enough")

    monkeypatch.setattr("fedxai.flare.simulate.run_job", prepare)
    words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value) if word]
    CliRunner().invoke(app, ["run", str(repository / "jobs" / "fedxai"), "--out", "RUN", *words])
    command = run_command("fedxai", given["bundle"], shown_settings(tmp_path / "job-1" / CONFIG))
    monkeypatch.chdir(repository)
    CliRunner().invoke(app, shlex.split(command.replace("\\\n", ""))[1:])
    first, again = asked
    assert again == first


def test_a_job_keeps_those_of_its_guidance_settings_that_the_command_does_not_name(repository, tmp_path):
    from fedxai.flare.job_settings import CONFIG, shown_settings
    from fedxai.flare.simulate import prepare_job

    job = tmp_path / "job"
    shutil.copytree(repository / "jobs" / "fedxai", job)
    config = job / CONFIG / "config_fed_client.json"
    said = json.loads(config.read_text())
    [site] = [component for component in said["components"] if component["id"] == "site"]
    site["args"]["train"]["guidance"] = {"terms": ["relevance"], "hold_relevance": True, "relevance_weight": 3.0}
    config.write_text(json.dumps(said))
    prepare_job(job, tmp_path / "made", ["site-1"], {}, {"guidance": {"terms": ["relevance", "energy"]}})
    shown = shown_settings(tmp_path / "made" / CONFIG)
    assert (shown["guidance"], shown["hold_relevance"], shown["relevance_weight"]) == ("relevance+energy", True, 3.0)
