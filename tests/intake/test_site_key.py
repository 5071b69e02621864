# SPDX-License-Identifier: Apache-2.0
"""Names that only the key's owner can compute."""

import hashlib
import hmac

import pytest

from fedxai.errors import CohortError
from fedxai.intake.site_key import SiteKey

SECRET = b"0123456789abcdef"


def test_a_pseudonym_is_the_hmac_of_the_patient():
    expected = hmac.new(SECRET, b"patient\0MRN-1", hashlib.sha256).hexdigest()[:12]
    assert SiteKey(SECRET).pseudonym("MRN-1") == f"p{expected}"


def test_uses_keys_and_patients_have_names_of_their_own():
    one, two = SiteKey(SECRET), SiteKey(SECRET + b"!")
    names = {one.pseudonym("a")[1:], one.pseudonym("b")[1:], two.pseudonym("a")[1:], one.mark(b"a")[:12], one.name[:12]}
    assert len(names) == 5


def test_a_key_is_made_once_for_its_owner_alone(tmp_path):
    path = tmp_path / "deep" / "key"
    made = SiteKey.open(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert SiteKey.open(path).pseudonym("x") == made.pseudonym("x")
    assert SiteKey.open(tmp_path / "other").pseudonym("x") != made.pseudonym("x")


def test_a_short_an_unreadable_and_an_unwritable_key_are_refused(tmp_path):
    with pytest.raises(CohortError, match="at least 16 bytes, got 3"):
        SiteKey(b"abc")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CohortError, match="cannot be read: Is a directory"):
        SiteKey.open(tmp_path / "folder")
    (tmp_path / "file").write_bytes(SECRET)
    with pytest.raises(CohortError, match="cannot be read: Not a directory"):
        SiteKey.open(tmp_path / "file" / "key")
