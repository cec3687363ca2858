"""A login account is asked for and unlinked (R17, R21), through the use cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from registration.application.dependencies import ActorMerge, LoginActor
from registration.application.link_login_account import (
    merge_login_actors,
    request_account_link,
    show_actor_merge,
    unlink_login_account,
)
from registration.domain.errors import (
    ActorMergeBlocked,
    AlreadyLinked,
    GuestNotFound,
    LoginAccountsUnavailable,
    NotLinked,
    NotTooLate,
)
from registration.domain.guest import Guest
from registration.domain.login_link import ExistingAccount
from shared.event_log import SideRow
from tests.support.registration import RegistrationUseCases


async def test_r17_a_link_is_asked_for_and_indexed_in_the_same_append(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register()
    await request_account_link(
        guest_id, ExistingAccount("acc-jan"), in_memory_registration.context(), in_memory_registration.deps
    )
    assert (await in_memory_registration.show(guest_id)).login_link.state == "pending"
    assert await in_memory_registration.deps.registrations.guests_asking_for("1001", "acc-jan") == [guest_id]


async def test_r21_unlinking_needs_a_link(in_memory_registration: RegistrationUseCases) -> None:
    guest_id = await in_memory_registration.register(account=ExistingAccount("acc-jan"))
    await unlink_login_account(
        guest_id, "account van moeder", in_memory_registration.context(), in_memory_registration.deps
    )
    assert (await in_memory_registration.show(guest_id)).login_link.state == "none"
    with pytest.raises(NotLinked):
        await unlink_login_account(
            guest_id, "nogmaals", in_memory_registration.context(), in_memory_registration.deps
        )


async def test_r17_a_tied_guest_gets_no_other_account(in_memory_registration: RegistrationUseCases) -> None:
    guest_id = await in_memory_registration.register(account=ExistingAccount("acc-jan"))
    guest = await in_memory_registration.deps.store.load(Guest, guest_id)
    guest.confirm_link("acc-jan", too_late=False, now=in_memory_registration.clock.now())
    await in_memory_registration.deps.store.save(guest, metadata=in_memory_registration.context().metadata)
    with pytest.raises(AlreadyLinked):
        await request_account_link(
            guest_id, ExistingAccount("acc-x"), in_memory_registration.context(), in_memory_registration.deps
        )


NOON = datetime(2025, 9, 1, 12, tzinfo=UTC)
TWO = ActorMerge(
    LoginActor(uuid4(), [(uuid4(), "1001")], {"1001": NOON}),
    LoginActor(uuid4(), [(uuid4(), "2002"), (uuid4(), "3003")], {"2002": NOON}),
    "unknown",
)


async def too_late(counter: RegistrationUseCases) -> UUID:
    guest_id = await counter.register(account=ExistingAccount("acc-jan"))
    guest = await counter.deps.store.load(Guest, guest_id)
    guest.confirm_link("acc-jan", too_late=True, now=counter.clock.now())
    await counter.deps.store.save(guest, metadata=counter.context().metadata)
    counter.accounts.merges[guest_id] = TWO
    return guest_id


async def topics(counter: RegistrationUseCases, guest_id: UUID) -> list[str]:
    return [event.event_type for event in await counter.log.stream(guest_id)]


async def test_i6_two_actors_are_merged_with_a_reason_and_the_link_is_no_longer_too_late(
    in_memory_registration: RegistrationUseCases,
) -> None:
    counter = in_memory_registration
    guest_id, context = await too_late(counter), counter.context()
    assert await show_actor_merge(guest_id, "1001", counter.deps) == TWO
    await merge_login_actors(guest_id, "had al ingelogd", context, counter.deps)
    assert counter.accounts.merged == [(TWO, context.metadata.correlation_id)]
    assert (await counter.show(guest_id)).login_link.state == "linked"
    assert (await topics(counter, guest_id))[-2:] == [
        "registration.login-actors-merge-requested",
        "registration.login-account-link-confirmed",
    ]
    guest = await counter.deps.store.load(Guest, guest_id)
    guest.confirm_link("acc-jan", too_late=False, now=counter.clock.now())
    assert list(guest.pending_events) == [], "identity's message about it changes nothing"
    with pytest.raises(NotTooLate):
        await merge_login_actors(guest_id, "nogmaals", context, counter.deps)


async def test_i6_what_is_blocked_is_neither_asked_for_nor_recorded(
    in_memory_registration: RegistrationUseCases,
) -> None:
    counter = in_memory_registration
    guest_id = await too_late(counter)
    counter.accounts.merges[guest_id] = replace(TWO, blocked="different-birth-dates")
    before = await topics(counter, guest_id)
    with pytest.raises(ActorMergeBlocked) as blocked:
        await merge_login_actors(guest_id, "dezelfde", counter.context(), counter.deps)
    assert blocked.value.reason == "different-birth-dates"
    assert (await topics(counter, guest_id), counter.accounts.merged) == (before, [])


async def test_i6_a_lost_reply_leaves_on_record_who_asked_and_the_form_can_be_sent_again(
    in_memory_registration: RegistrationUseCases,
) -> None:
    counter = in_memory_registration
    guest_id = await too_late(counter)
    counter.accounts.fails = LoginAccountsUnavailable()
    rows: list[UUID] = []

    def side_rows(guest_id: UUID) -> Sequence[SideRow]:
        rows.append(guest_id)
        return ()

    context = replace(counter.context(), side_rows=side_rows)
    with pytest.raises(LoginAccountsUnavailable):
        await merge_login_actors(guest_id, "had al ingelogd", context, counter.deps)
    assert rows == [], "the Idempotency-Key is not used up"
    assert (await topics(counter, guest_id))[-1] == "registration.login-actors-merge-requested"
    assert (await counter.show(guest_id)).login_link.state == "too_late"
    counter.accounts.fails = None
    await merge_login_actors(guest_id, "had al ingelogd", context, counter.deps)
    assert rows == [guest_id]
    assert (await counter.show(guest_id)).login_link.state == "linked"


async def test_i6_there_is_nothing_to_merge_without_two_actors_or_for_another_organisation(
    in_memory_registration: RegistrationUseCases,
) -> None:
    counter = in_memory_registration
    guest_id = await too_late(counter)
    with pytest.raises(GuestNotFound):
        await show_actor_merge(guest_id, "2002", counter.deps)
    del counter.accounts.merges[guest_id]
    with pytest.raises(NotTooLate):
        await show_actor_merge(guest_id, "1001", counter.deps)
    await unlink_login_account(guest_id, "verkeerd account", counter.context(), counter.deps)
    counter.accounts.merges[guest_id] = TWO
    with pytest.raises(NotTooLate):
        await show_actor_merge(guest_id, "1001", counter.deps)


def test_r20_of_other_organisations_an_actor_says_only_how_many_there_are() -> None:
    actor, into = TWO.actor.seen_from("1001"), TWO.into.seen_from("1001")
    assert (actor.first_login_at, actor.guest_here, actor.elsewhere) == (NOON, True, 0)
    assert (into.first_login_at, into.guest_here, into.elsewhere) == (None, False, 2)
