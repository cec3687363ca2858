"""What was once stored can always be read, and means what it meant.

`stored_events/` holds a file for each type and version. A new type, or a new version of one, adds a file
(made by `keep`): the state as it is stored, and the fields that are read from it today. A stored state never
changes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from identity.domain.actor import Actor
from identity.domain.guest_link import GuestLink
from identity.domain.login_account import LoginAccount
from tests.support.event_log import StoredOnce, fields_of, must_be_there

GOLDEN = Path(__file__).parent / "stored_events"


def test_every_type_and_version_has_a_golden_file() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == must_be_there(LoginAccount, GuestLink, Actor)


@pytest.mark.parametrize("path", sorted(GOLDEN.iterdir()), ids=lambda path: path.stem)
def test_what_was_once_stored_is_read_as_ever(path: Path) -> None:
    stored = StoredOnce.read(path)
    assert fields_of(stored.event()) == stored.fields
