"""A form that is sent twice, by a double Enter or a reload, is done once: it carries a hidden key."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import orjson
from fastapi import Depends, Request

from registration.api.dependencies import TheKeys
from registration.application.ports import Context, Written
from registration.counter_ui.session import TheCounterClerk, TheStaff
from shared.web.idempotency import Attempt, Done, Rows

Command = Callable[[Context], Awaitable[Written]]
_LONGEST_KEY = 100


class FormWrite:
    """Runs a command for the clerk, once per rendered form (`idempotency_key`)."""

    def __init__(self, request: Request, staff: TheStaff, clerk: TheCounterClerk, keys: TheKeys) -> None:
        self._request = request
        self._staff = staff
        self._clerk = clerk
        self._keys = keys

    async def __call__(self, command: Command) -> Done:
        """Which guest it was done to, now or by the same form before."""

        async def run(rows: Rows) -> Done:
            written = await command(self._clerk.context(rows))
            return Done(written.guest_id, written.position)

        return await self._keys.once(await self._attempt(), run)

    async def _attempt(self) -> Attempt | None:
        form = await self._request.form()
        key = form.get("idempotency_key")
        if not isinstance(key, str) or not 0 < len(key) <= _LONGEST_KEY:
            return None
        said = {
            name: value for name, value in form.items() if name != "csrf_token" and isinstance(value, str)
        }
        body = orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
        return Attempt(self._staff.subject, f"form {self._request.url.path}", key, body)


TheFormWrite = Annotated[FormWrite, Depends()]
