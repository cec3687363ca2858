"""Every code of the contract's table for registration, through HTTP; and nothing was written."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from registration.domain.verdict import Reason, Refused, Valid
from tests.support.registration import on_day
from tests.support.registration_service import CARD, HOME, JAN, TODAY, RegistrationApp, registering

Prepare = Callable[[RegistrationApp], None]


def as_it_is(_counter: RegistrationApp) -> None:
    """Nothing to prepare."""


def refusing(*reasons: Reason) -> Prepare:
    return lambda registration_app: registration_app.home.answers(
        HOME, CARD, Refused(reasons, because_ended=False)
    )


def is_a_guest_at_home(registration_app: RegistrationApp) -> None:
    registration_app.home.answers(HOME, CARD, Valid(JAN, None, CARD, is_guest_subscription=True))


def home_is_down(registration_app: RegistrationApp) -> None:
    registration_app.home.goes_down(HOME)


REGISTRATIONS: list[tuple[int, str, dict[str, Any], Prepare]] = [
    (422, "malformed-card-number", registering(""), as_it_is),
    (422, "malformed-card-number", registering("0990|139305"), as_it_is),
    (422, "malformed-card-number", registering("0990139305\r\n"), as_it_is),
    (422, "malformed-card-number", registering("0" * 21), as_it_is),
    (422, "malformed-isil", registering(home_isil="L-070288"), as_it_is),
    (422, "unknown-subscription", registering(subscription_code="347"), as_it_is),
    (422, "unknown-branch", registering(branch="9454"), as_it_is),
    (422, "malformed-request", registering(990139305), as_it_is),  # type: ignore[arg-type]
    (422, "malformed-request", registering(card_has_chip="yes"), as_it_is),
    (422, "malformed-request", registering(name="J. Jansen"), as_it_is),
    (422, "malformed-request", registering(login_account={"choice": "maybe"}), as_it_is),
    (422, "malformed-request", registering(login_account={"choice": "existing"}), as_it_is),
    (
        422,
        "malformed-request",
        registering(login_account={"choice": "existing", "account_id": "a\x00b"}),
        as_it_is,
    ),
    (
        422,
        "malformed-request",
        registering(login_account={"choice": "new", "username": "j", "email": "no"}),
        as_it_is,
    ),
    (404, "home-patron-not-found", registering("0000000001"), as_it_is),
    (404, "unknown-home-library", registering(home_isil="NL-123456"), as_it_is),
    (409, "ambiguous-home-library", registering("6450800012", home_isil=None), as_it_is),
    (409, "home-library-unknown-for-card", registering(home_isil=None), as_it_is),
    (409, "guest-refused", registering(), refusing(Reason.FINES, Reason.CARD_LOST)),
    (409, "chained-guest", registering(), is_a_guest_at_home),
    (409, "own-library", registering(home_isil="NL-070297"), as_it_is),
    (503, "home-library-unavailable", registering(), home_is_down),
]


@pytest.mark.parametrize("case", REGISTRATIONS, ids=lambda case: case[1])
async def test_a_refused_registration_writes_nothing(
    registration_app: RegistrationApp,
    clerk: httpx2.AsyncClient,
    case: tuple[int, str, dict[str, Any], Prepare],
) -> None:
    status, code, body, prepare = case
    prepare(registration_app)
    async with registration_app.nothing_written():
        answer = await clerk.post("/v1/guests", json=body, headers={"Idempotency-Key": "one"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert ("Retry-After" in answer.headers) == (status == 503)


async def test_r4_the_refusal_is_to_the_letter_and_carries_the_reasons(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    refusing(Reason.FINES)(registration_app)
    problem = (await clerk.post("/v1/guests", json=registering())).json()
    assert problem["detail"] == "Gastlener kan niet worden ingeschreven: reden [ Klant is geblokkeerd ]"
    assert problem["reasons"] == ["fines"]


async def test_r2_the_clerk_gets_the_candidates_to_choose_from(clerk: httpx2.AsyncClient) -> None:
    problem = (await clerk.post("/v1/guests", json=registering("6450800012", home_isil=None))).json()
    assert [each["isil"] for each in problem["candidates"]] == ["NL-070297", "NL-083390"]


async def test_r10_already_registered_names_the_guest(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    guest = (await clerk.post("/v1/guests", json=registering())).json()
    async with registration_app.nothing_written():
        again = await clerk.post("/v1/guests", json=registering())
    assert (again.status_code, again.json()["code"]) == (409, "already-registered")
    assert again.json()["guest_id"] == guest["guest_id"]


@pytest.fixture
async def path(clerk: httpx2.AsyncClient) -> str:
    """The path of a registered guest without a login account."""
    guest = await clerk.post("/v1/guests", json=registering())
    return f"/v1/guests/{guest.json()['guest_id']}"


async def test_r14_another_patron_type_is_refused(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, path: str
) -> None:
    async with registration_app.nothing_written():
        answer = await clerk.post(f"{path}/reregistration", json={"patron_type": "05"})
    assert (answer.status_code, answer.json()["code"]) == (422, "wrong-patron-type")
    assert answer.json()["detail"] == "Verander dit niet!"


async def test_r14_only_an_expired_guest_is_registered_again(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, path: str
) -> None:
    async with registration_app.nothing_written():
        answer = await clerk.post(f"{path}/reregistration", json={"patron_type": "04"})
    assert (answer.status_code, answer.json()["code"]) == (409, "not-expired")


REREGISTRATIONS: list[tuple[int, str, Prepare]] = [
    (409, "guest-refused", refusing(Reason.CARD_LOST)),
    (409, "chained-guest", is_a_guest_at_home),
    (503, "home-library-unavailable", home_is_down),
]


@pytest.mark.parametrize("case", REREGISTRATIONS, ids=lambda case: case[1])
async def test_r14_without_a_fresh_yes_from_home_the_guest_stays_expired(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, path: str, case: tuple[int, str, Prepare]
) -> None:
    status, code, prepare = case
    registration_app.home.answers(HOME, CARD, Refused((Reason.EXPIRED,), because_ended=True))
    await clerk.post(f"{path}/home-check")
    prepare(registration_app)
    async with registration_app.nothing_written():
        answer = await clerk.post(f"{path}/reregistration", json={"patron_type": "04"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_r21_what_is_no_longer_registered_is_not_changed(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, path: str
) -> None:
    await clerk.post(f"{path}/deregistration", json={"reason": "vergissing"})
    choice = {"choice": "existing", "account_id": "acc-jan"}
    async with registration_app.nothing_written():
        twice = await clerk.post(f"{path}/deregistration", json={"reason": "vergissing"})
        linked = await clerk.post(f"{path}/login-account", json=choice)
        renewed = await clerk.post(f"{path}/reregistration", json={"patron_type": "04"})
    assert [each.json()["code"] for each in (twice, linked, renewed)] == ["no-longer-registered"] * 3


async def test_r21_nothing_to_unlink(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, path: str
) -> None:
    async with registration_app.nothing_written():
        answer = await clerk.request("DELETE", f"{path}/login-account", json={"reason": "ouder"})
    assert (answer.status_code, answer.json()["code"]) == (409, "not-linked")


GUEST_CALLS: list[tuple[str, str, dict[str, Any] | None]] = [
    ("GET", "", None),
    ("POST", "/home-check", None),
    ("POST", "/reregistration", {"patron_type": "04"}),
    ("POST", "/login-account", {"choice": "existing", "account_id": "acc-jan"}),
    ("DELETE", "/login-account", {"reason": "account van een ouder"}),
    ("POST", "/deregistration", {"reason": "vergissing"}),
]


@pytest.mark.parametrize("call", GUEST_CALLS, ids=lambda call: "".join(call[:2]))
async def test_r20_another_organisations_guest_does_not_exist(
    registration_app: RegistrationApp,
    other_clerk: httpx2.AsyncClient,
    path: str,
    call: tuple[str, str, dict[str, Any] | None],
) -> None:
    method, below, body = call
    nobody = f"/v1/guests/{uuid4()}"
    async with registration_app.nothing_written():
        answers = [await other_clerk.request(method, where + below, json=body) for where in (path, nobody)]
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (404, "guest-not-found")
    # Not even the reply's words show that this guest exists elsewhere.
    problems = [
        {name: value for name, value in each.json().items() if name != "instance"} for each in answers
    ]
    assert problems[0] == problems[1]


HOME_QUESTIONS = [
    (422, "malformed-card-number", f"/v1/home-patrons/{HOME}/09%7C90"),
    (422, "malformed-card-number", f"/v1/home-patrons/{HOME}/09%2F90"),
    (422, "malformed-card-number", f"/v1/home-patrons/{HOME}/09%0D%0A90"),
    (422, "malformed-card-number", "/v1/home-libraries?card_number=0-9"),
    (422, "malformed-request", "/v1/home-libraries"),
    (422, "malformed-isil", f"/v1/home-patrons/L-070288/{CARD}"),
    (422, "malformed-isil", "/v1/login-accounts?username=jan.jansen&home_isil=070288"),
    (422, "malformed-request", "/v1/login-accounts?username=jan.jansen"),
    (422, "malformed-request", "/v1/guests/not-an-id"),
    (404, "home-patron-not-found", f"/v1/home-patrons/{HOME}/0000000001"),
    (404, "home-patron-not-found", f"/v1/home-patrons/{HOME}/A{CARD}B"),
    (404, "home-patron-not-found", f"/v1/home-patrons/{HOME}/{CARD}{CARD}"),
    (404, "unknown-home-library", f"/v1/home-patrons/NL-123456/{CARD}"),
]


@pytest.mark.parametrize(("status", "code", "question"), HOME_QUESTIONS)
async def test_questions_are_refused_by_name(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, status: int, code: str, question: str
) -> None:
    async with registration_app.nothing_written():
        answer = await clerk.get(question)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_r4_a_silent_library_is_unavailable_and_never_a_block(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    registration_app.home.goes_down(HOME)
    answer = await clerk.get(f"/v1/home-patrons/{HOME}/{CARD}")
    assert (answer.status_code, answer.json()["code"]) == (503, "home-library-unavailable")
    assert answer.headers["Retry-After"] == "5"


async def test_r17_accounts_that_cannot_be_looked_up_now(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    registration_app.accounts.down = True
    answer = await clerk.get("/v1/login-accounts", params={"username": "jan.jansen", "home_isil": HOME})
    assert (answer.status_code, answer.json()["code"]) == (503, "login-accounts-unavailable")
    assert "Retry-After" in answer.headers


async def test_a_malformed_request_names_the_field_and_never_repeats_it(clerk: httpx2.AsyncClient) -> None:
    body = registering(card_has_chip="0990139305-secret", nickname="Jantje")
    problem = (await clerk.post("/v1/guests", json=body)).json()
    assert {each["field"] for each in problem["errors"]} == {"body.card_has_chip", "body.nickname"}
    assert "secret" not in str(problem)
    assert "Jantje" not in str(problem)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b'{"card_number": "\\ud800"}']
)
async def test_a_body_that_is_no_object_is_malformed(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, body: bytes
) -> None:
    async with registration_app.nothing_written():
        answer = await clerk.post("/v1/guests", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (422, "malformed-request")


async def test_a_clerk_whose_organisation_is_not_in_the_settings(registration_app: RegistrationApp) -> None:
    async with registration_app.client(organisation="9009") as stranger, registration_app.nothing_written():
        answer = await stranger.post("/v1/guests", json=registering())
    assert (answer.status_code, answer.json()["code"]) == (403, "unknown-organisation")


async def test_problems_are_dutch_and_in_english_on_request(clerk: httpx2.AsyncClient) -> None:
    path = f"/v1/guests/{uuid4()}"
    dutch = await clerk.get(path)
    english = await clerk.get(path, headers={"Accept-Language": "en-GB,en;q=0.9,nl;q=0.4"})
    assert (dutch.json()["detail"], dutch.headers["Content-Language"]) == (
        "Deze gastlener bestaat niet.",
        "nl",
    )
    assert (english.json()["detail"], english.headers["Content-Language"]) == (
        "This guest does not exist.",
        "en",
    )


async def test_a_day_later_nothing_of_a_refusal_is_left(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    """A refusal is not permanent: the same request, with the same key, is decided again."""
    refusing(Reason.FINES)(registration_app)
    key = {"Idempotency-Key": "visit-1"}
    assert (await clerk.post("/v1/guests", json=registering(), headers=key)).status_code == 409
    registration_app.clock.moment = on_day(TODAY)
    registration_app.member()
    assert (await clerk.post("/v1/guests", json=registering(), headers=key)).status_code == 201


@pytest.mark.parametrize(
    ("card", "hint", "dutch"),
    [
        (f"A{CARD}B", "start-stop-signs", "Laat de start- en stoptekens van de streepjescode weg."),
        (CARD * 2, "scanned-twice", "Het nummer is twee keer gescand: vul het één keer in."),
    ],
)
async def test_r4_a_card_that_is_not_found_says_what_the_scanner_did(
    registration_app: RegistrationApp, card: str, hint: str, dutch: str
) -> None:
    async with registration_app.client() as client:
        asked = await client.get(f"/v1/home-patrons/{HOME}/{card}")
        registered = await client.post("/v1/guests", json=registering(card))
    for answer in (asked, registered):
        assert (answer.status_code, answer.json()["code"]) == (404, "home-patron-not-found")
        assert answer.json()["hint"] == hint
        assert answer.json()["detail"] == f"De thuisbibliotheek kent deze pas niet. {dutch}"
