"""Files of settings that a running service takes again: who changed what, and which process uses what."""

from shared.configuration.changes import Difference, differences
from shared.configuration.follower import Follower, Live, Loaded
from shared.configuration.record import (
    SCHEMA,
    TRANSFERRED_TABLES,
    Change,
    ConfigurationRecord,
    ProcessState,
    Reload,
)

__all__ = [
    "SCHEMA",
    "TRANSFERRED_TABLES",
    "Change",
    "ConfigurationRecord",
    "Difference",
    "Follower",
    "Live",
    "Loaded",
    "ProcessState",
    "Reload",
    "differences",
]
