"""What clerks type is stored as it looks: one line, composed letters, nothing that cannot be seen."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from registration.bootstrap import view_source
from registration.read_models.history import VIEW as HISTORY
from tests.support.projections import follow_all
from tests.support.registration_service import RegistrationApp, registering

NEW = {"choice": "new", "username": "jan", "email": "jan@example.org"}


async def registered(clerk: httpx2.AsyncClient, **choice: Any) -> str:
    """Register a guest; the path of it."""
    answer = await clerk.post("/v1/guests", json=registering(login_account=choice or {"choice": "none"}))
    assert answer.status_code == 201, answer.text
    return f"/v1/guests/{answer.json()['guest_id']}"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("  vergissing ", "vergissing"),
        ("verkeerde\u202e pas\u202c\u200b", "verkeerde pas"),
        ("twee\u00adling", "tweeling"),
        ("Zoe\u0308", "Zoë"),
        ("علی\u200cرضا", "علی\u200cرضا"),
    ],
)
async def test_r21_a_reason_is_kept_as_it_looks(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, typed: str, kept: str
) -> None:
    guest = await registered(clerk)
    assert (await clerk.post(f"{guest}/deregistration", json={"reason": typed})).status_code == 200
    await follow_all(registration_app.service, [HISTORY], view_source(registration_app.service.settings))
    history = (await clerk.get(f"{guest}/history")).json()["history"]
    assert history[-1]["details"]["reason"] == kept


@pytest.mark.parametrize(
    "typed", ["", "  ", "\u200b", "\u202e\u202c", "\ufeff\u00ad", "a\nb", "a\0", "a\x9b1m"]
)
async def test_r21_a_reason_that_cannot_be_seen_or_has_lines_is_none(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, typed: str
) -> None:
    guest = await registered(clerk)
    async with registration_app.nothing_written():
        refused = await clerk.post(f"{guest}/deregistration", json={"reason": typed})
    assert (refused.status_code, refused.json()["code"]) == (422, "malformed-request")
    assert [error["field"] for error in refused.json()["errors"]] == ["body.reason"]


@pytest.mark.parametrize(
    "choice",
    [
        {"choice": "existing", "account_id": "acc\u202e-jan"},
        {"choice": "existing", "account_id": "acc-jan\u200b"},
        NEW | {"email": "jan\u202e@example.org"},
        NEW | {"email": "jan@exam\u00adple.org"},
    ],
    ids=ascii,
)
async def test_r17_an_id_or_address_that_cannot_be_seen_is_refused(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, choice: dict[str, str]
) -> None:
    async with registration_app.nothing_written():
        refused = await clerk.post("/v1/guests", json=registering(login_account=choice))
    assert (refused.status_code, refused.json()["code"]) == (422, "malformed-request")


async def test_r17_a_new_username_is_sent_as_it_looks(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    guest = await registered(clerk, **NEW | {"username": "j\u202ean\u200b"})
    async with registration_app.client(scope="feed", organisation=None, sub="identity") as identity:
        asked = await identity.get(guest.replace("/v1/", "/v1/feed/") + "/new-account")
    assert asked.json()["username"] == "jan"
