"""The tables that travel with the log because they belong to the truth, as the log does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TransferredTable:
    """A side table.

    `order` is SQL: the order of its rows, the same in every database (so text needs `COLLATE "C"`).
    `rows` is SQL for those that travel and how, when that is not simply all of them.
    `is_filled_at_first`: by a migration, so that an import takes the place of what is there.
    `numbered_by`: the column with a counter.
    """

    name: str
    order: str
    rows: str | None = None
    is_filled_at_first: bool = False
    numbered_by: str | None = None

    @property
    def read(self) -> str:
        """SQL that gives each row as JSON, in order."""
        return f"SELECT row_to_json(each)::text FROM ({self._rows}) AS each ORDER BY {self.order}"  # noqa: S608

    @property
    def count(self) -> str:
        """SQL that counts them."""
        return f"SELECT count(*) FROM ({self._rows}) AS each"  # noqa: S608 - our own constants

    @property
    def _rows(self) -> str:
        return self.rows or f"SELECT * FROM {self.name}"  # noqa: S608


# Taken over first: what is left of an erased subject among the other rows does not come back.
ERASURES = TransferredTable("erasures", "subject_id")

# The keys travel as they are: wrapped, so that only who has the master key can use them.
DATA_KEYS = TransferredTable("data_keys", "subject_id")
