"""A person whose card was replaced, or is written otherwise, is no other person at the login (I5, R24)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from identity.application.dependencies import AccountDetails
from identity.application.dependencies import Context as LoginContext
from identity.application.log_in import LoggedIn, LogIn, log_in
from identity.domain.errors import LinkRequired
from registration.application.check_term import check_term
from registration.application.dependencies import Organisation
from registration.domain.login_link import ExistingAccount, LoginAccountChoice, NewLoginAccount
from shared.event_log import Metadata
from tests.support.both_in_memory import BothInMemory, both_in_memory
from tests.support.registration import CARD, GRONINGEN, member

RENEWED, OTHER_WRITING = "0990200000", "990139305"
THIRD = Organisation("3003", "Derde bibliotheek", frozenset({"NL-070333"}), {"1": "Centrum"})
JAN = AccountDetails("acc-jan", "jan", "jan@example.org", GRONINGEN, CARD)


async def no_pause(*_: object) -> None:
    """Nobody is first."""


@pytest.fixture
def both() -> BothInMemory:
    made = both_in_memory(no_pause, [JAN])
    deps = made.registration.deps
    organisations = {**deps.organisations, "3003": THIRD}
    made.registration.deps = replace(deps, organisations=organisations)
    home_has(made, CARD, CARD)
    return made


def home_has(both: BothInMemory, scanned: str, canonical: str) -> None:
    both.registration.home.answers(GRONINGEN, scanned, member(canonical))


def card_is_renewed(both: BothInMemory) -> None:
    home_has(both, CARD, RENEWED)
    home_has(both, RENEWED, RENEWED)


async def registers(
    both: BothInMemory, organisation: str, card: str, account: LoginAccountChoice | None = None
) -> UUID:
    return await both.registration.register(card, account, organisation)


async def all_arrives(both: BothInMemory) -> None:
    for side in both.sides.values():
        page = await side.others_feed.after(0, limit=500, wait=0)
        for message in page.messages:
            await side.worker.receive(message)


async def logs_in(both: BothInMemory, account_id: str, organisation: str) -> LoggedIn:
    context = LoginContext(Metadata("wisecat", uuid4()))
    at_login = both.sides["identity"].at_login.apply_now
    return await log_in(LogIn(account_id, organisation), context, both.identity.deps, at_login)


async def account_of(both: BothInMemory, guest_id: UUID) -> str:
    guest = await both.registration.deps.store.log.stream(guest_id)
    event: Any = both.registration.deps.store.event(guest[0])
    return str(event.login_account_id)


async def test_i5_an_account_that_was_opened_with_the_card_before_is_the_persons(both: BothInMemory) -> None:
    """One library saw both numbers. The other knows the new one only, and identity the old one."""
    first = await registers(both, "1001", CARD, NewLoginAccount("jan.nieuw", "jan@example.org"))
    await all_arrives(both)
    card_is_renewed(both)
    await check_term(first, both.registration.context("1001"), both.deps_of("counter"))
    await registers(both, "3003", RENEWED)
    with pytest.raises(LinkRequired):
        await logs_in(both, await account_of(both, first), "3003")


async def test_i5_an_account_that_the_directory_lists_with_another_card_today_is_the_persons(
    both: BothInMemory,
) -> None:
    await registers(both, "1001", CARD, ExistingAccount(JAN.account_id))
    await all_arrives(both)
    card_is_renewed(both)
    both.identity.directory.accounts[:] = [replace(JAN, home_card_number=RENEWED)]
    await registers(both, "3003", RENEWED)
    with pytest.raises(LinkRequired):
        await logs_in(both, JAN.account_id, "3003")


async def test_i5_a_number_that_home_writes_in_another_way_finds_the_person(both: BothInMemory) -> None:
    guest_id = await registers(both, "3003", CARD)
    home_has(both, CARD, OTHER_WRITING)
    await check_term(guest_id, both.registration.context("3003"), both.deps_of("counter"))
    both.identity.directory.accounts[:] = [replace(JAN, home_card_number=OTHER_WRITING)]
    with pytest.raises(LinkRequired):
        await logs_in(both, JAN.account_id, "3003")


async def test_i4_6_somebody_with_another_card_is_a_new_actor_as_before(both: BothInMemory) -> None:
    await registers(both, "3003", CARD)
    both.identity.directory.accounts[:] = [replace(JAN, home_card_number="0990777777")]
    assert (await logs_in(both, JAN.account_id, "3003")).new_actor
