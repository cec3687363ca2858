"""Account directories: what holds for all of them, the one of two HTTP requests, and none.

Whatever a directory sends is compared here again (I1). What is no answer is DirectoryUnavailable and never
"no such account": a login is tried again later (I4). Texts of errors hold no username and no address: they
are logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Annotated, TypeVar
from urllib.parse import quote

import httpx2
import structlog
from pydantic import BaseModel, Field

from identity.application.dependencies import (
    AccountDetails,
    AccountDirectory,
    AccountReference,
    ById,
    ByUsername,
    DirectoryUnavailable,
)
from identity.application.repository import plain_username
from identity.domain.errors import MalformedUsername
from shared.kernel.library_card import (
    Isil,
    MalformedCardNumber,
    MalformedIsil,
    canonical_card_number,
    isil_base,
)
from shared.kernel.login_account import AccountId
from shared.kernel.text import comparable, tidy
from shared.platform import limits
from shared.platform.admission import waiting_outside
from shared.platform.asked_together import AskedTogether
from shared.platform.circuit_breaker import CircuitBreaker
from shared.platform.http_client import HttpClient

Json = TypeVar("Json", bound=BaseModel)
Found = TypeVar("Found")
log = structlog.get_logger(__name__)

MOST_TOGETHER = 25
LONGEST_EMAIL = 320
"""Characters: the longest local part, @, and the longest domain (RFC 3696, erratum 1690)."""


class UnusableAccount(DirectoryUnavailable):
    """The account directory sent an account that cannot be used. Nothing was saved. Try again in a moment.

    The directory is there: this says nothing about the next account.
    """


class ListedAccount(BaseModel):
    """An account as a directory lists it, before its home card is checked. `active` False: nobody has it."""

    account_id: AccountId
    username: str
    email: Annotated[str, Field(max_length=LONGEST_EMAIL)]
    home_isil: str
    home_card_number: str
    active: bool = True

    def details(self) -> AccountDetails:
        """Check the account, and tidy the text that people read. Raises UnusableAccount.

        A malformed card would result in a person reference that matches no guest, so a login could make a
        wrong new actor.
        """
        try:
            return AccountDetails(
                account_id=self.account_id,
                username=plain_username(self.username),
                email=tidy(self.email).strip(),
                home_isil=str(Isil.parse(self.home_isil)),
                home_card_number=canonical_card_number(self.home_card_number),
            )
        except (MalformedIsil, MalformedCardNumber, MalformedUsername) as error:
            raise UnusableAccount(f"the account is malformed: {type(error).__name__}") from error

    def is_named(self, username: str) -> bool:
        """Return whether it has this username, as it is seen."""
        return seen(self.username) == seen(username)


def seen(username: str) -> str:
    """Return the form in which usernames are compared (I1)."""
    return comparable(username).strip()


def only_account(listed: Iterable[ListedAccount]) -> AccountDetails | None:
    """Return the one account of those that a directory listed for an id.

    Raises UnusableAccount for several: an id names one account.
    """
    found = {account.details(): account.active for account in listed}
    if len(found) > 1:
        raise UnusableAccount("several accounts have this id")
    return next((account for account, active in found.items() if active), None)


def only_account_named(listed: Iterable[ListedAccount], wanted: ByUsername) -> AccountDetails | None:
    """Return the account with this username at this library, if exactly one of a complete list has it (I1).

    A directory may ignore the question and list everybody. Accounts of others are not looked at: their
    mistakes are not this person's.
    """
    found = {
        account.details(): account.active
        for account in listed
        if account.is_named(wanted.username) and _is_at(account, wanted.home_isil)
    }
    if len(found) != 1:
        return None
    [(account, active)] = found.items()
    return account if active else None


def _is_at(account: ListedAccount, home_isil: str) -> bool:
    return isil_base(account.details().home_isil) == isil_base(home_isil)


class GuardedDirectory(AccountDirectory):
    """Asks a directory within its time limit, and leaves one that keeps failing alone for a while.

    A reply about an account that cannot be used is no failure: the directory did reply. Accounts that are
    asked for at the same time are one question, where the directory can be asked so.
    """

    def __init__(self, directory: AccountDirectory, breaker: CircuitBreaker | None = None) -> None:
        self._directory = directory
        self._breaker = breaker or CircuitBreaker()
        self._together = AskedTogether(self._by_ids, most=MOST_TOGETHER)

    async def by_id(self, account_id: str) -> AccountDetails | None:
        """See `AccountDirectory.by_id`."""
        if not self._directory.lists_many:
            return await self._by_id(account_id)
        with waiting_outside():
            found = await self._together.ask(account_id)
        if isinstance(found, DirectoryUnavailable):
            raise found
        return found

    async def _by_id(self, account_id: str) -> AccountDetails | None:
        return await self._guarded(partial(self._directory.by_id, account_id), limits.DIRECTORY)

    async def _by_ids(
        self, account_ids: Sequence[str]
    ) -> Sequence[AccountDetails | DirectoryUnavailable | None]:
        """Find the accounts by one question. Where one cannot be used, each is asked for by itself."""
        references = [ById(account_id) for account_id in account_ids]
        if len(references) > 1:
            try:
                ask = partial(self._directory.find_many, references)
                found = await self._guarded(ask, limits.DIRECTORY)
                return [found[reference] for reference in references]
            except UnusableAccount:
                log.info("account_directory.asked_one_by_one", accounts=len(references))
            except DirectoryUnavailable as failure:
                return [failure] * len(references)
        asked = await asyncio.gather(*map(self._by_id, account_ids), return_exceptions=True)
        return [_known(answer) for answer in asked]

    async def by_username(self, username: str, home_isil: str) -> AccountDetails | None:
        """See `AccountDirectory.by_username`."""
        ask = partial(self._directory.by_username, username, home_isil)
        return await self._guarded(ask, limits.DIRECTORY)

    async def find_many(
        self, references: Collection[AccountReference]
    ) -> Mapping[AccountReference, AccountDetails | None]:
        """See `AccountDirectory.find_many`."""
        return await self._guarded(partial(self._directory.find_many, references), limits.DIRECTORY_BATCH)

    async def _guarded(self, ask: Callable[[], Awaitable[Found]], seconds: float) -> Found:
        if not self._breaker.lets_through():
            raise DirectoryUnavailable("not asked for a while after repeated failures")
        try:
            with waiting_outside():
                async with asyncio.timeout(seconds):
                    found = await ask()
        except (DirectoryUnavailable, TimeoutError) as failure:
            raise self._unavailable(failure) from failure
        self._breaker.succeeded()
        return found

    def _unavailable(self, failure: Exception) -> DirectoryUnavailable:
        if isinstance(failure, UnusableAccount):
            self._breaker.succeeded()
        else:
            self._breaker.failed()
        if not isinstance(failure, DirectoryUnavailable):
            failure = DirectoryUnavailable("no reply within the time limit")
        log.warning("account_directory.unavailable", reason=str(failure))
        return failure


def _known(
    answer: AccountDetails | BaseException | None,
) -> AccountDetails | DirectoryUnavailable | None:
    if isinstance(answer, BaseException) and not isinstance(answer, DirectoryUnavailable):
        raise answer
    return answer


class NoAccountDirectory(AccountDirectory):
    """No account directory: identity has only accounts that were imported or opened here."""

    async def by_id(self, account_id: str) -> AccountDetails | None:  # noqa: ARG002
        """See `AccountDirectory.by_id`."""
        return None

    async def by_username(self, username: str, home_isil: str) -> AccountDetails | None:  # noqa: ARG002
        """See `AccountDirectory.by_username`."""
        return None


class _FoundJson(BaseModel):
    account: ListedAccount | None


class HttpAccountDirectory(AccountDirectory):
    """An account directory with `GET /accounts/{account_id}` and `GET /accounts?username=&home_isil=`."""

    def __init__(self, base_url: str, http: HttpClient) -> None:
        self._base_url = base_url.rstrip("/")
        self._http = http

    async def by_id(self, account_id: str) -> AccountDetails | None:
        """See `AccountDirectory.by_id`."""
        response = await self._get(f"/accounts/{quote(account_id, safe='')}", {})
        if response.status_code == 404:
            _require_json(response)
            return None
        listed = _read(ListedAccount, response)
        if listed.account_id != account_id:
            raise UnusableAccount("the reply is about another account")
        return only_account([listed])

    async def by_username(self, username: str, home_isil: str) -> AccountDetails | None:
        """See `AccountDirectory.by_username`."""
        response = await self._get("/accounts", {"username": username, "home_isil": home_isil})
        listed = _read(_FoundJson, response).account
        if listed is None:
            return None
        wanted = ByUsername(username, home_isil)
        found = only_account_named([listed], wanted)
        if found is None and listed.active:
            raise UnusableAccount("the reply is about another account")
        return found

    async def _get(self, path: str, query: Mapping[str, str]) -> httpx2.Response:
        try:
            return await self._http.get(self._base_url + path, params=query, timeout=limits.DIRECTORY)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise DirectoryUnavailable(type(error).__name__) from error


def _require_json(response: httpx2.Response) -> None:
    """Raise DirectoryUnavailable for a 404 that is not the directory's: a proxy, or a wrong address."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise DirectoryUnavailable("the reply has status 404, and is not JSON")


def _read(kind: type[Json], response: httpx2.Response) -> Json:
    if response.status_code != 200:
        raise DirectoryUnavailable(f"the reply has status {response.status_code}")
    try:
        return kind.model_validate(response.json())
    except ValueError as error:  # pydantic's is one
        raise DirectoryUnavailable("the reply cannot be read") from error
