"""Logins that the account provider proves (I11), and the way from `link-required` to the counter (I12)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
import pytest_asyncio

from identity.adapters.catalogues import Catalogues
from identity.adapters.tables import SCHEMA
from infra.local.postgres import Postgres
from registration.adapters.account_handles import SealedReferrals
from registration.application.dependencies import SystemClock
from registration.domain.errors import ReferralInvalid
from shared.kernel.errors import ConfigurationError
from shared.kernel.login_account import Referral
from shared.platform.http_client import HttpClient
from tests.support.identity import PERSON_REF_KEY, account_details, existing
from tests.support.identity_service import RETURN_TO, IdentityApp, id_token, login, open_identity_app
from tests.support.servers import Databases

pytestmark = pytest.mark.asyncio(loop_scope="module")
OTHER = "https://other-accounts.example"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def identity_app(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[IdentityApp]:
    """One for all tests of this module."""
    databases = Databases(postgres)
    async with open_identity_app(databases(scripts=SCHEMA), tmp_path_factory.mktemp("identity")) as opened:
        yield opened
    databases.drop_all()


def proven(app: IdentityApp, nonce: str | None = "n-1", **changed: Any) -> dict[str, Any]:
    """The body of a login with an ID token."""
    body = {"id_token": id_token(app.signer, **changed), "organisation": "1001"}
    return body if nonce is None else {**body, "nonce": nonce}


async def answer_to(app: IdentityApp, body: Mapping[str, Any], caller: str = "wisecat") -> httpx2.Response:
    async with app.client(sub=caller) as client:
        return await client.post("/v1/logins", json=body, headers={"Accept-Language": "en"})


async def test_i11_an_id_token_names_the_account_as_its_id_does(identity_app: IdentityApp) -> None:
    guest = identity_app.counter.registers("jan", existing("jan"))
    first = await answer_to(identity_app, proven(identity_app))
    assert first.status_code == 200, first.text
    assert (first.json()["outcome"], first.json()["guest"]["guest_id"]) == ("recognised", str(guest))
    again = await answer_to(identity_app, login("jan"))
    assert again.json() == {**first.json(), "first_login": False}


async def test_i11_the_claim_that_names_the_account_is_a_setting_of_its_issuer(
    identity_app: IdentityApp,
) -> None:
    claims: dict[str, Any] = {
        "iss": OTHER,
        "aud": "wisecat-there",
        "sub": "f3a1",
        "card": {"account": "acc-piet"},
    }
    answer = await answer_to(identity_app, proven(identity_app, None, **claims))
    assert answer.status_code == 200, answer.text
    missing = await answer_to(identity_app, proven(identity_app, None, **{**claims, "card": {}}))
    assert missing.json()["reason"] == "the claim card.account is no id of a login account"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"iss": "https://elsewhere.example"}, "the claim iss names no issuer of the file of catalogues"),
        ({"iss": None}, "the claim iss is missing; it must be a text"),
        ({"aud": "another-catalogue"}, "the claim aud holds no client of this catalogue"),
        ({"nonce": "n-2"}, "the claim nonce is not the nonce of the request"),
        ({"exp": 1}, "it has expired"),
        ({"iat": 1}, "it was issued more than 300 seconds ago"),
        ({"sub": "../acc"}, "the claim sub is no id of a login account"),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
async def test_i11_what_proves_nothing_is_refused_with_the_reason_and_nothing_is_written(
    identity_app: IdentityApp, changed: dict[str, Any], reason: str
) -> None:
    async with identity_app.nothing_written():
        answer = await answer_to(identity_app, proven(identity_app, **changed))
    assert (answer.status_code, answer.json()["code"]) == (422, "id-token-invalid")
    assert answer.json()["reason"] == reason


async def test_i11_a_catalogue_cannot_use_what_was_issued_to_another_one(identity_app: IdentityApp) -> None:
    async with identity_app.nothing_written():
        for caller in ("careful", "a-stranger"):
            answer = await answer_to(identity_app, proven(identity_app), caller)
            assert (answer.status_code, answer.json()["code"]) == (422, "id-token-invalid")


async def test_i11_a_client_id_is_the_catalogues_at_its_own_provider_only(identity_app: IdentityApp) -> None:
    async with identity_app.nothing_written():
        for changed in ({"iss": OTHER, "card": {"account": "acc-jan"}}, {"aud": "wisecat-there"}):
            answer = await answer_to(identity_app, proven(identity_app, **changed))
            assert answer.json().get("reason") == "the claim aud holds no client of this catalogue"


async def test_i11_a_client_id_at_a_provider_that_is_not_believed_is_a_fault_of_the_file(
    tmp_path: Path,
) -> None:
    file = tmp_path / "catalogues.toml"
    file.write_text(f'[catalogues.wisecat]\nclient_ids."{OTHER}" = ["wisecat"]\n', "utf-8")
    with pytest.raises(ConfigurationError, match=f"client_ids at {OTHER}, which is no issuer"):
        Catalogues(file, HttpClient(), SystemClock())


async def test_i11_a_catalogue_may_be_made_to_prove_every_login(identity_app: IdentityApp) -> None:
    async with identity_app.nothing_written():
        refused = await answer_to(identity_app, login("kind"), "careful")
    assert (refused.status_code, refused.json()["code"]) == (403, "id-token-required")
    proof = proven(identity_app, account_id="acc-kind", aud="careful")
    taken = await answer_to(identity_app, proof, "careful")
    assert taken.status_code == 200, taken.text


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"account_id": "acc-jan", "id_token": "a.b.c"},
        {"account_id": "acc-jan", "nonce": "n-1"},
        {"id_token": ""},
        {"id_token": "a" * 8193},
        {"id_token": 7},
    ],
    ids=["nobody", "both", "a nonce of nothing", "empty", "endless", "a number"],
)
async def test_i11_one_of_both_is_needed(identity_app: IdentityApp, body: dict[str, Any]) -> None:
    answer = await answer_to(identity_app, {"organisation": "1001", **body})
    assert (answer.status_code, answer.json()["code"]) == (422, "malformed-request")
    assert "a.b.c" not in answer.text


async def test_i12_link_required_refers_the_patron_to_the_counter_of_that_organisation(
    identity_app: IdentityApp,
) -> None:
    identity_app.directory.accounts.append(account_details("anna"))
    identity_app.counter.registers("anna")
    for body in (proven(identity_app, account_id="acc-anna"), login("anna")):
        answer = await answer_to(identity_app, body)
        assert (answer.status_code, answer.json()["code"]) == (409, "link-required")
        referral = answer.json()["referral"]
        page = urlsplit(referral["url"])
        assert f"{page.scheme}://{page.netloc}{page.path}" == "https://balie.example/doorverwezen"
        assert parse_qs(page.query) == {"handle": [referral["handle"]]}
        assert "acc-anna" not in answer.text
        left = datetime.fromisoformat(referral["expires_at"]) - SystemClock().now()
        assert timedelta(minutes=14) < left <= timedelta(minutes=15)
        opened = SealedReferrals(PERSON_REF_KEY, SystemClock()).open(referral["handle"], "1001")
        assert opened == Referral("acc-anna", RETURN_TO)
        with pytest.raises(ReferralInvalid):
            SealedReferrals(PERSON_REF_KEY, SystemClock()).open(referral["handle"], "2002")
