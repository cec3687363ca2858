"""Encrypted personal data is decrypted with its own key and for its own subject only (ADR 0005)."""

import base64
import os
from datetime import date
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from shared.event_log import DataKey, DecryptionFailed, MasterKeys
from shared.platform.secrets import read_key_file

GUEST = UUID(int=1)
DETAILS = {"name": "J. Jansen", "birth_date": date(1980, 2, 29)}


@pytest.fixture
def key() -> DataKey:
    return DataKey(GUEST, os.urandom(32))


def test_it_opens_with_its_key(key: DataKey) -> None:
    assert key.decrypt(key.encrypt(DETAILS)) == DETAILS


def test_the_same_data_never_looks_the_same(key: DataKey) -> None:
    assert key.encrypt(DETAILS) != key.encrypt(DETAILS)


def test_another_key_does_not_open_it(key: DataKey) -> None:
    with pytest.raises(DecryptionFailed):
        DataKey(GUEST, os.urandom(32)).decrypt(key.encrypt(DETAILS))


def test_the_same_key_for_another_subject_does_not_open_it(key: DataKey) -> None:
    """The subject's id is the AAD: what was encrypted for one guest cannot be taken for another's."""
    with pytest.raises(DecryptionFailed):
        DataKey(uuid4(), key.secret).decrypt(key.encrypt(DETAILS))


@pytest.mark.parametrize("place", [0, 12, -1])
def test_changed_data_does_not_open(key: DataKey, place: int) -> None:
    encrypted = bytearray(key.encrypt(DETAILS))
    encrypted[place] ^= 1

    with pytest.raises(DecryptionFailed):
        key.decrypt(bytes(encrypted))


def test_nothing_at_all_does_not_open(key: DataKey) -> None:
    with pytest.raises(DecryptionFailed):
        key.decrypt(b"")


def test_a_key_does_not_show_in_a_log(key: DataKey) -> None:
    assert repr(key.secret) not in repr(key)


def test_a_master_key_can_be_replaced() -> None:
    old, new = os.urandom(32), os.urandom(32)
    key, row = MasterKeys([old]).create(GUEST)
    wrapped = row.values["wrapped"]
    assert isinstance(wrapped, bytes)

    both = MasterKeys([new, old])

    assert both.unwrap(GUEST, wrapped) == key
    assert not both.is_newest(wrapped)
    assert both.is_newest(both.wrap(key))
    assert MasterKeys([new]).unwrap(GUEST, both.wrap(key)) == key
    with pytest.raises(DecryptionFailed, match="master key"):
        MasterKeys([new]).unwrap(GUEST, wrapped)


def test_a_wrapped_key_belongs_to_its_subject() -> None:
    master = MasterKeys([os.urandom(32)])
    key, _ = master.create(GUEST)

    with pytest.raises(DecryptionFailed):
        master.unwrap(uuid4(), master.wrap(key))


def test_a_key_file_has_the_newest_key_first(tmp_path: Path) -> None:
    new, old = os.urandom(32), os.urandom(32)
    path = tmp_path / "master.keys"
    path.write_bytes(base64.b64encode(new) + b"\n\n" + base64.b64encode(old) + b"\n")
    key, row = MasterKeys([new]).create(GUEST)

    assert read_key_file(path) == [new, old]
    assert isinstance(row.values["wrapped"], bytes)
    assert MasterKeys.from_file(path).unwrap(GUEST, row.values["wrapped"]) == key
