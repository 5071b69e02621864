# SPDX-License-Identifier: Apache-2.0
"""MONAI's own download against a server on this machine."""

import http.server
import shutil
import threading
import zipfile
from functools import partial

import pytest

from fedxai.bundle.fetch import fetch
from fedxai.bundle.inspection import Inspection
from fedxai.errors import BundleError
from fedxai.file_digest import sha256


@pytest.fixture
def published(write, config, tmp_path):
    """A bundle as an archive behind an address of this machine; returns the address and its checksum."""
    folder = write(config)
    shutil.make_archive(str(tmp_path / "web" / "mine"), "zip", folder.parent, "mine")
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=str(tmp_path / "web")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/mine.zip", sha256(tmp_path / "web" / "mine.zip")
    server.shutdown()


def test_what_was_published_arrives_whole(published, tmp_path):
    url, checksum = published
    folder = fetch("mine", tmp_path / "here", url=url, checksum=checksum)
    assert folder == tmp_path / "here" / "mine"
    assert Inspection(folder).digest == Inspection(tmp_path / "bundles" / "mine").digest
    assert [child.name for child in (tmp_path / "here").iterdir()] == ["mine"]


def test_another_checksum_keeps_nothing(published, tmp_path):
    url, checksum = published
    with pytest.raises(BundleError, match="the archive's SHA-256 is .* nothing is kept"):
        fetch("mine", tmp_path / "here", url=url, checksum=checksum[::-1])
    assert list((tmp_path / "here").iterdir()) == []


def test_an_address_without_an_archive_is_one_sentence(published, tmp_path):
    with pytest.raises(BundleError, match="bundle mine could not be fetched: HTTPError"):
        fetch("mine", tmp_path / "here", url=published[0].replace("mine.zip", "gone.zip"))
    assert list((tmp_path / "here").iterdir()) == []


def test_an_archive_that_leads_out_of_the_folder_writes_nothing_there(published, tmp_path):
    with zipfile.ZipFile(tmp_path / "web" / "mine.zip", "a") as archive:
        archive.writestr("../../escaped.txt", "out")
    with pytest.raises(BundleError, match="could not be fetched"):
        fetch("mine", tmp_path / "a" / "b", url=published[0])
    assert not list(tmp_path.rglob("escaped.txt"))


@pytest.mark.parametrize("name", ["../mine", ".mine", "a/b", ""])
def test_a_name_is_a_name(tmp_path, name):
    with pytest.raises(BundleError, match="a bundle's name is letters"):
        fetch(name, tmp_path / "here")


def test_an_unknown_source_lists_the_known_ones(tmp_path):
    with pytest.raises(BundleError, match="known sources: monaihosting, github"):
        fetch("mine", tmp_path / "here", source="elsewhere")


def test_what_is_here_already_stays(published, tmp_path):
    (tmp_path / "here" / "mine").mkdir(parents=True)
    with pytest.raises(BundleError, match="remove it first"):
        fetch("mine", tmp_path / "here", url=published[0])
