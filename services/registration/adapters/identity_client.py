"""The clients of identity's API: login accounts (R17), and identity as its operators see it."""

from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import quote
from uuid import UUID

import httpx
import orjson
from pydantic import BaseModel, ValidationError

from registration.application.dependencies import FoundAccount
from registration.domain.errors import LoginAccountsUnavailable
from shared.kernel.login_account import AccountId
from shared.kernel.text import tidy
from shared.messaging.errors import NotParked, OnlyWaiting
from shared.platform import limits
from shared.platform.http_client import HttpClient
from shared.projections import NoSuchView, RebuildRunning
from shared.web.operations_api import (
    PATH,
    BacklogJson,
    EventsJson,
    OverviewJson,
    TriedJson,
    ViewJson,
)

Json = TypeVar("Json", bound=BaseModel)


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


class IdentitySilent(Exception):
    """Identity does not answer now. Try again in a moment."""


class IdentityRefuses(Exception):
    """Identity refuses this: the service token of registration needs the scope `installation`."""


_REFUSALS: Mapping[str, type[Exception]] = {
    "not-held": NotParked,
    "only-waiting": OnlyWaiting,
    "no-such-view": NoSuchView,
    "rebuild-running": RebuildRunning,
    "wrong-scope": IdentityRefuses,
}


class IdentityOperations:
    """Identity as its operators see it: see `ServiceOperations`.

    Every method also raises IdentitySilent and IdentityRefuses. Registration checks the operator's own scope;
    its service token has `installation` at identity, and identity stores both names.
    """

    def __init__(self, base_url: str, http: HttpClient, token: Callable[[], str]) -> None:
        self._url = base_url.rstrip("/") + PATH
        self._http = http
        self._token = token

    async def overview(self) -> OverviewJson:
        """See ServiceOperations."""
        return await self._ask(OverviewJson, "GET", "")

    async def backlog(self, subject: UUID) -> BacklogJson:
        """See ServiceOperations."""
        return await self._ask(BacklogJson, "GET", f"/parked/{subject}")

    async def retry(self, subject: UUID, by: str) -> TriedJson:
        """See ServiceOperations."""
        return await self._ask(TriedJson, "POST", f"/parked/{subject}/retry", {"by": by})

    async def skip(self, subject: UUID, reason: str, by: str) -> TriedJson:
        """See ServiceOperations."""
        body = {"reason": reason, "by": by}
        return await self._ask(TriedJson, "POST", f"/parked/{subject}/discard", body)

    async def view(self, name: str) -> ViewJson:
        """See ServiceOperations."""
        return await self._ask(ViewJson, "GET", f"/views/{quote(name, safe='')}")

    async def rebuild(self, name: str, by: str) -> ViewJson:
        """See ServiceOperations."""
        return await self._ask(ViewJson, "POST", f"/views/{quote(name, safe='')}/rebuild", {"by": by})

    async def events(self, subject: UUID) -> EventsJson:
        """See ServiceOperations."""
        return await self._ask(EventsJson, "GET", f"/guests/{subject}/events")

    async def _ask(
        self, kind: type[Json], method: str, path: str, body: Mapping[str, str] | None = None
    ) -> Json:
        try:
            response = await self._http.request(
                method,
                self._url + path,
                json=body,
                headers={"Authorization": f"Bearer {self._token()}"},
                timeout=limits.OPERATIONS,
            )
            if response.is_success:
                return kind.model_validate_json(response.content)
            code = _ProblemJson.model_validate_json(response.content).code
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValidationError) as error:
            raise IdentitySilent from error
        raise _REFUSALS.get(code, IdentitySilent)
