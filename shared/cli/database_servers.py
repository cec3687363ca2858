"""What each server of a service's database is now: the primary, or a standby and how far behind it is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.platform import limits
from shared.platform.database_hosts import Host, connect_to, hosts_of

if TYPE_CHECKING:
    import asyncpg

# Whatever role asks: that of the service sees no details of other sessions (pg_read_all_stats).
_STATE = """
SELECT pg_is_in_recovery() AS is_standby, current_setting('server_version') AS version,
       current_setting('synchronous_standby_names') AS synchronous,
       CASE WHEN pg_is_in_recovery() THEN (pg_control_checkpoint()).timeline_id
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer END AS timeline,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END AS written,
       (SELECT count(*) FROM pg_stat_replication) AS standbys
"""


class ServersFaulty(Exception):
    """The servers of a database are not as they must be. The text says what each of them is."""


@dataclass(frozen=True, slots=True)
class Server:
    """One server, as it says itself. `found` None: it could not be asked, for the reason `failure`."""

    host: Host | None
    found: asyncpg.Record | None = None
    failure: str = ""

    @property
    def is_primary(self) -> bool:
        """Whether it takes writes."""
        return self.found is not None and not self.found["is_standby"]


async def require_one_primary(url: str) -> str:
    """Return what each server is. Raises ServersFaulty when writes go nowhere, or to two servers."""
    servers = await _ask_all(url)
    said = _text_of_all(servers)
    primaries = [server for server in servers if server.is_primary]
    if len(primaries) > 1:
        raise ServersFaulty(f"{len(primaries)} servers take writes, each on its own: {said}")
    if not primaries:
        raise ServersFaulty(f"no server takes writes: {said}")
    if _waits_for_a_standby(primaries[0]):
        raise ServersFaulty(f"no write is confirmed until a synchronous standby is back: {said}")
    return said


async def require_standbys(url: str) -> str:
    """Return how many standbys the address names. Raises ServersFaulty when one of them is none now."""
    servers = await _ask_all(url)
    standbys = [server for server in servers if server.found and server.found["is_standby"]]
    if len(standbys) < len(servers) - 1:
        raise ServersFaulty(_text_of_all(servers))
    return f"{len(standbys)} can take over" if standbys else "none is named in the address"


async def _ask_all(url: str) -> list[Server]:
    hosts: Sequence[Host | None] = hosts_of(url) or [None]
    return list(await asyncio.gather(*(_asked(host, url) for host in hosts)))


async def _asked(host: Host | None, url: str) -> Server:
    try:
        connection = await connect_to(host, url, timeout=limits.CHECK / 2, target_session_attrs="any")
        try:
            return Server(host, await connection.fetchrow(_STATE, timeout=limits.CHECK / 2))
        finally:
            connection.terminate()
    except Exception as error:
        return Server(host, failure=f"{type(error).__name__}: {error}".removesuffix(": "))


def _waits_for_a_standby(server: Server) -> bool:
    return bool(server.found and server.found["synchronous"].strip() and not server.found["standbys"])


def _text_of_all(servers: list[Server]) -> str:
    primaries = [server for server in servers if server.is_primary]
    return "; ".join(_text(server, primaries) for server in servers)


def _text(server: Server, primaries: list[Server]) -> str:
    host = server.host or "the server"
    if server.found is None:
        return f"{host} cannot be asked ({server.failure})"
    at = f"{host} (PostgreSQL {server.found['version']}, timeline {server.found['timeline']})"
    if not server.is_primary:
        return f"{at} is a standby{_behind(server, primaries)}"
    mode = "synchronous" if server.found["synchronous"].strip() else "asynchronous"
    return f"{at} is the primary with {server.found['standbys']} {mode} standbys"


def _behind(server: Server, primaries: list[Server]) -> str:
    """Return how much of the primary's write-ahead log has not come to a standby."""
    if len(primaries) != 1 or primaries[0].found is None or server.found is None:
        return ""
    if server.found["written"] is None:
        return ", and has received nothing"
    return f", {max(0, primaries[0].found['written'] - server.found['written'])} bytes behind"
