"""Login accounts and actors over HTTP: found, shown, opened, refused with nothing written."""

import asyncio
import hmac
import unicodedata
from dataclasses import asdict, replace
from typing import Any
from uuid import UUID

import httpx2
import pytest

from shared.kernel.library_card import person_ref
from shared.kernel.login_account import MOST_LIBRARIES, MOST_NAMED
from shared.kernel.text import without_unseen
from shared.platform import limits
from tests.support.identity import HOME_ISIL, PERSON_REF_KEY, card_of
from tests.support.identity_service import IdentityApp, login
from tests.support.servers import execute_as_owner

ACCOUNT = {
    "account_id": "acc-els",
    "username": "Els.Bakker",
    "email": "els@example.org",
    "home_isil": HOME_ISIL,
    "home_card_number": "0990139305",
}


FRYSLAN = "NL-083424"


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in ACCOUNT.items() if key != name}


async def test_an_account_is_opened_shown_and_found(
    identity_app: IdentityApp, operator: httpx2.AsyncClient
) -> None:
    opened = await operator.post("/v1/login-accounts", json=ACCOUNT)
    assert opened.status_code == 201
    assert opened.headers["Location"] == "/v1/login-accounts/acc-els"
    assert int(opened.headers["Event-Position"]) == len(await identity_app.topics())
    body = opened.json()
    person = person_ref(PERSON_REF_KEY, HOME_ISIL, ACCOUNT["home_card_number"])
    opened_now = {"links": [], "logins": [], "actor_id": body["actor_id"], "person_ref": person}
    assert {**ACCOUNT, **opened_now} == body
    assert (await operator.get("/v1/login-accounts/acc-els")).json() == body
    found = await operator.get(
        "/v1/login-accounts", params={"username": "els.bakker", "home_isil": HOME_ISIL}
    )
    shown = ("account_id", "username", "email", "home_isil", "person_ref")
    assert found.json() == {"account": {name: body[name] for name in shown}}
    actor = (await operator.get(f"/v1/actors/{body['actor_id']}")).json()
    assert (actor["account_id"], actor["organisation"]) == ("acc-els", None)


async def test_without_an_id_one_is_created(operator: httpx2.AsyncClient) -> None:
    opened = (await operator.post("/v1/login-accounts", json=without("account_id"))).json()
    assert opened["account_id"].startswith("acc-")
    shown = await operator.get(f"/v1/login-accounts/{opened['account_id']}")
    assert shown.json() == opened


@pytest.mark.parametrize(
    ("username", "home_isil", "account_id"),
    [
        ("jan", HOME_ISIL, "acc-jan"),
        ("JAN ", f"{HOME_ISIL}0001", "acc-jan"),
        ("ja", HOME_ISIL, None),
        ("j%", HOME_ISIL, None),
        ("jan", FRYSLAN, None),
        ("jan@example.org", HOME_ISIL, None),
    ],
)
async def test_i1_a_username_finds_exactly_one_account_or_none(
    operator: httpx2.AsyncClient, username: str, home_isil: str, account_id: str | None
) -> None:
    found = await operator.get("/v1/login-accounts", params={"username": username, "home_isil": home_isil})
    account = found.json()["account"]
    assert (account and account["account_id"]) == account_id


async def test_i1_two_accounts_may_share_an_e_mail_address(operator: httpx2.AsyncClient) -> None:
    for name in ("ouder", "kind2"):
        body = {**ACCOUNT, "account_id": f"acc-{name}", "username": name}
        assert (await operator.post("/v1/login-accounts", json=body)).status_code == 201


async def test_an_account_of_the_directory_is_shown_before_it_is_needed_here(
    identity_app: IdentityApp, operator: httpx2.AsyncClient
) -> None:
    async with identity_app.nothing_written():
        shown = (await operator.get("/v1/login-accounts/acc-jan")).json()
    assert (shown["username"], shown["actor_id"], shown["links"], shown["logins"]) == ("jan", None, [], [])


OTHER = {**ACCOUNT, "username": "els2"}
REFUSALS: list[tuple[int, str, dict[str, Any]]] = [
    (409, "username-taken", ACCOUNT),
    (409, "username-taken", {**ACCOUNT, "account_id": "acc-other"}),
    (409, "username-taken", {**ACCOUNT, "account_id": "acc-other", "username": " ELS.bakker"}),
    (409, "username-taken", {**ACCOUNT, "account_id": "acc-other", "username": "jan"}),
    (409, "account-id-taken", {**ACCOUNT, "username": "els2"}),
    (422, "malformed-isil", {**ACCOUNT, "home_isil": "L-070288"}),
    (422, "malformed-card-number", {**ACCOUNT, "home_card_number": "0990|"}),
    (422, "malformed-username", {**ACCOUNT, "username": "  "}),
    (422, "malformed-username", {**ACCOUNT, "username": "a\tb"}),
    (422, "malformed-username", {**ACCOUNT, "username": "x" * 201}),
    (422, "malformed-request", {**ACCOUNT, "email": "nobody"}),
    # Ids of the directory: one card, or username, differs from what it says.
    (409, "account-id-taken", {**ACCOUNT, "account_id": "acc-piet", "username": "piet"}),
    (409, "account-id-taken", {**OTHER, "account_id": "acc-piet", "home_card_number": card_of("piet")}),
    *(
        (422, "malformed-request", {**ACCOUNT, "account_id": wrong})
        for wrong in ("a\n", ".", "..", "a/b", "")
    ),
    (422, "malformed-request", {**ACCOUNT, "age": 3}),
    (422, "malformed-request", without("email")),
]


async def test_an_account_of_the_directory_is_opened_with_what_it_says(operator: httpx2.AsyncClient) -> None:
    piet = {**ACCOUNT, "account_id": "acc-piet", "username": "PIET", "home_card_number": card_of("piet")}
    opened = await operator.post("/v1/login-accounts", json=piet)
    assert (opened.status_code, opened.json()["account_id"]) == (201, "acc-piet")


@pytest.mark.parametrize(("status", "code", "body"), REFUSALS, ids=lambda value: str(value)[:40])
async def test_a_refused_account_writes_nothing(
    identity_app: IdentityApp, operator: httpx2.AsyncClient, status: int, code: str, body: dict[str, Any]
) -> None:
    assert (await operator.post("/v1/login-accounts", json=ACCOUNT)).status_code == 201
    async with identity_app.nothing_written():
        answer = await operator.post("/v1/login-accounts", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_an_account_cannot_be_opened_while_the_directory_is_down(
    identity_app: IdentityApp, operator: httpx2.AsyncClient
) -> None:
    identity_app.directory.unplugged = True
    async with identity_app.nothing_written():
        answer = await operator.post("/v1/login-accounts", json=ACCOUNT)
    assert (answer.status_code, answer.json()["code"]) == (503, "account-directory-unavailable")


async def test_of_one_username_at_once_one_account_is_opened(
    identity_app: IdentityApp, operator: httpx2.AsyncClient
) -> None:
    bodies = [{**ACCOUNT, "account_id": f"acc-{number}"} for number in range(6)]
    answers = await asyncio.gather(*(operator.post("/v1/login-accounts", json=body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5
    assert (await identity_app.topics()).count("identity.login-account-opened") == 1


async def test_an_account_sent_again_under_its_key_is_answered_again(
    identity_app: IdentityApp, operator: httpx2.AsyncClient
) -> None:
    body, key = without("account_id"), {"Idempotency-Key": "one"}
    first = await operator.post("/v1/login-accounts", json=body, headers=key)
    async with identity_app.nothing_written():
        second = await operator.post("/v1/login-accounts", json=body, headers=key)
    assert (second.status_code, second.json()) == (201, first.json())
    async with identity_app.nothing_written():
        other = await operator.post("/v1/login-accounts", json=ACCOUNT, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/login-accounts/acc-nobody", "account-not-found"),
        (f"/v1/actors/{UUID(int=4)}", "actor-not-found"),
        ("/v1/nothing", "not-found"),
    ],
)
async def test_what_does_not_exist_is_not_found(operator: httpx2.AsyncClient, path: str, code: str) -> None:
    answer = await operator.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, code)


async def test_nothing_personal_is_readable_in_the_database(
    identity_app: IdentityApp, operator: httpx2.AsyncClient, wisecat: httpx2.AsyncClient
) -> None:
    await operator.post("/v1/login-accounts", json=ACCOUNT)
    await wisecat.post("/v1/logins", json=login("els"))
    tables = ("stored_events", "usernames", "data_keys", "idempotency_keys")
    for table in tables:
        rows = await identity_app.service.pool.fetch(f"SELECT t::text FROM {table} t")  # noqa: S608
        states = await identity_app.service.pool.fetch(
            "SELECT convert_from(state, 'UTF8') FROM stored_events"
        )
        text = " ".join(str(row[0]).casefold() for row in [*rows, *states])
        assert not [word for word in ("els.bakker", "els@example.org", "0990139305") if word in text]


OPEN = [
    "/health/live",
    "/health/ready",
    "/docs",
    "/docs/operations",
    "/openapi.json",
    "/openapi.operations.json",
]


@pytest.mark.parametrize("path", [*OPEN, "/asyncapi.yaml"])
async def test_operators_see_how_it_is(identity_app: IdentityApp, path: str) -> None:
    async with identity_app.client(token="nonsense") as caller:
        assert (await caller.get(path)).status_code == 200


LOOK_ALIKES = (
    "ELS.BAKKER",
    "els\u200b.bak\u00adker",
    "\u202eels.bakker\u202c",
    "ｅｌｓ.bakker",
    "els.ba\u212aker",
)


@pytest.mark.parametrize("username", LOOK_ALIKES, ids=ascii)
async def test_i1_a_username_that_looks_like_another_is_that_username(
    operator: httpx2.AsyncClient, username: str
) -> None:
    await operator.post("/v1/login-accounts", json=ACCOUNT)
    found = await operator.get("/v1/login-accounts", params={"username": username, "home_isil": HOME_ISIL})
    assert found.json()["account"]["account_id"] == "acc-els"
    taken = await operator.post("/v1/login-accounts", json=without("account_id") | {"username": username})
    assert (taken.status_code, taken.json()["code"]) == (409, "username-taken")


async def test_i1_a_username_that_another_account_has_today_finds_that_one(
    identity_app: IdentityApp, operator: httpx2.AsyncClient
) -> None:
    """Jan was known here as `jan`; the directory renamed him, and Piet is `jan` now."""
    listed = identity_app.directory.accounts
    jan, piet = (next(each for each in listed if each.account_id == name) for name in ("acc-jan", "acc-piet"))
    await operator.post("/v1/login-accounts", json=ACCOUNT | asdict(jan))

    async def found(username: str) -> str | None:
        answer = await operator.get(
            "/v1/login-accounts", params={"username": username, "home_isil": jan.home_isil}
        )
        account = answer.json()["account"]
        return account and str(account["account_id"])

    assert await found("jan") == "acc-jan"
    others = [each for each in listed if each not in {jan, piet}]
    listed[:] = [replace(jan, home_isil="NL-083424"), piet, *others]
    assert await found("jan") == "acc-jan", "his library merged into another one"
    listed[:] = [
        replace(jan, username="jan2"),
        replace(piet, username="jan", home_isil=jan.home_isil),
        *others,
    ]
    assert await found("jan") == "acc-piet"
    identity_app.directory.unplugged = True
    assert await found("jan") == "acc-jan", "as it is known here"


async def test_a_username_is_kept_without_what_cannot_be_seen(operator: httpx2.AsyncClient) -> None:
    opened = await operator.post("/v1/login-accounts", json=ACCOUNT | {"username": " Zoe\u0308\u202e\u200b "})
    assert opened.json()["username"] == "Zoë"
    for wrong in ("\u200b", "a\u2028b", " "):
        refused = await operator.post("/v1/login-accounts", json=ACCOUNT | {"username": wrong})
        assert (refused.status_code, refused.json()["code"]) == (422, "malformed-username")


@pytest.mark.parametrize("username", ["ｊａｎ", "jĳ", "ŉ", "jan\u200bx", "a\u200db"], ids=ascii)
async def test_a_username_from_before_is_still_found_and_still_taken(
    identity_app: IdentityApp, operator: httpx2.AsyncClient, username: str
) -> None:
    """Its row has the key that the release before computed: NFC and case only."""
    await operator.post("/v1/login-accounts", json=ACCOUNT | {"username": "tijdelijk"})
    named = f"username|{HOME_ISIL}|{unicodedata.normalize('NFC', username).casefold()}"
    key = hmac.digest(identity_app.service.deps.person_ref_key, named.encode(), "sha256").hex()
    await execute_as_owner(identity_app.service.pool, "UPDATE usernames SET username_key = $1", key)
    found = await operator.get("/v1/login-accounts", params={"username": username, "home_isil": HOME_ISIL})
    assert found.json()["account"]["account_id"] == "acc-els"
    if username == without_unseen(username):
        again = without("account_id") | {"username": username}
        taken = await operator.post("/v1/login-accounts", json=again)
        assert (taken.status_code, taken.json()["code"]) == (409, "username-taken")


@pytest.mark.parametrize("account_id", ["acc\u202eels", "acc\u200b", "\ufeffacc", "acc\u2028"], ids=ascii)
async def test_an_id_holds_nothing_that_cannot_be_seen(
    identity_app: IdentityApp, operator: httpx2.AsyncClient, account_id: str
) -> None:
    async with identity_app.nothing_written():
        refused = await operator.post("/v1/login-accounts", json=ACCOUNT | {"account_id": account_id})
    assert (refused.status_code, refused.json()["code"]) == (422, "malformed-request")


async def test_r26_several_accounts_are_named_in_one_question_also_while_the_directory_is_silent(
    identity_app: IdentityApp, operator: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has been opened here is known; of the others the directory says it, if it replies in time."""
    await operator.post("/v1/login-accounts", json=ACCOUNT)
    asked = {"account_ids": ["acc-jan", "acc-els", "acc-nobody"]}

    async def states() -> list[tuple[str, str, str]]:
        answer = await operator.post("/v1/login-accounts/names", json=asked)
        assert answer.status_code == 200, answer.text
        named = answer.json()["accounts"]
        assert [account["account_id"] for account in named] == asked["account_ids"]
        return [(account["state"], account["username"], account["email"]) for account in named]

    els = ("found", "Els.Bakker", "els@example.org")
    async with identity_app.nothing_written():
        listed, *others = await states()
        assert listed[:2] == ("found", "jan")
        assert others == [els, ("unknown", "", "")]

        async def silence(account_id: str) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(limits, "DIRECTORY_BESIDE_A_PAGE", 0.01)
        monkeypatch.setattr(identity_app.directory, "by_id", silence)
        unavailable = ("unavailable", "", "")
        assert await states() == [unavailable, els, unavailable]
    for wrong in ([], ["x" * 201], [f"acc-{number}" for number in range(MOST_NAMED + 1)]):
        answer = await operator.post("/v1/login-accounts/names", json={"account_ids": wrong})
        assert answer.status_code == 422


async def test_i1_a_username_is_looked_for_at_several_libraries_among_the_accounts_that_are_here(
    identity_app: IdentityApp, operator: httpx2.AsyncClient
) -> None:
    await operator.post("/v1/login-accounts", json=ACCOUNT)
    await operator.post("/v1/login-accounts", json=ACCOUNT | {"account_id": "acc-2", "home_isil": FRYSLAN})

    async def found(username: str, *home_isils: str) -> Any:
        body = {"username": username, "home_isils": home_isils}
        answer = await operator.post("/v1/login-accounts/with-username", json=body)
        return answer.json().get("account_ids", answer.json().get("code"))

    assert await found("ELS.bakker", HOME_ISIL, FRYSLAN, "NL-070111") == ["acc-2", "acc-els"]
    assert await found("els.bakker", FRYSLAN) == ["acc-2"]
    assert await found("els", HOME_ISIL) == []
    assert await found("jan", HOME_ISIL) == [], "the directory knows him, and no guest has his account"
    assert await found("els.bakker") == []
    assert await found(" ", HOME_ISIL) == "malformed-username"
    assert await found("els.bakker", "070288") == "malformed-isil"
    assert await found("els.bakker", *[HOME_ISIL] * (MOST_LIBRARIES + 1)) == "malformed-request"
