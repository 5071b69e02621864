# SPDX-License-Identifier: Apache-2.0
"""`fedxai label` as people type it, right and wrong; the server itself is driven in tests/label."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fedxai.label import shims

pytestmark = pytest.mark.slow
FEDXAI = Path(sys.executable).with_name("fedxai")


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [FEDXAI, "label", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "300"},
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize("command", ["serve", "token", "doctor"])
def test_the_help_ends_with_an_example(command):
    assert f"Example: fedxai label {command}" in run(command, "--help").stdout.replace("`", "")


def test_a_token_is_issued_listed_and_ended(tmp_path):
    token = run("token", "--name", "Dr Rahman", "--role", "annotator", "--state", tmp_path).stdout.strip()
    assert re.fullmatch(r"[\w-]{43}", token)
    listed = run("token", "--list", "--state", tmp_path).stdout
    assert listed.startswith("Dr Rahman\tannotator\tuntil ")
    assert token not in listed
    assert run("token", "--name", "Dr Rahman", "--revoke", "--state", tmp_path).returncode == 0
    assert run("token", "--list", "--state", tmp_path).stdout == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("token",), "say whose token with --name"),
        (("token", "--name", "../x"), "name string should match"),
        (("token", "--name", "x", "--role", "root"), "'reader', 'annotator' or 'admin'"),
        (("serve", "--model", "m"), "either --studies DIR or --dicomweb URL"),
        (("serve", "--model", "m", "--studies", "s", "--dicomweb", "http://x"), "either --studies DIR"),
        (("serve", "--model", "m", "--studies", "nowhere"), "--studies must name a folder, got 'nowhere'"),
        (("serve", "--model", "m", "--studies", ".", "--host", "0.0.0.0"), "beyond loopback"),
        (("serve", "--model", "m", "--studies", ".", "--host", "0.0.0.0", "--auth", "none"), "only on loopback"),
        (("serve", "--model", "m", "--studies", ".", "--origin", "*"), "must name pages"),
        (("serve", "--model", "m", "--studies", ".", "--conf", "x"), "--conf must be NAME=VALUE"),
        (("serve", "--model", "m", "--studies", ".", "--app", "nowhere"), "--app must name a folder with main.py"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path, arguments, sentence):
    done = run(*arguments, "--state", tmp_path)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_preflight_gives_one_remedy_for_each_thing_that_is_missing(tmp_path):
    (tmp_path / "studies").mkdir()
    asked = ("doctor", "--studies", tmp_path / "studies", "--model", "brain_mri_tumor_classification")
    done = run(*asked, "--state", tmp_path / "state")
    assert done.returncode == 1
    lines = {line.split()[1]: line for line in done.stdout.splitlines() if line.split()[:1] in (["ok"], ["no"])}
    assert [name for name, line in lines.items() if line.split()[0] == "no"] == ["tokens", "model", "studies"]
    assert "fedxai label token --name NAME" in lines["tokens"]
    assert "or a bundle with weights" in lines["model"]


def test_the_readme_says_the_line_that_installs_it(repository):
    assert shims.INSTALL in (repository / "README.md").read_text()


@pytest.mark.parametrize("told", [(), ("--allow-burned-in",)])
def test_pictures_with_text_are_served_only_where_that_is_said(monkeypatch, tmp_path, told):
    from typer.testing import CliRunner

    from fedxai.cli import app

    served = []
    monkeypatch.setattr("fedxai.label.launch.serve", served.append)
    line = ["label", "serve", "--model", "m", "--studies", str(tmp_path), "--state", str(tmp_path / "state"), *told]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 0, result.output
    assert served[0].conf.get("allow_burned_in") == ("true" if told else None)


@pytest.mark.parametrize("command", ["serve", "doctor", "token"])
def test_without_the_extra_each_command_says_how_to_install_it(monkeypatch, command):
    from typer.testing import CliRunner

    from fedxai.cli import app
    from fedxai.errors import RunError

    monkeypatch.setattr(shims.importlib.util, "find_spec", lambda name: None)
    asked = [] if command == "token" else ["--model", "brain_mri_tumor_classification", "--studies", "."]
    result = CliRunner().invoke(app, ["label", command, *asked])
    assert isinstance(result.exception, RunError)
    assert str(result.exception).startswith("monailabel is not installed; install it with: pip install")
