"""The event log: append and read events, load and save aggregates, encrypt personal data."""

from shared.event_log.aggregate_store import AggregateStore, make_mapper, retry_on_conflict
from shared.event_log.encryption import DataKey, DataKeys, InMemoryDataKeys, MasterKeys, PostgresDataKeys
from shared.event_log.erasures import (
    VACUUMED,
    ErasedAgain,
    ErasureLedger,
    brought_back,
    erase_again,
    erased_by,
    erasure_row,
    vacuum_soon,
)
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
from shared.event_log.failures import SubjectFailures
from shared.event_log.in_memory import InMemoryEventLog, SubjectColumns, UniqueKeys
from shared.event_log.postgres import PostgresEventLog
from shared.event_log.schema import SCHEMA
from shared.event_log.sealed_fields import (
    SEALED,
    NoDataKey,
    data_key_of,
    hide,
    is_sealed,
    sealed,
    set_data_key,
    unseal,
)
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
    "SEALED",
    "VACUUMED",
    "AggregateNotFound",
    "AggregateStore",
    "CommandResult",
    "DataKey",
    "DataKeys",
    "DecryptionFailed",
    "ErasedAgain",
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
    "NoDataKey",
    "PostgresDataKeys",
    "PostgresEventLog",
    "RecordUnreadable",
    "RecordedEvent",
    "SideRow",
    "SideRowConflict",
    "SubjectColumns",
    "SubjectFailures",
    "UniqueKeys",
    "UnreadableEvent",
    "VersionConflict",
    "brought_back",
    "create_id",
    "data_key_of",
    "erase_again",
    "erased_by",
    "erasure_row",
    "hide",
    "is_sealed",
    "make_mapper",
    "retry_on_conflict",
    "sealed",
    "set_data_key",
    "unseal",
    "vacuum_soon",
]
