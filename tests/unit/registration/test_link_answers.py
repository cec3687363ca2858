"""What identity answers, through the handler of registration's inbox: R17, and I6's *too late*."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from registration.application.link_login_account import request_account_link, unlink_login_account
from registration.application.receive_message import receive_message
from registration.domain.errors import GuestNotFound
from registration.domain.login_link import ExistingAccount, LinkState, LoginLink
from shared.event_log import InMemoryEventLog, SideRow
from shared.messaging.envelope import Message
from tests.support.registration import Desk, make_desk

JAN = ExistingAccount("acc-jan")
MOTHER = ExistingAccount("acc-mother")


def answer(guest_id: UUID, kind: str, **data: Any) -> Message:
    return Message(
        id=uuid4(),
        source="/identity/log",
        type=kind,
        subject=guest_id,
        time=datetime(2025, 9, 11, tzinfo=UTC),
        stream_version=1,
        position=1,
        correlation_id=uuid4(),
        causation_id=None,
        data=data,
    )


def linked(guest_id: UUID, account_id: str = "acc-jan") -> Message:
    return answer(guest_id, "login-account-linked.v1", account_id=account_id, actor_id="actor")


async def hear(desk: Desk, message: Message) -> LoginLink:
    """Let the message arrive: its inbox row is written, whatever it says; the link afterwards."""
    row = SideRow("inbox", {"guest_id": message.subject, "event_id": message.id})
    await receive_message(message, row, deps=desk.deps)
    assert isinstance(desk.log, InMemoryEventLog)
    assert desk.log.rows("inbox")[-1] == row.values
    return (await desk.show(message.subject)).login_link


@pytest.fixture
def desk() -> Desk:
    return make_desk()


@pytest.fixture
async def guest_id(desk: Desk) -> UUID:
    return await desk.register(account=JAN)


async def test_r17_linked_by_identity_is_linked_here(desk: Desk, guest_id: UUID) -> None:
    message = linked(guest_id)
    assert await hear(desk, message) == LoginLink(LinkState.LINKED, "acc-jan")
    event = (await desk.log.stream(guest_id))[-1]
    assert event.metadata.caused_by == "identity"
    assert event.metadata.correlation_id == message.correlation_id
    assert event.metadata.causation_id == message.id


async def test_i6_a_link_that_came_too_late_is_shown_as_such(desk: Desk, guest_id: UUID) -> None:
    late = answer(guest_id, "login-account-linked-too-late.v1", account_id="acc-jan", actor_id="actor")
    assert await hear(desk, late) == LoginLink(LinkState.TOO_LATE, "acc-jan")


async def test_i6_after_the_actors_were_merged_the_link_is_in_order(desk: Desk, guest_id: UUID) -> None:
    await hear(desk, answer(guest_id, "login-account-linked-too-late.v1", account_id="acc-jan", actor_id="a"))
    assert await hear(desk, linked(guest_id)) == LoginLink(LinkState.LINKED, "acc-jan")


@pytest.mark.parametrize("said", [{"account_id": "acc-jan"}, {}])
async def test_r17_a_refusal_tells_the_clerk_why(desk: Desk, guest_id: UUID, said: dict[str, str]) -> None:
    refused = answer(guest_id, "login-account-link-refused.v1", reason="account-in-use", **said)
    assert await hear(desk, refused) == LoginLink(LinkState.REFUSED, "acc-jan", "account-in-use")


async def test_r17_an_old_answer_only_moves_the_inbox(desk: Desk, guest_id: UUID) -> None:
    await request_account_link(guest_id, MOTHER, desk.context(), desk.deps)
    position = await desk.log.position()
    pending = LoginLink(LinkState.PENDING, "acc-mother")
    assert await hear(desk, linked(guest_id)) == pending
    refused = answer(guest_id, "login-account-link-refused.v1", reason="x", account_id="acc-jan")
    assert await hear(desk, refused) == pending
    assert await desk.log.position() == position


async def test_r21_an_answer_after_unlinking_only_moves_the_inbox(desk: Desk, guest_id: UUID) -> None:
    await unlink_login_account(guest_id, "account van moeder", desk.context(), desk.deps)
    assert await hear(desk, linked(guest_id)) == LoginLink()


@pytest.mark.parametrize("kind", ["login-account-released.v1", "guest-noted.v1", "something-new.v1"])
async def test_other_news_only_moves_the_inbox(desk: Desk, guest_id: UUID, kind: str) -> None:
    position = await desk.log.position()
    await hear(desk, answer(guest_id, kind))
    assert await desk.log.position() == position


async def test_a_guest_who_was_never_here_is_an_error_that_parks(desk: Desk) -> None:
    with pytest.raises(GuestNotFound):
        await hear(desk, linked(uuid4()))
