"""The client of identity's API for login accounts (R17)."""

from collections.abc import Callable

import httpx
import orjson
from pydantic import BaseModel, ValidationError

from registration.application.dependencies import FoundAccount
from registration.domain.errors import LoginAccountsUnavailable
from shared.kernel.account_id import AccountId
from shared.platform.http_client import HttpClient

# Seconds; short, because a clerk and a patron are waiting.
TIMEOUT = httpx.Timeout(5.0, connect=1.0)


class _AccountJson(BaseModel):
    account_id: AccountId
    username: str
    email: str


class _FoundJson(BaseModel):
    account: _AccountJson | None


class IdentityApi:
    """See `dependencies.LoginAccounts`. `token` returns the bearer token and is called for every request."""

    def __init__(self, base_url: str, http: HttpClient, token: Callable[[], str]) -> None:
        self._url = base_url.rstrip("/") + "/v1/login-accounts"
        self._http = http
        self._token = token

    async def find(self, username: str, home_isil: str) -> FoundAccount | None:
        """See `LoginAccounts.find`."""
        try:
            response = await self._http.get(
                self._url,
                params={"username": username, "home_isil": home_isil},
                headers={"Authorization": f"Bearer {self._token()}"},
                timeout=TIMEOUT,
            )
            response.raise_for_status()
            found = _FoundJson.model_validate(orjson.loads(response.content)).account
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValidationError, orjson.JSONDecodeError) as error:
            raise LoginAccountsUnavailable from error
        return None if found is None else FoundAccount(found.account_id, found.username, found.email)
