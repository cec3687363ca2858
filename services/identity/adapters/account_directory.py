"""The account directory of the identity provider, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import quote

import httpx2
import orjson
from pydantic import BaseModel, ValidationError

from identity.application.dependencies import AccountDetails, DirectoryUnavailable
from identity.application.repository import plain_username
from identity.domain.errors import MalformedUsername
from shared.kernel.library_card import Isil, MalformedCardNumber, MalformedIsil, canonical_card_number
from shared.kernel.login_account import AccountId
from shared.kernel.text import tidy
from shared.platform import limits
from shared.platform.http_client import HttpClient

Json = TypeVar("Json", bound=BaseModel)


class _AccountJson(BaseModel):
    account_id: AccountId
    username: str
    email: str
    home_isil: str
    home_card_number: str


class _FoundJson(BaseModel):
    account: _AccountJson | None


class HttpAccountDirectory:
    """An account directory with `GET /accounts/{account_id}` and `GET /accounts?username=&home_isil=`."""

    def __init__(self, base_url: str, http: HttpClient) -> None:
        self._base_url = base_url.rstrip("/")
        self._http = http

    async def by_id(self, account_id: str) -> AccountDetails | None:
        """See `AccountDirectory.by_id`."""
        response = await self._get(f"/accounts/{quote(account_id, safe='')}", {})
        if response.status_code == 404:
            return None
        found = _details(_read(_AccountJson, response))
        if found.account_id != account_id:
            raise DirectoryUnavailable("the reply is about another account")
        return found

    async def by_username(self, username: str, home_isil: str) -> AccountDetails | None:
        """See `AccountDirectory.by_username`."""
        response = await self._get("/accounts", {"username": username, "home_isil": home_isil})
        found = _read(_FoundJson, response).account
        return None if found is None else _details(found)

    async def _get(self, path: str, query: Mapping[str, str]) -> httpx2.Response:
        try:
            return await self._http.get(self._base_url + path, params=query, timeout=limits.DIRECTORY)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise DirectoryUnavailable(type(error).__name__) from error


class NoAccountDirectory:
    """No account directory: identity has only accounts that were imported or opened here."""

    async def by_id(self, account_id: str) -> AccountDetails | None:  # noqa: ARG002
        """See `AccountDirectory.by_id`."""
        return None

    async def by_username(self, username: str, home_isil: str) -> AccountDetails | None:  # noqa: ARG002
        """See `AccountDirectory.by_username`."""
        return None


def _read(kind: type[Json], response: httpx2.Response) -> Json:
    if response.status_code != 200:
        raise DirectoryUnavailable(f"the reply has status {response.status_code}")
    try:
        return kind.model_validate(orjson.loads(response.content))
    except (ValidationError, orjson.JSONDecodeError) as error:
        raise DirectoryUnavailable("the reply cannot be read") from error


def _details(found: _AccountJson) -> AccountDetails:
    """Check an account, and tidy the text that people read.

    A malformed card would result in a person reference that matches no guest, so a login could make a wrong
    new actor. Raises DirectoryUnavailable.
    """
    try:
        return AccountDetails(
            account_id=found.account_id,
            username=plain_username(found.username),
            email=tidy(found.email).strip(),
            home_isil=str(Isil.parse(found.home_isil)),
            home_card_number=canonical_card_number(found.home_card_number),
        )
    except (MalformedIsil, MalformedCardNumber, MalformedUsername) as error:
        raise DirectoryUnavailable(f"the account is malformed: {type(error).__name__}") from error
