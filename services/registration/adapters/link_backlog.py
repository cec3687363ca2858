"""Whether identity keeps up with what registration asks of it. If not, nobody is registered for a moment."""

from __future__ import annotations

from time import monotonic

import asyncpg

from registration.domain.events import (
    GuestRegistered,
    LoginAccountLinkConfirmed,
    LoginAccountLinkRefused,
    LoginAccountLinkRequested,
)
from shared.event_log import LogOverloaded

MOST_SECONDS = 1.5
"""From a request until its answer. It may still grow until the next look."""
LEAST_REQUESTS = 10
"""Within WINDOW_SECONDS. Fewer do not keep identity busy: then an answer is late for another reason."""
WINDOW_SECONDS, LOOK_EVERY_SECONDS = 2.0, 0.5
_NEWEST = 5_000
"""Events at the end of the log that may be of the last WINDOW_SECONDS."""

_LOOK = """
WITH newest AS (
    SELECT originator_id, topic, recorded_at FROM stored_events
     WHERE notification_id > (SELECT max(notification_id) FROM stored_events) - $4
       AND recorded_at > clock_timestamp() - make_interval(secs => $3)
)
SELECT count(*) FILTER (WHERE topic = ANY ($1)) AS asked,
       count(*) FILTER (WHERE topic = ANY ($2)) AS answered,
       (SELECT min(extract(epoch FROM newest.recorded_at - asked.recorded_at))::float8
          FROM newest JOIN stored_events AS asked USING (originator_id)
         WHERE newest.topic = ANY ($2) AND asked.topic = ANY ($1)
           AND asked.recorded_at <= newest.recorded_at) AS quickest
  FROM newest
"""


class PostgresLinkBacklog:
    """Looks at the end of the log, at most every LOOK_EVERY_SECONDS, and only when a guest is registered.

    It is behind when even the quickest answer came late, and more is asked than answered. Both must be so:
    after an outage answers are late, but there are more of them than new requests, and it is over soon.
    While there are no answers at all identity is away, and guests are registered as ever.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._is_behind = False
        self._next_look = 0.0

    async def require_bearable(self) -> None:
        """See `LinkBacklog`."""
        if monotonic() >= self._next_look:
            self._next_look = monotonic() + LOOK_EVERY_SECONDS
            self._is_behind = await self._look()
        if self._is_behind:
            raise LogOverloaded("identity does not keep up with link requests")

    async def _look(self) -> bool:
        found = await self._pool.fetchrow(_LOOK, _ASKED, _ANSWERED, WINDOW_SECONDS, _NEWEST)
        if found is None or found["quickest"] is None or found["asked"] < LEAST_REQUESTS:
            return False
        return bool(found["quickest"] > MOST_SECONDS and found["asked"] > found["answered"])


_ASKED = [GuestRegistered.TOPIC, LoginAccountLinkRequested.TOPIC]
_ANSWERED = [LoginAccountLinkConfirmed.TOPIC, LoginAccountLinkRefused.TOPIC]
