"""The `eventsourcing` library's own test cases for recorders, run against our log (ADR 0012).

Its module is imported, not its abstract classes: those would be collected as tests.
"""

from collections.abc import Iterator

import pytest
from eventsourcing.tests import persistence

from tests.integration.event_log.library_recorder import OurRecorder


class MakesOurRecorder:
    recorder: OurRecorder

    @pytest.fixture(autouse=True)
    def _recorder(self, database: str) -> Iterator[None]:
        self.recorder = OurRecorder(database)
        yield
        self.recorder.close()

    def create_recorder(self) -> OurRecorder:
        return self.recorder


class TestApplicationRecorder(MakesOurRecorder, persistence.ApplicationRecorderTestCase[OurRecorder]):
    """Reads, conflicts, atomicity, contiguous positions, concurrent writers and readers."""


class TestNonInterleavingPositions(MakesOurRecorder, persistence.NonInterleavingNotificationIDsBaseCase):
    """Two commands of a thousand events each, at once: one's positions, then the other's."""
