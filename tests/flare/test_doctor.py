# SPDX-License-Identifier: Apache-2.0
"""Each check of the preflight passes on a fresh kit and fails, with a remedy, on one that has just that fault."""

import importlib.metadata
import shutil
import socket
from collections import namedtuple
from datetime import timedelta

import psutil
import pytest
from nvflare.lighter.utils import Identity, generate_cert, generate_keys, serialize_cert

from fedxai.bundle import Bundle
from fedxai.bundle.approval import approve
from fedxai.errors import SettingsError
from fedxai.flare import doctor, policy
from fedxai.flare.deploy import BUNDLE, keep_jobs
from fedxai.flare.kit import Kit, edit_json
from fedxai.intake.phantom import make_phantom
from fedxai.preflight import Finding
from fedxai.settings import SITE_FILE, SiteSettings


@pytest.fixture
def site(kit_of) -> Kit:
    return kit_of("site-1")


def faulty(finding: Finding, found: str) -> bool:
    return not finding.passed and found in finding.found


def edit(kit: Kit, name: str, **values) -> None:
    edit_json(kit.folder / "local" / name, lambda content: content.update(values))


def test_a_missing_or_old_package_is_named(monkeypatch):
    assert doctor.versions().passed
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.8.0" if name == "nvflare" else real(name))
    assert faulty(doctor.versions(), "nvflare 2.8.0 (needs <2.10,>=2.9)")


def test_a_full_disk_is_seen(monkeypatch, tmp_path):
    assert doctor.disk(tmp_path).passed
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**30))
    assert faulty(doctor.disk(tmp_path), "1.0 GB free")


def test_too_little_memory_is_seen(monkeypatch):
    memory = namedtuple("memory", "available")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(8 * 2**30))
    assert doctor.memory().passed
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(2**30))
    assert faulty(doctor.memory(), "1.0 GB available")


def test_a_certificate_that_ends_is_told_a_month_before(site):
    end = site.valid_until
    assert doctor.certificate(site, now=end - timedelta(days=31)).passed
    assert faulty(doctor.certificate(site, now=end - timedelta(days=29)), "valid until")
    assert faulty(doctor.certificate(site, now=end + timedelta(seconds=1)), "expired")


def test_a_certificate_of_another_authority_is_seen(site):
    key, public = generate_keys()
    other = Identity("fedxai")
    forged = generate_cert(subject=other, issuer=other, signing_pri_key=key, subject_pub_key=public, ca=True)
    (site.folder / "startup" / "rootCA.pem").write_bytes(serialize_cert(forged))
    assert faulty(doctor.certificate(site), "not signed by the kit's rootCA.pem")


def test_a_certificate_that_is_gone_is_a_finding_and_not_a_crash(site):
    (site.folder / "startup" / "client.crt").write_text("nothing")
    answers = {finding.check: finding for finding in doctor.examine(site)}
    assert faulty(answers["certificate"], "startup/client.crt is no readable certificate")


def test_a_key_that_others_may_read_or_that_is_not_the_certificates_is_seen(site, kit_of):
    assert doctor.private_key(site).passed
    site.key_file.chmod(0o644)
    assert faulty(doctor.private_key(site), "mode 644")
    shutil.copy(kit_of("site-2").key_file, site.key_file)
    assert faulty(doctor.private_key(site), "does not fit")


def test_a_clock_before_the_certificate_is_seen(site):
    assert doctor.clock(site).passed
    assert faulty(doctor.clock(site, now=site.valid_from - timedelta(minutes=10)), "0:10:00 before")


def test_a_server_that_does_not_answer_is_seen(site, free_port):
    point_to(site, free_port())
    assert faulty(doctor.connection(site), "does not answer")


def test_a_taken_port_of_a_server_is_seen(kit_of):
    server = kit_of("localhost")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        point_to(server, taken.getsockname()[1])
        assert faulty(doctor.connection(server), "is taken")
    assert doctor.connection(server).passed


@pytest.mark.parametrize(("role", "right"), [("lead", "byoc"), ("org_admin", "shell_commands")])
def test_a_right_that_nobody_may_have_is_seen(site, role, right):
    assert policy.authorization(site).passed

    def grant(content):
        content["permissions"][role][right] = "any"

    edit_json(site.folder / "local" / "authorization.json", grant)
    assert faulty(policy.authorization(site), f"{role} has {right}")


def test_a_role_that_may_do_anything_is_seen(site):
    edit(site, "authorization.json", permissions={"auditor": "any"})
    assert faulty(policy.authorization(site), "auditor has byoc")


def test_an_authorization_that_flare_cannot_read_is_a_finding(site):
    edit(site, "authorization.json", permissions={"lead": {"byoc": "perhaps"}})
    with pytest.raises(SettingsError, match="not one that FLARE reads"):
        policy.authorization(site)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"class_list_enforcement_mode": "off"}, "not enforced"),
        ({"class_allow_list": ["nvflare."]}, "'fedxai.' is missing"),
        ({"class_allow_list": ["fedxai.", "os."]}, "also os."),
    ],
)
def test_a_loose_list_of_classes_is_seen(site, values, found):
    assert policy.allowed_classes(site).passed
    edit(site, "resources.json", **values)
    assert faulty(policy.allowed_classes(site), found)


def test_unsigned_jobs_are_seen(site):
    assert policy.signed_jobs(site).passed
    edit_json(site.folder / "startup" / "fed_client.json", lambda content: content.update(require_signed_jobs=False))
    assert faulty(policy.signed_jobs(site), "not required")


def test_log_streaming_is_seen_also_where_nothing_is_said(site):
    assert policy.log_streaming(site).passed
    edit(site, "resources.json", allow_log_streaming=True)
    assert faulty(policy.log_streaming(site), "on")
    edit_json(site.folder / "local" / "resources.json", lambda content: content.pop("allow_log_streaming"))
    assert faulty(policy.log_streaming(site), "on")


@pytest.mark.parametrize("direction", ["task_result_filters", "task_data_filters"])
def test_a_gate_that_lacks_a_direction_is_seen(site, direction):
    assert policy.gate(site).passed
    edit_json(site.folder / "local" / "privacy.json", lambda content: content["scopes"][0].update({direction: []}))
    assert faulty(policy.gate(site), f"open: fedxai/{direction}")


def test_a_gate_that_leaves_the_other_channels_open_is_seen(site):
    edit(site, "privacy.json", components=[])
    assert faulty(policy.gate(site), "open: other channels")


@pytest.mark.parametrize("values", [{"scopes": []}, {"default_scope": "public"}])
def test_a_policy_without_a_default_scope_is_seen(site, values):
    edit(site, "privacy.json", **values)
    assert faulty(policy.gate(site), "no default scope")


def test_a_site_without_a_policy_is_a_finding(site):
    (site.folder / "local" / "privacy.json").unlink()
    answers = {finding.check: finding for finding in doctor.examine(site)}
    assert faulty(answers["gate"], "the kit lacks local/privacy.json")


def test_a_policy_that_lets_single_cases_out_is_seen(site):
    answers = {finding.check: finding for finding in doctor.examine(site)}
    assert answers["policy"].passed
    assert answers["policy"].found == "survey, statistics, train, validate, explain; figures over 5 cases or more"
    assert faulty(policy.release_policy(SiteSettings(minimum_cell=1)), "figures over 1 cases or more")


def test_a_job_store_below_the_shared_temporary_folder_is_seen(kit_of):
    server = kit_of("localhost")
    assert faulty(policy.job_store(server), "shared temporary folder")
    keep_jobs(server)
    assert policy.job_store(server).passed


@pytest.mark.parametrize(("device", "found"), [("cuda:7", "cuda:7: "), ("gpu", "'gpu' is no device")])
def test_a_device_that_is_not_there_is_seen(device, found):
    assert policy.device(SiteSettings()).passed
    assert faulty(policy.device(SiteSettings(device=device)), found)


def test_a_cohort_that_is_missing_or_broken_is_seen(site, tmp_path):
    assert faulty(policy.cohort(SiteSettings()), "none, so the site refuses every job")
    cohort = tmp_path / "cohort"
    make_phantom(cohort, site="site-1", index=0, cases=40)
    assert policy.cohort(SiteSettings(cohort=cohort)).passed
    next(cohort.rglob("*.png")).write_bytes(b"nothing")
    assert faulty(policy.cohort(SiteSettings(cohort=cohort)), "errors")
    edit(site, SITE_FILE, cohort=str(tmp_path / "nowhere"))
    answers = {finding.check: finding for finding in doctor.examine(site)}
    assert not answers["cohort"].passed


def test_bundles_that_nobody_approved_or_that_changed_since_are_seen(site, repository, tmp_path, monkeypatch):
    shutil.copytree(repository / "bundles" / BUNDLE, tmp_path / "bundles" / BUNDLE)
    monkeypatch.setenv("FEDXAI_BUNDLES", str(tmp_path / "bundles"))
    assert faulty(policy.bundles(site), "none is approved")
    approve(Bundle.open(BUNDLE).inspection, site.folder / "local" / SiteSettings().approved_bundles)
    assert policy.bundles(site).passed
    edit_json(
        tmp_path / "bundles" / BUNDLE / "configs" / "train.json", lambda content: content.update(optimizer_note="other")
    )
    assert faulty(policy.bundles(site), f"changed since approved: {BUNDLE}")


def point_to(kit: Kit, port: int) -> None:
    name = "fed_server.json" if kit.kind == "server" else "fed_client.json"
    edit_json(
        kit.folder / "startup" / name,
        lambda content: content["servers"][0]["service"].update(target=f"localhost:{port}"),
    )
