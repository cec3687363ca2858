"""The client of identity's API for login accounts (R17)."""

from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import quote

import httpx
import orjson
from pydantic import BaseModel, ValidationError

from registration.application.dependencies import FoundAccount
from registration.domain.errors import LoginAccountsUnavailable
from shared.kernel.login_account import AccountId
from shared.kernel.text import tidy
from shared.platform import limits
from shared.platform.http_client import HttpClient

Json = TypeVar("Json", bound=BaseModel)
# Seconds; short, because a clerk and a patron are waiting.


class _AccountJson(BaseModel):
    account_id: AccountId
    username: str | None
    email: str | None
    home_isil: str
    person_ref: str

    def found(self) -> FoundAccount:
        """Return the account; username and e-mail are empty after their erasure."""
        username, email = tidy(self.username or ""), tidy(self.email or "")
        return FoundAccount(self.account_id, username, email, self.home_isil, self.person_ref)


class _FoundJson(BaseModel):
    account: _AccountJson | None


class _ProblemJson(BaseModel):
    code: str


class IdentityApi:
    """See `dependencies.LoginAccounts`. `token` returns the bearer token and is called for every request."""

    def __init__(self, base_url: str, http: HttpClient, token: Callable[[], str]) -> None:
        self._url = base_url.rstrip("/") + "/v1/login-accounts"
        self._http = http
        self._token = token

    async def find(self, username: str, home_isil: str) -> FoundAccount | None:
        """See `LoginAccounts.find`."""
        response = await self._get("", {"username": username, "home_isil": home_isil})
        found = _read(_FoundJson, response).account
        return None if found is None else found.found()

    async def by_id(self, account_id: str) -> FoundAccount | None:
        """See `LoginAccounts.by_id`."""
        response = await self._get(f"/{quote(account_id, safe='')}", {})
        if response.status_code == 404 and _read(_ProblemJson, response, 404).code == "account-not-found":
            return None
        return _read(_AccountJson, response).found()

    async def _get(self, path: str, query: Mapping[str, str]) -> httpx.Response:
        try:
            return await self._http.get(
                self._url + path,
                params=query,
                headers={"Authorization": f"Bearer {self._token()}"},
                timeout=limits.ACCOUNTS,
            )
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise LoginAccountsUnavailable from error


def _read(kind: type[Json], response: httpx.Response, status: int = 200) -> Json:
    if response.status_code != status:
        raise LoginAccountsUnavailable
    try:
        return kind.model_validate(orjson.loads(response.content))
    except (ValidationError, orjson.JSONDecodeError) as error:
        raise LoginAccountsUnavailable from error
