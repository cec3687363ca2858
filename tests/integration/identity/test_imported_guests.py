"""R29, I13: guests who were imported log in, by both services over real databases."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from uuid import UUID

import pytest

from identity.application.dependencies import AccountDetails
from registration.application.import_guests import BATCH
from shared.projections.verify import verify
from tests.support.both_services import JAN, OTHER_CARD, PIET, BothServices
from tests.support.imported_guests import (
    LIBRARIES,
    imported,
    line,
    many,
    started,
    stopped_in_the_middle,
    written,
)
from tests.support.installation import put_into_environment
from tests.support.registration_service import CARD, HOME

LINKED: dict[str, object] = {"card_number": CARD, "login_account_id": JAN.account_id}
THIRD = AccountDetails("acc-kees", "kees", "kees@example.org", HOME, "0990139321")
LATER = 12
"""Guests in the second batch."""
FOURTH = AccountDetails("acc-eva", "eva", "eva@example.org", HOME, "0990139339")


async def test_i4_after_an_import_each_login_is_what_the_rules_say(both_services: BothServices) -> None:
    """Jan's link existed, Piet had none, and Kees is no guest. Jan and Kees had logged in here before."""
    both_services.identity.directory.accounts[:] = [JAN, PIET, THIRD]
    before = (await both_services.logs_in(JAN)).json()
    of_kees = (await both_services.logs_in(THIRD)).json()
    assert (before["outcome"], of_kees["outcome"]) == ("new_actor", "new_actor")
    counts = await imported(
        both_services.registration.service,
        LINKED,
        {"card_number": OTHER_CARD},
    )
    assert counts.imported == 2
    await both_services.deliver_all()
    recognised = (await both_services.logs_in(JAN)).json()
    assert recognised["outcome"] == "recognised"
    assert recognised["guest"]["status"] == "valid"
    assert recognised["guest"]["ends_on"] == "2026-12-31"
    refused = await both_services.logs_in(PIET)
    assert (refused.status_code, refused.json()["code"]) == (409, "link-required")
    again = (await both_services.logs_in(THIRD)).json()
    assert (again["outcome"], again["actor_id"]) == ("recognised", of_kees["actor_id"])

    guest = {"guest_id": recognised["guest"]["guest_id"]}
    link = await both_services.link_of(guest)
    assert (link["state"], link["account_id"]) == ("linked", JAN.account_id)
    await all_views_are_clean(both_services)


async def all_views_are_clean(both_services: BothServices) -> None:
    await both_services.catch_up_views()
    for _, views, source in both_services._views():
        for view in views:
            assert (await verify(source, view, lambda _: None)).differences == ()


async def test_r29_i4_an_import_that_was_killed_and_started_again_comes_to_the_same_end(
    both_services: BothServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jan and Kees are linked, before and after the kill. Piet is a guest without a link, Eva is no guest."""
    settings = both_services.registration.service.settings
    put_into_environment(settings, monkeypatch)
    settings.home_libraries.write_text(LIBRARIES, "utf-8")
    others = many(LATER + BATCH - 3)
    of_kees = line(key="kees", card_number="0990139321", login_account_id=THIRD.account_id)
    last = (of_kees, line(key="piet", card_number=OTHER_CARD))
    file = written(
        tmp_path, [line(key="jan", card_number=CARD, login_account_id=JAN.account_id), *others, *last]
    )
    database = settings.database_url.get_secret_value()
    async with stopped_in_the_middle(database, file) as process:
        process.kill()
        await asyncio.to_thread(process.wait)
    assert process.returncode == -signal.SIGKILL
    half = await guests_in(both_services)
    assert 0 < len(half) < BATCH + LATER
    again = started(file, "--json")
    printed, errors = await asyncio.to_thread(again.communicate)
    assert again.returncode == 0, errors
    counts = json.loads(printed)
    assert (counts["lines"], counts["unchanged"]) == (BATCH + LATER, len(half))
    assert counts["imported"] == BATCH + LATER - len(half)
    whole = await guests_in(both_services)
    assert len(whole) == BATCH + LATER
    assert {guest_id: whole[guest_id] for guest_id in half} == half

    both_services.identity.directory.accounts[:] = [JAN, PIET, THIRD, FOURTH]
    await both_services.deliver_all()
    for account in (JAN, THIRD):
        login = (await both_services.logs_in(account)).json()
        assert (login["outcome"], login["guest"]["status"]) == ("recognised", "valid")
        assert UUID(login["guest"]["guest_id"]) in whole
    assert (await both_services.logs_in(PIET)).json()["code"] == "link-required"
    assert (await both_services.logs_in(FOURTH)).json()["outcome"] == "new_actor"
    await all_views_are_clean(both_services)


async def guests_in(both_services: BothServices) -> dict[UUID, bytes]:
    """The first event of each guest who was imported."""
    first = "SELECT originator_id, state FROM stored_events WHERE topic = 'registration.guest-imported'"
    rows = await both_services.registration.service.pool.fetch(first)
    return {row["originator_id"]: row["state"] for row in rows}


async def test_i5_a_login_before_the_message_of_the_import_is_recognised(
    both_services: BothServices,
) -> None:
    await imported(
        both_services.registration.service, {"card_number": CARD, "login_account_id": JAN.account_id}
    )
    first = (await both_services.logs_in(JAN)).json()
    assert (first["outcome"], first["first_login"]) == ("recognised", True)
    await both_services.deliver_all()
    second = (await both_services.logs_in(JAN)).json()
    assert (second["actor_id"], second["first_login"]) == (first["actor_id"], False)


async def test_r19_the_erasure_of_an_imported_guest_reaches_identity(both_services: BothServices) -> None:
    await imported(
        both_services.registration.service, {"card_number": CARD, "login_account_id": JAN.account_id}
    )
    await both_services.deliver_all()
    guest = (await both_services.logs_in(JAN)).json()["guest"]
    await both_services.erases(guest)
    await both_services.deliver_all()
    page = await both_services.identity.service.registration_feed.after(0, limit=500, wait=0)
    first = page.messages[0]
    assert (first.type, first.erased, first.data["person_ref"]) == ("guest-imported.v1", True, None)
    assert (await both_services.logs_in(JAN)).json()["outcome"] == "new_actor"
