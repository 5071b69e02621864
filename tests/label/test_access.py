# SPDX-License-Identifier: Apache-2.0
"""Whose a token is: those that a site issues, and those of an identity provider on loopback."""

import json
import runpy
import stat
from pathlib import Path
from types import SimpleNamespace

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fedxai.errors import SettingsError
from fedxai.label.access import LOCAL, Person, Rejected, TokenBackend, presented
from fedxai.label.access_openid import OpenId
from fedxai.label.access_tokens import TOKEN_FILE, TokenFile
from fedxai.label.settings import OpenIdSettings, ServerSettings
from fedxai.settings import checked

PROVIDER = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("provider.py"))))
AUDIENCE, KEY, claims, signed = PROVIDER.AUDIENCE, PROVIDER.KEY, PROVIDER.claims, PROVIDER.signed
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def tokens(tmp_path):
    return TokenFile(tmp_path / "state" / TOKEN_FILE)


def test_a_token_is_its_persons_and_only_its_hash_is_kept(tokens, tmp_path):
    token = tokens.issue("Dr Rahman", "annotator", days=1)
    assert tokens.person(token) == Person(name="Dr Rahman", role="annotator")
    file = tmp_path / "state" / TOKEN_FILE
    assert token not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_a_new_token_ends_the_old_one_and_a_revoked_one_is_nobodys(tokens):
    old, other = tokens.issue("a", "reader", days=1), tokens.issue("b", "admin", days=1)
    new = tokens.issue("a", "annotator", days=1)
    with pytest.raises(Rejected):
        tokens.person(old)
    tokens.revoke("a")
    with pytest.raises(Rejected):
        tokens.person(new)
    assert tokens.person(other).role == "admin"
    with pytest.raises(SettingsError, match="no token was issued for 'a'"):
        tokens.revoke("a")


def test_another_process_sees_at_once_what_was_issued(tokens, tmp_path):
    server = TokenFile(tmp_path / "state" / TOKEN_FILE)
    assert server.issued() == []
    token = tokens.issue("a", "reader", days=1)
    assert server.person(token).name == "a"
    tokens.revoke("a")
    with pytest.raises(Rejected):
        server.person(token)


def test_an_expired_token_is_nobodys(tokens):
    token = tokens.issue("a", "admin", days=-1)
    with pytest.raises(Rejected):
        tokens.person(token)


def test_a_broken_file_lets_nobody_in(tokens, tmp_path):
    tokens.issue("a", "reader", days=1)
    (tmp_path / "state" / TOKEN_FILE).write_text('[{"name": "a"}]')
    with pytest.raises(SettingsError, match="remove it and issue the tokens again"):
        tokens.person("x")


@pytest.mark.parametrize(
    ("header", "token"),
    [("Bearer abc", "abc"), ("bearer abc ", "abc"), ("Basic bmFtZTphYmM=", "abc"), ("Basic bmFtZTphOmI=", "a:b")],
)
def test_a_token_comes_as_bearer_or_as_the_password_of_basic(header, token):
    assert presented(header) == token


@pytest.mark.parametrize("header", ["abc", "Digest abc", "Basic !", "Basic \u00e9", "Basic /w=="])
def test_what_holds_no_token_is_rejected(header):
    with pytest.raises(Rejected):
        presented(header)


def test_roles_include_those_below():
    assert [LOCAL.may(role) for role in ("reader", "annotator", "admin")] == [True, True, True]
    reader = Person(name="r", role="reader")
    assert [reader.may(role) for role in ("reader", "annotator", "admin")] == [True, False, False]


@pytest.fixture(scope="module")
def issuer():
    with PROVIDER.providing() as running:
        yield running


@pytest.fixture(scope="module")
def openid(issuer):
    return OpenId(checked(OpenIdSettings, {"issuer": issuer, "audience": AUDIENCE}, what="test"))


def test_a_valid_token_of_the_provider_is_its_persons(openid, issuer):
    assert openid.person(signed(claims(issuer))) == Person(name="dr.lee", role="annotator")


def test_the_highest_of_several_roles_counts(openid, issuer):
    token = signed(claims(issuer, realm_access={"roles": ["monailabel-user", "fedxai-admin"]}))
    assert openid.person(token).role == "admin"


def test_a_name_cannot_break_the_log(openid, issuer):
    assert openid.person(signed(claims(issuer, preferred_username="a\r\nb"))).name == "a__b"


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://another.example"},
        {"aud": "another"},
        {"aud": None},
        {"exp": 1_600_000_000},  # in 2020
        {"exp": None},
        {"sub": None},
        {"nbf": 4_000_000_000},  # in 2096
        {"realm_access": {"roles": ["somebody"]}},
        {"realm_access": "fedxai-admin"},
        {"realm_access": None},
    ],
    ids=str,
)
def test_a_token_that_lacks_something_is_rejected(openid, issuer, changed):
    with pytest.raises(Rejected):
        openid.person(signed(claims(issuer, **changed)))


def test_a_token_by_another_key_or_algorithm_is_rejected(openid, issuer):
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    body = signed(claims(issuer)).split(".")[1]
    confused = _hmac_by_hand(body, public)
    for token in (
        signed(claims(issuer), STRANGER),
        signed(claims(issuer), None, "none"),  # pyright: ignore[reportArgumentType]
        signed(claims(issuer), "k" * 32, "HS256"),
        confused,
        "no token",
        "",
    ):
        with pytest.raises(Rejected):
            openid.person(token)


def _hmac_by_hand(body: str, public: bytes) -> str:
    """A token whose HMAC secret is the provider's public key: what a decoder takes that trusts the token's header."""
    import base64
    import hashlib
    import hmac

    def text(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    head = text(json.dumps({"alg": "HS256", "typ": "JWT", "kid": "1"}).encode())
    return f"{head}.{body}.{text(hmac.new(public, f'{head}.{body}'.encode(), hashlib.sha256).digest())}"


def test_a_provider_that_does_not_answer_lets_nobody_in():
    gone = OpenId(checked(OpenIdSettings, {"issuer": "http://127.0.0.1:9", "audience": AUDIENCE}, what="test"))
    with pytest.raises(Rejected):
        gone.person(signed(claims("http://127.0.0.1:9")))


def test_a_name_and_password_become_a_token_of_the_provider(openid):
    assert openid.exchange("dr", "right") == {"access_token": "given", "token_type": "bearer"}
    with pytest.raises(Rejected):
        openid.exchange("dr", "wrong")


def test_both_kinds_of_tokens_are_taken(openid, issuer, tokens):
    backend = TokenBackend(tokens, openid)
    assert backend.person(tokens.issue("a", "reader", days=1)).name == "a"
    assert backend.person(signed(claims(issuer))).name == "dr.lee"
    with pytest.raises(Rejected):
        backend.person("neither")


@pytest.mark.slow
def test_monai_labels_own_check_rejects_the_same_valid_token(issuer, monkeypatch):
    from fedxai.label import shims

    shims.apply()
    from monailabel.endpoints.user import auth

    monkeypatch.setattr(auth.settings, "MONAI_LABEL_AUTH_ENABLE", True)
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    monkeypatch.setattr(auth, "get_public_key", lambda realm: public)
    with pytest.raises(jwt.DecodeError):  # the reason why tokens are checked here
        auth.from_token(signed(claims(issuer)))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"host": "0.0.0.0"}, "TLS"),
        ({"host": "0.0.0.0", "auth": "none"}, "only on loopback"),
        ({"certificate": "c.pem"}, "go together"),
        ({"origins": ("*",)}, "name pages"),
        ({"origins": ("https://a.example/path",)}, "name pages"),
        ({"openid": {"issuer": "http://idp.example", "audience": "a"}}, "https"),
        ({"open": ("everything",)}, "docs"),
        ({"port": 0}, "greater"),
    ],
    ids=str,
)
def test_settings_that_open_too_much_are_refused(wrong, sentence):
    with pytest.raises(SettingsError, match=f"(?i){sentence}"):
        checked(ServerSettings, {"studies": "s", "model": "m", **wrong}, what="fedxai label serve")
