# SPDX-License-Identifier: Apache-2.0
"""What a person's viewer asks of a live server is answered, as MONAI Label's own client asks it; and while it works."""

import base64
import json
import runpy
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

LIVE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("live.py"))))
PROVIDER = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("provider.py"))))
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def issuer():
    with PROVIDER.providing() as running:
        yield running


@pytest.fixture(scope="module")
def server(issuer, tmp_path_factory):
    more = ("--origin", "https://viewer.example", "--openid-issuer", issuer, "--openid-audience", PROVIDER.AUDIENCE)
    with LIVE.serving(tmp_path_factory.mktemp("served") / "site", *more) as running:
        yield running


@pytest.fixture
def client(server, tmp_path):
    from fedxai.label import shims

    shims.apply()
    from monailabel.client import MONAILabelClient

    client = MONAILabelClient(server.url, tmpdir=str(tmp_path), client_id="workstation")
    assert client.auth_enabled()
    client.update_auth(client.auth_token("annotator", server.tokens["annotator"]))
    assert client.auth_valid_token()
    return client


def test_monai_labels_client_goes_from_login_to_a_saved_region(server, client, tmp_path):
    assert set(client.info()["models"]) == {"threshold", "slow", "broken"}
    sample = client.next_sample("random", {})
    assert "path" not in sample
    file, told = client.infer("threshold", sample["id"], {"result_extension": ".nrrd", "result_dtype": "uint8"})
    mask = np.asanyarray(nibabel.load(file).dataobj)
    assert told["bright"] == mask.sum() > 0
    region = tmp_path / "region.nii.gz"
    nibabel.save(nibabel.load(file), region)
    client.save_label(sample["id"], str(region), tag="final", params={"user": "somebody else", "rating": 4})
    saved = np.asanyarray(nibabel.load(client.download_label(sample["id"], "final")).dataobj)
    assert np.array_equal(saved, mask)
    info = server.ask("GET", f"/datastore/label/info?label={sample['id']}&tag=final").json()
    assert (info["user"], info["rating"], info["client_id"]) == ("annotator", 4, "workstation")
    assert (server.folder / "studies" / "labels" / "final" / f"{sample['id']}.nii.gz").is_file()


def test_an_image_of_ones_own_is_predicted_in_a_session_that_ends(server, client, tmp_path):
    image = tmp_path / "mine.nii.gz"
    nibabel.save(LIVE.volume((7, 7, 7)), image)
    opened = client.create_session(str(image))
    assert set(opened["session_info"]) & {"path", "image"} == set()
    _, told = client.infer("threshold", "", {}, session_id=opened["session_id"])
    assert told["voxels"] == 7**3
    client.remove_session(opened["session_id"])
    assert server.ask("GET", f"/session/{opened['session_id']}").status_code == 404


def test_a_new_image_is_listed_and_an_old_one_not_replaced(server, client, tmp_path):
    image = tmp_path / "added.nii.gz"
    nibabel.save(LIVE.volume(), image)
    assert client.upload_image(str(image), "added")["image"] == "added"
    assert "added" in client.datastore()["objects"]
    with image.open("rb") as file:
        again = server.ask("PUT", "/datastore/image?image=added", files={"file": ("a.nii.gz", file)})
    assert again.status_code == 409
    assert server.ask("DELETE", "/datastore/image?id=added").status_code == 200


def test_a_browser_logs_in_by_name_and_token(server):
    asked = server.ask("GET", "/ohif/", role=None)
    assert asked.status_code == 401
    assert asked.headers["WWW-Authenticate"].startswith("Basic")
    word = base64.b64encode(f"anybody:{server.tokens['reader']}".encode()).decode()
    viewer = server.ask("GET", "/ohif/", role=None, headers={"Authorization": f"Basic {word}"})
    assert viewer.status_code == 200
    assert "<html" in viewer.text.lower()


def test_with_a_certificate_it_speaks_tls_under_its_own_name_and_nothing_else(tmp_path):
    certificate, key = self_signed(tmp_path)
    more = ("--certificate", certificate, "--key", key, "--name", "desk.example")
    with LIVE.serving(tmp_path / "site", *more, scheme="https") as running:
        for host, status in ((f"desk.example:{running.port}", 200), ("other.example", 400)):
            answer = running.ask("GET", "/info/", verify=str(certificate), headers={"Host": host})
            assert answer.status_code == status
        with pytest.raises(requests.exceptions.SSLError):
            running.ask("GET", "/info/")  # by a stranger's word
        with pytest.raises(requests.ConnectionError):
            requests.get(f"http://127.0.0.1:{running.port}/auth/", timeout=10)


def self_signed(folder):
    """A certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(timezone.utc)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1))
    address = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    signed = made.add_extension(address, critical=False).sign(key, hashes.SHA256())
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(signed.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


def test_a_named_page_may_call_and_is_told_so(server):
    asked = server.ask("GET", "/info/", headers={"Origin": "https://viewer.example"})
    assert asked.headers["Access-Control-Allow-Origin"] == "https://viewer.example"
    preflight = server.ask(
        "OPTIONS",
        "/infer/threshold",
        role=None,
        headers={"Origin": "https://viewer.example", "Access-Control-Request-Method": "POST"},
    )
    assert preflight.status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/train/"),
        ("GET", "/scoring/"),
        ("GET", "/batch/infer"),
        ("GET", "/datastore/?output=all"),
        ("GET", "/datastore/image/info?image=case0"),
        ("HEAD", "/datastore/image?image=case0"),
        ("GET", "/datastore/image?image=case0"),
        ("GET", "/static/ohif/app-config.js"),
    ],
)
def test_a_reader_reads(server, method, path):
    answer = server.ask(method, path, role="reader")
    assert answer.status_code in (200, 404)
    assert str(server.folder) not in answer.text


def test_scores_and_many_predictions_run_as_tasks(server):
    assert server.ask("POST", "/scoring/nothing?run_sync=true", role="annotator", json={}).json() == {}
    done = server.ask("POST", "/batch/infer/threshold?images=all&run_sync=true", json={"max_batch_size": 1})
    assert done.status_code == 200, done.text
    assert "case0" in done.json()


def test_the_server_answers_while_a_case_is_explained(server):
    times = []
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(server.ask, "POST", "/infer/slow?image=case0")
        time.sleep(0.3)
        while not slow.done() and len(times) < 100:
            began = time.monotonic()
            assert server.ask("GET", "/info/").status_code == 200
            times.append(time.monotonic() - began)
            time.sleep(0.02)
    assert slow.result().json()["rounds"] > 0
    assert len(times) >= 5
    # The goal of 50 ms is measured by benchmarks/label_latency.py; here a shared machine must not decide.
    assert np.median(times) < 0.5


def test_what_cannot_be_answered_says_so_without_a_path_and_the_log_says_why(server):
    answer = server.ask("POST", "/infer/broken?image=case0")
    assert answer.status_code == 500
    assert str(server.folder) not in answer.text
    assert "RuntimeError" in (server.folder / "app" / "logs" / "app.log").read_text()


def test_a_revoked_token_ends_at_once(server):
    from fedxai.label.access_tokens import TOKEN_FILE, TokenFile

    tokens = TokenFile(server.folder / "state" / TOKEN_FILE)
    token = tokens.issue("Dr Leaving", "reader", days=1)
    headers = {"Authorization": f"Bearer {token}"}
    assert server.ask("GET", "/info/", role=None, headers=headers).status_code == 200
    tokens.revoke("Dr Leaving")
    assert server.ask("GET", "/info/", role=None, headers=headers).status_code == 401


def test_a_person_of_the_identity_provider_may_do_what_their_role_allows(server, issuer):
    def asked(method: str, path: str, **changed: object) -> int:
        token = PROVIDER.signed(PROVIDER.claims(issuer, **changed))
        return server.ask(method, path, role=None, headers={"Authorization": f"Bearer {token}"}).status_code

    assert asked("GET", "/info/") == 200
    assert asked("DELETE", "/scoring/") == 200
    assert asked("GET", "/logs/") == 403
    assert asked("GET", "/info/", aud="another") == 401
    assert asked("GET", "/info/", exp=1) == 401
    given = {"username": "dr", "password": "right"}
    assert server.ask("POST", "/auth/token", role=None, data=given).json()["access_token"] == "given"


def test_the_access_log_says_who_did_what_without_ids_or_queries(server):
    from fedxai.label.access_tokens import TOKEN_FILE, TokenFile

    token = TokenFile(server.folder / "state" / TOKEN_FILE).issue("Dr Watched", "reader", days=1)
    for path in ("/datastore/image/info?image=case1&patient=Rahman", "/Rahman/case1"):
        server.ask("GET", path, role=None, headers={"Authorization": f"Bearer {token}"})
    lines = server.logged("Dr Watched (reader)", 2)
    asked = [line.split(" ms ")[0].rsplit(" ", 1)[0].split(" ", 2)[2] for line in lines]
    assert sorted(asked) == ["GET - 404", "GET /datastore/image/info 200"]
    assert not [word for word in ("case1", "Rahman", "?", token) if word in server.log()]


def test_uploads_leave_nothing_in_the_temporary_folder(server):
    threading.Event().wait(0.2)
    assert list((server.folder / "state" / "tmp").glob("*.nii*")) == []


def test_settings_of_a_request_come_as_a_json_object(server):
    answer = server.ask("POST", "/infer/threshold?image=case0", data={"params": json.dumps([1])})
    assert answer.status_code == 422
