"""What routes are given: dependencies of use cases, the caller, one write per Idempotency-Key."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Response

from registration.api.schemas import GuestJson, guest_json
from registration.application.dependencies import Context, Dependencies, SideRows, Written, no_side_rows
from registration.application.show_guest import show_guest
from registration.read_models.guest_directory import GuestDirectory
from registration.read_models.history import GuestHistory
from shared.event_log import Metadata
from shared.web.idempotency import CommandResult, IdempotencyKeys, IdempotentRequest, Rows, idempotent_request
from shared.web.problems import Problem, correlation_id
from shared.web.security import Principal, requires

COUNTER = requires("counter")
FEED = requires("feed")
OPERATOR = requires("operator")


@dataclass(frozen=True, slots=True)
class Clerk:
    """Somebody at the counter of an organisation: sees and changes its guests only (R20)."""

    organisation: str
    metadata: Metadata

    def context(self, side_rows: SideRows = no_side_rows) -> Context:
        """For whom a use case works."""
        return Context(self.organisation, self.metadata, side_rows)


async def _clerk(request: Request, principal: Annotated[Principal, Depends(COUNTER)]) -> Clerk:
    if principal.organisation is None:
        raise Problem(
            403,
            "no-organisation",
            "Uw aanmelding zegt niet bij welke instantie u werkt.",
            "The token has no claim `organisation`.",
        )
    return Clerk(principal.organisation, Metadata(principal.subject, correlation_id(request)))


def _operator(request: Request, principal: Annotated[Principal, Depends(OPERATOR)]) -> Metadata:
    """Who causes what an operator does now, at whichever organisation."""
    return Metadata(principal.subject, correlation_id(request))


def _registration(request: Request) -> Dependencies:
    found: Dependencies = request.app.state.deps
    return found


def _keys(request: Request) -> IdempotencyKeys:
    found: IdempotencyKeys = request.app.state.idempotency_keys
    return found


def _directory(request: Request) -> GuestDirectory:
    found: GuestDirectory = request.app.state.directory
    return found


def _history(request: Request) -> GuestHistory:
    found: GuestHistory = request.app.state.history
    return found


OperatorDep = Annotated[Metadata, Depends(_operator)]
ClerkDep = Annotated[Clerk, Depends(_clerk)]
DependenciesDep = Annotated[Dependencies, Depends(_registration)]
KeysDep = Annotated[IdempotencyKeys, Depends(_keys)]
DirectoryDep = Annotated[GuestDirectory, Depends(_directory)]
HistoryDep = Annotated[GuestHistory, Depends(_history)]
IdempotentRequestDep = Annotated[IdempotentRequest | None, Depends(idempotent_request)]

Command = Callable[[Context], Awaitable[Written]]


class GuestWrite:
    """Runs a command for the calling clerk and shows the guest afterwards, read from its stream."""

    def __init__(
        self,
        clerk: ClerkDep,
        idempotent: IdempotentRequestDep,
        keys: KeysDep,
        deps: DependenciesDep,
        response: Response,
    ) -> None:
        self._clerk = clerk
        self._attempt = idempotent
        self._keys = keys
        self._registration = deps
        self._response = response

    async def __call__(self, command: Command) -> GuestJson:
        """The guest after `command`, or after what the same key did before; sets `Event-Position`."""

        async def run(rows: Rows) -> CommandResult:
            written = await command(self._clerk.context(rows))
            return CommandResult(written.guest_id, written.position)

        done = await self._keys.run_once(self._attempt, run)
        self._response.headers["Event-Position"] = str(done.position)
        return guest_json(await show_guest(done.resource_id, self._clerk.organisation, self._registration))


WriteDep = Annotated[GuestWrite, Depends()]
