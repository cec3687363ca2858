"""The hosts of a database's address: a primary, and standbys of which one may take its place.

`postgresql://role@one:5432,two:5432/name?target_session_attrs=read-write` names two. The driver tries them in
order within one time limit: a host that is silent would use it up each time, and the next one would never be
asked. Here each host has a share of the limit, and the one that was found last is asked first.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

STANDARD_PORT = 5432
FOR_SERVICES = frozenset({"read-write", "primary"})
"""Values of `target_session_attrs` with which no standby is taken: each service writes."""

_HOST = re.compile(r"(\[[^\]]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?")
_NEXT = (
    OSError,
    TimeoutError,
    asyncpg.InternalClientError,  # a standby where a primary is wanted is one of them
    asyncpg.OperatorInterventionError,  # it starts, stops, or takes no connections
    asyncpg.PostgresConnectionError,
)
"""What one host may say or fail with while another one is the primary."""


class Host(NamedTuple):
    """One server of a database."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"{f'[{self.name}]' if ':' in self.name else self.name}:{self.port}"


def hosts_of(url: str) -> list[Host]:
    """Return the hosts that an address names before its database, perhaps none: then the driver knows it.

    Raises ValueError for what is none.
    """
    named = urlsplit(url).netloc.rpartition("@")[2]
    return [_host(host) for host in named.split(",")] if named else []


def _host(named: str) -> Host:
    found = _HOST.fullmatch(named)
    if found is None:
        raise ValueError("several hosts are written as one:5432,two:5432")
    name, port = found.groups()
    return Host(unquote(name.strip("[]")), int(port or STANDARD_PORT))


def require_primary(url: str) -> None:
    """Raise ValueError for an address with several hosts that would take a standby as well."""
    if "," not in urlsplit(url).netloc:
        return
    hosts_of(url)
    if not FOR_SERVICES.intersection(parse_qs(urlsplit(url).query).get("target_session_attrs", [])):
        raise ValueError("an address with several hosts needs ?target_session_attrs=read-write at its end")


class NoPrimary(ConnectionError):
    """None of the hosts can be used now: its text says why, for each of them."""


class Hosts:
    """Opens connections to the one host of an address that can be used."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._hosts = hosts_of(url) if "," in urlsplit(url).netloc else []

    async def connect(self, *_: object, timeout: float, **options: Any) -> asyncpg.Connection:
        """Connect within so many seconds; options as asyncpg's. Raises NoPrimary when there are several."""
        if not self._hosts:
            return await asyncpg.connect(self._url, timeout=timeout, **options)
        reasons = []
        for host in self._hosts[:]:
            share = timeout / len(self._hosts)
            try:
                found = await connect_to(host, self._url, timeout=share, **options)
            except _NEXT as error:
                reasons.append(f"{host}: {_reason(error)}")
                continue
            self._hosts.remove(host)
            self._hosts.insert(0, host)
            return found
        raise NoPrimary("; ".join(reasons))


async def connect_to(host: Host | None, url: str, **options: Any) -> asyncpg.Connection:
    """Connect to one of the hosts of an address; None: as the driver does. Options as asyncpg's."""
    which: dict[str, Any] = {} if host is None else {"host": host.name, "port": host.port}
    return await asyncpg.connect(url, **which, **options)


def _reason(error: Exception) -> str:
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return "a standby"
    return f"{type(error).__name__}: {error}".removesuffix(": ")
