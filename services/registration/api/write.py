"""Every write on a guest: done once per Idempotency-Key, answered with its position and the guest."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Response

from registration.api.dependencies import TheAttempt, TheClerk, TheKeys, TheRegistration
from registration.api.guest_view import GuestJson, guest_json
from registration.application.ports import Context, Written
from registration.application.show_guest import show_guest
from shared.web.idempotency import Done, Rows

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
