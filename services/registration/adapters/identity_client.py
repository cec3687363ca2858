"""The clients of identity's API: login accounts (R17), merges of actors (I6), and what operators see."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar
from urllib.parse import quote
from uuid import UUID

import httpx2
import orjson
from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from registration.application.dependencies import ActorMerge, FoundAccount, GuestAccount, LoginActor
from registration.domain.errors import ActorMergeBlocked, LoginAccountsUnavailable
from shared.kernel.login_account import MOST_LIBRARIES, MOST_NAMED, AccountId
from shared.kernel.text import tidy
from shared.messaging.envelope import Identifier
from shared.messaging.errors import NotParked, OnlyWaiting
from shared.platform import limits
from shared.platform.http_client import HttpClient
from shared.projections import NoSuchView, RebuildRunning
from shared.web.configuration_api import ConfigurationJson, ReloadedJson
from shared.web.operations import (
    BacklogJson,
    EventsJson,
    OverviewJson,
    TriedJson,
    ViewJson,
)
from shared.web.operations_api import PATH

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


class _NamedJson(BaseModel):
    account_id: AccountId
    state: Literal["found", "unknown", "unavailable"]
    username: str
    email: str

    def named(self) -> GuestAccount:
        """Return what the account is called."""
        return GuestAccount(self.account_id, self.state, tidy(self.username), tidy(self.email))


class _NamesJson(BaseModel):
    accounts: list[_NamedJson] = Field(max_length=MOST_NAMED)


class _AccountIdsJson(BaseModel):
    account_ids: list[AccountId] = Field(max_length=MOST_LIBRARIES)


class _ProblemJson(BaseModel):
    code: str


class IdentityApi:
    """See `dependencies.LoginAccounts`. `token` returns the bearer token and is called for every request."""

    def __init__(self, base_url: str, http: HttpClient, token: Callable[[], Awaitable[str]]) -> None:
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

    async def names(self, account_ids: Sequence[str]) -> Sequence[GuestAccount]:
        """See `LoginAccounts.names`."""
        response = await self._send("POST", "/login-accounts/names", json={"account_ids": list(account_ids)})
        return [account.named() for account in _read(_NamesJson, response).accounts]

    async def with_username(self, username: str, home_isils: Sequence[str]) -> Sequence[str]:
        """See `LoginAccounts.with_username`."""
        body = {"username": username, "home_isils": list(home_isils)}
        response = await self._send("POST", "/login-accounts/with-username", json=body)
        if response.status_code == 422 and _read(_ProblemJson, response, 422).code == "malformed-username":
            return []
        return _read(_AccountIdsJson, response).account_ids

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

    async def _account(self, account_id: str) -> httpx2.Response:
        return await self._get(f"/login-accounts/{quote(account_id, safe='')}", {})

    async def _merge(
        self, actor_id: UUID, into: UUID, *, confirm: bool, headers: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        body = {"into": str(into), "confirm": confirm}
        return await self._send("POST", f"/actors/{actor_id}/merge", json=body, headers=headers)

    async def _get(self, path: str, query: Mapping[str, str]) -> httpx2.Response:
        return await self._send("GET", path, params=query)

    async def _send(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> httpx2.Response:
        try:
            return await self._http.request(
                method,
                self._url + path,
                headers={"Authorization": f"Bearer {await self._token()}"} | dict(headers or {}),
                timeout=limits.ACCOUNTS,
                **more,
            )
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise LoginAccountsUnavailable from error


def _read(kind: type[Json], response: httpx2.Response, status: int = 200) -> Json:
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

    def __init__(self, base_url: str, http: HttpClient, token: Callable[[], Awaitable[str]]) -> None:
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

    async def configuration(self) -> ConfigurationJson:
        """See ServiceOperations."""
        return await self._ask(ConfigurationJson, "GET", "/configuration")

    async def reload(self, reason: str, by: str) -> ReloadedJson:
        """See ServiceOperations."""
        return await self._ask(ReloadedJson, "POST", "/configuration/reload", {"reason": reason, "by": by})

    async def _ask(
        self, kind: type[Json], method: str, path: str, body: Mapping[str, str] | None = None
    ) -> Json:
        try:
            response = await self._http.request(
                method,
                self._url + path,
                json=body,
                headers={"Authorization": f"Bearer {await self._token()}"},
                timeout=limits.OPERATIONS,
            )
            if response.is_success:
                return kind.model_validate_json(response.content)
            code = _ProblemJson.model_validate_json(response.content).code
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValidationError) as error:
            raise IdentitySilent from error
        raise _REFUSALS.get(code, IdentitySilent)
