# SPDX-License-Identifier: Apache-2.0
"""Startup kits of the tests: provisioned once, copied for whoever breaks one."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def provisioned(repository, tmp_path_factory) -> Path:
    """The project of this repository, through FLARE's provisioner; nobody may change it."""
    from fedxai.flare.provision import provision

    folder = tmp_path_factory.mktemp("provisioned") / "project"
    provision(repository / "poc_workspace" / "project.yml", folder, port=18765)
    return folder


@pytest.fixture
def kit_of(provisioned, tmp_path):
    """A copy of the kit of that name."""
    from fedxai.flare.kit import Kit, kits

    def copied(name: str) -> Kit:
        [found] = [kit for kit in kits(provisioned) if kit.name == name]
        shutil.copytree(found.folder, tmp_path / name)
        return Kit.open(tmp_path / name)

    return copied
