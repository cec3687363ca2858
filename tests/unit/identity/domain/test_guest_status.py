"""The guest status that a recognised login reports (I7)."""

from __future__ import annotations

from tests.unit.identity.login_events import EXPIRED, VALID


def test_i7_block_and_expiry_are_different_states() -> None:
    assert VALID.suspended().reinstated() == VALID
    assert EXPIRED.suspended() == EXPIRED
    assert VALID.suspended().expired().reinstated() == EXPIRED
    assert EXPIRED.reinstated() == EXPIRED
