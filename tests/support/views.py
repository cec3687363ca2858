"""Views of a running service brought up to date, or rebuilt, when a test says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import asyncpg

from shared.event_log import EventLog
from shared.platform.leases import Leases
from shared.projections import LiveView, View
from shared.projections.rebuild import Source, rebuild


class Running(Protocol):
    """What a service of either kind has."""

    @property
    def pool(self) -> asyncpg.Pool: ...

    @property
    def log(self) -> EventLog: ...


async def follow_all(service: Running, views: Sequence[View], source: Source) -> None:
    """All views take in all that has happened, as the worker lets them."""
    for view in views:
        live = LiveView(service.pool, service.log, source.folder(view), Leases(service.pool))
        while await live.step() < await service.log.position():
            pass


async def rebuild_all(views: Sequence[View], source: Source) -> None:
    """All views are built anew beside the live ones."""
    for view in views:
        await rebuild(source, view, lambda _: None)
