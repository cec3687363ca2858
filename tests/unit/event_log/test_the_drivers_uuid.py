"""Ids that come from the database are asyncpg's own kind of UUID: what is written must be the same."""

from uuid import UUID, uuid4

from asyncpg.pgproto import pgproto

from shared.event_log.aggregate_store import make_transcoder
from shared.event_log.append import write_rows
from shared.event_log.types import SideRow


def test_an_event_that_names_an_id_from_the_database_reads_back_as_a_plain_uuid() -> None:
    plain = uuid4()
    transcoder = make_transcoder()
    written = transcoder.encode({"guest_id": pgproto.UUID(str(plain))})
    assert written == transcoder.encode({"guest_id": plain})
    assert type(transcoder.decode(written)["guest_id"]) is UUID


def test_a_side_row_takes_an_id_from_the_database() -> None:
    plain = uuid4()
    rows = [SideRow("inbox", {"guest_id": each}) for each in (plain, pgproto.UUID(str(plain)))]
    assert write_rows(rows[:1]) == write_rows(rows[1:])
