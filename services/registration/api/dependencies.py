"""What routes are given: dependencies of use cases, the caller, one write per Idempotency-Key."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Response

from registration.api.schemas import GuestJson, guest_json
from registration.application.dependencies import Context, Registration, SideRows, Written, no_side_rows
from registration.application.show_guest import show_guest
from registration.read_models.guest_directory import GuestDirectory
from registration.read_models.history import GuestHistory
from shared.event_log import Metadata
from shared.web.idempotency import Attempt, Done, IdempotencyKeys, Rows, attempt_of
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


def _registration(request: Request) -> Registration:
    found: Registration = request.app.state.registration
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


TheOperator = Annotated[Metadata, Depends(_operator)]
TheClerk = Annotated[Clerk, Depends(_clerk)]
TheRegistration = Annotated[Registration, Depends(_registration)]
TheKeys = Annotated[IdempotencyKeys, Depends(_keys)]
TheDirectory = Annotated[GuestDirectory, Depends(_directory)]
TheHistory = Annotated[GuestHistory, Depends(_history)]
TheAttempt = Annotated[Attempt | None, Depends(attempt_of)]

Command = Callable[[Context], Awaitable[Written]]


class GuestWrite:
    """Runs a command for the calling clerk and shows the guest afterwards, read from its stream."""

    def __init__(
        self,
        clerk: TheClerk,
        attempt: TheAttempt,
        keys: TheKeys,
        registration: TheRegistration,
        response: Response,
    ) -> None:
        self._clerk = clerk
        self._attempt = attempt
        self._keys = keys
        self._registration = registration
        self._response = response

    async def __call__(self, command: Command) -> GuestJson:
        """The guest after `command`, or after what the same key did before; sets `Event-Position`."""

        async def run(rows: Rows) -> Done:
            written = await command(self._clerk.context(rows))
            return Done(written.guest_id, written.position)

        done = await self._keys.once(self._attempt, run)
        self._response.headers["Event-Position"] = str(done.position)
        return guest_json(await show_guest(done.resource_id, self._clerk.organisation, self._registration))


TheWrite = Annotated[GuestWrite, Depends()]
