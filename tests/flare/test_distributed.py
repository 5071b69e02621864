# SPDX-License-Identifier: Apache-2.0
"""FLARE's commands with this project's files: a hospital makes its own key; kits are prepared for containers."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from fedxai.flare import doctor, policy
from fedxai.flare.kit import Kit

pytestmark = pytest.mark.slow
NVFLARE = Path(sys.executable).with_name("nvflare")


def nvflare(*arguments: object, cwd: Path) -> str:
    home = {"HOME": str(cwd), "PATH": f"{NVFLARE.parent}:/usr/bin:/bin"}
    done = subprocess.run(
        [NVFLARE, *map(str, arguments)], cwd=cwd, env=home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_hospital_makes_its_own_key_and_only_a_request_travels(repository, tmp_path):
    files = repository / "poc_workspace" / "distributed"
    admin, hospital = tmp_path / "admin", tmp_path / "hospital"
    admin.mkdir()
    hospital.mkdir()
    made = nvflare("cert", "init", "--profile", files / "profile.yml", "-o", "ca", cwd=admin)
    fingerprint = next(line.split("SHA256:")[1] for line in made.splitlines() if "fingerprint" in line)
    nvflare("cert", "request", "-p", files / "site-1.yml", "--out", "site-1", cwd=hospital)
    request = hospital / "site-1" / "site-1.request.zip"
    key = (hospital / "site-1" / "site-1.key").read_bytes()
    with zipfile.ZipFile(request) as travelling:
        for name in travelling.namelist():
            assert b"PRIVATE KEY" not in travelling.read(name)
    signed = admin / "site-1.signed.zip"
    profile = files / "profile.yml"
    nvflare("cert", "approve", request, "-c", "ca", "--profile", profile, "--out", signed, cwd=admin)
    nvflare("package", signed, "--request-dir", "site-1", "--fingerprint", fingerprint, "-w", "kit", cwd=hospital)

    kit = Kit.open(hospital / "kit" / "fedxai" / "prod_00" / "site-1")
    assert kit.key_file.read_bytes() == key
    checks = [doctor.certificate, doctor.private_key]
    checks += [policy.authorization, policy.allowed_classes, policy.gate, policy.log_streaming, policy.signed_jobs]
    for check in checks:
        assert check(kit).passed, check(kit)


@pytest.mark.parametrize("name", ["localhost", "site-1"])
def test_kits_prepared_for_containers_keep_the_policy_and_are_well_formed(repository, kit_of, tmp_path, name):
    kit, files = kit_of(name), repository / "poc_workspace" / "containers"
    for runtime in ("docker", "kubernetes"):
        out = tmp_path / runtime
        nvflare("deploy", "prepare", kit.folder, "--config", files / f"{runtime}.yml", "--output", out, cwd=tmp_path)
        prepared = Kit.open(out)
        for check in (policy.authorization, policy.allowed_classes, policy.signed_jobs):
            assert check(prepared).passed, check(prepared)
        if kit.kind == "site":
            assert policy.gate(prepared).passed
            assert policy.log_streaming(prepared).passed
    subprocess.run(["bash", "-n", tmp_path / "docker" / "startup" / "start_docker.sh"], check=True)
    chart = tmp_path / "kubernetes" / "helm_chart"
    values = yaml.safe_load((chart / "values.yaml").read_text())
    assert yaml.safe_load((chart / "Chart.yaml").read_text())["apiVersion"] == "v2"
    assert "fedxai-med" in json.dumps(values)


def test_the_image_holds_code_and_bundles_and_no_kit_or_data(repository):
    text = (repository / "poc_workspace" / "containers" / "Dockerfile").read_text()
    copied = [source for line in text.splitlines() if line.startswith("COPY") for source in line.split()[1:-1]]
    assert copied
    assert all((repository / source).exists() for source in copied)
    assert not {"poc_workspace", "tests", ".", "jobs"} & set(copied)
    assert "USER fedxai" in text
