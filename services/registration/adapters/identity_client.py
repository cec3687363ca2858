"""The client of identity's API: login accounts (R17), and the merge of two actors (I6)."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar
from urllib.parse import quote
from uuid import UUID

import httpx
import orjson
from pydantic import AwareDatetime, BaseModel, ValidationError

from registration.application.dependencies import ActorMerge, FoundAccount, LoginActor
from registration.domain.errors import ActorMergeBlocked, LoginAccountsUnavailable
from shared.kernel.account_id import AccountId
from shared.kernel.text import tidy
from shared.messaging.envelope import Identifier
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


class _LinkJson(BaseModel):
    guest_id: UUID
    organisation: Identifier
    actor_id: UUID


class _LoginJson(BaseModel):
    organisation: Identifier
    first_login_at: AwareDatetime


class _LinksJson(BaseModel):
    actor_id: UUID | None
    links: list[_LinkJson]


class _ActorJson(BaseModel):
    actor_id: UUID
    links: list[_LinkJson]
    logins: list[_LoginJson]

    def actor(self) -> LoginActor:
        """Return the actor."""
        guests = [(link.guest_id, link.organisation) for link in self.links]
        first_logins = {login.organisation: login.first_login_at for login in self.logins}
        return LoginActor(self.actor_id, guests, first_logins)


class _BlockedJson(BaseModel):
    reason: Identifier


class _MergeJson(BaseModel):
    actor: _ActorJson
    into: _ActorJson
    birth_dates: Literal["same", "different", "unknown"]
    blocked: _BlockedJson | None


class _FoundJson(BaseModel):
    account: _AccountJson | None


class _ProblemJson(BaseModel):
    code: str


class IdentityApi:
    """See `dependencies.LoginAccounts`. `token` returns the bearer token and is called for every request."""

    def __init__(self, base_url: str, http: HttpClient, token: Callable[[], str]) -> None:
        self._url = base_url.rstrip("/") + "/v1"
        self._http = http
        self._token = token

    async def find(self, username: str, home_isil: str) -> FoundAccount | None:
        """See `LoginAccounts.find`."""
        response = await self._get("/login-accounts", {"username": username, "home_isil": home_isil})
        found = _read(_FoundJson, response).account
        return None if found is None else found.found()

    async def by_id(self, account_id: str) -> FoundAccount | None:
        """See `LoginAccounts.by_id`."""
        response = await self._account(account_id)
        if response.status_code == 404 and _read(_ProblemJson, response, 404).code == "account-not-found":
            return None
        return _read(_AccountJson, response).found()

    async def actor_merge(self, account_id: str, guest_id: UUID) -> ActorMerge | None:
        """See `LoginAccounts.actor_merge`."""
        account = _read(_LinksJson, await self._account(account_id))
        actor_id = next((link.actor_id for link in account.links if link.guest_id == guest_id), None)
        if actor_id is None or account.actor_id is None or actor_id == account.actor_id:
            return None
        shown = _read(_MergeJson, await self._merge(actor_id, account.actor_id, confirm=False))
        blocked = shown.blocked.reason if shown.blocked else None
        return ActorMerge(shown.actor.actor(), shown.into.actor(), shown.birth_dates, blocked)

    async def merge_actors(self, merge: ActorMerge, correlation_id: UUID) -> None:
        """See `LoginAccounts.merge_actors`."""
        headers = {"X-Correlation-ID": str(correlation_id)}
        response = await self._merge(merge.actor.actor_id, merge.into.actor_id, confirm=True, headers=headers)
        if response.status_code == 409:
            raise ActorMergeBlocked(_read(_BlockedJson, response, 409).reason)
        _read(_MergeJson, response)

    async def _account(self, account_id: str) -> httpx.Response:
        return await self._get(f"/login-accounts/{quote(account_id, safe='')}", {})

    async def _merge(
        self, actor_id: UUID, into: UUID, *, confirm: bool, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        body = {"into": str(into), "confirm": confirm}
        return await self._send("POST", f"/actors/{actor_id}/merge", json=body, headers=headers)

    async def _get(self, path: str, query: Mapping[str, str]) -> httpx.Response:
        return await self._send("GET", path, params=query)

    async def _send(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> httpx.Response:
        try:
            return await self._http.request(
                method,
                self._url + path,
                headers={"Authorization": f"Bearer {self._token()}"} | dict(headers or {}),
                timeout=limits.ACCOUNTS,
                **more,
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
