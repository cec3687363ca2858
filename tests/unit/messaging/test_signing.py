"""Keys of messages: what one key signs only the same key verifies, over exactly these bytes (ADR 0020)."""

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.settings import Settings
from shared.kernel.errors import ConfigurationError
from shared.messaging.errors import NotAuthentic
from shared.messaging.signing import (
    KEY_ID_HEADER,
    SIGNATURE_HEADER,
    SigningKeys,
    message_keys,
)
from shared.platform.secrets import MalformedKeyFile

OLD, NEW, OTHER = (bytes([number]) * 32 for number in (1, 2, 3))
BODY = b'{"type": "nl.landelijklenen.personal-data-erased.v1"}'


def test_what_a_key_signs_it_verifies() -> None:
    keys = SigningKeys([NEW])
    keys.verify(BODY, keys.sign(BODY))


@given(body=st.binary(max_size=200), position=st.integers(min_value=0), bit=st.integers(0, 7))
def test_no_bit_of_the_body_can_be_changed(body: bytes, position: int, bit: int) -> None:
    keys = SigningKeys([NEW])
    changed = bytearray(body or b"\0")
    signed = keys.sign(bytes(changed))
    changed[position % len(changed)] ^= 1 << bit
    with pytest.raises(NotAuthentic, match="does not match"):
        keys.verify(bytes(changed), signed)


def test_another_key_is_refused_even_under_the_id_of_ours() -> None:
    ours, forged = SigningKeys([NEW]), SigningKeys([OTHER]).sign(BODY)
    with pytest.raises(NotAuthentic, match="not one of ours"):
        ours.verify(BODY, forged)
    with pytest.raises(NotAuthentic, match="does not match"):
        ours.verify(BODY, {**forged, KEY_ID_HEADER: ours.sign(BODY)[KEY_ID_HEADER]})


def test_during_a_rotation_both_keys_verify_and_the_newest_signs() -> None:
    rotating = SigningKeys([NEW, OLD])
    rotating.verify(BODY, SigningKeys([OLD]).sign(BODY))
    SigningKeys([NEW]).verify(BODY, rotating.sign(BODY))
    with pytest.raises(NotAuthentic):
        SigningKeys([OLD]).verify(BODY, rotating.sign(BODY))


@given(
    key_id=st.one_of(st.none(), st.text(), st.integers(), st.binary()),
    signature=st.one_of(st.none(), st.text(), st.integers(), st.binary(), st.just("é")),
)
def test_no_header_of_another_kind_is_taken_or_breaks_it(key_id: object, signature: object) -> None:
    keys = SigningKeys([NEW])
    with pytest.raises(NotAuthentic):
        keys.verify(BODY, {KEY_ID_HEADER: key_id, SIGNATURE_HEADER: signature})
    with pytest.raises(NotAuthentic):
        keys.verify(BODY, {**keys.sign(BODY), SIGNATURE_HEADER: signature})


def test_a_body_without_headers_has_no_signature() -> None:
    with pytest.raises(NotAuthentic, match="no signature"):
        SigningKeys([NEW]).verify(BODY, {})


def settings(**given: object) -> Settings:
    """Settings of identity, with these."""
    required = {
        "database_url": "postgresql://",
        "oidc_issuer": "https://issuer.example",
        "registration_url": "https://registration.example",
        "organisations": "o.toml",
        "service_token_file": "token",
        "master_key_file": "master.key",
        "person_ref_key_file": "person.key",
    }
    return Settings.model_validate(required | given)


def key_file(path: Path) -> Path:
    """A file with one key."""
    path.write_bytes(base64.b64encode(os.urandom(32)))
    return path


@pytest.mark.parametrize("missing", ["signing_key_file", "verification_key_file"])
def test_a_missing_key_is_named(missing: str, tmp_path: Path) -> None:
    files = {name: key_file(tmp_path / name) for name in ("signing_key_file", "verification_key_file")}
    del files[missing]
    with pytest.raises(ConfigurationError, match=f"IDENTITY_{missing.upper()} is not set"):
        message_keys(settings(**files))


def test_a_file_that_holds_no_key_is_named(tmp_path: Path) -> None:
    good, bad = key_file(tmp_path / "good"), tmp_path / "bad"
    bad.write_text("short")
    with pytest.raises(MalformedKeyFile, match="bad"):
        message_keys(settings(signing_key_file=good, verification_key_file=bad))
