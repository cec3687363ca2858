"""The event log as a file, and back: JSON Lines under a chained seal, personal data still sealed.

Line 1 is the header; then come the events in order, the rows of the side tables, and a footer that counts.
"""

from shared.event_log.transfer.chain import sealing_keys
from shared.event_log.transfer.errors import FileRefused, LogNotEmpty
from shared.event_log.transfer.exporting import export_log
from shared.event_log.transfer.importing import import_log
from shared.event_log.transfer.opening import Opener
from shared.event_log.transfer.tables import TransferredTable
from shared.event_log.transfer.terms import Progress, Terms, Transferred

__all__ = [
    "FileRefused",
    "LogNotEmpty",
    "Opener",
    "Progress",
    "Terms",
    "Transferred",
    "TransferredTable",
    "export_log",
    "import_log",
    "sealing_keys",
]
