"""The event log as a file: JSON Lines under a chained seal, with personal data still encrypted.

Line 1 is the header. Then come the events in order, the rows of the side tables, and a footer with counts.
"""

from shared.event_log.export.exporting import export_log
from shared.event_log.export.format import (
    FileRefused,
    LogNotEmpty,
    Progress,
    Terms,
    Transferred,
    TransferredTable,
    sealing_keys,
)
from shared.event_log.export.importing import import_log
from shared.event_log.readable import Decrypter

__all__ = [
    "Decrypter",
    "FileRefused",
    "LogNotEmpty",
    "Progress",
    "Terms",
    "Transferred",
    "TransferredTable",
    "export_log",
    "import_log",
    "sealing_keys",
]
