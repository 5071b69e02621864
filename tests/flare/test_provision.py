# SPDX-License-Identifier: Apache-2.0
"""What the kits of this project let others do, asked of FLARE's own authoriser and class policy."""

import pytest
import yaml
from nvflare.app_common.default_component_policy import DEFAULT_CLASS_ALLOW_LIST
from nvflare.fuel.sec.authz import AuthzContext, Person
from nvflare.security.security import FLAuthorizer

from fedxai.errors import SettingsError
from fedxai.flare.kit import kits
from fedxai.flare.provision import provision
from fedxai.settings import SiteSettings

ROLES = ("project_admin", "org_admin", "lead", "member")


def parts(provisioned):
    return [kit for kit in kits(provisioned) if kit.kind != "person"]


def may(kit, role: str, right: str, *, org: str = "consortium") -> bool:
    asker = Person("somebody", org, role)
    allowed, _ = FLAuthorizer("consortium", kit.local("authorization.json")).authorize(
        AuthzContext(right=right, user=asker, submitter=asker)
    )
    return allowed


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("right", ["byoc", "cat", "ls", "grep", "head", "tail", "server-predeployed-flwr"])
def test_nobody_brings_code_or_reads_files_anywhere(provisioned, role, right):
    for kit in parts(provisioned):
        assert not may(kit, role, right), f"{role} has {right} at {kit.name}"


@pytest.mark.parametrize(
    ("role", "right", "allowed"),
    [
        ("lead", "submit_job", True),
        ("lead", "download_job", True),
        ("project_admin", "submit_job", False),
        ("project_admin", "shutdown", True),
        ("org_admin", "submit_job", False),
        ("org_admin", "restart", True),
        ("member", "submit_job", False),
        ("member", "check_status", True),
        ("member", "abort_job", False),
        ("member", "download_job", True),
        ("nobody_we_know", "check_status", False),
    ],
)
def test_each_role_may_do_what_its_journey_needs_and_no_more(provisioned, role, right, allowed):
    for kit in parts(provisioned):
        assert may(kit, role, right) is allowed


def test_a_site_engineer_does_not_operate_another_hospitals_site(provisioned):
    for kit in parts(provisioned):
        assert not may(kit, "org_admin", "restart", org="hospital_9")


def test_jobs_may_build_flares_default_classes_and_ours(provisioned):
    for kit in parts(provisioned):
        resources = kit.local("resources.json")
        assert resources["class_list_enforcement_mode"] == "enforce"
        assert resources["class_allow_list"] == [*DEFAULT_CLASS_ALLOW_LIST, "fedxai."]


def test_no_site_streams_its_logs_and_every_part_wants_signed_jobs(provisioned):
    for kit in parts(provisioned):
        assert kit.startup["require_signed_jobs"] is True
        if kit.kind == "site":
            assert kit.local("resources.json")["allow_log_streaming"] is False
            assert "LogStreamer" not in str(kit.local("resources.json")["components"])


def test_the_gate_that_privacy_json_names_is_there_and_is_what_flare_takes(provisioned):
    from nvflare.apis.fl_component import FLComponent
    from nvflare.apis.workspace import Workspace
    from nvflare.private.fed.app.fl_conf import create_privacy_manager

    from fedxai.flare.gate import Gate, IncomingGate, OutgoingGate

    site = next(kit for kit in kits(provisioned) if kit.kind == "site")
    manager = create_privacy_manager(Workspace(str(site.folder), site.name), names_only=False)
    scope = manager.get_scope(None)
    assert [type(found) for found in scope.task_data_filters["in"]] == [IncomingGate]
    assert [type(found) for found in scope.task_result_filters["out"]] == [OutgoingGate]
    assert [type(found) for found in manager.components.values()] == [Gate]
    assert issubclass(Gate, FLComponent)


def test_a_sites_own_settings_are_there_to_be_edited(provisioned):
    for kit in parts(provisioned):
        if kit.kind == "site":
            assert SiteSettings.read(kit.folder / "local") == SiteSettings()


def test_nobody_else_on_the_machine_reads_the_root_key(provisioned):
    assert list(provisioned.glob("*/state/cert.json"))
    assert not provisioned.stat().st_mode & 0o077


def test_a_port_replaces_the_projects(provisioned):
    server = next(kit for kit in kits(provisioned) if kit.kind == "server")
    assert server.startup["servers"][0]["service"]["target"] == "localhost:18765"
    assert server.startup["servers"][0]["admin_port"] == 18766


def test_two_sites_of_one_name_are_refused(repository, tmp_path):
    project = yaml.safe_load((repository / "poc_workspace" / "project.yml").read_text())
    project["participants"].append({"name": "site-1", "type": "client", "org": "hospital_1"})
    (tmp_path / "twice.yml").write_text(yaml.safe_dump(project))
    with pytest.raises(SettingsError, match="twice.yml is refused by FLARE's provisioner: .*site-1"):
        provision(tmp_path / "twice.yml", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_left_alone(repository, tmp_path):
    (tmp_path / "kept.txt").write_text("kept")
    with pytest.raises(SettingsError, match="--out must be a new or empty folder"):
        provision(repository / "poc_workspace" / "project.yml", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_a_project_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="--project must name FLARE's project file"):
        provision(tmp_path / "nothing.yml", tmp_path / "out")
