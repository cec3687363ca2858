"""The event log: append and read events, load and save aggregates, encrypt personal data."""

from shared.event_log.aggregate_store import AggregateStore, make_mapper, retry_on_conflict
from shared.event_log.encryption import DataKey, DataKeys, InMemoryDataKeys, MasterKeys, PostgresDataKeys
from shared.event_log.erasures import ErasureLedger, brought_back, erased_by, erasure_row
from shared.event_log.errors import (
    AggregateNotFound,
    DecryptionFailed,
    EventLogError,
    LogCorrupt,
    LogOverloaded,
    LogUnavailable,
    RecordUnreadable,
    SideRowConflict,
    UnreadableEvent,
    VersionConflict,
)
from shared.event_log.in_memory import InMemoryEventLog, SubjectColumns, UniqueKeys
from shared.event_log.postgres import PostgresEventLog
from shared.event_log.schema import SCHEMA
from shared.event_log.types import (
    CommandResult,
    EventLog,
    Metadata,
    NewEvent,
    RecordedEvent,
    SideRow,
    create_id,
)

__all__ = [
    "SCHEMA",
    "AggregateNotFound",
    "AggregateStore",
    "CommandResult",
    "DataKey",
    "DataKeys",
    "DecryptionFailed",
    "ErasureLedger",
    "EventLog",
    "EventLogError",
    "InMemoryDataKeys",
    "InMemoryEventLog",
    "LogCorrupt",
    "LogOverloaded",
    "LogUnavailable",
    "MasterKeys",
    "Metadata",
    "NewEvent",
    "PostgresDataKeys",
    "PostgresEventLog",
    "RecordUnreadable",
    "RecordedEvent",
    "SideRow",
    "SideRowConflict",
    "SubjectColumns",
    "UniqueKeys",
    "UnreadableEvent",
    "VersionConflict",
    "brought_back",
    "create_id",
    "erased_by",
    "erasure_row",
    "make_mapper",
    "retry_on_conflict",
]
