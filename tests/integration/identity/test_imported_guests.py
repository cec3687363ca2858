"""R29, I13: guests who were imported log in, by both services over real databases."""

from __future__ import annotations

from identity.application.dependencies import AccountDetails
from shared.projections.verify import verify
from tests.support.both_services import JAN, OTHER_CARD, PIET, BothServices
from tests.support.imported_guests import imported
from tests.support.registration_service import CARD, HOME

LINKED: dict[str, object] = {"card_number": CARD, "login_account_id": JAN.account_id}
THIRD = AccountDetails("acc-kees", "kees", "kees@example.org", HOME, "0990139321")


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
    await both_services.catch_up_views()
    for _, views, source in both_services._views():
        for view in views:
            assert (await verify(source, view, lambda _: None)).differences == ()


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
