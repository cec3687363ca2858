"""Take changed files of settings in a running process: on SIGHUP, and when an operator asks all processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar
from uuid import uuid4

import asyncpg
import structlog
from prometheus_client import Gauge

from shared.configuration.changes import Readable
from shared.configuration.record import ConfigurationRecord, Reload, Taken
from shared.kernel.errors import ConfigurationError
from shared.platform.lifecycle import hangups

T = TypeVar("T")
V = TypeVar("V")
LOOK_EVERY_SECONDS = 3.0
"""A fifth of the time after which others hold a process for ended (`record.GONE_SECONDS`)."""
LONGEST_FAILURE = 2000
"""In characters, of what is stored."""
REFUSED = Gauge(
    "configuration_refused",
    "1 while this process uses older settings than its files hold, because these are not valid",
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """The files as they were read: what they mean, their common digest, and the settings for people."""

    value: T
    digest: str
    settings: Readable


class LiveMapping(Mapping[str, V]):
    """A mapping whose content is that of the settings in use, at each reading."""

    def __init__(self, now: Callable[[], Mapping[str, V]]) -> None:
        self._now = now

    def __getitem__(self, key: str) -> V:
        return self._now()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())


class Live(Generic[T]):
    """The settings that this process uses. `read` reads the files."""

    def __init__(self, read: Callable[[], Loaded[T]]) -> None:
        """Read the files. Raises ConfigurationError, OSError."""
        self.read = read
        self.now = read()
        self.loaded_at = datetime.now(UTC)
        self._followed_by: list[Callable[[T], None]] = []

    def tell(self, use: Callable[[T], None]) -> None:
        """Call this with each new value, before anybody sees it. It does not wait and does not fail."""
        self._followed_by.append(use)

    def take(self, loaded: Loaded[T]) -> None:
        """Use these from now on."""
        for use in self._followed_by:
            use(loaded.value)
        self.now, self.loaded_at = loaded, datetime.now(UTC)

    def mapping(self, part: Callable[[T], Mapping[str, V]]) -> LiveMapping[V]:
        """Return a part of the settings in use."""
        return LiveMapping(lambda: part(self.now.value))


class Follower(Generic[T]):
    """Keeps one process up to date with its files. Files that are not valid change nothing.

    `kind`: `api` or `worker`.
    """

    def __init__(self, live: Live[T], record: ConfigurationRecord, kind: str) -> None:
        self._live = live
        self._record = record
        self._kind = kind
        self.process = f"{kind}-{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"
        self._failure: str | None = None
        self._reload: int | None = None

    async def run(self) -> None:
        """Follow until cancelled."""
        with hangups() as hung_up:
            try:
                await self._follow(hung_up)
            finally:
                with contextlib.suppress(
                    OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError
                ):
                    await self._record.forget(self.process)

    async def _follow(self, hung_up: asyncio.Event) -> None:
        while True:
            await self.step(hung_up=hung_up.is_set(), done=hung_up.clear)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_SECONDS):
                    await hung_up.wait()

    async def step(self, *, hung_up: bool = False, done: Callable[[], None] = lambda: None) -> None:
        """Take what was asked for since the last step. `done`: called when a SIGHUP was seen to.

        When the database is silent nothing is forgotten: the next step sees to it.
        """
        if self._reload is None:  # what was asked for before this process began, it has read
            await self._recorded(self._live.now, "start", "a process started with other files")
            asked = await self._store(0)
            self._reload = 0 if asked is None else asked.id
        asked = await self._store(self._reload)
        if asked is not None and asked.id > self._reload:
            await self._take(asked.asked_by, asked.reason)
            self._reload = asked.id
            await self._store(self._reload)
        if hung_up:
            await self._take(f"SIGHUP to {self.process}", "SIGHUP")
            done()
            await self._store(self._reload)

    async def _take(self, by: str, reason: str) -> None:
        try:
            loaded = await asyncio.to_thread(self._live.read)
        except (ConfigurationError, OSError, ValueError) as error:
            self._refuse(error, by)
            return
        # Recorded first: no setting counts that nobody can find in the record.
        await self._recorded(loaded, by, reason)
        try:
            self._live.take(loaded)
        except (OSError, ValueError) as error:  # a file beside them was lost since they were read
            self._refuse(error, by)
            return
        self._failure = None
        REFUSED.set(0)
        log.info("configuration.taken", digest=loaded.digest, by=by)

    def _refuse(self, error: Exception, by: str) -> None:
        self._failure = str(error)[:LONGEST_FAILURE]
        REFUSED.set(1)
        log.error("configuration.refused", reason=self._failure, by=by, used=self._live.now.digest)

    async def _recorded(self, loaded: Loaded[T], by: str, reason: str) -> None:
        await self._record.record(loaded.settings, loaded.digest, by=by, reason=reason, process=self.process)

    async def _store(self, reload: int) -> Reload | None:
        live = self._live
        return await self._record.store(
            Taken(self.process, self._kind, live.now.digest, live.loaded_at, reload, self._failure)
        )
