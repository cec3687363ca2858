"""Identity's replies, through the handler of registration's inbox: R17, and I6's *too late*."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from registration.application.erase_guest import erase_personal_data
from registration.application.link_login_account import request_account_link, unlink_login_account
from registration.application.receive_message import receive_message
from registration.domain.errors import GuestNotFound
from registration.domain.login_link import ExistingAccount, LinkState, LoginLink
from shared.event_log import InMemoryEventLog, SideRow
from shared.messaging.envelope import Message
from tests.support.registration import RegistrationUseCases

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


async def receive(in_memory_registration: RegistrationUseCases, message: Message) -> LoginLink:
    """Let the message arrive: its inbox row is written, whatever it says; the link afterwards."""
    row = SideRow("inbox", {"guest_id": message.subject, "event_id": message.id})
    await receive_message(message, row, deps=in_memory_registration.deps)
    assert isinstance(in_memory_registration.log, InMemoryEventLog)
    assert in_memory_registration.log.rows("inbox")[-1] == row.values
    return (await in_memory_registration.show(message.subject)).login_link


@pytest.fixture
async def guest_id(in_memory_registration: RegistrationUseCases) -> UUID:
    return await in_memory_registration.register(account=JAN)


async def test_r17_linked_by_identity_is_linked_here(
    in_memory_registration: RegistrationUseCases, guest_id: UUID
) -> None:
    message = linked(guest_id)
    assert await receive(in_memory_registration, message) == LoginLink(LinkState.LINKED, "acc-jan")
    event = (await in_memory_registration.log.stream(guest_id))[-1]
    assert event.metadata.caused_by == "identity"
    assert event.metadata.correlation_id == message.correlation_id
    assert event.metadata.causation_id == message.id


async def test_i6_a_link_that_came_too_late_is_shown_as_such(
    in_memory_registration: RegistrationUseCases, guest_id: UUID
) -> None:
    late = answer(guest_id, "login-account-linked-too-late.v1", account_id="acc-jan", actor_id="actor")
    assert await receive(in_memory_registration, late) == LoginLink(LinkState.TOO_LATE, "acc-jan")


async def test_i6_after_the_actors_were_merged_the_link_is_in_order(
    in_memory_registration: RegistrationUseCases, guest_id: UUID
) -> None:
    await receive(
        in_memory_registration,
        answer(guest_id, "login-account-linked-too-late.v1", account_id="acc-jan", actor_id="a"),
    )
    assert await receive(in_memory_registration, linked(guest_id)) == LoginLink(LinkState.LINKED, "acc-jan")


@pytest.mark.parametrize("said", [{"account_id": "acc-jan"}, {}])
async def test_r17_a_refusal_shows_the_clerk_why(
    in_memory_registration: RegistrationUseCases, guest_id: UUID, said: dict[str, str]
) -> None:
    refused = answer(guest_id, "login-account-link-refused.v1", reason="account-in-use", **said)
    assert await receive(in_memory_registration, refused) == LoginLink(
        LinkState.REFUSED, "acc-jan", "account-in-use"
    )


async def test_r17_identitys_last_word_about_an_account_counts(
    in_memory_registration: RegistrationUseCases, guest_id: UUID
) -> None:
    """The account is unlinked and asked for again; the reply to the first request comes after that."""
    context, deps = in_memory_registration.context(), in_memory_registration.deps
    await unlink_login_account(guest_id, "vergissing", context, deps)
    await request_account_link(guest_id, JAN, context, deps)
    assert (await receive(in_memory_registration, linked(guest_id))).state is LinkState.LINKED
    refused = answer(guest_id, "login-account-link-refused.v1", account_id="acc-jan", reason="account-in-use")
    refusal = LoginLink(LinkState.REFUSED, "acc-jan", "account-in-use")
    assert await receive(in_memory_registration, refused) == refusal


async def test_r17_an_old_answer_only_moves_the_inbox(
    in_memory_registration: RegistrationUseCases, guest_id: UUID
) -> None:
    await request_account_link(
        guest_id, MOTHER, in_memory_registration.context(), in_memory_registration.deps
    )
    position = await in_memory_registration.log.position()
    pending = LoginLink(LinkState.PENDING, "acc-mother")
    assert await receive(in_memory_registration, linked(guest_id)) == pending
    refused = answer(guest_id, "login-account-link-refused.v1", reason="x", account_id="acc-jan")
    assert await receive(in_memory_registration, refused) == pending
    assert await in_memory_registration.log.position() == position


async def test_r21_an_answer_after_unlinking_only_moves_the_inbox(
    in_memory_registration: RegistrationUseCases, guest_id: UUID
) -> None:
    await unlink_login_account(
        guest_id, "account van moeder", in_memory_registration.context(), in_memory_registration.deps
    )
    assert await receive(in_memory_registration, linked(guest_id)) == LoginLink()


@pytest.mark.parametrize("kind", ["login-account-released.v1", "guest-noted.v1", "something-new.v1"])
async def test_other_news_only_moves_the_inbox(
    in_memory_registration: RegistrationUseCases, guest_id: UUID, kind: str
) -> None:
    position = await in_memory_registration.log.position()
    await receive(in_memory_registration, answer(guest_id, kind))
    assert await in_memory_registration.log.position() == position


@pytest.mark.parametrize("kind", ["linked", "linked-too-late", "link-refused"])
async def test_r19_a_message_of_an_erased_guest_only_moves_the_inbox(
    in_memory_registration: RegistrationUseCases, guest_id: UUID, kind: str
) -> None:
    """Its data is gone: an account id of null must not be taken for the account of a guest without one."""
    await erase_personal_data(
        guest_id, in_memory_registration.context().metadata, in_memory_registration.deps
    )
    position = await in_memory_registration.log.position()
    data = {"account_id": None, "actor_id": str(uuid4()), "reason": "unknown-account"}
    message = answer(guest_id, f"login-account-{kind}.v1", **data)
    await receive(in_memory_registration, replace(message, erased=True))
    assert await in_memory_registration.log.position() == position


async def test_a_guest_who_was_never_here_is_an_error_that_parks(
    in_memory_registration: RegistrationUseCases,
) -> None:
    with pytest.raises(GuestNotFound):
        await receive(in_memory_registration, linked(uuid4()))
