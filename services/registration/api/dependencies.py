"""FastAPI dependencies of the routes: collaborators, the caller, idempotent writes."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from registration.api.schemas import GuestJson, guest_json
from registration.application.dependencies import (
    Context,
    Dependencies,
    LookupKind,
    SideRows,
    no_side_rows,
)
from registration.application.find_login_account import guests_with_username
from registration.application.looking_up import looking_up
from registration.application.show_guest import show_result
from registration.domain.errors import GuestNotFound
from registration.domain.guest import Guest
from registration.read_models.guest_directory import (
    FoundGuest,
    GuestDirectory,
    GuestPage,
    Search,
    asked_for,
    username_in,
)
from registration.read_models.history import GuestHistory
from shared.event_log import CommandResult, Metadata
from shared.web.feed_api import FEED
from shared.web.idempotency import IdempotentWrite, idempotent_write
from shared.web.problems import Problem, correlation_id
from shared.web.security import INSTALLATION, Principal, requires

_COUNTER = requires("counter")
OPERATOR = requires("operator", INSTALLATION)


@dataclass(frozen=True, slots=True)
class Clerk:
    """The calling clerk, who sees and changes the guests of one organisation only (R20)."""

    organisation: str
    metadata: Metadata

    def context(self, side_rows: SideRows = no_side_rows) -> Context:
        """Return the context in which a use case works for this clerk."""
        return Context(self.organisation, self.metadata, side_rows)


async def _admit_clerk(request: Request, principal: Annotated[Principal, Depends(_COUNTER)]) -> None:
    """Keep the clerk with the request. Raises Problem (403) for a token of no organisation, or of several."""
    organisation = one_organisation(principal)
    request.state.clerk = Clerk(organisation, Metadata(principal.subject, correlation_id(request)))


def one_organisation(principal: Principal) -> str:
    """Return the organisation of the caller. Raises Problem (403) for a token of none, or of several."""
    if len(principal.organisations) != 1:
        raise Problem(
            403,
            "no-organisation",
            "Uw aanmelding zegt niet bij welke instantie u werkt.",
            "The claim `organisation` of the token does not name one organisation.",
        )
    (organisation,) = principal.organisations
    return organisation


CLERK = Depends(_admit_clerk)
"""Every route of the counter: a token with the scope `counter` and one organisation."""


async def _clerk(request: Request) -> Clerk:
    """Return the clerk. The router must have `CLERK`: FastAPI takes time for each dependency, also again."""
    clerk: Clerk = request.state.clerk
    return clerk


@dataclass(frozen=True, slots=True)
class Operator:
    """The calling operator: of some organisations, or of the whole installation (R20)."""

    organisations: frozenset[str]
    whole_installation: bool
    metadata: Metadata

    async def require_guest(self, guest_id: UUID, deps: Dependencies) -> None:
        """Raise GuestNotFound unless the guest exists and the operator may act for its organisation."""
        guest = await deps.store.find(Guest, guest_id)
        if guest is None or not (self.whole_installation or guest.state.organisation in self.organisations):
            raise GuestNotFound


async def _operator(request: Request, principal: Annotated[Principal, Depends(OPERATOR)]) -> Operator:
    metadata = Metadata(principal.subject, correlation_id(request))
    return Operator(principal.organisations, INSTALLATION in principal.scopes, metadata)


async def identity_only(request: Request, principal: Annotated[Principal, Depends(FEED)]) -> None:
    """Require identity itself as the caller (R20). Raises Problem (403)."""
    if principal.subject != request.app.state.identity_subject:
        raise Problem(
            403,
            "not-identity",
            "Alleen de dienst identity mag dit opvragen.",
            "Only the service identity may ask for this.",
        )


async def _deps(request: Request) -> Dependencies:
    found: Dependencies = request.app.state.deps
    return found


class RecordedDirectory:
    """The guest directory for one clerk: what is found is recorded, and limited (R22)."""

    def __init__(self, directory: GuestDirectory, clerk: Clerk, deps: Dependencies) -> None:
        self._directory = directory
        self._clerk = clerk
        self._deps = deps

    async def page(self, search: Search, after_position: int = 0, *, query: str = "") -> GuestPage:
        """Return a page of guests. Raises TooManyLookups, ViewBehind.

        `query`: what was typed; if it may be a username, identity is asked whose account has it.
        """
        what = " ".join(search.words or ())
        async with looking_up(LookupKind.GUESTS, what, self._clerk.context(), self._deps) as lookup:
            page = await self._page(search, after_position, username_in(query))
            lookup.guest_ids = [guest.guest_id for guest in page.guests]
            lookup.outcome = "found" if page.guests else "none"
        return page

    async def _page(self, search: Search, after_position: int, username: str | None) -> GuestPage:
        if username is None:
            return await self._directory.page(search, after_position)
        found = await guests_with_username(username, search.organisation, self._deps)
        page = await self._directory.page(replace(search, also=found.guest_ids), after_position)
        return replace(page, login_accounts=found.state)

    async def with_card(self, card_number: str) -> Sequence[FoundGuest]:
        """Return guests with this card number. The caller records the look-up."""
        return await self._directory.find(Search(self._clerk.organisation, asked_for(card_number)))


def recorded_directory(request: Request, clerk: Clerk) -> RecordedDirectory:
    """Return the directory for this clerk, of the API or of the pages."""
    return RecordedDirectory(request.app.state.directory, clerk, request.app.state.deps)


async def _history(request: Request) -> GuestHistory:
    found: GuestHistory = request.app.state.history
    return found


OperatorDep = Annotated[Operator, Depends(_operator)]
ClerkDep = Annotated[Clerk, Depends(_clerk)]


async def _directory(request: Request) -> RecordedDirectory:
    return recorded_directory(request, await _clerk(request))


DependenciesDep = Annotated[Dependencies, Depends(_deps)]
DirectoryDep = Annotated[RecordedDirectory, Depends(_directory)]
HistoryDep = Annotated[GuestHistory, Depends(_history)]
IdempotentWriteDep = Annotated[IdempotentWrite, Depends(idempotent_write)]

Command = Callable[[Context], Awaitable[CommandResult]]


class GuestWrite:
    """A callable that runs a command for the calling clerk, then returns the guest from its stream."""

    def __init__(self, clerk: Clerk, write: IdempotentWrite, deps: Dependencies) -> None:
        self._clerk = clerk
        self._write = write
        self._deps = deps

    async def __call__(self, command: Command) -> GuestJson:
        """Run `command` once per Idempotency-Key; return the guest."""
        result = await self._write(lambda rows: command(self._clerk.context(rows)))
        return guest_json(await show_result(result, self._clerk.organisation, self._deps))


async def _guest_write(request: Request, write: IdempotentWriteDep) -> GuestWrite:
    return GuestWrite(await _clerk(request), write, await _deps(request))


WriteDep = Annotated[GuestWrite, Depends(_guest_write)]
