# SPDX-License-Identifier: Apache-2.0
"""Every way out of a site, over mutual TLS: refused and recorded behind the gate, open without it.

Between each site and the server lies a tap that holds the keys of both ends, so that all bytes on the wire are read.
Every pixel of the sites' images is noise of its own, and every tag of the DICOM files they come from is marked. The
maps that the sites made are made once more, from the model that each kept.
"""

import contextlib
import gzip
import io
import os
import runpy
import shutil
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom.uid import DigitalXRayImageStorageForPresentation

from fedxai.bundle.trained import find_trained
from fedxai.flare import deploy
from fedxai.flare.kit import Kit, edit_json, kits, person
from fedxai.flare.pack import pack_job
from fedxai.flare.provision import provision
from fedxai.flare.watch import follow
from fedxai.intake.cohort import Cohort
from fedxai.intake.dicom.plan import Choice
from fedxai.intake.dicom.take import DicomSettings, take_dicom
from fedxai.intake.stored import read_values
from fedxai.intake.table import Columns
from fedxai.intake.taking import IntakeSettings
from fedxai.privacy.compare import compare
from fedxai.privacy.ledger import Ledger
from fedxai.records import SPLITS
from fedxai.report.case_pictures import map_pictures
from fedxai.score.examine import ExaminedCase, examine
from fedxai.settings import ExplainSettings, SiteSettings, TrainSettings
from fedxai.train.engine import SiteTrainer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

HERE = Path(__file__).parent
HOSTILE = runpy.run_path(str(HERE / "hostile.py"))
Tap = runpy.run_path(str(HERE / "tap.py"))["Tap"]
Writer = runpy.run_path(str(HERE.parent / "intake" / "dicom" / "conftest.py"))["Writer"]
CONFIG = Path("app") / "config"
STREAM = "aux_communication.ObjectStreamer.Request"
REASONS = {
    "array in metrics": {"types"},
    "extra field": {"types"},
    "extra header": {"headers"},
    "extra tensor": {"tensors"},
    "wrong dtype": {"tensors"},
    "not finite": {"finite"},
    "extra meta": {"content"},
    "oversize string": {"schema"},
    "figures too fine": {"decimals"},
    "count as an image": {"counts"},
    "name of a metric": {"schema"},
    "one patient": {"small_cell"},
    "exception text": {"sentence"},
    "public property": {"headers"},
    "beside the data": {"content"},
}
DOORS = {
    "aux message": "aux_communication.canary",
    "aux broadcast below": "aux_communication.canary",
    "fed event": "aux_communication.fed.event",
    "analytics": "aux_communication.fed.event",
    "file stream": STREAM,
    "artefact download": "download_service__.download_service__download",
    "unknown channel": "canary.message",
    "raw blob": "canary.blob",
    "raw frame": "canary_frames.frame",
    "print and log": STREAM,
}
EXPLAINED = 8  # cases whose maps a site makes in the honest run
WINDOW = 16  # bytes of an image that are searched for together; no two are alike
TAGS = [
    "PatientName",
    "PatientBirthName",
    "PatientAddress",
    "PatientComments",
    "PatientTelephoneNumbers",
    "Occupation",
    "AccessionNumber",
    "AdditionalPatientHistory",
    "MedicalRecordLocator",
    "InstitutionName",
    "StationName",
    "ReferringPhysicianName",
    "StudyDescription",
    "OperatorsName",
    "SeriesDescription",
    "ProtocolName",
    "ImageComments",
    "DeviceSerialNumber",
    "StudyID",
    "ReasonForStudy",
    "DetectorID",
]


class Ground:
    """A running deployment, the taps on its lines, and the marks of its sites' cohorts."""

    def __init__(self, folder: Path, taps: list, marks: dict[str, set[bytes]], temporary: Path) -> None:
        self.folder, self.taps, self.marks, self._temporary = folder, taps, marks, temporary

    def kit(self, name: str) -> Kit:
        return next(found for found in kits(self.folder) if found.name == name)

    def run(self, job: Path) -> str:
        """Run the job to its end, with nothing on the taps before; its id."""
        for tap in self.taps:
            tap.forget()
        with deploy.session(person(self.folder, "lead")) as session:
            sent = session.submit_job(str(job))
            *_, last = follow(session, sent, every=0.5)
        assert last.completed, last
        return sent

    def wire(self) -> bytes:
        """All that the sites have sent since."""
        return b"\n".join(tap.sent() for tap in self.taps)

    def disk(self) -> bytes:
        """Every byte that the server keeps, its jobs and what it has below its temporary folder among them."""
        roots = (self.kit("localhost").folder, self._temporary)
        return b"\n".join(content for root in roots for content in contents(root))


@pytest.fixture(scope="module")
def ground(repository, tmp_path_factory, free_port) -> Iterator[Ground]:
    root = tmp_path_factory.mktemp("exfiltration")
    port, *lines = (free_port() for _ in range(4))
    project = repository / "poc_workspace" / "project.yml"
    folder = provision(tapped(project, root, lines), root / "ours", port=port).parents[1]
    deploy.settle(folder, cases=12)
    (root / "python").mkdir()
    shutil.copy(HERE / "hostile.py", root / "python")
    parts = {kit.name: kit for kit in kits(folder) if kit.kind != "person"}
    marks: dict[str, set[bytes]] = {}
    for kit in parts.values():
        edit_json(kit.folder / "local" / "resources.json", stream_logs if kit.name == "site-1" else allow)
        if kit.kind == "site":
            cohort = marked_cohort(root / kit.name)
            edit_json(kit.folder / "local" / "fedxai.json", lambda values, path=cohort: values.update(cohort=str(path)))
            for kind, found in marks_of(Cohort.open(cohort), deploy.BUNDLE).items():
                marks.setdefault(kind, set()).update(found)
    server = parts.pop("localhost")
    taps = [
        Tap(line, port, front=server.folder / "startup", back=kit.folder / "startup")
        for line, kit in zip(lines, parts.values(), strict=True)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", str(root / "python"), prepend=os.pathsep)
        (root / "temporary").mkdir()
        patch.setenv("TMPDIR", str(root / "temporary"))
        deploy.start(server)
        patch.delenv("TMPDIR")
        deploy.up(folder)
        try:
            yield Ground(folder, taps, marks, root / "temporary")
        finally:
            deploy.down(folder)
            for tap in taps:
                tap.close()


@pytest.fixture(scope="module")
def attacked(ground, repository, tmp_path_factory):
    """Run all attacks; what has arrived at the server, what was on the wire, and the site's ledger."""

    def attack(*, gate: bool) -> tuple[bytes, bytes, list]:
        root = tmp_path_factory.mktemp(f"gate-{gate}")
        (root / "logs").mkdir()
        site = ground.kit("site-1")
        if not gate:
            edit_json(site.folder / "local" / "privacy.json", open_the_gate)
        job = ground.run(hostile_job(repository / "jobs" / "fedxai", root, gate=gate))
        arrived = b"\n".join([*contents(root / "logs"), *contents(ground.kit("localhost").folder / "jobs" / job)])
        entries = Ledger(site.folder / "fedxai" / "ledger.jsonl").entries()
        return arrived, ground.wire(), [entry for entry in entries if entry.job == job]

    return attack


@pytest.fixture(scope="module")
def canaries() -> dict[str, set[bytes]]:
    """What marks each way's content, in either order of bytes; a summary over one patient is known by its figure."""
    ways = {way: HOSTILE["canary"](way) for way in (*HOSTILE["RESULTS"], *HOSTILE["CHANNELS"])}
    named = {way: {mark, mark[::-1]} for way, mark in ways.items()}
    return {**named, "one patient": {b"0.7707", struct.pack(">d", 0.7707), struct.pack("<d", 0.7707)}}


def leaked(canaries: dict[str, set[bytes]], content: bytes) -> set[str]:
    return {way for way, marks in canaries.items() if any(mark in content for mark in marks)}


def test_no_pixel_map_tag_or_name_of_a_cohort_is_on_the_wire_or_on_the_servers_disk(ground, repository, tmp_path):
    job = pack_job(
        repository / "jobs" / "fedxai",
        tmp_path / "honest",
        settings={"num_rounds": 1, "explain_every": 0},
        train={"local_steps": 2, "threads": 1},
    )
    edit_json(job / CONFIG / "config_fed_client.json", explain_little)
    sent = ground.run(job)
    wire, disk = ground.wire(), ground.disk()
    for site in ("site-1", "site-2", "site-3"):
        book = ground.kit(site).folder / "fedxai" / "ledger.jsonl"
        found = compare(book, ground.kit("localhost").folder / "fedxai" / "ledger.jsonl", site=site)
        assert found.agrees, found
        assert found.agreed == found.heads == found.told > 0, "each knows where the other's ledger stood"
        entries = list(Ledger(book).entries())
        assert {entry.job for entry in entries} == {sent}
        refused = {str(entry.channel) for entry in entries if entry.decision == "refused"}
        assert refused <= ({STREAM, STREAM.replace("Request", "Abort")} if site == "site-1" else set()), "but logs"
    assert b"fedxai_ledger_head" in wire, "the tap reads what the sites send"
    assert b"summary.json" in disk
    assert b"randomisation" in wire, "the trust tests ran, and what they send is searched too"
    made = {piece for site in ("site-1", "site-2", "site-3") for piece in maps_made(ground.kit(site), sent)}
    assert len(made) > 100_000, "of three methods' maps of eight cases at three sites"
    for content in (wire, disk):
        assert kinds_in(content, {**ground.marks, "maps of this run": made}) == []


def test_no_way_out_leaks_behind_the_gate_and_each_is_on_the_ledger(ground, attacked, canaries):
    assert canaries.keys() == REASONS.keys() | DOORS.keys()
    arrived, wire, entries = attacked(gate=True)
    assert leaked(canaries, arrived) == leaked(canaries, wire) == set()
    assert kinds_in(wire, ground.marks) == []
    assert b"ReleaseError" in arrived, "the sender is told"
    refused = [entry for entry in entries if entry.decision == "refused"]
    by_round = {entry.round: set() for entry in refused}
    for entry in refused:
        by_round[entry.round].add(entry.reason)
    for place, (way, reasons) in enumerate(REASONS.items()):
        assert reasons <= by_round.get(place, set()), way
    channels = [entry.channel for entry in refused if entry.channel != "task"]
    assert set(DOORS.values()) <= set(channels)
    assert channels.count("aux_communication.fed.event") >= 2
    assert all(entry.policy for entry in refused)
    assert len([entry for entry in entries if entry.kind == "update" and entry.decision == "released"]) == 0


def test_every_way_out_leaks_while_the_gate_is_off(ground, attacked, canaries):
    """And what is searched for is found then: a patient's name, file, tag, pixels, map, and what the network sees."""
    arrived, wire, _ = attacked(gate=False)
    assert leaked(canaries, arrived) == leaked(canaries, wire) == canaries.keys()
    for content in (wire, ground.disk()):
        assert kinds_in(content, ground.marks) == list(ground.marks)


def hostile_job(main_job: Path, folder: Path, *, gate: bool) -> Path:
    """The main job with the hostile executor and the keeping server; without the gate where that is asked."""
    job = pack_job(main_job, folder / "hostile", sites=["site-1"])

    def at_site(client: dict) -> None:
        site = {"path": "hostile.HostileSite", "args": {"site": "site"}}
        client["executors"] = [{"tasks": ["survey", "train", "validate", "explain"], "executor": site}]
        logs = {"id": "logs", "path": "nvflare.app_common.logging.job_log_streamer.JobLogStreamer", "args": {}}
        client["components"].append(logs)
        if not gate:
            client["components"] = [part for part in client["components"] if part["id"] != "gate"]
            client["task_data_filters"] = client["task_result_filters"] = []

    def at_server(server: dict) -> None:
        receiver = "nvflare.app_common.logging.job_log_receiver.JobLogReceiver"
        server["components"] = [{"id": "receiver", "path": receiver, "args": {"dest_dir": str(folder / "logs")}}]
        keeper = {"path": "hostile.KeepingServer", "args": {"bundle": deploy.BUNDLE}}
        server["workflows"] = [{"id": "keeper", **keeper}]

    edit_json(job / CONFIG / "config_fed_client.json", at_site)
    edit_json(job / CONFIG / "config_fed_server.json", at_server)
    return job


def allow(resources: dict) -> None:
    """What is planted may be built."""
    resources["class_allow_list"] = [*resources["class_allow_list"], "hostile."]


def stream_logs(resources: dict) -> None:
    """And FLARE's own switch does not stop the logs before the gate does."""
    allow(resources)
    resources["allow_log_streaming"] = True


def explain_little(client: dict) -> None:
    asked = {"final_cases": EXPLAINED, "trust_cases": 5, "honesty_cases": 5, "gallery": EXPLAINED}
    client["components"][0]["args"]["explain"] = asked


def open_the_gate(policy: dict) -> None:
    policy["components"] = []
    for scope in policy["scopes"]:
        scope |= {"task_data_filters": [], "task_result_filters": []}


def tapped(project: Path, folder: Path, lines: list[int]) -> Path:
    """The project with each site's way to the server by a line of its own."""
    import yaml

    values = yaml.safe_load(project.read_text())
    sites = [participant for participant in values["participants"] if participant["type"] == "client"]
    for site, port in zip(sites, lines, strict=True):
        site["connect_to"] = {"host": "localhost", "port": port}
    (folder / "project.yml").write_text(yaml.safe_dump(values))
    return folder / "project.yml"


def marked_cohort(folder: Path, cases: int = 40) -> Path:
    """A cohort from DICOM files of noise, whose tags, names of files and patients all carry a mark."""
    folder.mkdir()
    mark, writer = HOSTILE["OF_A_TAG"], Writer(folder / "export")
    rng = np.random.default_rng(int.from_bytes(folder.name.encode(), "big"))
    tags = {keyword: f"{mark}{place}" for place, keyword in enumerate(TAGS)}
    for number in range(cases):
        pixels = rng.integers(1, 255, (64, 64), dtype=np.uint8)
        ds = writer.base(pixels, modality="DX", SOPClassUID=DigitalXRayImageStorageForPresentation, **tags)
        ds.PatientID, ds.BurnedInAnnotation = f"{mark}P{number}", "NO"
        ds.StudyInstanceUID = f"1.2.3.718293645.{number}"
        writer.save(ds, f"{mark}{number}.dcm")
    classes = ("meningioma", "glioma", "pituitary")
    rows = [f"{mark}P{number},{classes[number % 3]}" for number in range(cases)]
    (folder / "table.csv").write_text("\n".join(["patient,label", *rows]))
    settings = DicomSettings(
        choice=Choice(keyed_by="patient"), intake=IntakeSettings(validation=0.25, test=0.25, class_names=classes)
    )
    columns = Columns(image="patient")
    done = take_dicom(folder / "export", folder / "table.csv", folder / "cohort", settings=settings, columns=columns)
    assert not done.refused
    return folder / "cohort"


def marks_of(cohort: Cohort, bundle: str) -> dict[str, set[bytes]]:
    """What must not be found, by kind: pieces of images in every form that they have, and whatever names a patient."""
    from fedxai.bundle import Bundle

    cases = [case for split in SPLITS for case in cohort.cases(split)]
    trainer = SiteTrainer(bundle=Bundle.open(bundle), cases=cohort.splits(), site="site", settings=TrainSettings())
    prepared = [
        batch["image"].numpy()
        for split in SPLITS
        for batch in trainer.explanation_batches(split, limit=len(cases), batch_size=1)
    ]
    stored = [read_values(case.image, what="image")[0] for case in cases]
    arrays = {
        "stored pixels": stored,
        "pixels as float32": [pixels.astype(np.float32) for pixels in stored],
        "pixels of 0 to 1": [(pixels / 255).astype(np.float32) for pixels in stored],
        "what the network sees": prepared,
        "saliency map": [HOSTILE["map_of"](trainer.bundle, torch.as_tensor(prepared[0]))],  # of the case that is sent
    }
    names = {word.encode() for case in cases for word in (case.group, case.image.stem)}
    assert len(cases) >= 30
    assert min(map(len, names)) >= 8
    return {
        **{kind: {piece for array in found for piece in pieces(array.tobytes())} for kind, found in arrays.items()},
        "files": {piece for case in cases for piece in pieces(case.image.read_bytes()[64:-64])},
        "names": names,
        "tags": {HOSTILE["OF_A_TAG"].encode(), b"718293645"},
    }


def maps_made(kit: Kit, job: str) -> set[bytes]:
    """Pieces of the maps that the site made of the job's model, and of its pictures of them."""
    settings = SiteSettings.read(kit.folder / "local")
    assert settings.cohort is not None
    model = find_trained(str(kit.folder / "fedxai" / "model" / deploy.BUNDLE), "last")
    cohort = Cohort.open(settings.cohort)
    trainer = SiteTrainer(bundle=model.bundle, cases=cohort.splits(), site=kit.name, settings=TrainSettings(threads=1))
    trainer.load({name: tensor.numpy() for name, tensor in model.weights.items()})
    cases: list[ExaminedCase] = []
    examine(
        trainer.asked_network,
        trainer.explanation_batches("test", limit=EXPLAINED, batch_size=ExplainSettings().batch_size),
        split="test",
        methods=model.bundle.explain.methods,
        sink=cases.append,
        **model.bundle.question,
    )
    found: set[bytes] = set()
    for case in cases:
        for method, picture in map_pictures(case, case.maps).items():
            file = kit.folder / job / "fedxai" / "gallery_last" / "cases" / f"{case.index:05d}" / f"{method}.png"
            with Image.open(file) as drawn:
                assert np.array_equal(np.asarray(drawn), np.asarray(picture)), "the same maps as the site's"
            found |= pieces(case.maps[method].tobytes()) | pieces(file.read_bytes()[64:-64])
    return found


def pieces(content: bytes) -> set[bytes]:
    """Content cut up; a piece of equal bytes or of equal numbers says nothing and is left out."""
    cut = (content[place : place + WINDOW] for place in range(0, len(content) - WINDOW + 1, WINDOW))
    return {piece for piece in cut if len({piece[place : place + 4] for place in range(0, WINDOW, 4)}) == WINDOW // 4}


def kinds_in(content: bytes, marks: dict[str, set[bytes]]) -> list[str]:
    """The kinds of which a mark is in the content; told apart only where there is any, as a search takes seconds."""
    found = hits(content, set().union(*marks.values()))
    return [kind for kind, of_kind in marks.items() if hits(content, of_kind)] if found else []


def hits(content: bytes, marks: set[bytes]) -> int:
    """How many of the marks are somewhere in the content."""
    short = {mark for mark in marks if len(mark) != WINDOW}
    found = {mark for mark in short if mark in content}
    heads = np.unique(np.frombuffer(b"".join(mark[:8] for mark in marks - short), np.uint64))
    for shift in range(8):
        words = np.frombuffer(content, np.uint64, count=(len(content) - shift) // 8, offset=shift)
        places = shift + 8 * np.flatnonzero(np.isin(words, heads))
        found |= marks & {content[place : place + WINDOW] for place in places}
    return len(found)


def contents(root: Path) -> Iterator[bytes]:
    """Names and bytes of all files below a folder, and of what is packed in them."""
    for path in root.rglob("*"):
        yield str(path.relative_to(root)).encode()
        if path.is_file():
            yield from unpacked(path.read_bytes())


def unpacked(content: bytes) -> Iterator[bytes]:
    yield content
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                yield name.encode()
                yield from unpacked(archive.read(name))
    elif content.startswith(b"\x1f\x8b"):
        with contextlib.suppress(OSError, EOFError):
            yield from unpacked(gzip.decompress(content))
