# SPDX-License-Identifier: Apache-2.0
"""Hostile requests, each with what it must be answered; and the files that some of them send."""

import contextlib
import gzip
import io
import json
import socket
import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import Any

import jwt
import nibabel
import numpy as np

SECRET = "ELSEWHERE/secret.nii.gz"  # ELSEWHERE: an absolute folder beside the studies


def nifti(shape=(4, 4, 4), *, voxels: int | None = None) -> bytes:
    """A NIfTI whose header promises ``shape`` and that holds ``voxels`` bytes of zeros, or what it promises."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(shape)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    return header.binaryblock + b"\0" * 4 + b"\0" * (int(np.prod(shape)) if voxels is None else voxels)


def gz(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=1)


def nrrd(*lines: str, sizes: str = "4 4 4", voxels: bytes = b"\0" * 64) -> bytes:
    head = ["NRRD0004", "type: uint8", "dimension: 3", f"sizes: {sizes}", "encoding: raw", *lines]
    return ("\n".join(head) + "\n\n").encode() + voxels


def archive(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr(name, data)
    return out.getvalue()


def png_of(width: int, height: int) -> bytes:
    """The begin of a PNG that says how large it is."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 8) + b"IDAT" + bytes(12)


BOMB = gz(nifti((4, 4, 4), voxels=64 << 20))  # 64 MB of zeros behind a header that promises 64 bytes
HUGE = gz(nifti((4096, 4096, 2048), voxels=64))
DEFLATED = b"\0" * 128 + b"DICM" + b"\2\0\x10\0UI\x16\x001.2.840.10008.1.2.1.99" + b"\0" * 64
LABEL = ("region.nii.gz", gz(nifti()))


@dataclass(frozen=True)
class Attack:
    """What is sent by whom, and the status that refuses it."""

    name: str
    status: int
    method: str
    path: str
    role: str | None = "annotator"
    more: dict[str, Any] = field(default_factory=dict)


def label(name: str, status: int, *, file=LABEL, image="case0", tag="final", params: object = None) -> Attack:
    data = {"params": params if isinstance(params, str) else json.dumps(params or {})}
    more = {"files": {"label": file}, "data": data}
    return Attack(name, status, "PUT", f"/datastore/label?image={image}&tag={tag}", more=more)


def image(name: str, status: int, *, file=LABEL, query="image=new") -> Attack:
    return Attack(name, status, "PUT", f"/datastore/image?{query}", more={"files": {"file": file}})


def infer(name: str, status: int, *, model="threshold", image="case0", params: object = None, **more) -> Attack:
    data = {"params": params if isinstance(params, str) else json.dumps(params or {})}
    return Attack(name, status, "POST", f"/infer/{model}?image={image}", "reader", {"data": data, **more})


def bearer(name: str, token: str) -> Attack:
    return Attack(name, 401, "GET", "/info/", None, {"headers": {"Authorization": f"Bearer {token}"}})


def _unsigned() -> str:
    return jwt.encode({"sub": "x", "realm_access": {"roles": ["fedxai-admin"]}}, key=None, algorithm="none")


NAMES = [
    label("a tag that climbs out", 422, tag="../../elsewhere"),
    label("a tag that climbs out, encoded", 422, tag="..%2f..%2felsewhere"),
    label("an absolute tag", 422, tag="ELSEWHERE"),
    label("a tag with a NUL", 422, tag="final%00x"),
    label("a tag that is hidden", 422, tag=".ssh"),
    label("a label for an image that climbs out", 404, image="../elsewhere/secret"),
    label("a label for an absolute path", 404, image="ELSEWHERE/secret"),
    label("a label for no image", 404, image="nobody"),
    image("an image that climbs out", 422, query="image=../elsewhere/x"),
    image("an image at an absolute path", 422, query="image=ELSEWHERE/x"),
    image("an image named by its file", 422, file=("../../elsewhere/x.nii.gz", LABEL[1]), query="x=1"),
    image("an image named with two dots", 422, query="image=.."),
    image("an image in place of another", 409, query="image=case0"),
    infer("a prediction of an absolute path", 404, image=SECRET),
    infer("a prediction of a path that climbs out", 404, image="../elsewhere/secret.nii.gz"),
    infer("a prediction of a folder", 404, image="/etc"),
    infer("an image in the settings", 422, params={"image": SECRET}),
    infer("a label in the settings", 422, params={"label": SECRET}),
    infer("a session in the settings", 422, params={"session": {"image": SECRET}}),
    infer("a path in another setting", 422, params={"a": [{"b": "../x"}]}),
    infer("an ending that climbs out", 422, params={"result_extension": "/../../x.nii.gz"}),
    infer("a tag in the settings that climbs out", 422, params={"save_label": True, "label_tag": "../../x"}),
    infer("a model that climbs out", 404, model="..%2f..%2fx"),
    infer("a model that is not there", 404, model="nobody"),
    infer("settings that are no object", 422, params="[1]"),
    Attack("a DICOM SEG that no model gives", 406, "POST", "/infer/threshold?image=case0&output=dicom_seg", "reader"),
    infer("settings nested without end", 422, params="[" * 100_000),
    infer("an image in a session that climbs out", 422, image="&session_id=../../elsewhere"),
    Attack("a download of an absolute path", 404, "GET", f"/datastore/image?image={SECRET}", "reader"),
    Attack("a download of a path that climbs out", 404, "GET", "/datastore/image?image=../../etc/passwd", "reader"),
    Attack("a label's download that climbs out", 422, "GET", "/datastore/label?label=case0&tag=../../x", "reader"),
    Attack("facts of an absolute path", 404, "GET", f"/datastore/image/info?image={SECRET}", "reader"),
    Attack("removing a path that climbs out", 404, "DELETE", "/datastore/image?id=../elsewhere/secret", "admin"),
    Attack("removing a label that climbs out", 422, "DELETE", "/datastore/label?id=case0&tag=../..", "admin"),
    Attack("a static file that climbs out", 404, "GET", "/static/..%2f..%2f..%2fapp.py", "reader"),
    Attack("a page that climbs out", 404, "GET", "/ohif/%2e%2e", "reader"),
    Attack("telling of a label that is not there", 404, "PUT", "/datastore/label/info?label=case0&tag=nobody"),
    Attack("removing a label that is not there", 404, "DELETE", "/datastore/label?id=case0&tag=nobody", "admin"),
    Attack("a strategy that is not there", 404, "POST", "/activelearning/nobody", "reader", {"json": {}}),
    Attack("training in a folder", 404, "POST", "/train/..%2fx", "admin", {"json": {}}),
    Attack("a score with a bundle's path", 422, "POST", "/scoring/nothing", more={"json": {"bundle_path": "/x"}}),
    Attack("the archive's other interface", 404, "GET", "/proxy/dicom/qido/../../instances", "reader"),
    Attack("weights of a path", 404, "GET", "/model/..%2f..%2fx", "admin"),
]

FILES = [
    label("a gzip bomb", 413, file=("region.nii.gz", BOMB)),
    label("a header that promises too much", 413, file=("region.nii.gz", HUGE)),
    label("an NRRD that promises too much", 413, file=("a.nrrd", nrrd(sizes="99999 99999 99"))),
    label("an NRRD that reads another file", 400, file=("a.nrrd", nrrd("data file: /etc/passwd"))),
    label("an NRRD whose header has no end", 400, file=("a.nrrd", b"NRRD0004\n" + b"a: b\n" * 1000)),
    label("an NRRD without its voxels", 400, file=("a.nrrd", nrrd(voxels=b"\0"))),
    label("an NRRD with lengths below zero", 400, file=("a.nrrd", nrrd(sizes="-4 4 4"))),
    label("a NIfTI that is cut short", 400, file=("a.nii.gz", LABEL[1][:40])),
    label("a NIfTI without its voxels", 400, file=("a.nii", nifti((40, 40, 40), voxels=9))),
    label("a NIfTI of noise", 400, file=("a.nii", bytes(range(256)) * 4)),
    label("a picture that says it is huge", 413, file=("a.png", png_of(60_000, 60_000))),
    label("a file of no kind", 415, file=("a.exe", b"MZ")),
    label("a script named as a page", 415, file=("a.nii.gz.html", LABEL[1])),
    image("a DICOM of noise", 400, file=("a.dcm", b"\0" * 200)),
    image("a DICOM compressed as a whole", 400, file=("a.dcm", DEFLATED)),
    infer("an image that is malformed", 400, image="", files={"file": ("a.nii.gz", b"\x1f\x8b noise")}),
    label("settings beyond their bound", 422, params={"comment": "x" * 300_000}),
    Attack(
        *("an archive that climbs out", 400, "PUT", "/session/?uncompress=true", "reader"),
        {"files": {"files": ("a.zip", archive("../../elsewhere/x.nii.gz", LABEL[1]))}},
    ),
    Attack(
        *("a zip bomb", 413, "PUT", "/session/?uncompress=true", "reader"),
        {"files": {"files": ("a.zip", archive("x.nii", b"\0" * (64 << 20)))}},
    ),
    Attack(
        *("an archive that is none", 400, "PUT", "/session/?uncompress=true", "reader"),
        {"files": {"files": ("a.zip", b"PK noise")}},
    ),
    Attack("settings larger than a task's", 413, "POST", "/scoring/nothing", more={"data": b"[" * (2 << 20)}),
]

READER = "reader"
PEOPLE = [
    Attack("no token", 401, "GET", "/info/", None),
    Attack("no token and a region", 401, "PUT", "/datastore/label?image=case0", None, {"files": {"label": LABEL}}),
    Attack("no token for the viewer", 401, "GET", "/static/ohif/app-config.js", None),
    bearer("a wrong token", "A" * 43),
    bearer("an empty token", ""),
    bearer("a token that signs itself with nothing", _unsigned()),
    bearer("a token signed by a stranger", jwt.encode({"sub": "x", "exp": 2**33}, "k" * 32, algorithm="HS256")),
    Attack("an expired token", 401, "GET", "/info/", "expired"),
    Attack("a scheme of another kind", 401, "GET", "/info/", None, {"headers": {"Authorization": "Digest x"}}),
    Attack("Basic that is none", 401, "GET", "/info/", None, {"headers": {"Authorization": "Basic \u00e9"}}),
    Attack("a wrong password", 401, "POST", "/auth/token", None, {"data": {"username": "admin", "password": "admin"}}),
    Attack("a reader who draws", 403, "PUT", "/datastore/label?image=case0", READER, {"files": {"label": LABEL}}),
    Attack("a reader who adds an image", 403, "PUT", "/datastore/?image=new", READER, {"files": {"file": LABEL}}),
    Attack("a reader who tells of an image", 403, "PUT", "/datastore/image/info?image=case0", READER),
    Attack("a reader who trains", 403, "POST", "/train/", READER, {"json": {}}),
    Attack("a reader who wants the server's paths", 403, "GET", "/datastore/?output=train", READER),
    Attack("an annotator who removes an image", 403, "DELETE", "/datastore/image?id=case2"),
    Attack("an annotator who takes everything", 403, "GET", "/datastore/dataset"),
    Attack("an annotator who reads the log", 403, "GET", "/logs/"),
    Attack("an annotator who takes weights", 403, "GET", "/model/threshold"),
    Attack("an annotator who says admin", 403, "GET", "/logs/", "annotator", {"headers": {"X-Role": "admin"}}),
    Attack("an admin who starts the app again", 403, "POST", "/reload", "admin"),
    Attack("an admin who wants the documentation", 403, "GET", "/docs", "admin"),
    Attack(
        "an admin who replaces weights", 403, "PUT", "/model/threshold", "admin", {"files": {"file": ("x.pt", b"")}}
    ),
    Attack("an admin who removes weights", 403, "DELETE", "/model/threshold", "admin"),
    Attack("a foreign page", 403, "GET", "/info/", "admin", {"headers": {"Origin": "https://evil.example"}}),
    Attack("a page without a name", 403, "POST", "/train/", "admin", {"json": {}, "headers": {"Origin": "null"}}),
    Attack(
        *("a foreign page that asks first", 403, "OPTIONS", "/info/", None),
        {"headers": {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}},
    ),
    Attack("a name that was pointed here", 400, "GET", "/info/", "admin", {"headers": {"Host": "evil.example"}}),
    Attack("an address that is not there", 404, "GET", "/wp-admin", "admin"),
    Attack("a method that is not there", 405, "PATCH", "/info/", "admin"),
    Attack("pathology, closed here", 404, "POST", "/infer/wsi/threshold?image=case0", READER, {"json": {}}),
]


REFUSED_BY_ANYBODY = (  # also by MONAI Label's own application
    "a model that climbs out",
    "a download of an absolute path",
    "a download of a path that climbs out",
    "a static file that climbs out",
    "training in a folder",
    "the archive's other interface",
    "weights of a path",
    "an address that is not there",
    "a method that is not there",
)


@dataclass(frozen=True)
class Raw:
    """Bytes that no client library would send, and the status that refuses them."""

    name: str
    status: int
    head: str  # request line and headers; TOKEN stands for an annotator's
    body: bytes = b""


RAW = [
    Raw("a body of 2 GB", 413, "PUT /datastore/label?image=case0 HTTP/1.1\r\nContent-Length: 2147483648"),
    Raw("a length below zero", 400, "PUT /datastore/label?image=case0 HTTP/1.1\r\nContent-Length: -1"),
    Raw("two lengths", 400, "POST /train/ HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 5", b"{}x"),
    Raw("a header broken in two", 404, "GET /datastore/image?image=a%0d%0aSet-Cookie:%20a=b HTTP/1.1"),
    Raw("a header with a bare line feed", 400, "GET /info/ HTTP/1.1\r\nX-A: b\nSet-Cookie\x00: c"),
    Raw("headers without end", 400, "GET /info/ HTTP/1.1\r\nX-A: " + "b" * 200_000),
    Raw("a path of an address beyond", 404, "GET /static/../../../etc/passwd HTTP/1.1"),
    Raw("the archive's other interface", 404, "GET /proxy/dicom/qido/%2e%2e/%2e%2e/instances HTTP/1.1"),
    Raw("no HTTP", 400, "\x16\x03\x01\x02"),
]


def send_raw(port: int, attack: Raw, token: str) -> tuple[int, str]:
    """Status and all of the answer."""
    head = f"{attack.head}\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sent:
        with contextlib.suppress(OSError):  # the server may have refused and gone before all was said
            sent.sendall(head.encode("latin-1") + attack.body)
        answer = read_all(sent)
    return int(answer.split(" ", 2)[1]), answer


def send_endless(port: int, token: str, *, most: int) -> tuple[int, int]:
    """Status of the answer to a body in pieces that would never end, and the bytes that were sent until then."""
    head = (
        "PUT /datastore/label?image=case0 HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    begin = b'--b\r\nContent-Disposition: form-data; name="label"; filename="a.nii"\r\n\r\n'
    piece = b"\0" * (1 << 18)
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        line.sendall(head.encode() + f"{len(begin):x}\r\n".encode() + begin + b"\r\n")
        try:
            while sent < most:
                line.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                sent += len(piece)
        except OSError:
            pass
        answer = read_all(line)
    return (int(answer.split(" ", 2)[1]) if answer else 0), sent


def read_all(line: socket.socket) -> str:
    got = b""
    try:
        while piece := line.recv(65536):
            got += piece
    except OSError:
        pass
    return got.decode("latin-1")
