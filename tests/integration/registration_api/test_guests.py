"""Guests over HTTP: what the contract promises when all is well."""

from datetime import date, timedelta

import httpx2

from registration.domain.verdict import Reason, Refused, Valid
from tests.support.registration import on_day
from tests.support.registration_service import CARD, HOME, JAN, TODAY, RegistrationApp, registering


async def test_a_registered_guest_reads_to_the_letter_of_the_contract(clerk: httpx2.AsyncClient) -> None:
    answer = await clerk.post("/v1/guests", json=registering())

    assert answer.status_code == 201
    guest = answer.json()
    assert answer.headers["Location"] == f"/v1/guests/{guest['guest_id']}"
    for moments in (guest["home"], guest):
        for name in [name for name in moments if name.endswith(("_at", "_since"))]:
            assert moments.pop(name).startswith("2025-09-11")
    assert isinstance(guest.pop("guest_id"), str)
    assert isinstance(guest.pop("version"), int)
    assert guest == REGISTERED


REGISTERED: dict[str, object] = {
    "status": "valid",
    "organisation": "1001",
    "branch": "9453",
    "card_number": CARD,
    "aliases": [],
    "home_isil": HOME,
    "home": {"verdict": "valid", "reasons": [], "changed": None},
    "details": {
        "name": "J. Jansen",
        "birth_date": "1980-02-03",
        "address": "Brink 1, Groningen",
        "email": "jan@example.org",
    },
    "preferences": {"language": "nl", "newsletter": False, "lending_history": False},
    "header": "Normaal December 2025",
    "reason": None,
    "ended_on": None,
    "expires_on": "2025-12-31",
    "expiry_line": "Vervalt 31-12-2025",
    "card_notice": None,
    "reregistration_preview": None,
    "term": {"begin": "2025-09-11", "end": "2025-12-11", "provisional": True, "stale": False},
    "contributions": [
        {
            "organisation": "1001",
            "branch": "9453",
            "begin": "2025-09-11",
            "end": "2025-12-11",
            "subscription": "346-gastleen abonnement",
            "status": "Normaal",
            "cost": "0.00",
            "sector": "BIEB",
        }
    ],
    "lending_strips": 125,
    "self_service": True,
    "login_link": {"state": "none", "account_id": None, "reason": None},
    "merged_into": None,
    "merged_from": [],
}


async def test_r27_preferences_are_asked_changed_withdrawn_and_in_the_history_with_who(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    wanted = {"language": "en", "newsletter": True, "lending_history": True}
    guest = (await clerk.post("/v1/guests", json=registering(preferences=wanted))).json()
    assert guest["preferences"] == wanted
    path = f"/v1/guests/{guest['guest_id']}"
    withdrawn = await clerk.put(f"{path}/preferences", json={"language": "en"})
    off = {"language": "en", "newsletter": False, "lending_history": False}
    assert (withdrawn.status_code, withdrawn.json()["preferences"]) == (200, off)
    async with registration_app.nothing_written():
        assert (await clerk.put(f"{path}/preferences", json=off)).json()["preferences"] == off
        for wrong in ({"language": "de"}, {"newsletter": "yes"}, {"profile": True}):
            assert (await clerk.put(f"{path}/preferences", json=wrong)).status_code == 422
    [changed] = [
        recorded
        for recorded in await registration_app.service.log.read(0, 100)
        if recorded.event_type == "registration.guest-preferences-changed"
    ]
    assert changed.metadata.caused_by == "m.visser"
    assert not any(word in changed.state for word in (b"newsletter", b"lending_history", b"language"))


async def test_every_write_answers_the_position_of_its_last_event(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    answer = await clerk.post("/v1/guests", json=registering())
    assert int(answer.headers["Event-Position"]) == await registration_app.service.log.position() > 0

    path = f"/v1/guests/{answer.json()['guest_id']}"
    linked = await clerk.post(f"{path}/login-account", json={"choice": "existing", "account_id": "acc-jan"})
    assert int(linked.headers["Event-Position"]) == await registration_app.service.log.position()
    assert int(linked.headers["Event-Position"]) > int(answer.headers["Event-Position"])


async def test_an_acknowledged_guest_is_read_at_once_and_as_it_was_answered(
    clerk: httpx2.AsyncClient,
) -> None:
    registered = await clerk.post("/v1/guests", json=registering())
    read = await clerk.get(f"/v1/guests/{registered.json()['guest_id']}")
    assert (read.status_code, read.json()) == (200, registered.json())


async def test_r20_events_name_the_clerk_and_the_request(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    correlation = "0b7c9e5e-5f0a-4c55-9d0e-0d7d5f1f6a11"
    answer = await clerk.post("/v1/guests", json=registering(), headers={"X-Correlation-ID": correlation})

    assert answer.headers["X-Correlation-ID"] == correlation
    for event in await registration_app.service.log.read(0, 100):
        assert (event.metadata.caused_by, str(event.metadata.correlation_id)) == ("m.visser", correlation)


async def test_r2_the_home_library_is_found_from_the_card(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    card = "1844700015"
    registration_app.member(card, "NL-083424")

    found = await clerk.get("/v1/home-libraries", params={"card_number": card})
    assert (found.status_code, found.json()["match"]) == (200, "one")
    assert [each["isil"] for each in found.json()["candidates"]] == ["NL-083424"]
    assert set(found.json()["candidates"][0]) == {"isil", "name", "organisation"}

    guest = await clerk.post("/v1/guests", json=registering(card, home_isil=None))
    assert (guest.status_code, guest.json()["home_isil"]) == (201, "NL-083424")


async def test_r2_an_ambiguous_card_and_an_unknown_one(clerk: httpx2.AsyncClient) -> None:
    ambiguous = (await clerk.get("/v1/home-libraries", params={"card_number": "6450800012"})).json()
    assert ambiguous["match"] == "ambiguous"
    assert [each["isil"] for each in ambiguous["candidates"]] == ["NL-070297", "NL-083390"]
    assert (await clerk.get("/v1/home-libraries", params={"card_number": CARD})).json() == {
        "match": "none",
        "candidates": [],
    }


async def test_r4_the_verdict_of_the_home_library(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    valid = await clerk.get(f"/v1/home-patrons/{HOME}/{CARD}")
    assert (valid.status_code, valid.json()) == (
        200,
        {
            "verdict": "valid",
            "reasons": [],
            "details": {
                "name": "J. Jansen",
                "birth_date": "1980-02-03",
                "address": "Brink 1, Groningen",
                "email": "jan@example.org",
            },
            "ends_on": "2026-12-31",
            "canonical_card_number": CARD,
        },
    )
    registration_app.home.answers(HOME, CARD, Refused((Reason.FINES,), because_ended=False))
    refused = (await clerk.get(f"/v1/home-patrons/{HOME}/{CARD}")).json()
    assert (refused["verdict"], refused["reasons"], refused["details"]) == ("refused", ["fines"], None)


async def test_r7_the_one_subscription_on_offer(clerk: httpx2.AsyncClient) -> None:
    assert (await clerk.get("/v1/subscriptions")).json() == {
        "subscriptions": [
            {
                "code": "346",
                "name": "gastleen abonnement",
                "tariff_code": "0346",
                "tariff_months": 12,
                "cost": "0.00",
                "sector": "BIEB",
            }
        ]
    }


async def test_r12_r13_r14_expired_at_home_asked_again_and_registered_again(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    path = f"/v1/guests/{(await clerk.post('/v1/guests', json=registering())).json()['guest_id']}"
    registration_app.home.answers(HOME, CARD, Refused((Reason.EXPIRED,), because_ended=True))

    expired = await clerk.post(f"{path}/home-check")
    assert expired.status_code == 200
    assert (expired.json()["status"], expired.json()["home"]["verdict"]) == ("expired", "refused")
    assert expired.json()["header"] == "Ongeldig  Opgezegd, reden overig"
    assert expired.json()["card_notice"] == "Pas niet geldig!"

    registration_app.clock.moment = on_day(TODAY + timedelta(days=4))
    registration_app.member()
    chance = await clerk.post(f"{path}/home-check")
    assert (chance.json()["status"], chance.json()["home"]["verdict"]) == ("expired", "valid")

    again = await clerk.post(f"{path}/reregistration", json={"patron_type": "04"})
    assert (again.status_code, again.json()["status"], again.json()["lending_strips"]) == (200, "valid", 125)
    rows = [(row["begin"], row["end"], row["status"]) for row in again.json()["contributions"]]
    assert rows == [
        ("2025-09-15", "2025-12-15", "Normaal"),
        ("2025-09-11", "2025-09-14", "Ongeldig"),
        ("2025-09-11", "2025-09-10", "Normaal"),
    ]


async def test_r12_a_silent_home_library_leaves_the_term_as_it_is_and_stale(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    path = f"/v1/guests/{(await clerk.post('/v1/guests', json=registering())).json()['guest_id']}"
    registration_app.home.goes_down(HOME)
    async with registration_app.nothing_written():
        checked = await clerk.post(f"{path}/home-check")
    assert (checked.status_code, checked.json()["home"]["verdict"]) == (200, "unavailable")
    assert (checked.json()["status"], checked.json()["term"]["stale"]) == ("valid", True)


async def test_r10_a_replaced_number_becomes_an_alias(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    registration_app.home.answers(HOME, "0990139362", Valid(JAN, date(2026, 12, 31), CARD))
    guest = (await clerk.post("/v1/guests", json=registering("0990139362"))).json()
    assert (guest["card_number"], guest["aliases"]) == (CARD, ["0990139362"])

    other = await clerk.post("/v1/guests", json=registering())
    assert (other.json()["code"], other.json()["guest_id"]) == ("already-registered", guest["guest_id"])


async def test_r21_deregistered_and_registered_afresh_as_the_same_guest(clerk: httpx2.AsyncClient) -> None:
    first = (await clerk.post("/v1/guests", json=registering())).json()
    path = f"/v1/guests/{first['guest_id']}/deregistration"
    gone = await clerk.post(path, json={"reason": "verkeerde pas"})
    assert (gone.status_code, gone.json()["status"]) == (200, "deregistered")

    again = await clerk.post("/v1/guests", json=registering())
    assert (again.status_code, again.json()["guest_id"]) == (201, first["guest_id"])
    assert again.json()["status"] == "valid"


async def test_r9_r21_a_corrected_chip_is_shown_with_its_moment_and_the_same_again_is_no_event(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    path = f"/v1/guests/{(await clerk.post('/v1/guests', json=registering())).json()['guest_id']}"
    registration_app.clock.moment += timedelta(hours=1)
    body = {"card_has_chip": False, "reason": "verkeerd aangevinkt"}
    corrected = (await clerk.post(f"{path}/card-chip", json=body)).json()
    assert (corrected["self_service"], corrected["chip_since"]) == (False, "2025-09-11T11:00:00Z")
    assert (corrected["active_at"], corrected["card_since"]) == (
        "2025-09-11T11:00:00Z",
        "2025-09-11T10:00:00Z",
    )
    async with registration_app.nothing_written():
        assert (await clerk.post(f"{path}/card-chip", json=body)).json() == corrected
        assert (await clerk.post(f"{path}/card-chip", json=body | {"reason": " "})).status_code == 422


async def test_r26_the_account_of_a_guest_is_asked_of_identity_and_unavailable_without_it(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    account = {"choice": "existing", "account_id": "acc-jan"}
    guest = (await clerk.post("/v1/guests", json=registering(login_account=account))).json()
    path = f"/v1/guests/{guest['guest_id']}/login-account"
    shown = {"username": "jan.jansen", "email": "jan@example.org", "other_guest": None}
    assert (await clerk.get(path)).json() == {"account_id": "acc-jan", **shown}
    registration_app.accounts.down = True
    answer = await clerk.get(path)
    assert (answer.status_code, answer.json()["code"]) == (503, "login-accounts-unavailable")
