"""What operators see and do about the files of settings: check, reload in all processes, who changed what."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import asyncpg

from shared.configuration.files import SettingsFile, mistakes_in, read_together
from shared.configuration.record import Change, ConfigurationRecord, ProcessState, Reload
from shared.kernel.errors import ConfigurationError
from shared.kernel.toml_file import Mistake, Mistakes

LOOK_AGAIN_SECONDS = 0.2


class NotInUse(ConfigurationError):
    """Not all processes use what the files here hold; the text names them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a process did with a request. `refused`: its files are not valid; `other`: they are not these."""

    process: str
    kind: str
    state: Literal["taken", "refused", "other", "silent"]
    digest: str
    failure: str | None


@dataclass(frozen=True, slots=True)
class Reloaded:
    """A request and what each running process did with it."""

    reload: Reload
    outcomes: Sequence[Outcome]

    @property
    def complete(self) -> bool:
        """Whether all running processes use the files that were asked for."""
        return all(outcome.state == "taken" for outcome in self.outcomes)


class FilesInUse:
    """The files of this machine beside what all processes of the service use."""

    def __init__(self, pool: asyncpg.Pool, files: Callable[[], Mapping[str, SettingsFile]]) -> None:
        self._record = ConfigurationRecord(pool)
        self._files = files

    def mistakes(self) -> list[Mistake]:
        """Return every mistake in all files, also in those that only a restart reads."""
        return mistakes_in(self._files())

    def digest(self) -> str:
        """Return the digest of the files that are reloaded. Raises Mistakes."""
        return read_together({name: file for name, file in self._files().items() if file.reloaded}).digest

    async def processes(self) -> list[ProcessState]:
        """Return the processes that run now."""
        return await self._record.processes()

    async def refusing(self) -> list[ProcessState]:
        """Return the running processes that did not take their files the last time."""
        return [process for process in await self._record.processes() if process.failure]

    async def changes(self, limit: int) -> list[Change]:
        """Return who changed what, the newest first."""
        return await self._record.changes(limit)

    async def require_used(self) -> str:
        """Return who uses what the files hold. Raises Mistakes, NotInUse."""
        digest, running = self.digest(), await self.processes()
        wrong = {
            process.process: process.failure or f"uses {process.digest[:12]}, the files are {digest[:12]}"
            for process in running
            if process.failure or process.digest != digest
        }
        if wrong:
            raise NotInUse("; ".join(f"{process}: {why}" for process, why in wrong.items()))
        return f"{len(running)} processes use {digest[:12]}"

    async def reload(self, by: str, reason: str, seconds: float) -> Reloaded:
        """Make all running processes take their files, and wait at most so many seconds for them.

        Raises Mistakes, and asks nobody then: files that are not valid here change nothing anywhere.
        """
        if mistakes := await asyncio.to_thread(self.mistakes):
            raise Mistakes(mistakes)
        digest = await asyncio.to_thread(self.digest)
        asked = await self._record.ask(by, reason, digest)
        until = time.monotonic() + seconds
        while True:
            running = await self.processes()
            done = Reloaded(asked, [_outcome(process, asked) for process in running])
            if time.monotonic() >= until or all(outcome.state != "silent" for outcome in done.outcomes):
                return done
            await asyncio.sleep(LOOK_AGAIN_SECONDS)


def _outcome(process: ProcessState, asked: Reload) -> Outcome:
    def outcome(state: Literal["taken", "refused", "other", "silent"]) -> Outcome:
        return Outcome(process.process, process.kind, state, process.digest, process.failure)

    if process.reload < asked.id:
        return outcome("silent")
    if process.failure is not None:
        return outcome("refused")
    return outcome("taken" if process.digest == asked.digest else "other")
