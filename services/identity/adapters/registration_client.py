"""Registration's feed over HTTP, for the login barrier (ADR 0004), new accounts and birth dates."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import httpx2
import orjson
from pydantic import BaseModel, ValidationError

from identity.application.dependencies import (
    BirthDates,
    KnownGuests,
    NewAccount,
    RegisteredGuest,
    RegistrationUnavailable,
)
from shared.kernel.text import tidy
from shared.messaging.envelope import Message
from shared.messaging.errors import MalformedMessage
from shared.platform import limits
from shared.platform.http_client import HttpClient, up_to

# A person waits at the login page: a quick "try again" is better than a late reply.
LARGEST_REPLY = 4 * 1024 * 1024
"""In bytes: thousands of messages, more than all registrations of a person have."""


class _RegistrationJson(BaseModel):
    guest_id: UUID
    messages: list[dict[str, Any]]


class _RegistrationsJson(BaseModel):
    registrations: list[_RegistrationJson]


class _NewAccountJson(BaseModel):
    account_id: str
    username: str
    email: str
    home_isil: str
    merged_isils: list[str] = []


class _HomeLibraryJson(BaseModel):
    is_home_library: bool


class _OwnLibraryJson(BaseModel):
    is_own_library: bool


class _KnownGuestsJson(BaseModel):
    source: str
    guest_ids: list[UUID]


class _BirthDatesJson(BaseModel):
    birth_dates: BirthDates


class RegistrationApi:
    """A client of registration. `token` returns the bearer token; it is called for each request."""

    def __init__(self, base_url: str, http: HttpClient, token: Callable[[], Awaitable[str]]) -> None:
        self._base_url = base_url.rstrip("/")
        self._http = http
        self._token = token

    async def registrations(
        self,
        organisation: str,
        *,
        account_id: str | None = None,
        person_ref: str | None = None,
        home_isil: str | None = None,
    ) -> Sequence[RegisteredGuest]:
        """See `RegistrationFeed.registrations`."""
        query = {"organisation": organisation, "account_id": account_id, "person_ref": person_ref}
        response = await self._get("/v1/feed/registrations", query | {"home_isil": home_isil})
        try:
            _expect(response, 200)
            found = _RegistrationsJson.model_validate(orjson.loads(response.content)).registrations
            return [_guest(registration) for registration in found]
        except (ValidationError, MalformedMessage, orjson.JSONDecodeError) as error:
            raise RegistrationUnavailable("the reply cannot be read") from error

    async def new_account(self, guest_id: UUID, account_id: str) -> NewAccount | None:
        """See `RegistrationFeed.new_account`."""
        response = await self._get(f"/v1/feed/guests/{guest_id}/new-account", {"account_id": account_id})
        if _is_none(response):
            return None
        try:
            _expect(response, 200)
            wanted = _NewAccountJson.model_validate(orjson.loads(response.content))
        except (ValidationError, orjson.JSONDecodeError) as error:
            raise RegistrationUnavailable("the reply cannot be read") from error
        return NewAccount(
            wanted.account_id,
            wanted.username,
            tidy(wanted.email).strip(),
            wanted.home_isil,
            wanted.merged_isils,
        )

    async def is_home_library(self, guest_id: UUID, isil: str) -> bool:
        """See `RegistrationFeed.is_home_library`."""
        response = await self._get(f"/v1/feed/guests/{guest_id}/home-library", {"isil": isil})
        try:
            _expect(response, 200)
            return _HomeLibraryJson.model_validate(orjson.loads(response.content)).is_home_library
        except (ValidationError, orjson.JSONDecodeError) as error:
            raise RegistrationUnavailable("the reply cannot be read") from error

    async def is_own_library(self, organisation: str, isil: str) -> bool:
        """See `RegistrationFeed.is_own_library`."""
        response = await self._get("/v1/feed/own-library", {"organisation": organisation, "isil": isil})
        try:
            _expect(response, 200)
            return _OwnLibraryJson.model_validate(orjson.loads(response.content)).is_own_library
        except (ValidationError, orjson.JSONDecodeError) as error:
            raise RegistrationUnavailable("the reply cannot be read") from error

    async def known_guests(self, guest_ids: Sequence[UUID]) -> KnownGuests:
        """See `RegistrationFeed.known_guests`."""
        body = {"guest_ids": [str(guest_id) for guest_id in guest_ids]}
        response = await self._send("POST", "/v1/feed/known-guests", json=body)
        try:
            _expect(response, 200)
            found = _KnownGuestsJson.model_validate(orjson.loads(response.content))
        except (ValidationError, orjson.JSONDecodeError) as error:
            raise RegistrationUnavailable("the reply cannot be read") from error
        return KnownGuests(found.source, frozenset(found.guest_ids))

    async def compare_birth_dates(self, one: Sequence[UUID], other: Sequence[UUID]) -> BirthDates:
        """See `RegistrationFeed.compare_birth_dates`."""
        query = {"one": [str(guest_id) for guest_id in one], "other": [str(guest_id) for guest_id in other]}
        response = await self._get("/v1/feed/birth-dates", query)
        try:
            _expect(response, 200)
            return _BirthDatesJson.model_validate(orjson.loads(response.content)).birth_dates
        except (ValidationError, orjson.JSONDecodeError) as error:
            raise RegistrationUnavailable("the reply cannot be read") from error

    async def _get(self, path: str, query: Mapping[str, str | list[str] | None]) -> httpx2.Response:
        given = {name: value for name, value in query.items() if value is not None}
        return await self._send("GET", path, params=given)

    async def _send(self, method: str, path: str, **more: Any) -> httpx2.Response:
        try:
            return await self._http.request(
                method,
                self._base_url + path,
                **more,
                headers={"Authorization": f"Bearer {await self._token()}"},
                timeout=limits.LOGIN,
                extensions=up_to(LARGEST_REPLY),
            )
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise RegistrationUnavailable(type(error).__name__) from error


def _is_none(response: httpx2.Response) -> bool:
    """Return whether registration replies that there is no such account. Any other 404 is a wrong address."""
    if response.status_code != 404:
        return False
    try:
        code = orjson.loads(response.content)["code"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return False
    return code in {"no-new-account", "guest-not-found"}


def _expect(response: httpx2.Response, status: int) -> None:
    if response.status_code != status:
        raise RegistrationUnavailable(f"the reply has status {response.status_code}")


def _guest(found: _RegistrationJson) -> RegisteredGuest:
    return RegisteredGuest(found.guest_id, [Message.from_cloudevent(item) for item in found.messages])
