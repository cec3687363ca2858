"""The `eventsourcing` library's PostgreSQL application reads what our log wrote (ADR 0012)."""

from datetime import UTC, date, datetime
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from eventsourcing.application import Application
from eventsourcing.persistence import JSONTranscoder, StoredEvent

from shared.event_log import AggregateStore, MasterKeys, make_mapper
from shared.event_log.aggregate_store import BytesAsBase64, DateAsISO
from tests.support.event_log import METADATA, Reader, in_postgres
from tests.support.servers import reader_url

NOW = datetime(2025, 9, 11, 12, tzinfo=UTC)


class LibraryApplication(Application[UUID]):
    name = "stored"  # its table is named after it: stored_events

    def register_transcodings(self, transcoder: JSONTranscoder) -> None:
        super().register_transcodings(transcoder)
        transcoder.register(DateAsISO())
        transcoder.register(BytesAsBase64())


def library_application(database: str) -> LibraryApplication:
    address = urlsplit(database)
    return LibraryApplication(
        {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": address.path[1:],
            "POSTGRES_HOST": str(address.hostname),
            "POSTGRES_PORT": str(address.port),
            "POSTGRES_USER": str(address.username),
            "POSTGRES_PASSWORD": str(address.password),
            "CREATE_TABLE": "n",
        }
    )


async def test_the_library_reads_our_log_as_a_reader(database: str) -> None:
    reader = Reader.enrol(sealed=b"\x00sealed", on=date(2025, 9, 11), now=NOW)
    reader.renew(until=date(2026, 9, 11), by=uuid4(), now=NOW)
    async with in_postgres(database) as under_test:
        await AggregateStore(under_test.log, make_mapper(), MasterKeys([bytes(32)]).unwrap).save(
            reader, metadata=METADATA
        )
        ours = await under_test.log.read(0, 10)

    with library_application(reader_url(database)) as application:
        theirs = application.recorder.select_notifications(start=None, limit=10)
        loaded: Reader = application.repository.get(reader.id)

        assert [(each.id, each.originator_version, each.topic, each.state) for each in theirs] == [
            (each.position, each.stream_version, each.event_type, each.state) for each in ours
        ]
        assert application.recorder.max_notification_id() == 2
        assert loaded == reader
        with pytest.raises(Exception, match="permission denied"):
            application.recorder.insert_events([StoredEvent(uuid4(), 1, "t", b"{}")])
