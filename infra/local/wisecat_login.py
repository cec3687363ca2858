"""How Wisecat+ asks identity who logs in (I4), and what it makes of the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from http import HTTPStatus
from typing import Any

import httpx

# Somebody is looking at the page: identity itself waits for registration no longer than this.
TIMEOUT = httpx.Timeout(8.0, connect=2.0)


class Outcome(StrEnum):
    """What the reader sees."""

    GUEST = "guest"
    KNOWN = "known"
    NEW = "new"
    LINK_REQUIRED = "link-required"
    NOT_FOUND = "not-found"
    TRY_AGAIN = "try-again"


@dataclass(frozen=True, slots=True)
class GuestOfLibrary:
    """The registration behind a login: `status` "valid", "expired" or "suspended"; no end: open-ended."""

    guest_id: str
    status: str
    ends_on: date | None


@dataclass(frozen=True, slots=True)
class Answer:
    """Identity's answer. `reference`: what to tell the library when something is wrong."""

    outcome: Outcome
    actor_id: str | None = None
    first_login: bool = False
    guest: GuestOfLibrary | None = None
    reference: str | None = None


REFUSALS = {"link-required": Outcome.LINK_REQUIRED, "account-not-found": Outcome.NOT_FOUND}


class IdentityLogins:
    """Identity's logins over HTTP. `token` gives the bearer token at each call: it may be renewed."""

    def __init__(self, base_url: str, http: httpx.AsyncClient, token: Callable[[], str]) -> None:
        self._base_url = base_url.rstrip("/")
        self._http = http
        self._token = token

    async def log_in(self, account_id: str, organisation: str) -> Answer:
        """Log in. Whatever is no clear answer means: try again; nobody is told to be new on a guess."""
        try:
            response = await self._http.post(
                f"{self._base_url}/v1/logins",
                json={"account_id": account_id, "organisation": organisation},
                headers={"Authorization": f"Bearer {self._token()}"},
                timeout=TIMEOUT,
            )
            told = response.json()
            if response.status_code == HTTPStatus.OK:
                return _answer(told)
            return Answer(REFUSALS.get(told["code"], Outcome.TRY_AGAIN), reference=told["instance"])
        except (httpx.HTTPError, OSError, ValueError, KeyError, TypeError):
            return Answer(Outcome.TRY_AGAIN)


def _answer(told: dict[str, Any]) -> Answer:
    guest = told["guest"]
    outcome = Outcome.GUEST if guest else Outcome.NEW if told["outcome"] == "new_actor" else Outcome.KNOWN
    return Answer(outcome, told["actor_id"], told["first_login"], _guest(guest) if guest else None)


def _guest(told: dict[str, Any]) -> GuestOfLibrary:
    ends_on = told["ends_on"]
    return GuestOfLibrary(told["guest_id"], told["status"], date.fromisoformat(ends_on) if ends_on else None)
