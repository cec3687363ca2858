"""What export and import agree on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from shared.event_log.transfer.tables import TransferredTable

FORMAT = "landelijk-lenen-event-log"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Terms:
    """Whose log it is, which tables travel with it, and the keys that seal the lines (newest first)."""

    service: str
    tables: Sequence[TransferredTable]
    sealing_keys: Sequence[bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Transferred:
    """What was exported or imported. `rows` counts those of each side table."""

    log_id: UUID
    events: int
    rows: Mapping[str, int]


class Progress(Protocol):
    """Is told how many lines there will be, and of every few that are done."""

    def expect(self, total: int) -> None:
        """So many lines in all."""

    def __call__(self, more: int) -> None:
        """So many more are done."""
