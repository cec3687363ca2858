"""An event that a service cannot read is a clear error for its guest or account, and for no other."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import asyncpg
import pytest

from identity.domain.login_account import login_account_stream
from shared.messaging.parked import State
from tests.support.both_services import JAN, OTHER_CARD, PIET, BothServices, existing
from tests.support.eventually import eventually
from tests.support.servers import execute_as_owner


class Spoiled:
    """The first event of a stream, made unreadable."""

    def __init__(self, pool: asyncpg.Pool, stream: UUID) -> None:
        self._pool, self._stream = pool, stream

    async def spoil(self, topic: str | None, state: bytes | None) -> None:
        [self._before] = await self._pool.fetch(
            "SELECT topic, state FROM stored_events WHERE originator_id = $1 AND originator_version = 1",
            self._stream,
        )
        await self._write(topic or self._before["topic"], state or self._before["state"])

    async def mend(self) -> None:
        await self._write(self._before["topic"], self._before["state"])

    async def _write(self, topic: str, state: bytes) -> None:
        await execute_as_owner(
            self._pool,
            "UPDATE stored_events SET topic = $2, state = $3"
            " WHERE originator_id = $1 AND originator_version = 1",
            self._stream,
            topic,
            state,
        )


@pytest.mark.parametrize("state", [b"\xff no JSON", b"[]", b"{}"])
async def test_i8_an_event_of_registration_that_it_cannot_read(
    both_services: BothServices, state: bytes
) -> None:
    guest, other = await two_guests(both_services)
    first = Spoiled(both_services.registration.service.pool, UUID(guest["guest_id"]))
    await first.spoil(None, state)
    await both_services.deliver_all()

    assert (await both_services.link_of(other))["state"] == "linked"
    assert (await both_services.logs_in(PIET)).json()["outcome"] == "recognised"
    async with both_services.identity.nothing_written():
        undecided = await both_services.logs_in(JAN)
    assert (undecided.status_code, undecided.json()["code"]) == (503, "registration-unavailable")
    for method, path in (("GET", ""), ("POST", "/home-check"), ("GET", "/history")):
        refused = await both_services.clerk.request(method, f"/v1/guests/{guest['guest_id']}{path}")
        assert (refused.status_code, refused.json()["code"]) == (500, "record-unreadable")
    (parked,) = await both_services.identity.service.inbox.parked.overview()
    assert (parked.subject, parked.state) == (UUID(guest["guest_id"]), State.WAITING)

    await first.mend()
    await eventually(both_services.identity.service.inbox.retry_waiting)
    assert (await both_services.link_of(guest))["state"] == "linked"
    assert (await both_services.logs_in(JAN)).json()["outcome"] == "recognised"


@pytest.mark.parametrize("topic", ["identity.login-account-teleported", None])
async def test_i5_an_event_of_identity_that_it_cannot_read(
    both_services: BothServices, topic: str | None
) -> None:
    guest, other = await two_guests(both_services)
    await both_services.deliver_all()
    account = Spoiled(both_services.identity.service.pool, login_account_stream(JAN.account_id))
    await account.spoil(topic, None if topic else b"{}")
    refused = await both_services.logs_in(JAN)
    assert (refused.status_code, refused.json()["code"]) == (500, "record-unreadable")
    assert (await both_services.logs_in(PIET)).json()["outcome"] == "recognised"

    for each in (guest, other):
        taken_back = f"/v1/guests/{each['guest_id']}/deregistration"
        assert (await both_services.clerk.post(taken_back, json={"reason": "x"})).status_code == 200
    await both_services.deliver_all()
    (parked,) = await both_services.identity.service.inbox.parked.overview()
    assert (parked.subject, parked.state) == (UUID(guest["guest_id"]), State.PARKED)
    assert parked.reason.startswith("UnreadableEvent: position ")

    await account.mend()
    assert await both_services.identity.service.inbox.retry_parked(UUID(guest["guest_id"]))
    assert (await both_services.logs_in(JAN)).status_code == 200


async def two_guests(both_services: BothServices) -> tuple[dict[str, Any], dict[str, Any]]:
    return (
        await both_services.registers(existing(JAN)),
        await both_services.registers(existing(PIET), OTHER_CARD),
    )
