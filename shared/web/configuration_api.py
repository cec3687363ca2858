"""The files of settings as operators see them over HTTP: mistakes, who uses what, who changed what."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Literal

import structlog
from pydantic import AfterValidator, BaseModel, Field

from shared.configuration.operating import FilesInUse
from shared.configuration.record import Change, ProcessState
from shared.kernel.text import require_text
from shared.kernel.toml_file import Mistake, Mistakes
from shared.platform import limits

log = structlog.get_logger(__name__)

MOST_CHANGES = 20


class MistakeJson(BaseModel):
    """A mistake in a file. `where`: the key, with dots; `text`: what is wrong, or what to write instead."""

    file: str
    line: int | None
    where: str
    text: str


class ProcessJson(BaseModel):
    """A running process. `failure`: why it did not take its files the last time."""

    process: str
    kind: str
    digest: str
    loaded_at: datetime
    failure: str | None


class DifferenceJson(BaseModel):
    """A table that came or went, or a value that changed; null: not set."""

    kind: Literal["added", "removed", "changed"]
    where: str
    before: str | None
    after: str | None


class ChangeJson(BaseModel):
    """Other settings than before. `process`: the first one that took them."""

    taken_at: datetime
    taken_by: str
    reason: str
    process: str
    digest: str
    differences: list[DifferenceJson]


class ConfigurationJson(BaseModel):
    """The files where this process runs beside what all processes use. `digest` null: they are not valid.

    `changes`: the newest 20, the newest first.
    """

    digest: str | None
    mistakes: list[MistakeJson]
    processes: list[ProcessJson]
    changes: list[ChangeJson]


class OutcomeJson(BaseModel):
    """What a process did. `refused`: its files are not valid; `other`: they are not those of here.

    `silent`: it has not replied yet.
    """

    process: str
    kind: str
    state: Literal["taken", "refused", "other", "silent"]
    digest: str
    failure: str | None


class ReloadedJson(BaseModel):
    """What came of a reload. `digest` null: the files are not valid, and nothing was changed."""

    digest: str | None
    complete: bool
    mistakes: list[MistakeJson]
    outcomes: list[OutcomeJson]


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not hold the character U+0000")
    return text


Reason = Annotated[
    str, Field(min_length=1, max_length=200), AfterValidator(_storable), AfterValidator(require_text)
]
"""Why; it is stored."""


async def configuration_json(files: FilesInUse) -> ConfigurationJson:
    """Return the state of the files."""
    mistakes = await asyncio.to_thread(files.mistakes)
    try:
        digest = await asyncio.to_thread(files.digest)
    except Mistakes:
        digest = None
    return ConfigurationJson(
        digest=digest,
        mistakes=[_mistake(mistake) for mistake in mistakes],
        processes=[process_json(process) for process in await files.processes()],
        changes=[_change(change) for change in await files.changes(MOST_CHANGES)],
    )


async def reloaded_json(files: FilesInUse, by: str, reason: str) -> ReloadedJson:
    """Make all processes take their files, and return what came of it."""
    try:
        done = await files.reload(by, reason, limits.RELOAD)
    except Mistakes as error:
        log.warning("configuration.not_valid", by=by, reason=str(error))
        mistakes = [_mistake(mistake) for mistake in error.found]
        return ReloadedJson(digest=None, complete=False, mistakes=mistakes, outcomes=[])
    outcomes = [OutcomeJson.model_validate(outcome, from_attributes=True) for outcome in done.outcomes]
    return ReloadedJson(digest=done.reload.digest, complete=done.complete, mistakes=[], outcomes=outcomes)


def _mistake(mistake: Mistake) -> MistakeJson:
    return MistakeJson(
        file=str(mistake.file or ""), line=mistake.line, where=mistake.where, text=mistake.text
    )


def process_json(process: ProcessState) -> ProcessJson:
    """Return a running process as operators see it."""
    return ProcessJson.model_validate(process, from_attributes=True)


def _change(change: Change) -> ChangeJson:
    return ChangeJson.model_validate(change, from_attributes=True)
