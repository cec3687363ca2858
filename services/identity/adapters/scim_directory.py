"""An account directory with SCIM 2.0 (RFC 7643, RFC 7644), which is only read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, cast

import orjson
import structlog
from scim2_client import SCIMClientException, UnexpectedStatusCodeException
from scim2_client.engines.httpx2 import AsyncSCIMClient
from scim2_models import Error, ScimProvider, ServiceProviderConfig, User
from scim2_models.exceptions import SCIMException

from identity.adapters.account_directory import UnusableAccount
from identity.adapters.directory_settings import ClientCredentials, ScimDirectory
from identity.adapters.listed_accounts import AttributeMap, Entry, ListingDirectory
from identity.application.dependencies import AccountDetails, ById, DirectoryUnavailable
from shared.platform import limits
from shared.platform.http_client import HttpClient
from shared.web.service_token import ClientToken, ServiceToken, TokenClient, TokenFile, TokenUnavailable

Token = Callable[[], Awaitable[str]]
"""The bearer token as it is now."""

MOST_PAGES = 20
"""Of one list; each has at most 1 MiB. A directory that ignores the filter lists everybody it has."""
MOST_VALUES = 25
"""In one filter: it is part of the address, which servers limit to some thousands of characters."""
_KNOWN_ACCOUNTS, _KNOWN_SECONDS = 256, 300.0
_CORE = "urn:ietf:params:scim:schemas:core:2.0:user:"
_NO_SUCH_USER = object()
log = structlog.get_logger(__name__)


class ScimEntry(Entry):
    """A user. A name is a path (RFC 7644, section 3.10): `emails.value`, `urn:…:User:employeeNumber`."""

    def __init__(self, user: object) -> None:
        if not isinstance(user, dict):
            raise UnusableAccount("a user of the list is no JSON object")
        self._user = user

    def first(self, name: str) -> str | None:
        """See `Entry.first`."""
        value = self._at(name)
        if value is None or isinstance(value, str):
            return value
        raise UnusableAccount(f"the attribute {name} is no text")

    def flag(self, name: str) -> bool:
        """See `Entry.flag`."""
        value = self._at(name)
        if value is None or isinstance(value, bool):
            return value is not False
        raise UnusableAccount(f"the attribute {name} is neither true nor false")

    def _at(self, name: str) -> object:
        path = name.casefold().removeprefix(_CORE)
        value: object = self._user
        extension = next((key for key in self._user if path.startswith(f"{key.casefold()}:")), None)
        if extension is not None:
            value, path = self._user[extension], path[len(extension) + 1 :]
        elif path.startswith("urn:"):
            return None
        for part in path.split("."):
            value = _member(_preferred(value), part)
        return _preferred(value)


def _member(value: object, name: str) -> object:
    """Return a member of an object; names have no case (RFC 7643, section 2.1).

    Raises UnusableAccount when it says one name twice.
    """
    if not isinstance(value, dict):
        return None
    found = [member for key, member in value.items() if key.casefold() == name]
    if len(found) > 1:
        raise UnusableAccount("an attribute of the user is there twice")
    return found[0] if found else None


def _preferred(value: object) -> object:
    """Return the primary value of several, or else the first one (RFC 7643, section 2.4)."""
    if not isinstance(value, list):
        return value
    primary = (one for one in value if isinstance(one, dict) and one.get("primary") is True)
    return next(primary, value[0] if value else None)


def equals(attribute: str, values: Sequence[str]) -> str:
    """Return the filter that finds each of these values: they are JSON strings in it (section 3.4.2.2)."""
    return " or ".join(f"{attribute} eq {orjson.dumps(value).decode()}" for value in values)


@dataclass(frozen=True, slots=True)
class _Known:
    """A user as it was read, for a reply that it has not changed."""

    etag: str
    user: object
    read_at: float


class ScimAccountDirectory(ListingDirectory):
    """Finds accounts by a filter, or by `GET /Users/{id}` when the id of SCIM is the account's id.

    `http`: its base address is the directory's. Several accounts are one filter where the directory announces
    that it has filters. What it says about numbers of results is compared with what it sends.
    """

    def __init__(self, http: HttpClient, token: Token, attributes: AttributeMap) -> None:
        super().__init__(attributes)
        self._scim = AsyncSCIMClient(
            http,
            provider=ScimProvider(models=(User, ServiceProviderConfig)),
            check_request_payload=False,
            check_response_payload=False,  # an attribute of another user that is malformed is not our matter
        )
        self._token = token
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._has_filters: bool | None = None

    async def by_id(self, account_id: str) -> AccountDetails | None:
        """See `AccountDirectory.by_id`."""
        if self._attributes.account_id.casefold() != "id":
            return await super().by_id(account_id)
        user = await self._user(account_id)
        if user is None:
            return None
        entry = ScimEntry(user)
        if entry.text("id") != account_id:
            raise UnusableAccount("the reply is about another account")
        return self._one([entry], ById(account_id))

    async def _user(self, account_id: str) -> object:
        known = self._known.get(account_id)
        fresh = known is not None and monotonic() - known.read_at < _KNOWN_SECONDS
        etag = {"If-None-Match": known.etag} if known and fresh else {}
        reply = await self._get(User, account_id, etag, [200, 304])
        if reply is None:  # 304, which has no body
            if known is None or not fresh:
                raise DirectoryUnavailable("the reply has status 304, which was not asked for")
            return known.user
        if reply is _NO_SUCH_USER:
            return None
        if isinstance(reply, dict):
            self._remember(account_id, reply)
        return reply

    def _remember(self, account_id: str, user: Mapping[str, Any]) -> None:
        """Keep a user with its version for some minutes, so that it is not sent again."""
        self._known.pop(account_id, None)
        meta = user.get("meta")
        if isinstance(meta, dict) and isinstance(version := meta.get("version"), str) and version.isascii():
            self._known[account_id] = _Known(version, user, monotonic())
        if len(self._known) > _KNOWN_ACCOUNTS:
            self._known.popitem(last=False)

    async def _entries(self, attribute: str, values: Sequence[str]) -> Sequence[Entry]:
        """See `ListingDirectory._entries`. The pages follow each other until the list is complete."""
        found: dict[str, Entry] = {}
        for _ in range(MOST_PAGES):
            total, page = await self._page(equals(attribute, values), len(found) + 1)
            before = len(found)
            for entry in map(ScimEntry, page):
                found.setdefault(entry.text("id"), entry)
            if len(found) >= total:
                return list(found.values())
            if len(found) == before:
                raise DirectoryUnavailable("the list says that it has more than it sends")
        raise DirectoryUnavailable(f"the list has more than {MOST_PAGES} pages")

    async def _page(self, wanted: str, start: int) -> tuple[int, list[object]]:
        """Return one page, and how many results the directory says that there are in all."""
        query: dict[str, object] = {"filter": wanted}
        if start > 1:
            query["startIndex"] = start
        reply = await self._get(User, query, {}, [200])
        if not isinstance(reply, dict) or _is_error(reply):
            raise DirectoryUnavailable("the reply is no list")
        total, page = reply.get("totalResults"), reply.get("Resources", [])
        if not isinstance(total, int) or isinstance(total, bool) or not isinstance(page, list):
            raise DirectoryUnavailable("the reply is no list")
        return total, page

    async def _most_values(self) -> int:
        """See `ListingDirectory._most_values`. One that does not say what it can is asked one by one."""
        if self._has_filters is None:
            try:
                config = await self._get(ServiceProviderConfig, None, {}, [200])
            except DirectoryUnavailable as failure:
                log.warning("account_directory.no_service_provider_config", reason=str(failure))
                return 1
            self._has_filters = isinstance(config, dict) and _announces_filters(config)
        return MOST_VALUES if self._has_filters else 1

    async def _get(
        self, what: type[Any], target: object, headers: Mapping[str, str], statuses: list[int]
    ) -> Any:
        """Ask, and return the JSON value as it is, None for a reply without a body, or _NO_SUCH_USER."""
        try:
            bearer = {"Authorization": f"Bearer {await self._token()}"}
            return await self._scim.query(
                what,
                target,
                expected_status_codes=statuses,
                headers=bearer | dict(headers),
                timeout=limits.DIRECTORY,
            )
        except TokenUnavailable as error:
            raise DirectoryUnavailable(f"no token: {error}") from error
        except UnexpectedStatusCodeException as error:
            if _says_no_such_user(error.source):
                return _NO_SUCH_USER
            raise DirectoryUnavailable("the reply has another status") from error
        except (SCIMClientException, SCIMException, OSError, ValueError) as error:
            raise DirectoryUnavailable(type(error).__name__) from error


def _says_no_such_user(reply: Any) -> bool:
    """Return whether SCIM itself says so: status 404 may be of a proxy, or of a wrong address."""
    try:
        return reply.status_code == 404 and _is_error(reply.json())
    except ValueError:
        return False


def _is_error(reply: object) -> bool:
    return isinstance(reply, dict) and reply.get("schemas") == [str(Error.__schema__)]


def _announces_filters(config: Mapping[str, Any]) -> bool:
    return _member(config.get("filter"), "supported") is True


def scim_token(settings: ScimDirectory) -> ServiceToken:
    """Return the token of these settings. Nothing is read or asked yet."""
    if settings.token_file is not None:
        return TokenFile(settings.token_file)
    client = cast("ClientCredentials", settings.client_credentials)
    return ClientToken(
        TokenClient(
            issuer=client.issuer,
            client_id=client.client_id,
            secret_file=client.client_secret_file,
            key_file=client.client_key_file,
            scope=client.scope,
            audience=client.audience,
            resource=client.resource,
        )
    )
